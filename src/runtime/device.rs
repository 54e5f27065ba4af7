//! What must be set once in a process or a thread, and what the machine is.
//!
//! Owns libtorch's global switches, the number of its threads, devices by name, and the words that tell one machine's
//! arithmetic from another's in cache keys.

use super::RuntimeError;
use std::sync::Once;
use tch::Device;

/// Sets libtorch's global switches, once: no profiling executor (it costs 100 to 140 ms on each of a program's first
/// two runs of ResNet-50) and one thread inside operators, because parallelism is over batches and cells.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Both can only fail where libtorch lacks the switch; programs are right without it.
        let _ = tch::jit::f_set_profiling_mode(false);
        tch::set_num_threads(1);
    });
}

/// Runs something on the calling thread with one thread inside operators and without gradients.
pub fn with_worker<T>(work: impl FnOnce() -> T) -> T {
    init();
    // OpenMP keeps its number of threads for each calling thread.
    tch::set_num_threads(1);
    let _guard = tch::no_grad_guard();
    work()
}

/// Reads `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// When the name is none of these, or when this libtorch or this machine has no such device.
pub fn device(name: &str) -> Result<Device, RuntimeError> {
    let refuse = |message: &str| {
        Err(RuntimeError::Device {
            name: name.into(),
            message: message.into(),
        })
    };
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", index)) => index.parse::<usize>().ok(),
        _ => None,
    };
    let Some(index) = index else {
        return refuse("is not a device; write cpu, cuda or cuda:N");
    };
    if !tch::Cuda::is_available() {
        return refuse("needs a libtorch built for CUDA and a GPU; set LIBTORCH to one, or write device: cpu");
    }
    if index as i64 >= tch::Cuda::device_count() {
        return refuse("is beyond the GPUs of this machine");
    }
    Ok(Device::Cuda(index))
}

/// The class of instructions that the arithmetic on this machine uses: results may differ between classes in the last
/// bits, and agree within one.
pub fn isa_class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if avx512 && is_x86_feature_detected!("avx512bf16") {
            "avx512_bf16"
        } else if avx512 && is_x86_feature_detected!("avx512vnni") {
            "avx512_vnni"
        } else if avx512 {
            "avx512"
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            "avx2"
        } else {
            "x86_64"
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        "neon"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "scalar"
    }
}

/// The version of libtorch that tch was built for; its build script refuses any other.
pub fn libtorch_version() -> &'static str {
    "2.13.0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name() {
        assert_eq!(device("cpu").unwrap(), Device::Cpu);
        for name in ["gpu", "cuda:x", "cpu:0", ""] {
            assert!(matches!(device(name), Err(RuntimeError::Device { .. })), "{name}");
        }
        if !tch::Cuda::is_available() {
            assert!(device("cuda").unwrap_err().to_string().contains("device: cpu"));
        }
    }
}
