//! Where the checkout and cargo's output lie, and how a cargo is started in it.
//!
//! Does not know where libtorch comes from: `setup` says which variables a cargo gets.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that xtask was built from.
pub struct Checkout {
    /// The workspace's root.
    pub root: PathBuf,
}

impl Checkout {
    pub fn find() -> Result<Checkout> {
        // Cargo sets the variable for what it runs; xtask started by hand uses the folder it was built in.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("xtask lies in no workspace")?;
        if !root.join("Cargo.lock").is_file() {
            bail!(
                "{} is not secateur's checkout: run `cargo xtask` inside the checkout",
                root.display()
            );
        }
        Ok(Checkout {
            root: root.to_path_buf(),
        })
    }

    /// The ignored link that plain cargo finds libtorch by: `.cargo/config.toml` names it.
    pub fn link(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// A cargo in the root of the checkout.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&self.root);
        command
    }

    /// What `cargo build --release` leaves under this name: xtask itself stands in the same target folder.
    pub fn release_binary(&self, name: &str) -> Result<PathBuf> {
        let xtask = std::env::current_exe().context("cannot tell where xtask itself lies")?;
        let target = xtask
            .parent()
            .and_then(Path::parent)
            .context("xtask lies outside cargo's target folder")?;
        let binary = target.join("release").join(name);
        if !binary.is_file() {
            bail!("cargo built no {}", binary.display());
        }
        Ok(binary)
    }
}

/// Runs a command to its end with the terminal handed on, and fails with its name when it fails.
pub fn must(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// Becomes the command: its terminal, its signals and its exit code are xtask's. Returns only when it cannot start.
pub fn become_command(command: &mut Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let program = command.get_program().to_owned();
    anyhow::Error::new(command.exec()).context(format!("cannot start {}", program.display()))
}
