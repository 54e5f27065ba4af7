//! What is known already, and how far a pass over the data is: what a measurement takes from its memory and leaves there.
//!
//! Owns how the sums of a pass are taken up again. Deliberately knows nothing of where they are kept.

pub use crate::metric::Standing;
use crate::metric::{self, Accumulator, Metric, Score};

/// What is already known, and where results go.
pub trait Memory: Sync {
    /// The value under a perturbation's digest; `None` stands for the unmasked model.
    fn known(&self, digest: Option<&str>) -> Option<f64>;

    /// Keeps values.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn keep(&self, values: &[(Option<String>, f64)]) -> Result<(), String>;

    /// The scores of all metrics under a perturbation's digest, where every one is known. By default there is one metric.
    fn scores(&self, digest: Option<&str>) -> Option<Vec<Score>> {
        Some(vec![self.known(digest)?.into()])
    }

    /// Keeps the scores of all metrics.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn keep_scores(&self, scores: &[(Option<String>, Vec<Score>)]) -> Result<(), String> {
        let first = |(digest, scores): &(Option<String>, Vec<Score>)| Some((digest.clone(), scores.first()?.value));
        self.keep(&scores.iter().filter_map(first).collect::<Vec<_>>())
    }

    /// Told between micro-batches where the cells of a pass stand, metric by metric, so that an interrupted one can be
    /// taken up. What is kept replaces what was kept of this pass; it need not be each time.
    fn pause(&self, _pass: &[Option<String>], _standing: &dyn Fn() -> Option<Vec<Standing>>) {}

    /// Where the cells of such a pass stood when it was left.
    fn resume(&self, _pass: &[Option<String>]) -> Option<Vec<Standing>> {
        None
    }

    /// Told when the values of a pass are kept.
    fn over(&self, _pass: &[Option<String>]) {}
}

/// One cell's metrics on their way.
pub(super) type Sums<'a> = Vec<Box<dyn Accumulator + 'a>>;

/// The sums of a pass that was left, and the number of samples in them; none when it cannot be taken up.
pub(super) fn take_up<'a>(
    metrics: &'a [&'a dyn Metric],
    memory: &dyn Memory,
    pass: &[Option<String>],
    samples: usize,
) -> Option<(Vec<Sums<'a>>, usize)> {
    let standing = memory.resume(pass)?;
    let first = standing.first()?.samples;
    let fits = standing.len() == pass.len() * metrics.len()
        && first <= samples
        && standing.iter().all(|one| one.samples == first);
    if !fits {
        return None;
    }
    let cells = standing.chunks(metrics.len()).map(|standing| {
        let sums = metrics.iter().zip(standing);
        sums.map(|(metric, one)| metric::reopen(*metric, one.clone())).collect()
    });
    Some((cells.collect::<Option<_>>()?, first))
}
