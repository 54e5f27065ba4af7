//! `cargo xtask bench`: how fast it is, side by side in one run.
//!
//! The work is the bench `speed`; arguments go to it as they stand, with the folder that paths are relative to.

use crate::checkout::{Checkout, must};
use crate::{say, setup};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::ExitCode;

pub fn call(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    say::phase("bench", || {
        let mut bench = checkout.cargo();
        bench
            .args(["bench", "--package", "secateur", "--bench", "speed", "--"])
            .args(arguments);
        // Cargo starts a bench in the package's folder.
        bench.arg("--from").arg(&here);
        must(libtorch.apply(&mut bench), "cargo bench")
    })?;
    Ok(ExitCode::SUCCESS)
}
