//! Python's `range`, as TorchScript writes one that does not count from zero in ones.
//!
//! Owns how many numbers a range holds (`aten::__range_length`) and which number stands where (`aten::__derive_index`):
//! the reader folds them in code, and the rules in graphs.

/// How many numbers `range(start, end, step)` holds; `None` for steps of zero.
pub fn range_length(start: i64, end: i64, step: i64) -> Option<u64> {
    match step.signum() {
        0 => None,
        1 if start >= end => Some(0),
        -1 if start <= end => Some(0),
        _ => Some(start.abs_diff(end).div_ceil(step.unsigned_abs())),
    }
}

/// The number at a place of a range; `None` where 64 bits do not hold it.
pub fn range_item(index: i64, start: i64, step: i64) -> Option<i64> {
    index.checked_mul(step)?.checked_add(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_pythons() {
        for (start, end, step, expected) in [
            (0, 5, 1, Some(5)),
            (1, 6, 2, Some(3)),
            (5, 0, -2, Some(3)),
            (3, 1, 1, Some(0)),
            (1, 3, -1, Some(0)),
            (2, 2, -1, Some(0)),
            (0, 1, 0, None),
            (i64::MIN, i64::MAX, 1, Some(u64::MAX)),
            (i64::MAX, i64::MIN, i64::MIN, Some(2)),
        ] {
            assert_eq!(
                range_length(start, end, step),
                expected,
                "range({start}, {end}, {step})"
            );
        }
        assert_eq!((range_item(2, 5, -2), range_item(2, 1, i64::MAX)), (Some(1), None));
    }
}
