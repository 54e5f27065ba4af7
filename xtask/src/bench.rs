//! `cargo xtask bench` and `cargo xtask zoo`: how fast it is, side by side in one run; and what reader, labels and removal
//! make of a folder of model files.
//!
//! The work is a bench each; arguments go to it as they stand, with the folder that paths are relative to.

use crate::checkout::{Checkout, must};
use crate::{say, setup};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::ExitCode;

pub fn speed(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    run(checkout, "bench", "speed", arguments)
}

pub fn zoo(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    run(checkout, "zoo", "zoo", arguments)
}

fn run(checkout: &Checkout, verb: &'static str, name: &str, arguments: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    say::phase(verb, || {
        let mut bench = checkout.cargo();
        bench
            .args(["bench", "--package", "secateur", "--bench", name, "--"])
            .args(arguments);
        // Cargo starts a bench in the package's folder.
        bench.arg("--from").arg(&here);
        must(libtorch.apply(&mut bench), "cargo bench")
    })?;
    Ok(ExitCode::SUCCESS)
}
