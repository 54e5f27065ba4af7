//! `cargo xtask zoo`: what reader, labels and removal make of a folder of model files.
//!
//! The work is the bench `zoo`; arguments go to it as they stand.

use crate::checkout::{Checkout, must};
use crate::{say, setup};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

pub fn call(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    let libtorch = setup::set_up(checkout)?;
    say::phase("zoo", || {
        let mut bench = checkout.cargo();
        bench
            .args(["bench", "--package", "secateur", "--bench", "zoo", "--"])
            .args(arguments);
        must(libtorch.apply(&mut bench), "cargo bench")
    })?;
    Ok(ExitCode::SUCCESS)
}
