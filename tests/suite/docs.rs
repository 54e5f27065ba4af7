//! The examples of docs/runs.md are valid, beside the quickstart's files.

use super::run::{Checked, Place};

/// The YAML blocks of a page that name a file in their first line.
fn examples(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("```yaml\n# ").skip(1);
    blocks
        .filter_map(|block| block.split("```").next()?.split_once('\n'))
        .collect()
}

#[test]
fn the_examples_are_valid() -> Checked {
    let place = Place::new()?;
    let examples = examples(include_str!("../../docs/runs.md"));
    assert!(examples.len() >= 2);
    for (name, text) in &examples {
        place.write(name, text)?;
    }
    for (name, _) in &examples {
        place.expect(0, &["check", name])?;
    }
    Ok(())
}
