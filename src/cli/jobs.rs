//! How many threads compute.

use std::num::NonZeroUsize;

/// Physical cores that this process may use: hyper-threads share the units that convolutions keep busy.
pub fn physical_cores() -> NonZeroUsize {
    let allowed = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    count_cores()
        .and_then(NonZeroUsize::new)
        .map_or(allowed, |cores| cores.min(allowed))
}

/// Each core's threads list one another, so cores are the distinct lists.
#[cfg(target_os = "linux")]
fn count_cores() -> Option<usize> {
    let folders = std::fs::read_dir("/sys/devices/system/cpu").ok()?;
    let lists = folders.flatten().filter_map(|entry| {
        let path = entry.path().join("topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    });
    Some(lists.collect::<std::collections::BTreeSet<String>>().len())
}

#[cfg(target_os = "macos")]
fn count_cores() -> Option<usize> {
    let output = std::process::Command::new("sysctl")
        .args(["-n", "hw.physicalcpu"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn count_cores() -> Option<usize> {
    None
}

/// More threads than any machine has cores; the system refuses to start many more, and that is no end for a program.
const MOST: usize = 1024;

/// Reads a number of threads.
pub fn parse(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= MOST => Ok(jobs),
        _ => Err(format!("write a number from 1 to {MOST}")),
    }
}

/// Makes the one pool that all parallel work uses.
pub fn set(jobs: NonZeroUsize) {
    let made = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs.get())
        .thread_name(|index| format!("worker-{index}"))
        .build_global();
    if let Err(error) = made {
        tracing::warn!("--jobs has no effect: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn threads_are_counted_within_reason() {
        for (text, jobs) in [("1", 1), ("16", 16), ("1024", 1024)] {
            assert_eq!(parse(text).map(|jobs| jobs.get()), Ok(jobs));
        }
        for bad in ["0", "1025", "100000", "99999999999999999999", "-1", "two", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
