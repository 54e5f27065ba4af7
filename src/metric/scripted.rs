//! Metrics that come as scripted modules: `forward(outputs, targets)` gives one value a sample.
//!
//! Owns the call and the check of what comes back. The module is a graph like any model, so that it may ask for nothing
//! but arithmetic; it is run through the trait that the graph owns. Deliberately reads no file.

use std::sync::Arc;

use crate::graph::{Evaluate, Graph, Type};
use crate::tensor::Tensor;

use super::{Form, Forward, Metric, MetricError, PerSample, samples};

/// A metric that a scripted module computes.
pub struct Scripted {
    name: String,
    maximize: bool,
    graph: Arc<Graph>,
    evaluator: &'static (dyn Evaluate + Sync),
}

impl Scripted {
    /// # Errors
    /// When the module takes anything but `(outputs, targets)` or `(outputs)`, or gives more than one tensor.
    pub fn new(
        name: &str,
        maximize: bool,
        graph: Arc<Graph>,
        evaluator: &'static (dyn Evaluate + Sync),
    ) -> Result<Scripted, MetricError> {
        let inputs = graph.inputs.iter();
        let tensors = inputs.filter(|&&input| graph.value(input).ty == Type::Tensor).count();
        let outputs = graph.output_values();
        let one = matches!(outputs[..], [output] if graph.value(output).ty == Type::Tensor);
        if tensors != graph.inputs.len() || !(1..=2).contains(&tensors) || !one {
            let (inputs, outputs) = (graph.input_names().join(", "), outputs.len());
            let message = format!(
                "its forward takes ({inputs}) and gives {outputs} values, but (outputs, targets) or (outputs) are given and one tensor is wanted"
            );
            return Err(MetricError::Scripted {
                metric: name.into(),
                message,
            });
        }
        Ok(Scripted {
            name: name.into(),
            maximize,
            graph,
            evaluator,
        })
    }

    fn fault(&self, message: String) -> MetricError {
        MetricError::Scripted {
            metric: self.name.clone(),
            message,
        }
    }
}

impl Metric for Scripted {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn needs_targets(&self) -> bool {
        self.graph.inputs.len() == 2
    }
}

impl PerSample for Scripted {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        let outputs = forward.output()?;
        let count = samples(outputs, forward.batch)?;
        let targets = forward.batch.targets.as_ref();
        let given = match (self.needs_targets(), targets) {
            (true, None) => return Err(MetricError::NoTargets { metric: self.name() }),
            (true, Some(targets)) => vec![outputs.clone(), targets.clone()],
            (false, _) => vec![outputs.clone()],
        };
        let given: Vec<_> = self.graph.inputs.iter().copied().zip(given).collect();
        let found = self
            .evaluator
            .evaluate(&self.graph, &given, &self.graph.output_values());
        let found = found.map_err(|error| self.fault(error.to_string()))?;
        match &found[..] {
            [values] if values.shape() == [count] => Ok(values.to_f64()),
            other => {
                let shapes: Vec<&[usize]> = other.iter().map(Tensor::shape).collect();
                Err(self.fault(format!(
                    "gives {shapes:?} for {count} samples: one value a sample is wanted"
                )))
            }
        }
    }
}
