//! `cargo xtask zoo`: what reader, labels and removal make of a folder of model files.
//!
//! The work is the bench `zoo`; arguments go to it as they stand, with the folder that paths are relative to.

use crate::checkout::{Checkout, must};
use crate::{say, setup};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::ExitCode;

pub fn call(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    say::phase("zoo", || {
        let mut bench = checkout.cargo();
        bench
            .args(["bench", "--package", "secateur", "--bench", "zoo", "--"])
            .args(arguments);
        if !arguments.is_empty() {
            // Cargo starts a bench in the package's folder.
            bench.arg("--from").arg(&here);
        }
        must(libtorch.apply(&mut bench), "cargo bench")
    })?;
    Ok(ExitCode::SUCCESS)
}
