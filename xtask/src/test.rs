//! `cargo xtask test`: everything that must be green before a change is handed in.
//!
//! The checks themselves are cargo's; the schema's drift is one of the tests.

use crate::checkout::{Checkout, become_command, must};
use crate::setup::{self, tools};
use crate::{say, setup::Libtorch};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

const LINTS: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const LINTS_WITHOUT_TORCH: &[&str] = &[
    "clippy",
    "--package",
    "secateur",
    "--lib",
    "--no-default-features",
    "--",
    "-D",
    "warnings",
];

pub fn call(checkout: &Checkout, _: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    tools::cargo_verb(checkout, "fmt", "rustfmt")?;
    tools::cargo_verb(checkout, "clippy", "clippy")?;
    cargo(checkout, &libtorch, "format check", &["fmt", "--all", "--check"])?;
    cargo(checkout, &libtorch, "lints", LINTS)?;
    cargo(checkout, &libtorch, "lints without torch", LINTS_WITHOUT_TORCH)?;
    cargo(checkout, &libtorch, "test build", &["test", "--workspace", "--no-run"])?;
    // The last words are cargo's own summary.
    say::line("tests ...");
    let mut test = checkout.cargo();
    Err(become_command(libtorch.apply(test.args(["test", "--workspace"]))))
}

fn cargo(checkout: &Checkout, libtorch: &Libtorch, name: &str, arguments: &[&str]) -> Result<()> {
    say::phase(name, || {
        let mut command = checkout.cargo();
        must(
            libtorch.apply(command.args(arguments)),
            &format!("cargo {}", arguments[0]),
        )
    })
}
