//! What this build of libtorch and this machine can do beyond ATen's float32.
//!
//! Owns the probe for oneDNN's fused operators, which are internals of some builds, and the question whether bfloat16 is
//! native. Both answers depend on the build and the machine alone, never on a measurement.

use super::{Program, isa_class, with_worker};
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};

/// A convolution with weights packed, a residual and an activation, and a product, as lowering writes them.
const PROBE: &str = "class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def run(self: __torch__.M,
    v: List[Tensor]) -> List[Tensor]:
    x, w, b, = v
    p = ops.mkldnn._reorder_convolution_weight(w, [1, 1], [1, 1], [1, 1], 1, [2, 4, 3, 3])
    none = annotate(List[Optional[number]], [])
    y = ops.mkldnn._convolution_pointwise(x, p, b, [1, 1], [1, 1], [1, 1], 1, \"relu\", none, None)
    z = ops.mkldnn._convolution_pointwise(x, y, p, b, [1, 1], [1, 1], [1, 1], 1, \"add\", 1.0, \"relu\", none, None)
    r = torch.relu(torch.add(torch.conv2d(x, w, b, [1, 1], [1, 1], [1, 1], 1), y))
    return [z, r]
";

/// Whether this libtorch has oneDNN's fused operators and computes with them what ATen computes.
pub fn has_mkldnn() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| with_worker(probe).unwrap_or(false))
}

fn probe() -> Result<bool, super::RuntimeError> {
    let program = Program::from_source(PROBE, 3)?;
    let numbers = |shape: &[i64], scale: f64| -> Result<Tensor, super::RuntimeError> {
        let count: i64 = shape.iter().product();
        let line = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?;
        Ok(line.f_mul_scalar(scale)?.f_sin()?.f_reshape(shape)?)
    };
    let inputs = [
        numbers(&[2, 4, 3, 3], 0.7)?,
        numbers(&[4, 4, 3, 3], 1.3)?,
        numbers(&[4], 0.9)?,
    ];
    let outputs = program.run(&inputs)?;
    Ok(outputs[0].f_allclose(&outputs[1], 1e-4, 1e-5, false)?)
}

/// Whether a device multiplies bfloat16 faster than float32 by its instructions.
pub fn native_bfloat16(device: Device) -> bool {
    match device {
        Device::Cpu => isa_class() == "avx512_bf16" && has_mkldnn(),
        // Tensor cores take bfloat16 since compute capability 8, which tch does not tell.
        _ => false,
    }
}
