//! `cargo xtask run`: set-up, release build, then the run itself.
//!
//! Reads nothing of the pipeline file: all arguments go to `secateur run` as they stand.

use crate::checkout::{Checkout, become_command, must};
use crate::{say, setup};
use anyhow::Result;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

pub fn call(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    say::phase("release build", || {
        let mut build = checkout.cargo();
        build.args(["build", "--release", "--package", "secateur", "--bin", "secateur"]);
        must(libtorch.apply(&mut build), "cargo build")
    })?;
    // A run may take hours and ends cleanly on Ctrl-C, so xtask does not stand between it and the terminal.
    let mut secateur = Command::new(checkout.release_binary("secateur")?);
    Err(become_command(secateur.arg("run").args(arguments)))
}
