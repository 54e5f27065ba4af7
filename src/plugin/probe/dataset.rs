//! What a dataset plug-in is asked when it is tested: some of its first samples, in the ways in which runs ask for them.

use super::{Answered, Probe, SAMPLES, Wrong, are_same};
use crate::plugin::error::Fault;
use crate::plugin::hello::{Access, DatasetHello};
use crate::plugin::pool::{Expected, Said, said};
use crate::plugin::wire::Ask;
use crate::plugin::worker::Worker;
use crate::tensor::Tensor;

impl Probe<'_> {
    /// Every question that a dataset of its form is asked; gives its first samples.
    pub(super) fn dataset(&mut self, worker: &mut Worker, hello: &DatasetHello) -> Result<Said, Wrong> {
        let count = first(hello);
        let what = "gives the samples that it is asked for";
        let all = read_first(worker, hello).map_err(|fault| (what, fault))?;
        self.note(what, Ok(format!("{count} of them, as it announced them")));

        let what = match hello.access {
            Access::Random => "says the same again",
            Access::Stream => "says the same when it begins again",
        };
        begin_again(worker, hello).map_err(|fault| (what, fault))?;
        let again = read_first(worker, hello).map_err(|fault| (what, fault))?;
        self.hold(
            what,
            are_same(&again, &all),
            "to the bit",
            "the same samples were different",
        );

        let what = "samples do not depend on the batch";
        begin_again(worker, hello).map_err(|fault| (what, fault))?;
        let parts = [0..count / 4, count / 4..count];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let parts: Result<Vec<Said>, Fault> = parts.map(|rows| read(worker, hello, rows.collect())).collect();
        let same = pieces(&parts.map_err(|fault| (what, fault))?) == pieces(std::slice::from_ref(&all));
        self.hold(what, same, "two batches", "a sample changes with its neighbours");

        let (what, rows): (_, Vec<usize>) = match hello.access {
            Access::Random => ("gives samples in any order", (0..count).rev().collect()),
            Access::Stream => ("passes over samples", (0..count).step_by(2).collect()),
        };
        begin_again(worker, hello).map_err(|fault| (what, fault))?;
        let found = read(worker, hello, rows.clone()).map_err(|fault| (what, fault))?;
        let wanted = picked(&all, &rows);
        self.hold(
            what,
            tensors(&found) == wanted,
            "the right ones",
            "it gave other samples",
        );

        if let Some(samples) = hello.samples {
            let what = "refuses a sample that it does not have";
            begin_again(worker, hello).map_err(|fault| (what, fault))?;
            match read(worker, hello, vec![samples]) {
                Err(Fault::Refused(_)) => self.note(what, Ok("it refuses".into())),
                Ok(_) => self.note(
                    what,
                    Err(format!("it gave sample {samples}, the first behind its last one")),
                ),
                Err(fault) => return Err((what, fault)),
            }
        }
        Ok(all)
    }
}

/// So many of its first samples are looked at.
fn first(hello: &DatasetHello) -> usize {
    // A stream of unknown length has one, at least.
    hello.samples.map_or(1, |samples| samples.min(SAMPLES))
}

pub(super) fn read_first(worker: &mut Worker, hello: &DatasetHello) -> Answered {
    read(worker, hello, (0..first(hello)).collect())
}

fn read(worker: &mut Worker, hello: &DatasetHello, rows: Vec<usize>) -> Answered {
    let expected = Expected::Tensors {
        columns: hello.tensors.clone(),
        samples: rows.len(),
    };
    let answer = worker.ask_for(&Ask::Read { rows }, &[], expected.most())?;
    said(&answer, &expected)
}

fn begin_again(worker: &mut Worker, hello: &DatasetHello) -> Result<(), Fault> {
    match hello.access {
        Access::Random => Ok(()),
        Access::Stream => worker.ask(&Ask::Rewind {}, &[]).map(|_| ()),
    }
}

fn tensors(said: &Said) -> &[Tensor] {
    match said {
        Said::Tensors(tensors) => tensors,
        _ => &[],
    }
}

/// Each tensor's samples, whatever batches they came in.
fn pieces(parts: &[Said]) -> Vec<Vec<u8>> {
    let columns = parts.first().map_or(0, |part| tensors(part).len());
    let column = |at: usize| {
        parts
            .iter()
            .flat_map(|part| tensors(part)[at].data().to_vec())
            .collect()
    };
    (0..columns).map(column).collect()
}

/// Some samples of a batch.
fn picked(all: &Said, rows: &[usize]) -> Vec<Tensor> {
    tensors(all).iter().map(|tensor| tensor.select(0, rows)).collect()
}

/// The dataset in one line.
pub(super) fn description(hello: &DatasetHello) -> String {
    let name = hello.name.as_deref().unwrap_or("without a name");
    let samples = hello
        .samples
        .map_or("no one knows how many".to_owned(), |count| count.to_string());
    let access = match hello.access {
        Access::Random => "random access",
        Access::Stream => "a stream",
    };
    let tensors: Vec<String> = hello
        .tensors
        .iter()
        .map(|one| format!("{} {} {:?}", one.name, one.dtype, one.shape))
        .collect();
    let fingerprint = match &hello.fingerprint {
        Some(text) => format!("fingerprint {}", text.chars().take(16).collect::<String>()),
        None => "no fingerprint: changed data go unnoticed unless `files` or `version` tell".to_owned(),
    };
    format!(
        "{name}, {samples} samples, {access}, {}, {fingerprint}",
        tensors.join(", ")
    )
}
