//! What xtask prints about itself: phases with their seconds, and the progress of long waits. All of it on stderr.
//!
//! Knows nothing of what the phases do.

use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints one line in xtask's name.
pub fn line(text: &str) {
    eprintln!("xtask: {text}");
}

/// Does one phase, and prints its name before and its seconds after.
pub fn phase<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    line(&format!("{name} ..."));
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let outcome = if result.is_ok() { "done" } else { "failed" };
    line(&format!("{name} {outcome} in {seconds:.1} s"));
    result
}

/// A long wait's state: one line that is written over on a terminal, else a plain line now and then.
pub struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    /// Shows the state, unless one was shown a moment ago.
    pub fn show(&mut self, state: impl FnOnce() -> String) {
        let pause = Duration::from_secs(if self.terminal { 1 } else { 10 });
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.terminal {
            eprint!("\r\x1b[2Kxtask:   {}", state());
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        } else {
            line(&format!("  {}", state()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
