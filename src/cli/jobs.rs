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
