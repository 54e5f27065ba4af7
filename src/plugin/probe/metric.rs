//! What a metric plug-in is asked when it is tested: values or numbers of made-up outputs and targets.

use super::{Answered, Probe, SAMPLES, Wrong, shown};
use crate::plugin::error::Fault;
use crate::plugin::hello::{FormName, MetricHello};
use crate::plugin::pool::{Expected, Said, said};
use crate::plugin::wire::Ask;
use crate::plugin::worker::Worker;
use crate::tensor::Tensor;

impl Probe<'_> {
    /// Every question that a metric of its form is asked; gives what all samples came to.
    pub(super) fn metric(&mut self, worker: &mut Worker, hello: &MetricHello) -> Result<Said, Wrong> {
        match hello.form {
            FormName::PerSample => self.values(worker, hello),
            FormName::Aggregate => self.aggregate(worker, hello),
        }
    }

    /// What all samples come to.
    pub(super) fn metric_once(&self, worker: &mut Worker, hello: &MetricHello) -> Answered {
        match hello.form {
            FormName::PerSample => self.ask_values(worker, hello, 0..SAMPLES),
            FormName::Aggregate => self.whole(worker, hello, "again"),
        }
    }

    fn values(&mut self, worker: &mut Worker, hello: &MetricHello) -> Result<Said, Wrong> {
        let what = "gives one value a sample";
        let all = self
            .ask_values(worker, hello, 0..SAMPLES)
            .map_err(|fault| (what, fault))?;
        let values = list(&all);
        let outside = hello
            .bounds
            .and_then(|(low, high)| values.iter().find(|&&value| !(low..=high).contains(&value)).copied());
        match outside {
            Some(value) => self.note(what, Err(format!("{value} lies outside the bounds that it gave"))),
            None => self.note(what, Ok(format!("{SAMPLES} values"))),
        }

        let what = "says the same again";
        let again = self
            .ask_values(worker, hello, 0..SAMPLES)
            .map_err(|fault| (what, fault))?;
        self.hold(
            what,
            shown(&again) == shown(&all),
            "to the bit",
            "the same batch gave other values",
        );

        let what = "values do not depend on the batch";
        let mut parts = Vec::new();
        for range in [0..1, 1..7, 7..SAMPLES] {
            parts.extend(list(
                &self.ask_values(worker, hello, range).map_err(|fault| (what, fault))?,
            ));
        }
        let near =
            |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-6 * a.abs().max(1.0) || (a.is_nan() && b.is_nan());
        let same = parts.iter().zip(&values).all(near);
        self.hold(
            what,
            same,
            "batches of 1, 6 and 9",
            "a sample's value changes with its neighbours",
        );

        let what = "survives outputs that are no numbers";
        let mut tensors = self.tensors(hello, 0..SAMPLES);
        spoil(&mut tensors);
        let ask = values_ask(0..SAMPLES);
        match worker
            .ask(&ask, &tensors)
            .and_then(|answer| said(&answer, &Expected::Values(SAMPLES)))
        {
            Ok(_) => self.note(what, Ok("it gives values".into())),
            Err(Fault::Refused(_)) => self.note(what, Ok("it refuses".into())),
            Err(fault) => return Err((what, fault)),
        }
        Ok(all)
    }

    fn aggregate(&mut self, worker: &mut Worker, hello: &MetricHello) -> Result<Said, Wrong> {
        let what = "gives one number for all samples";
        let all = self.whole(worker, hello, "one").map_err(|fault| (what, fault))?;
        self.note(what, Ok(shown(&all)));

        let what = "says the same again";
        let again = self.whole(worker, hello, "one").map_err(|fault| (what, fault))?;
        self.hold(
            what,
            shown(&again) == shown(&all),
            "to the bit",
            format!("{} this time", shown(&again)),
        );

        let what = "keeps cells apart";
        let between = self.interleaved(worker, hello).map_err(|fault| (what, fault))?;
        let same = between.iter().all(|said| shown(said) == shown(&all));
        self.hold(
            what,
            same,
            "two at once",
            "two cells that got the same samples in turn gave other numbers",
        );

        let what = "begins anew after a reset";
        let reset = self.reset_twice(worker, hello).map_err(|fault| (what, fault))?;
        self.hold(
            what,
            shown(&reset) == shown(&all),
            "half a cell was forgotten",
            "samples from before the reset stayed",
        );

        let what = "refuses a cell that was not begun";
        let ask = Ask::Finish {
            cell: "never begun".into(),
        };
        match worker.ask(&ask, &[]) {
            Err(Fault::Refused(_)) => self.note(what, Ok("it refuses".into())),
            Ok(_) => self.note(what, Err("it gave a number".into())),
            Err(fault) => return Err((what, fault)),
        }
        if hello.mergeable {
            let what = "merges states";
            let merged = self.merged(worker, hello).map_err(|fault| (what, fault))?;
            let (Said::Score(merged), Said::Score(whole)) = (&merged, &all) else {
                return Ok(all);
            };
            let near = (merged.value - whole.value).abs() <= 1e-9 * whole.value.abs().max(1.0);
            let wrong = format!("two halves gave {}, the whole {}", merged.value, whole.value);
            self.hold(what, near, "two halves are the whole", wrong);
        }
        Ok(all)
    }

    fn ask_values(&self, worker: &mut Worker, hello: &MetricHello, range: std::ops::Range<usize>) -> Answered {
        let count = range.len();
        let tensors = self.tensors(hello, range.clone());
        let answer = worker.ask(&values_ask(range), &tensors)?;
        said(&answer, &Expected::Values(count))
    }

    fn update(
        &self,
        worker: &mut Worker,
        hello: &MetricHello,
        cell: &str,
        range: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let ask = Ask::Update {
            cell: cell.into(),
            first: range.start,
            samples: range.len(),
        };
        worker.ask(&ask, &self.tensors(hello, range)).map(|_| ())
    }

    fn whole(&self, worker: &mut Worker, hello: &MetricHello, cell: &str) -> Answered {
        begin(worker, cell)?;
        self.update(worker, hello, cell, 0..9)?;
        self.update(worker, hello, cell, 9..SAMPLES)?;
        finish(worker, cell)
    }

    fn interleaved(&self, worker: &mut Worker, hello: &MetricHello) -> Result<[Said; 2], Fault> {
        begin(worker, "one")?;
        begin(worker, "two")?;
        for range in [0..9, 9..SAMPLES] {
            self.update(worker, hello, "one", range.clone())?;
            self.update(worker, hello, "two", range)?;
        }
        Ok([finish(worker, "two")?, finish(worker, "one")?])
    }

    fn reset_twice(&self, worker: &mut Worker, hello: &MetricHello) -> Answered {
        begin(worker, "one")?;
        self.update(worker, hello, "one", 0..9)?;
        let dropped = self.whole(worker, hello, "one");
        begin(worker, "two")?;
        worker.ask(&Ask::Drop { cell: "two".into() }, &[])?;
        dropped
    }

    fn merged(&self, worker: &mut Worker, hello: &MetricHello) -> Answered {
        begin(worker, "first half")?;
        begin(worker, "second half")?;
        self.update(worker, hello, "first half", 0..9)?;
        self.update(worker, hello, "second half", 9..SAMPLES)?;
        let ask = Ask::State {
            cell: "second half".into(),
        };
        let answer = worker.ask(&ask, &[])?;
        let state = answer.fields.get("state").and_then(|state| state.as_str());
        let state = state.ok_or(Fault::Lacks("`state`, a string"))?;
        let ask = Ask::Merge {
            cell: "first half".into(),
            state: state.to_owned(),
        };
        worker.ask(&ask, &[])?;
        finish(worker, "first half")
    }

    /// Made-up samples: the same in every run.
    fn tensors(&self, hello: &MetricHello, range: std::ops::Range<usize>) -> Vec<(String, Tensor)> {
        let shape = |sample: &[usize]| {
            std::iter::once(range.len())
                .chain(sample.iter().copied())
                .collect::<Vec<_>>()
        };
        let floats = |sample: &[usize], salt: u64| {
            let count: usize = sample.iter().product();
            let numbers = (range.start * count..range.end * count).map(|at| noise(at as u64, salt) as f32);
            Tensor::from_f32(shape(sample), &numbers.collect::<Vec<f32>>())
        };
        let classes = self.samples.outputs.first().copied().unwrap_or(1).max(1) as u64;
        let targets = || {
            let sample = &self.samples.targets;
            if self.samples.float_targets {
                return floats(sample, 2);
            }
            let count: usize = sample.iter().product();
            let numbers = (range.start * count..range.end * count)
                .map(|at| ((noise(at as u64, 3) + 1.0) / 2.0 * classes as f64) as i64);
            Tensor::from_i64(shape(sample), &numbers.collect::<Vec<i64>>())
        };
        let tensor = |name: &String| {
            let tensor = match name.as_str() {
                "targets" => targets(),
                "indices" => {
                    let numbers: Vec<i64> = range.clone().map(|at| at as i64).collect();
                    Tensor::from_i64([numbers.len()], &numbers)
                }
                "outputs" => floats(&self.samples.outputs, 0),
                _ => floats(&self.samples.outputs, 1),
            };
            (name.clone(), tensor)
        };
        hello.tensors.iter().map(tensor).collect()
    }
}

