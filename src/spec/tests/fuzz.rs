//! Whatever is read, nothing panics, and every refusal says why.

use proptest::prelude::*;

use super::{BASE, pipeline, read_text};
use crate::spec::render;

/// Pieces that YAML files are made of, so that random texts get past the first line.
fn yamlish() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "version: 1\n",
        "name: ",
        "steps:\n",
        "  - ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\n",
        "\t",
        "\r",
        "\"",
        "'",
        "&a ",
        "*a ",
        "*",
        "!!str ",
        "!x ",
        "<<: ",
        "? ",
        "| \n",
        ">-\n",
        "---\n",
        "...\n",
        "# c\n",
        "0.5",
        "-1",
        "1e400",
        ".nan",
        ".inf",
        "0x1F",
        "017",
        "null",
        "~",
        "true",
        "yes",
        "sensitivity:",
        "flops: {}",
        "id: a",
        "masks: ",
        "model: {path: m, input: [1]}\n",
        "\u{feff}",
        "é",
        "\u{2028}",
        "\0",
        "99999999999999999999999",
        "%YAML 1.2\n",
        "    ",
        "layers: ",
        "step: ",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES), 0..40).prop_map(|parts| parts.concat())
}

/// A change of the base file: bytes taken out, and a piece put in their place.
fn mutated() -> impl Strategy<Value = String> {
    (0..BASE.len(), 0..12usize, yamlish()).prop_map(|(at, cut, piece)| {
        let end = (at + cut).min(BASE.len());
        let piece: String = piece.chars().take(12).collect();
        format!("{}{piece}{}", &BASE[..at], &BASE[end..])
    })
}

fn never_panics(content: &[u8]) {
    match read_text(content, &[]) {
        Ok(spec) => {
            // A file that is read means one thing.
            let again = serde_json::to_string(&spec.pipeline.resolved()).unwrap();
            assert_eq!(pipeline(&again, &[]), spec.pipeline);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            render(&faults, true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&bytes);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in yamlish()) {
        never_panics(text.as_bytes());
    }

    #[test]
    fn changed_files_never_panic(text in mutated()) {
        never_panics(text.as_bytes());
    }

    #[test]
    fn arbitrary_assignments_never_panic(path in "[a-z.0-9\\[\\]]{0,30}", value in yamlish()) {
        let set = format!("{path}={value}");
        if let Err(faults) = read_text(BASE, &[&set]) {
            render(&faults, false);
        }
    }
}
