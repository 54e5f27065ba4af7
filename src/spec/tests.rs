//! Broken files, whole ones, and what both have in common.

use std::path::Path;

use super::{Device, Diagnostic, LARGEST_FILE, Method, Pipeline, Samples, Set, Spec, Step, read, render};

mod docs;
mod family;
mod fuzz;
mod schema;

const BASE: &str = include_str!("../../tests/data/broken_specs/base.yaml");
const EDITS: &str = include_str!("../../tests/data/broken_specs/edits.txt");
const WHOLE: &str = include_str!("../../tests/data/broken_specs/whole.txt");
const EXAMPLES: [(&str, &str); 3] = [
    ("quickstart.yaml", include_str!("../../pipelines/quickstart.yaml")),
    ("loss.yaml", include_str!("../../pipelines/loss.yaml")),
    ("topology.yaml", include_str!("../../pipelines/topology.yaml")),
];

fn read_text(text: impl AsRef<[u8]>, sets: &[&str]) -> Result<Spec, Vec<Diagnostic>> {
    let sets: Vec<Set> = sets.iter().map(|set| Set::new(*set)).collect();
    read(text, Path::new("f.yaml"), &sets)
}

fn good(text: &str, sets: &[&str]) -> Spec {
    read_text(text, sets).unwrap_or_else(|faults| panic!("{}", render(&faults, false)))
}

fn pipeline(text: &str, sets: &[&str]) -> Pipeline {
    good(text, sets).pipeline
}

/// A broken file with the errors that it should give.
#[derive(Default)]
struct Case {
    name: String,
    text: String,
    sets: Vec<String>,
    errors: Vec<String>,
}

/// The cases of a file: those that edit `base`, or, without it, those that are files of their own.
fn cases(data: &str, base: Option<&str>) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in data.split("\n== ").skip(1) {
        let (name, rest) = part.split_once('\n').unwrap();
        let mut case = Case {
            name: name.to_owned(),
            text: base.unwrap_or_default().to_owned(),
            ..Case::default()
        };
        let mut body = Vec::new();
        let (mut bom, mut crlf) = (false, false);
        for line in rest.lines() {
            if let Some(error) = line.strip_prefix("error ") {
                case.errors.push(error.to_owned());
            } else if let Some(set) = line.strip_prefix("set ") {
                case.sets.push(set.to_owned());
            } else if let Some(edit) = line.strip_prefix("replace ") {
                let (old, new) = edit.split_once("->").unwrap();
                let plain = |text: &str| text.replace("\\n", "\n").replace("\\t", "\t");
                let (old, new) = (
                    plain(old.strip_suffix(' ').unwrap()),
                    plain(new.strip_prefix(' ').unwrap_or(new)),
                );
                assert_eq!(case.text.matches(&old).count(), 1, "{name}: {old:?}");
                case.text = case.text.replace(&old, &new);
            } else if line == "bom" {
                bom = true;
            } else if line == "crlf" {
                crlf = true;
            } else {
                body.push(line.replace("<TAB>", "\t"));
            }
        }
        if base.is_none() {
            while body.last().is_some_and(|line| line.is_empty()) {
                body.pop();
            }
            let end = if crlf { "\r\n" } else { "\n" };
            case.text = body.iter().map(|line| format!("{line}{end}")).collect();
            if bom {
                case.text.insert(0, '\u{feff}');
            }
        }
        cases.push(case);
    }
    cases
}

fn all_cases() -> Vec<Case> {
    let mut all = cases(EDITS, Some(BASE));
    all.extend(cases(WHOLE, None));
    all
}

/// `LINE:COLUMN | path | part of the message | suggestion | part of the help`; the last may be missing.
fn agrees(expected: &str, fault: &Diagnostic) -> bool {
    let parts: Vec<&str> = expected.split('|').map(str::trim).collect();
    let (place, path, message, near, help) = match parts.as_slice() {
        [place, path, message, near] => (place, path, message, near, &""),
        [place, path, message, near, help] => (place, path, message, near, help),
        _ => panic!("{expected}"),
    };
    *place == format!("{}:{}", fault.line, fault.column)
        && *path == fault.path
        && fault.message.contains(message)
        && *near == fault.suggestion.as_deref().unwrap_or_default()
        && fault.help.as_deref().unwrap_or_default().contains(help)
}

