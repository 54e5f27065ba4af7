//! Whether two measurements on the same samples differ by more than chance.
//!
//! McNemar's exact test: among the samples on which exactly one of the two was right, each is as likely to be right
//! where nothing changed. Holm's correction makes many tests at once as careful as one.

/// The probability of a split at least as uneven as `a` against `b`, were both equally likely.
pub fn mcnemar(a: u64, b: u64) -> f64 {
    let (n, k) = (a + b, a.min(b));
    if a == b {
        return 1.0;
    }
    // From the largest term down: each is the one above it times i / (n - i + 1).
    let half = std::f64::consts::LN_2 * n as f64;
    let mut term = (ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) - half).exp();
    let mut sum = 0.0;
    let mut i = k;
    loop {
        sum += term;
        if i == 0 || term < sum * 1e-17 {
            break;
        }
        term *= i as f64 / (n - i + 1) as f64;
        i -= 1;
    }
    (2.0 * sum).min(1.0)
}

/// Holm's correction: what each probability is worth among all of them.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut corrected = vec![0.0; probabilities.len()];
    let mut least: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        let factor = (probabilities.len() - rank) as f64;
        least = least.max((probabilities[at] * factor).min(1.0));
        corrected[at] = least;
    }
    corrected
}

/// ln n!, by Stirling's series where n is large enough for all digits.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0));
    x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_probabilities() {
        // Checked with scipy.stats.binomtest(a, a + b).pvalue.
        for (a, b, expected) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (0, 1, 1.0),
            (0, 5, 0.0625),
            (2, 9, 0.065_429_687_5),
            (10, 30, 0.002_221_433_773_229_264),
            (450, 550, 0.001_730_536_084_976_317_6),
        ] {
            let found = mcnemar(a, b);
            assert!(
                (found - expected).abs() < 1e-9 * expected,
                "{a} {b}: {found} {expected}"
            );
            assert_eq!(found, mcnemar(b, a));
        }
        assert!(mcnemar(0, 5000) < 1e-300);
    }

    #[test]
    fn many_tests_are_as_careful_as_one() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
