//! The nearest valid word to one that is not.

/// The candidate nearest to `word`, if one is near enough: at most a third of the word wrong, and one letter always
/// forgiven. Upper case and `-` for `_` count as nothing. The first of equally near ones wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    // Nobody means a short word by one as long as this, and measuring it would take long.
    if length > 200 {
        return None;
    }
    let limit = (length / 3).max(1);
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words() {
        let words = ["sparsities", "id", "method", "mask_fix", "cpu"];
        for (word, expected) in [
            ("sparsitys", Some("sparsities")),
            ("spasrities", Some("sparsities")),
            ("Mask-Fix", Some("mask_fix")),
            ("ids", Some("id")),
            ("methd", Some("method")),
            ("CPU", Some("cpu")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}