#[test]
fn every_broken_file_gives_its_errors() {
    let all = all_cases();
    assert!(all.len() >= 120, "{}", all.len());
    let mut wrong = String::new();
    for case in &all {
        let sets: Vec<&str> = case.sets.iter().map(String::as_str).collect();
        let faults = read_text(&case.text, &sets).err().unwrap_or_default();
        let agree = faults.len() == case.errors.len()
            && !faults.is_empty()
            && case
                .errors
                .iter()
                .zip(&faults)
                .all(|(error, fault)| agrees(error, fault));
        if !agree {
            wrong += &format!("\n== {}\n{:#?}\n{}", case.name, case.errors, render(&faults, false));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn only_quotes_are_to_be_taken_away() {
    for (written, quoted) in [
        ("\"32\"", true),
        ("'1e3'", true),
        ("014", false),
        ("0_x", false),
        ("1e400", false),
    ] {
        let faults = read_text(BASE.replace("count: 100", &format!("count: {written}")), &[]).unwrap_err();
        let help = faults[0].help.as_deref().unwrap_or_default();
        assert_eq!(help.contains("without quotes"), quoted, "{written}: {help}");
    }
}

#[test]
fn every_error_names_a_place_in_the_file() {
    for case in all_cases() {
        let sets: Vec<&str> = case.sets.iter().map(String::as_str).collect();
        for fault in read_text(&case.text, &sets).unwrap_err() {
            let shown = render(std::slice::from_ref(&fault), false);
            let place = format!("{}:{}:{}", fault.file, fault.line, fault.column);
            assert!(shown.contains(&place) && shown.contains('^'), "{}: {shown}", case.name);
            assert!(
                !fault.message.is_empty() && !fault.message.ends_with('.'),
                "{}",
                case.name
            );
            let text = if fault.file == "f.yaml" {
                case.text.as_str()
            } else {
                &fault.file["--set ".len()..]
            };
            assert!(
                fault.bytes.start <= text.len() && fault.bytes.end <= text.len(),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn a_typo_in_any_key_is_found_and_corrected() {
    let mut keys = 0;
    let words: Vec<(usize, &str)> = BASE
        .match_indices(':')
        .map(|(colon, _)| {
            let start = BASE[..colon]
                .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
                .map_or(0, |at| at + 1);
            (start, &BASE[start..colon])
        })
        .collect();
    for (start, key) in words {
        keys += 1;
        let typo = format!("{key}x");
        let text = format!("{}{typo}{}", &BASE[..start], &BASE[start + key.len()..]);
        let faults = read_text(&text, &[]).unwrap_err();
        let [fault] = faults.as_slice() else {
            panic!("{typo}: {}", render(&faults, false));
        };
        assert_eq!(fault.message, format!("unknown key `{typo}`"));
        assert_eq!(fault.suggestion.as_deref(), Some(key));
        assert_eq!(fault.bytes, start..start + typo.len());
    }
    assert!(keys > 40, "{keys}");
}

#[test]
fn files_that_are_too_large_or_not_utf8() {
    let large = |bytes: usize| format!("version: 1\nname: base\n{}", "# padding\n".repeat(bytes / 10));
    for size in [LARGEST_FILE + 1, 10 << 20] {
        let faults = read_text(large(size), &[]).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains("larger than 1048576 bytes"), "{}", faults[0]);
    }
    let faults = read_text(b"version: 1\nname: b\xe9\n", &[]).unwrap_err();
    assert_eq!((faults[0].line, faults[0].column), (2, 8));
    assert!(faults[0].message.contains("not UTF-8"), "{}", faults[0]);
    let faults = read_text(b"\xff\xfev\0e\0", &[]).unwrap_err();
    assert!(faults[0].message.contains("UTF-16"), "{}", faults[0]);
    let deep = format!("version: 1\nname: {}", "[".repeat(500));
    let faults = read_text(deep, &[]).unwrap_err();
    assert!(faults[0].message.contains("recursion limit"), "{}", faults[0]);
    let deep = format!("version: 1\nname: {}1{}", "[".repeat(100), "]".repeat(100));
    let faults = read_text(deep, &[]).unwrap_err();
    assert!(faults[0].message.contains("64 levels deep"), "{}", faults[0]);
    let deep: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let faults = read_text(deep, &[]).unwrap_err();
    assert!(faults[0].message.contains("64 levels deep"), "{}", faults[0]);
    let many = format!("steps: [{}]", "1, ".repeat(300_000));
    let faults = read_text(many, &[]).unwrap_err();
    assert!(faults[0].message.contains("20000 values"), "{}", faults[0]);
    let wrong = format!("steps: [{}]", "1, ".repeat(15_000));
    let faults = read_text(wrong, &[]).unwrap_err();
    assert_eq!(faults.len(), 1001);
    assert!(
        faults[1000].message.contains("more errors are not listed"),
        "{}",
        faults[1000]
    );
}

#[test]
fn the_base_and_the_examples_are_valid() {
    let spec = good(BASE, &[]);
    let Step::Sensitivity(step) = &spec.pipeline.steps[0] else {
        panic!()
    };
    let layers: Vec<&str> = step.layers.iter().flatten().map(|layer| &**layer).collect();
    assert_eq!(layers, ["layer1.*", "conv1", "1", "0.50"]);
    for (name, text) in EXAMPLES {
        good(text, &[]);
        assert!(
            text.starts_with("# yaml-language-server: $schema=../schema/pipeline.schema.json\n"),
            "{name}"
        );
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(pipeline(&crlf, &[]), pipeline(text, &[]), "{name}");
        let bom = format!("\u{feff}{text}");
        assert_eq!(pipeline(&bom, &[]), pipeline(text, &[]), "{name}");
    }
}

#[test]
fn a_default_written_out_is_a_default_left_out() {
    let least = "version: 1\nname: n\nmodel: {path: m.pt, input: [1]}\ndataset: {source: {idx: {images: i, labels: l}}}\n\
                 metric: accuracy\nsteps: [sensitivity: {}, dependencies: {}, flops: {}, mask_fix: {masks: m}]\n";
    let full = "
version: 1
name: n
model: {path: m.pt, input: [1]}
dataset: {source: {idx: {images: i, labels: l}}, batch_size: 64}
metric: accuracy
device: cpu
precision: float32
seed: 0
steps:
  - sensitivity:
      id: sensitivity
      method: l1
      granularity: layer
      sparsities: [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.801]
      compat: exact
  - dependencies: {id: dependencies, kinds: [input_channel, channel, group], compat: exact}
  - flops: {id: flops}
  - mask_fix: {id: mask_fix, masks: m, compat: exact}
";
    assert_eq!(pipeline(least, &[]), pipeline(full, &[]));
    assert_eq!(pipeline(least, &[]).resolved(), pipeline(full, &[]).resolved());
    for (short, long) in [
        ("dataset.samples=5", "dataset.samples={count: 5, shuffle: false}"),
        ("device=cuda", "device=cuda:0"),
        (
            "steps.sensitivity.method=level",
            "steps.sensitivity.method=fine_grained",
        ),
        (
            "steps.sensitivity.sparsities=[0.375]",
            "steps.sensitivity.sparsities=[0.38, 0.379]",
        ),
        (
            "dataset.normalize={mean: [0], std: [1]}",
            "dataset.normalize={mean: [0.0], std: [1.0]}",
        ),
    ] {
        assert_eq!(
            pipeline(full, &[short]).resolved(),
            pipeline(full, &[long]).resolved(),
            "{short}"
        );
    }
}

#[test]
fn the_canonical_form_is_a_pipeline_file() {
    for text in EXAMPLES.iter().map(|(_, text)| *text).chain([BASE]) {
        let first = pipeline(text, &[]);
        let again = pipeline(&serde_json::to_string_pretty(&first.resolved()).unwrap(), &[]);
        assert_eq!(first, again);
    }
}

#[test]
fn assignments() {
    let spec = good(
        BASE,
        &[
            "dataset.batch_size=7",
            "steps.sens.method=l2",
            "steps[0].sensitivity.sparsities[1]=0.6",
            "steps.0.sparsities.3=0.9",
            "steps.sens.sensitivity.early_stop.value=2",
            "steps.sens.layers=[conv2, 3]",
            "steps.deps={id: a.b}",
            "steps.a.b.compat=nni",
            "steps.5={flops: {id: last}}",
            "device=cuda:1",
            "metric=mse",
            "dataset.samples=50",
        ],
    );
    let pipeline = &spec.pipeline;
    let dataset = pipeline.dataset.as_ref().unwrap();
    assert_eq!(dataset.batch_size, 7);
    assert_eq!(
        dataset.samples,
        Some(Samples {
            count: 50,
            shuffle: false
        })
    );
    assert_eq!(pipeline.device, Device::Cuda(1));
    let Step::Sensitivity(step) = &pipeline.steps[0] else {
        panic!()
    };
    assert_eq!(step.method, Method::L2);
    assert_eq!(step.sparsities, [0.25, 0.6, 0.75, 0.9]);
    assert_eq!(step.early_stop.unwrap().value, 2.0);
    let ids: Vec<&str> = pipeline.steps.iter().map(|step| &**step.id()).collect();
    assert_eq!(ids, ["sens", "a.b", "cost", "fix", "again", "last"]);
    let fault = spec
        .spans
        .diagnostic("steps[0].sensitivity.layers[1]", "no layer `3`", None);
    assert_eq!(fault.file, "--set steps.sens.layers=[conv2, 3]");
    assert_eq!(fault.column, 27);
    // A key that the file leaves out may be added at any depth.
    let least = "version: 1\nname: n\nmodel: {path: m.pt, input: [1]}\nsteps: [flops: {}]\n";
    let sets = [
        "dataset.source.npz={path: p, inputs: x}",
        "dataset.normalize.mean=[0.5]",
        "dataset.normalize.std=[2]",
    ];
    let dataset = super::tests::pipeline(least, &sets).dataset.unwrap();
    assert_eq!(dataset.normalize.unwrap().std, [2.0]);
}

#[test]
fn later_errors_point_at_the_file() {
    let spec = good(BASE, &[]);
    let fault = spec
        .spans
        .diagnostic("steps[0].sensitivity.layers[1]", "no layer is called `conv1`", None);
    assert_eq!((fault.line, fault.column), (24, 28));
    let shown = render(&[fault.with_suggestion(Some("conv"))], false);
    let expected = "\
error: steps[0].sensitivity.layers[1]: no layer is called `conv1`
  --> f.yaml:24:28
   |
24 |       layers: [\"layer1.*\", conv1, 1, 0.50]
   |                            ^^^^^
   |
   = help: did you mean `conv`?
";
    assert_eq!(shown, expected);
    // What was not written is shown at what is around it.
    let fault = spec.spans.diagnostic("steps[2].flops.compat", "m", None);
    assert_eq!((fault.line, fault.column), (30, 5));
    assert!(!spec.spans.is_written("steps[2].flops.compat"));
    assert_eq!(spec.pipeline.step_place(2), "steps[2].flops");
    let inputs: Vec<String> = spec
        .pipeline
        .input_paths()
        .into_iter()
        .map(|input| input.place)
        .collect();
    let expected = [
        "model.path",
        "dataset.source.idx.images",
        "dataset.source.idx.labels",
        "steps[3].mask_fix.masks",
    ];
    assert_eq!(inputs, expected);
    for place in expected {
        assert!(spec.spans.is_written(place), "{place}");
    }
    let model = &spec.pipeline.model.path;
    assert_eq!(model.resolve(Path::new("a/b")), Path::new("a/b/m.pt"));
}

#[test]
fn a_diagnostic_as_json() {
    let faults = read_text(BASE.replace("method: l1", "method: l3"), &[]).unwrap_err();
    let json = serde_json::to_value(&faults[0]).unwrap();
    let expected = serde_json::json!({
        "file": "f.yaml", "line": 20, "column": 15, "bytes": {"start": 343, "end": 345},
        "path": "steps[0].sensitivity.method",
        "message": "expected `l1`, `l2`, `level` or `fine_grained`, found `l3`",
        "suggestion": "l1",
    });
    assert_eq!(json, expected);
}