fn begin(worker: &mut Worker, cell: &str) -> Result<(), Fault> {
    worker.ask(&Ask::Reset { cell: cell.into() }, &[]).map(|_| ())
}

fn finish(worker: &mut Worker, cell: &str) -> Answered {
    let answer = worker.ask(&Ask::Finish { cell: cell.into() }, &[])?;
    said(&answer, &Expected::Score)
}

fn values_ask(range: std::ops::Range<usize>) -> Ask {
    Ask::Values {
        cell: "a cell".into(),
        first: range.start,
        samples: range.len(),
    }
}

fn list(said: &Said) -> Vec<f64> {
    match said {
        Said::Values(values) => values.clone(),
        _ => Vec::new(),
    }
}

/// A number between -1 and 1 that looks random.
fn noise(at: u64, salt: u64) -> f64 {
    let mut mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    mixed ^= mixed >> 31;
    mixed = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^= mixed >> 29;
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Puts NaN and infinities into the outputs.
fn spoil(tensors: &mut [(String, Tensor)]) {
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name == "outputs") {
        let mut numbers: Vec<f32> = tensor.to_f64().into_iter().map(|number| number as f32).collect();
        for (number, odd) in numbers
            .iter_mut()
            .step_by(3)
            .zip([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].iter().cycle())
        {
            *number = *odd;
        }
        *tensor = Tensor::from_f32(tensor.shape(), &numbers);
    }
}

/// The metric in one line.
pub(super) fn description(hello: &MetricHello) -> String {
    let form = match hello.form {
        FormName::PerSample => "per sample",
        FormName::Aggregate => "aggregate",
    };
    let direction = match hello.maximize {
        Some(true) => ", maximize",
        Some(false) => ", minimize",
        None => "",
    };
    let bounds = hello
        .bounds
        .map_or_else(String::new, |(low, high)| format!(", from {low} to {high}"));
    let name = hello.name.as_deref().unwrap_or("without a name");
    format!("{name}, {form}{direction}{bounds}, wants {}", hello.tensors.join(", "))
}
