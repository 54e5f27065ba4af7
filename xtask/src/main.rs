//! Project chores: the two commands of the README, and the libtorch set-up that both begin with.
//!
//! Nothing here knows what secateur computes. On Windows only this file is compiled: all it does is to name WSL.

#[cfg(unix)]
mod bench;
#[cfg(unix)]
mod checkout;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod say;
#[cfg(unix)]
mod setup;
#[cfg(unix)]
mod test;
#[cfg(unix)]
mod torture;
#[cfg(unix)]
mod verbs;

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    verbs::main()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("error: secateur is built on Linux and macOS only; on Windows use WSL");
    ExitCode::FAILURE
}
