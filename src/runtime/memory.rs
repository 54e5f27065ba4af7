//! How much memory there is, and how much this process has used.
//!
//! Owns where the system says so. Deliberately limits nothing.

use std::path::{Path, PathBuf};

/// Bytes that this process could take now without pushing anything out: of the machine, or of the control group that it
/// runs in where that has less. None where the system does not say.
pub fn free_memory() -> Option<u64> {
    if cfg!(target_os = "macos") {
        return on_macos();
    }
    free_under(Path::new("/"))
}

/// The most bytes that this process has had in memory at once, where the system counts them.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// The bytes that this process has in memory now, where the system counts them.
pub fn used_memory() -> Option<u64> {
    status("VmRSS:")
}

fn status(field: &str) -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

/// The number of kilobytes behind a field, in bytes.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1 << 10)
}

fn on_macos() -> Option<u64> {
    let output = std::process::Command::new("vm_stat").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let page: u64 = text.split("page size of ").nth(1)?.split(' ').next()?.parse().ok()?;
    let pages = |field: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().trim_end_matches('.').parse().ok()
    };
    let free = pages("Pages free:")? + pages("Pages inactive:").unwrap_or(0) + pages("Pages speculative:").unwrap_or(0);
    Some(free * page)
}

/// As Linux tells it in the files below `root`.
fn free_under(root: &Path) -> Option<u64> {
    let machine = kilobytes(
        &std::fs::read_to_string(root.join("proc/meminfo")).ok()?,
        "MemAvailable:",
    )?;
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(|line| in_group(root, line)).min();
    Some(left.map_or(machine, |left| left.min(machine)))
}

/// What is left in the control group of a line of `/proc/self/cgroup`, and in those around it.
fn in_group(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, names) = if controllers.is_empty() {
        ("sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file"])
    } else if controllers.split(',').any(|one| one == "memory") {
        let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
        ("sys/fs/cgroup/memory", names)
    } else {
        return None;
    };
    let mount = root.join(mount);
    let mut folder: PathBuf = mount.join(path.trim_start_matches('/'));
    let mut least = None;
    // Inside a container the path may lie outside of what is mounted; the mount itself is then the group.
    while folder.starts_with(&mount) {
        let left = left(&folder, names);
        least = least.into_iter().chain(left).min();
        if !folder.pop() {
            break;
        }
    }
    least
}

/// The limit of one group less what is used; files that nobody uses are dropped when memory is wanted. None without a
/// limit.
fn left(folder: &Path, [limit, usage, unused]: [&str; 3]) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let limit = number(limit)?;
    let statistics = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let unused = statistics
        .lines()
        .find_map(|line| line.strip_prefix(unused)?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(number(usage)?.saturating_sub(unused.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system made of files.
    fn free(files: &[(&str, &str)]) -> Option<u64> {
        let folder = tempfile::tempdir().ok()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent()?).ok()?;
            std::fs::write(path, text).ok()?;
        }
        free_under(folder.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal: 90 kB\nMemAvailable:    8000 kB\n");

    #[test]
    fn the_machine_or_the_tightest_group_around_has_the_least() {
        assert_eq!(free(&[]), None);
        assert_eq!(free(&[MACHINE]), Some(8_192_000));
        let second = |inner: &str, outer: &str| {
            free(&[
                MACHINE,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", inner),
                ("sys/fs/cgroup/a/b/memory.current", "1000\n"),
                ("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 400\n"),
                ("sys/fs/cgroup/a/memory.max", outer),
                ("sys/fs/cgroup/a/memory.current", "2000\n"),
            ])
        };
        assert_eq!(second("max\n", "max\n"), Some(8_192_000));
        assert_eq!(second("5000\n", "max\n"), Some(4400));
        assert_eq!(second("5000\n", "4000\n"), Some(2000));
        assert_eq!(second("500\n", "max\n"), Some(0));
        // Version 1, with the group's path outside of what a container sees.
        let first = free(&[
            MACHINE,
            ("proc/self/cgroup", "8:pids:/\n4:memory:/outside/here\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "6000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 9\ntotal_inactive_file 500\n",
            ),
        ]);
        assert_eq!(first, Some(1500));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        let (used, peak) = (used_memory().unwrap_or(0), peak_memory().unwrap_or(0));
        assert!(used > 1 << 20 && peak >= used);
        assert!(free_memory().is_some_and(|free| free > 0));
    }
}
