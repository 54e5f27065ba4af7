//! What each supported platform needs: which wheels, and which of their files.
//!
//! One table. Nothing here downloads or unpacks.

use anyhow::{Result, bail};

/// A supported platform.
#[derive(Debug)]
pub struct Platform {
    os: &'static str,
    arch: &'static str,
    /// The platform tags of the wheels that run here, as pip's `--platform` wants them.
    pub tags: &'static [&'static str],
    /// The libraries of torch's wheel that `libtorch_cpu` loads, itself first.
    pub libraries: &'static [&'static str],
    /// The size of torch's wheel, for the progress and the disk check.
    pub download_mb: u64,
    /// The size of what is kept.
    pub unpacked_mb: u64,
}

const PLATFORMS: &[Platform] = &[
    Platform {
        os: "linux",
        arch: "x86_64",
        tags: &[
            "manylinux_2_28_x86_64",
            "manylinux_2_25_x86_64",
            "manylinux_2_17_x86_64",
            "manylinux2014_x86_64",
        ],
        libraries: &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"],
        download_mb: 540,
        unpacked_mb: 510,
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        tags: &[
            "manylinux_2_28_aarch64",
            "manylinux_2_25_aarch64",
            "manylinux_2_17_aarch64",
            "manylinux2014_aarch64",
        ],
        libraries: &[
            "libtorch_cpu.so",
            "libc10.so",
            "libgomp.so.1",
            "libarm_compute.so",
            "libarm_compute_graph.so",
            "libnvpl_blas_core.so.0",
            "libnvpl_blas_lp64_gomp.so.0",
            "libnvpl_lapack_core.so.0",
            "libnvpl_lapack_lp64_gomp.so.0",
        ],
        download_mb: 440,
        unpacked_mb: 370,
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        // pip takes wheels for older systems too.
        tags: &["macosx_14_0_arm64"],
        libraries: &["libtorch_cpu.dylib", "libtorch.dylib", "libc10.dylib", "libomp.dylib"],
        download_mb: 112,
        unpacked_mb: 410,
    },
];

/// The two CUDA libraries that a Linux `libtorch_cpu.so` loads even where no GPU is used: package, MB, library.
pub const CUDA_HELPERS: &[(&str, u64, &str)] = &[
    ("nvidia-cuda-runtime", 2, "libcudart.so."),
    ("nvidia-cuda-cupti", 11, "libcupti.so."),
];

/// One-line linker scripts: the wheel's own libtorch.so would ask for CUDA, and not every compiler brings libgomp.so.
const LINKER_SCRIPTS: &[(&str, &str)] = &[
    ("libtorch.so", "INPUT(libtorch_cpu.so)\n"),
    ("libgomp.so", "INPUT(libgomp.so.1)\n"),
];

impl Platform {
    /// The library that all else hangs on.
    pub fn main_library(&self) -> &'static str {
        self.libraries[0]
    }

    /// Files that are written in place of what the wheel has.
    pub fn linker_scripts(&self) -> &'static [(&'static str, &'static str)] {
        if self.os == "linux" { LINKER_SCRIPTS } else { &[] }
    }
}

/// This machine's platform.
pub fn here() -> Result<&'static Platform> {
    find(std::env::consts::OS, std::env::consts::ARCH, cfg!(target_env = "musl"))
}

fn find(os: &str, arch: &str, musl: bool) -> Result<&'static Platform> {
    let platform = PLATFORMS
        .iter()
        .find(|platform| platform.os == os && platform.arch == arch && !musl);
    let Some(platform) = platform else {
        let libc = if musl { " with musl" } else { "" };
        bail!(
            "PyTorch has no libraries for {os} on {arch}{libc}: secateur is built on Linux x86-64 and aarch64 (glibc) \
             and on macOS arm64; on Windows use WSL"
        );
    };
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn supported_platforms() {
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64")] {
            let platform = find(os, arch, false).expect("supported");
            assert!(platform.main_library().starts_with("libtorch_cpu."));
        }
        for (os, arch, musl) in [
            ("macos", "x86_64", false),
            ("linux", "riscv64", false),
            ("linux", "x86_64", true),
        ] {
            let error = find(os, arch, musl).expect_err("not supported").to_string();
            assert!(error.contains("WSL") && error.contains(arch), "{error}");
        }
    }
}
