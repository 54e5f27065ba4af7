//! SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, the second ends at once.

use crate::pipeline::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// From now on signals set the flag.
pub fn listen(stop: &Stop) {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && ignored(signal) {
            // `nohup` asks for this.
            continue;
        }
        // The order matters: the shutdown looks at the flag as it was before this signal.
        let registered = flag::register_conditional_shutdown(signal, 128 + signal, stop.flag())
            .and_then(|_| flag::register(signal, stop.flag()));
        if let Err(error) = registered {
            tracing::warn!("signal {signal} will end the run without a clean flush: {error}");
        }
    }
}

/// Whether whoever started this process had the signal ignored.
#[cfg(target_os = "linux")]
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
fn ignored(_: i32) -> bool {
    false
}
