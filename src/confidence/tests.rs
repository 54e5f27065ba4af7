//! Coverage over seeded repetitions, and what an interval must do at its ends.

use super::*;
use proptest::prelude::*;

const AIM: Aim = Aim {
    margin: 0.02,
    relative: 0.2,
    confidence: 0.95,
};

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn shuffle(&mut self, values: &mut [f64]) {
        for at in 0..values.len() {
            let other = at + (self.next() * (values.len() - at) as f64) as usize;
            values.swap(at, other.min(values.len() - 1));
        }
    }
}

/// Differences of a classifier's hits: so many lost, so many won, of `size`.
fn hits(size: usize, lost: usize, won: usize) -> Vec<f64> {
    (0..size)
        .map(|at| match at {
            at if at < lost => -1.0,
            at if at < lost + won => 1.0,
            _ => 0.0,
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of 200 random orders, in how many some interval of the sequence is wrong, and the mean number of values when the
/// first is narrow enough.
fn misses(population: &[f64], batch: usize, open: &dyn Fn() -> Box<dyn Sequence>) -> (usize, f64) {
    let truth = mean(population);
    // The sum in another order may differ in its last bits.
    let (less, more) = (truth - 1e-12, truth + 1e-12);
    let mut wrong = 0;
    let mut taken = 0;
    for repetition in 0..200 {
        let mut values = population.to_vec();
        Numbers(repetition).shuffle(&mut values);
        let mut sequence = open();
        let (mut missed, mut narrow) = (false, None);
        for values in values.chunks(batch) {
            sequence.extend(values);
            missed |= sequence.above(more) || sequence.below(less);
            if narrow.is_none() && sequence.is_narrow() {
                narrow = Some(sequence.count());
                let Interval { low, high } = sequence.interval();
                let half = AIM.half_width(sequence.mean());
                assert!(high - low <= 2.0 * half + 1e-9, "{low} … {high} for {half}");
                assert!(low <= sequence.mean() && sequence.mean() <= high);
            }
        }
        wrong += usize::from(missed);
        taken += narrow.expect("the last one is narrow");
        let last = sequence.interval();
        assert_eq!((last.low, last.high), (sequence.mean(), sequence.mean()));
        assert!((last.low - truth).abs() < 1e-12);
    }
    (wrong, taken as f64 / 200.0)
}

#[test]
fn bounded_means_are_covered() {
    let mut numbers = Numbers(1);
    // A metric that averages over the positions of a sample has fractions.
    let fractions: Vec<f64> = (0..600).map(|_| 0.3 * numbers.next().powi(3) - 0.1).collect();
    for (what, population) in [
        ("nothing changes", hits(600, 0, 0)),
        ("one sample changes", hits(600, 1, 0)),
        ("a tiny difference", hits(600, 3, 1)),
        ("gains and losses in balance", hits(600, 60, 60)),
        ("a moderate loss", hits(600, 50, 20)),
        ("a large loss", hits(600, 400, 5)),
        ("all but everything is lost", hits(600, 599, 0)),
        ("everything is lost", hits(600, 600, 0)),
        ("a large gain", hits(600, 10, 500)),
        ("fractions", fractions),
    ] {
        let open = || Box::new(Betting::new(population.len(), -1.0, 1.0, AIM)) as Box<dyn Sequence>;
        let (wrong, taken) = misses(&population, 24, &open);
        assert!(wrong <= 10, "{what}: {wrong} of 200 sequences are wrong");
        assert!(taken < 600.0, "{what}: nothing is saved");
    }
}

#[test]
fn unbounded_means_are_covered_where_samples_are_many() {
    let mut numbers = Numbers(2);
    let skewed: Vec<f64> = (0..2000).map(|_| -(1.0 - numbers.next()).ln() * 0.2 - 0.1).collect();
    let narrow: Vec<f64> = (0..2000).map(|_| 5.0 + 0.1 * numbers.next()).collect();
    for population in [skewed, narrow] {
        let open = || Box::new(Asymptotic::new(population.len(), AIM)) as Box<dyn Sequence>;
        let (wrong, taken) = misses(&population, 64, &open);
        assert!(wrong <= 10, "{wrong} of 200 sequences are wrong");
        assert!(taken < 2000.0, "nothing is saved");
    }
    let mut few = Asymptotic::new(100, AIM);
    few.extend(&[0.0; 63]);
    assert_eq!(few.interval().high, f64::INFINITY);
}

#[test]
fn a_rare_loss_is_not_overlooked() {
    // 30 samples without a loss say nothing of a loss of one in a hundred.
    let mut sequence = Betting::new(10_000, -1.0, 1.0, AIM);
    sequence.extend(&[0.0; 30]);
    let Interval { low, high } = sequence.interval();
    assert!(low < -0.05 && high > 0.05, "{low} … {high}");
    assert!(!sequence.is_narrow());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Intervals hold the sample's mean and what the unseen values leave possible, and nothing outside the bounds.
    #[test]
    fn intervals_are_possible(
        values in prop::collection::vec(-1.0f64..=1.0, 1..80),
        rest in 0usize..200,
        batch in 1usize..40,
    ) {
        let mut sequence = Betting::new(values.len() + rest, -1.0, 1.0, AIM);
        for values in values.chunks(batch) {
            sequence.extend(values);
        }
        let Interval { low, high } = sequence.interval();
        prop_assert!(low <= sequence.mean() + 1e-12 && sequence.mean() - 1e-12 <= high);
        let (size, sum) = ((values.len() + rest) as f64, values.iter().sum::<f64>());
        prop_assert!(low >= (sum - rest as f64) / size - 1e-9 && high <= (sum + rest as f64) / size + 1e-9);
        for outside in [low - 1e-6, high + 1e-6] {
            let refuted = sequence.above(outside) || sequence.below(outside);
            prop_assert!(refuted, "{outside} lies outside {low} … {high}");
        }
    }
}
