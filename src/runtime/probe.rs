//! What this build of libtorch and this machine can do beyond ATen's float32.
//!
//! Owns the probes for oneDNN's fused operators, which are internals of some builds, and the questions whether bfloat16 is
//! native and whether it is fast. What a build and a machine can do never depends on a measurement; only
//! [`faster_in_bfloat16`] measures, and no result may depend on it.

use super::{Program, RuntimeError, Source, isa_class, with_worker};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// A convolution with weights packed, a residual and an activation, and a product, as lowering writes them, in the element
/// type that stands for `KIND`.
const PROBE: &str = "class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def run(self: __torch__.M,
    v: List[Tensor]) -> List[Tensor]:
    x0, w0, b0, = v
    x = torch.to(x0, KIND)
    b = torch.to(b0, KIND)
    p = ops.mkldnn._reorder_convolution_weight(torch.to(w0, KIND), [1, 1], [1, 1], [1, 1], 1, [2, 4, 3, 3])
    none = annotate(List[Optional[number]], [])
    y = ops.mkldnn._convolution_pointwise(x, p, b, [1, 1], [1, 1], [1, 1], 1, \"relu\", none, None)
    z = ops.mkldnn._convolution_pointwise(x, y, p, b, [1, 1], [1, 1], [1, 1], 1, \"add\", 1.0, \"relu\", none, None)
    r0 = torch.conv2d(x0, w0, b0, [1, 1], [1, 1], [1, 1], 1)
    r = torch.relu(torch.add(r0, torch.relu(r0)))
    return [torch.to(z, 6), r]
";

/// Whether this libtorch has oneDNN's fused operators and computes with them what ATen computes.
pub fn has_mkldnn() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| with_worker(|| probe(false)).unwrap_or(false))
}

/// The same in bfloat16.
pub fn has_reduced_mkldnn() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| with_worker(|| probe(true)).unwrap_or(false))
}

fn probe(reduced: bool) -> Result<bool, RuntimeError> {
    // ATen's number of the element type.
    let kind = if reduced { "15" } else { "6" };
    let source = Source {
        code: PROBE.replace("KIND", kind),
        numbers: Vec::new(),
    };
    let program = Program::from_source(&source, 3, Device::Cpu)?;
    let inputs = [
        numbers(&[2, 4, 3, 3], 0.7)?,
        numbers(&[4, 4, 3, 3], 1.3)?,
        numbers(&[4], 0.9)?,
    ];
    let outputs = program.run(&inputs)?;
    let (relative, absolute) = if reduced { (5e-2, 5e-2) } else { (1e-4, 1e-5) };
    Ok(outputs[0].f_allclose(&outputs[1], relative, absolute, false)?)
}

fn numbers(shape: &[i64], scale: f64) -> Result<Tensor, RuntimeError> {
    let count: i64 = shape.iter().product();
    let line = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?;
    Ok(line.f_mul_scalar(scale)?.f_sin()?.f_reshape(shape)?)
}

/// Whether a device has instructions that multiply bfloat16.
pub fn native_bfloat16(device: Device) -> bool {
    match device {
        Device::Cpu => isa_class() == "avx512_bf16" && has_reduced_mkldnn(),
        // Tensor cores take bfloat16 since compute capability 8, which tch does not tell: whether it is fast is measured.
        Device::Cuda(_) => true,
        _ => false,
    }
}

/// The edge of the matrices that are multiplied to find out how fast a device is, and how often.
const EDGE: i64 = 384;
const TRIES: usize = 7;

/// How much faster bfloat16 must be to be worth its conversions.
const WORTH: f64 = 1.25;

/// Whether a device multiplies matrices in bfloat16 clearly faster than in float32: measured once a process and
/// device, in a few milliseconds.
pub fn faster_in_bfloat16(device: Device) -> bool {
    static FOUND: Mutex<Vec<(Device, bool)>> = Mutex::new(Vec::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&(_, faster)) = found.iter().find(|(known, _)| *known == device) {
        return faster;
    }
    let measured =
        with_worker(|| Ok::<_, RuntimeError>(WORTH * seconds(device, Kind::BFloat16)? < seconds(device, Kind::Float)?));
    let faster = measured.unwrap_or(false);
    found.push((device, faster));
    faster
}

fn seconds(device: Device, kind: Kind) -> Result<f64, RuntimeError> {
    let matrix = numbers(&[EDGE, EDGE], 0.7)?.f_to_device(device)?.f_to_kind(kind)?;
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        // Reading one number waits for the device.
        matrix.f_matmul(&matrix)?.f_double_value(&[0, 0])?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_native_is_there() {
        assert!(!native_bfloat16(Device::Cpu) || has_reduced_mkldnn());
        assert!(!native_bfloat16(Device::Mps));
        // The answer of a process does not change.
        assert_eq!(faster_in_bfloat16(Device::Cpu), faster_in_bfloat16(Device::Cpu));
    }
}
