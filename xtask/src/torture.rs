//! `cargo xtask torture`: kills runs at random instants and over broken disks, and looks at what is left.
//!
//! The work is a test of the suite; this turns flags into its environment.

use crate::checkout::{Checkout, become_command};
use crate::setup;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::SystemTime;

const MINUTES: u64 = 5;

pub fn call(checkout: &Checkout, arguments: &[OsString]) -> Result<ExitCode> {
    let (minutes, seed) = parse(arguments)?;
    let libtorch = setup::set_up(checkout)?;
    let mut test = checkout.cargo();
    test.args(["test", "--package", "secateur", "--test", "suite", "--"]);
    test.args(["--ignored", "--exact", "--nocapture", "suite::torture::a_long_torture"]);
    test.env("SECATEUR_TORTURE", format!("{minutes} {seed}"));
    Err(become_command(libtorch.apply(&mut test)))
}

/// `--minutes N` and `--seed S`; without a seed every call is another torture, and says which.
fn parse(arguments: &[OsString]) -> Result<(u64, u64)> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (mut minutes, mut seed) = (MINUTES, now.as_secs());
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} takes a number"))?;
        let number = value
            .parse()
            .with_context(|| format!("{flag} takes a number, not {value}"))?;
        match &*flag {
            "--minutes" => minutes = number,
            "--seed" => seed = number,
            _ => bail!("there is no flag {flag}; there are --minutes N and --seed S"),
        }
    }
    Ok((minutes, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let parse = |words: &[&str]| parse(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(parse(&["--minutes", "60", "--seed", "7"]).ok(), Some((60, 7)));
        assert_eq!(parse(&["--seed", "7"]).ok(), Some((MINUTES, 7)));
        for bad in [&["--hours", "1"][..], &["--seed"], &["--seed", "x"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
