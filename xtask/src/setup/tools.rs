//! The tools that set-up and tests need, each with one clear sentence when it is missing.
//!
//! Rust itself is not among them: cargo refuses an old one by `rust-version` before xtask is built.

use crate::checkout::Checkout;
use anyhow::{Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};

/// A C++17 compiler, the one that torch-sys' build script will take.
pub fn cxx() -> Result<()> {
    let named = std::env::var("CXX").ok().filter(|name| !name.trim().is_empty());
    // CXX may bring a wrapper or flags along: `ccache g++`.
    let words = named.clone().unwrap_or_else(|| "c++".to_string());
    let mut words = words.split_whitespace();
    let Some(program) = words.next() else {
        bail!("CXX names no compiler");
    };
    let hint = if cfg!(target_os = "macos") {
        "install it with `xcode-select --install`"
    } else {
        "install g++ (Debian and Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`)"
    };
    let mut command = Command::new(program);
    command
        .args(words)
        .args(["-std=c++17", "-fsyntax-only", "-x", "c++", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let shown = named.map_or_else(|| program.to_string(), |name| format!("{name} (from CXX)"));
    let Ok(mut child) = command.spawn() else {
        bail!("there is no C++ compiler {shown}: {hint}");
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A compiler that ends early says so by its status.
        let _ = stdin.write_all(b"#include <optional>\nint main() { return std::optional<int>(0).value(); }\n");
    }
    if !child.wait().is_ok_and(|status| status.success()) {
        bail!("the C++ compiler {shown} does not compile C++17: {hint}");
    }
    Ok(())
}

/// Python with pip, which fetch libtorch.
pub fn pip() -> Result<()> {
    let hint = "it fetches libtorch (or set LIBTORCH to a libtorch that you have)";
    let answer = |arguments: &[&str]| Command::new("python3").args(arguments).stdin(Stdio::null()).output();
    if !answer(&["--version"]).is_ok_and(|output| output.status.success()) {
        bail!("there is no python3: install Python 3 with pip, {hint}");
    }
    if !answer(&["-m", "pip", "--version"]).is_ok_and(|output| output.status.success()) {
        bail!("python3 has no pip: install it (Debian and Ubuntu: `apt install python3-pip`), {hint}");
    }
    Ok(())
}

/// A verb of cargo's that comes as a component of its own.
pub fn cargo_verb(checkout: &Checkout, verb: &str, component: &str) -> Result<()> {
    let found = checkout
        .cargo()
        .args([verb, "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        bail!("cargo has no {verb}: install it with `rustup component add {component}`");
    }
    Ok(())
}
