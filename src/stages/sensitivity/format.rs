//! The number format of a step: what `precision` comes to on this machine, and what is said of it.
//!
//! Owns which cells share keys: `auto` promises float32's numbers on the evidence of samples, so that its cells are apart
//! from float32's, and are float32's where it comes to that whatever the machine's load.

use crate::runtime::{Device, faster_in_bfloat16, native_bfloat16};
use crate::sensitivity::{Effort, Precision};
use crate::spec;
use crate::stages::data;
use crate::stages::shared::Shared;
use crate::stages::tables::number;
use serde_json::{Value, json};

/// What a step computes in.
#[derive(Clone, Copy)]
pub struct Format {
    asked: spec::Precision,
    pub precision: Precision,
    /// Why `auto` came to float32.
    why: Option<&'static str>,
}

/// What stands in the keys of cells of the metric at a place of the list. No measurement decides it.
pub fn of_cells(shared: &Shared, at: usize) -> spec::Precision {
    let pipeline = &shared.spec.pipeline;
    let measured = pipeline.measured();
    let decides = || measured.get(at).is_some_and(|metric| data::decides(shared, at, metric));
    match pipeline.precision {
        spec::Precision::Auto if shared.runs_plain() || !decides() || !native_bfloat16(device(shared)) => {
            spec::Precision::Float32
        }
        asked => asked,
    }
}

fn device(shared: &Shared) -> Device {
    match shared.spec.pipeline.device {
        spec::Device::Cpu => Device::Cpu,
        spec::Device::Cuda(index) => Device::Cuda(index as usize),
    }
}

impl Format {
    pub fn choose(shared: &Shared, step: &spec::Sensitivity) -> Format {
        let pipeline = &shared.spec.pipeline;
        let asked = pipeline.precision;
        let decides = || {
            let mut measured = pipeline.measured().into_iter().enumerate();
            measured.all(|(at, metric)| data::decides(shared, at, metric))
        };
        let why = match asked {
            spec::Precision::Float32 | spec::Precision::Bfloat16 => None,
            spec::Precision::Auto if !decides() => Some("a metric changes with every rounding"),
            spec::Precision::Auto if step.estimate.is_some() => Some("estimates look at few samples"),
            spec::Precision::Auto if shared.runs_plain() => Some("models run as they were read"),
            spec::Precision::Auto if !native_bfloat16(device(shared)) => Some("bfloat16 is not native here"),
            spec::Precision::Auto if !faster_in_bfloat16(device(shared)) => Some("bfloat16 is not faster here"),
            spec::Precision::Auto => None,
        };
        let precision = match (asked, why) {
            (spec::Precision::Bfloat16, _) => Precision::Bfloat16,
            (spec::Precision::Auto, None) => Precision::Auto,
            _ => Precision::Float32,
        };
        Format { asked, precision, why }
    }

    /// For `run.json`; nothing where the file says float32.
    pub fn told(&self, effort: Option<&Effort>) -> Option<Value> {
        match (self.asked, self.precision) {
            (spec::Precision::Float32, _) => None,
            (_, Precision::Float32) => Some(json!({"chosen": "float32", "why": self.why})),
            (_, Precision::Bfloat16) => Some(json!({"chosen": "bfloat16"})),
            (_, Precision::Auto) => {
                let Effort {
                    samples,
                    calibrated,
                    redone,
                    audited,
                    cells,
                } = effort.copied().unwrap_or_default();
                Some(json!({
                    "chosen": "bfloat16",
                    "samples": samples,
                    "calibrated": calibrated,
                    "redone": redone,
                    "audited": audited,
                    "cells_redone": cells,
                }))
            }
        }
    }

    /// For people.
    pub fn line(&self, effort: Option<&Effort>) -> Option<String> {
        if let Some(why) = self.why {
            return Some(format!("in float32: {why}"));
        }
        match (self.precision, effort) {
            (Precision::Bfloat16, _) => Some("in bfloat16".to_owned()),
            (Precision::Auto, Some(effort)) if effort.samples > 0 => {
                let cells = match effort.cells {
                    0 => "no cell".to_owned(),
                    1 => "1 cell".to_owned(),
                    cells => format!("{cells} cells"),
                };
                Some(format!(
                    "{} samples replayed in bfloat16; in float32 too: {} to find the error, {} that it might have changed, {} as an audit; {cells} measured again",
                    number(effort.samples),
                    number(effort.calibrated),
                    number(effort.redone),
                    number(effort.audited),
                ))
            }
            _ => None,
        }
    }
}
