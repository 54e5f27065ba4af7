//! `extends`, `vars` and `matrix`: what they mean, and where their errors point.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::spec::{Diagnostic, Outside, Set, Spec, Step, read_family, render};

/// Files and variables by name.
struct World {
    files: BTreeMap<&'static str, String>,
    variables: BTreeMap<&'static str, &'static str>,
}

impl Outside for World {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = path.to_str().and_then(|path| self.files.get(path));
        found
            .map(|text| text.clone().into_bytes())
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Result<String, &'static str> {
        self.variables
            .get(name)
            .map(|&value| value.to_owned())
            .ok_or("is not set")
    }
}

/// The files of `texts`, each after a line `== NAME`.
fn world(texts: &'static str) -> World {
    let files = texts.split("== ").skip(1).map(|part| {
        let (name, text) = part.split_once('\n').unwrap();
        (name, text.to_owned())
    });
    World {
        files: files.collect(),
        variables: BTreeMap::from([("DATA_DIR", "/data"), ("COUNT", "32"), ("RUN", "007")]),
    }
}

fn family(texts: &'static str, sets: &[&str]) -> Result<Vec<Spec>, Vec<Diagnostic>> {
    let world = world(texts);
    let first = texts.split("== ").nth(1).and_then(|part| part.lines().next()).unwrap();
    let sets: Vec<Set> = sets.iter().map(|set| Set::new(*set)).collect();
    read_family(&world.files[first], Path::new(first), &sets, &world)
}

fn good(texts: &'static str, sets: &[&str]) -> Vec<Spec> {
    family(texts, sets).unwrap_or_else(|faults| panic!("{}", render(&faults, false)))
}

/// `FILE:LINE:COLUMN: path: message`, one a line.
fn faults(texts: &'static str, sets: &[&str]) -> String {
    let faults = family(texts, sets).expect_err(texts);
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

const BASED: &str = "== exp/night.yaml
extends: ../shared/base.yaml
name: night
dataset:
  source:
    npz: {path: x.npz, inputs: x, targets: y}
  normalize:
  batch_size: 7
steps:
  - flops: {}
== shared/base.yaml
extends: deeper/root.yaml
version: 1
name: base
model: {path: m.pt}
dataset:
  source:
    idx: {images: i, labels: l}
  samples: 5
metric: accuracy
steps:
  - sensitivity: {}
== shared/deeper/root.yaml
model: {path: gone.pt, input: [1, 8, 8]}
dataset:
  normalize: {mean: [0], std: [1]}
  source: {image_folder: {path: val}}
output: results
";

#[test]
fn a_file_is_laid_over_its_base() {
    let specs = good(BASED, &["dataset.samples=9"]);
    let [spec] = specs.as_slice() else { panic!() };
    let pipeline = &spec.pipeline;
    assert_eq!(&*pipeline.name, "night");
    // Paths are relative to the file that wrote them; here they are seen from the first one.
    assert_eq!(&*pipeline.model.path, "../shared/m.pt");
    assert_eq!(pipeline.output.as_deref(), Some("../shared/deeper/results"));
    assert_eq!(pipeline.model.input, Some(vec![1, 8, 8]));
    let dataset = pipeline.dataset.as_ref().unwrap();
    assert_eq!((dataset.batch_size, dataset.samples.unwrap().count), (7, 9));
    assert!(dataset.normalize.is_none());
    let paths: Vec<String> = pipeline
        .input_paths()
        .iter()
        .map(|input| input.path.to_string())
        .collect();
    assert_eq!(paths, ["../shared/m.pt", "x.npz"]);
    assert!(matches!(pipeline.steps.as_slice(), [Step::Flops(_)]));
    // What is found out later points into the file that wrote it.
    let fault = spec.spans.diagnostic("model.path", "m", None);
    assert_eq!((fault.file.as_str(), fault.line), ("shared/base.yaml", 4));
    let fault = spec.spans.diagnostic("dataset.samples", "m", None);
    assert_eq!(fault.file, "--set dataset.samples=9");
}

#[test]
fn nothing_takes_out_what_the_base_may_lack() {
    let texts = "== a.yaml
extends: b.yaml
dataset: {normalize: , samples: }
resources:
== b.yaml
version: 1
name: b
model: {path: m.pt, input: [4]}
dataset: {source: {npz: {path: x.npz, inputs: x}}, samples: 9}
steps: [flops: {}]
";
    let dataset = good(texts, &[])[0].pipeline.dataset.clone().unwrap();
    assert!(dataset.normalize.is_none() && dataset.samples.is_none());
    let found = faults(
        "== a.yaml
extends: b.yaml
modle:
== b.yaml
version: 1
name: b
model: {path: m.pt, input: [4]}
steps: [flops: {}]
",
        &[],
    );
    assert!(found.contains("unknown key `modle`"), "{found}");
}

#[test]
fn errors_point_into_the_file_that_wrote_them() {
    let found = faults(
        "== a.yaml
extends: b.yaml
version: 1
naem: a
steps:
  - sensitivity: {sparsities: [2]}
== b.yaml
version: 2
name: b
model: {path: m.pt, input: [0]}
dataset: {source: {idx: {images: i}}, batch: 3}
metric: accuracy
",
        &["seed=x"],
    );
    let expected = "\
a.yaml:3:1: naem: unknown key `naem`
a.yaml:5:32: steps[0].sensitivity.sparsities[0]: must be below 1, found 2
b.yaml:3:29: model.input[0]: must lie between 1 and 2147483647, found 0
b.yaml:4:20: dataset.source.idx: missing key `labels`: the metric `accuracy` needs it
b.yaml:4:39: dataset.batch: unknown key `batch`
--set seed=x:1:6: seed: expected an integer, found the string `x`
";
    assert_eq!(found, expected);
    for (texts, expected) in [
        (
            "== a.yaml\nextends: b.yaml\n",
            "a.yaml:1:10: extends: there is no file b.yaml\n",
        ),
        (
            "== a.yaml\nextends: b.yaml\n== b.yaml\nextends: ./a.yaml\n",
            "b.yaml:1:10: extends: files extend each other in a cycle: a.yaml → b.yaml → a.yaml\n",
        ),
        (
            "== a.yaml\nextends: [b]\n",
            "a.yaml:1:10: extends: expected the path of a pipeline file, found a list\n",
        ),
        (
            "== a.yaml\nextends: b.yaml\n== b.yaml\n[1]\n",
            "b.yaml:1:1: a pipeline file is a mapping, found a list\n",
        ),
        (
            "== a.yaml\nextends: b.yaml\n== b.yaml\na: [\n",
            "b.yaml:1:4: not YAML: unclosed bracket '['\n",
        ),
    ] {
        // Nobody knows what the missing part would have said.
        assert_eq!(faults(texts, &[]), expected);
    }
    assert!(faults(BASED, &["extends=x"]).contains("extends: `extends` cannot be set"));
}

const VARS: &str = "== f.yaml
version: 1
name: ${run}
vars:
  data: {env: DATA_DIR}
  count: {env: COUNT}
  run: {env: RUN, default: never}
  size: {env: SIZE, default: 5}
  dash-ed: plain
model: {path: \"${data}/${dash-ed}$$${data}.pt\", input: [\"${size}\", 8]}
dataset: {source: {idx: {images: \"${data}/i$\", labels: l}}, batch_size: \"${count}\"}
metric: accuracy
steps: [sensitivity: {layers: [\"${count}\"]}]
";

#[test]
fn variables_fill_strings() {
    let spec = &good(VARS, &["vars.size=6", "dataset.source.idx.labels=${data}/l"])[0];
    let pipeline = &spec.pipeline;
    assert_eq!(&*pipeline.name, "007");
    assert_eq!(&*pipeline.model.path, "/data/plain$/data.pt");
    assert_eq!(pipeline.model.input, Some(vec![6, 8]));
    assert_eq!(pipeline.dataset.as_ref().unwrap().batch_size, 32);
    let paths: Vec<String> = pipeline
        .input_paths()
        .iter()
        .map(|input| input.path.to_string())
        .collect();
    assert_eq!(paths[1..], ["/data/i$", "/data/l"]);
    let Step::Sensitivity(step) = &pipeline.steps[0] else {
        panic!()
    };
    assert_eq!(&*step.layers.as_ref().unwrap()[0], "32");
}

#[test]
fn only_what_is_declared_is_a_variable() {
    let found = faults(
        "== f.yaml
version: 1
name: ${nmae}
vars:
  name: {env: NOT_SET}
  wrong name: 1
  list: [1]
  odd: {evn: X}
model: {path: \"${HOME}/${\", input: [\"${name}\"]}
seed: ${name}
steps: [flops: {}]
",
        &[],
    );
    let expected = "\
f.yaml:2:7: name: no variable `nmae` is declared
f.yaml:4:15: vars.name.env: the variable NOT_SET of the environment is not set
f.yaml:5:3: vars[\"wrong name\"]: `wrong name` is no name of a variable
f.yaml:6:9: vars.list: expected a value or `{env: NAME}`, found a list
f.yaml:7:9: vars.odd.evn: unknown key `evn`
f.yaml:8:15: model.path: no variable `HOME` is declared
f.yaml:8:15: model.path: `${` without `}`
";
    assert_eq!(found, expected);
    let near = family("== f.yaml\nname: ${dta}\nvars: {data: x}\n", &[]).unwrap_err();
    let near = near.iter().find(|fault| fault.message.contains("declared"));
    assert_eq!(near.and_then(|fault| fault.suggestion.as_deref()), Some("data"));
    let whole = faults(VARS, &["vars.size=x"]);
    assert!(
        whole.contains("f.yaml:9:57: model.input[0]: expected an integer, found the string `x`"),
        "{whole}"
    );
}

const MATRIX: &str = "== f.yaml
version: 1
name: m
vars: {models: zoo}
model: {path: none.pt, input: [4]}
matrix:
  model.path: [\"${models}/a.pt\", zoo/b.pt]
  seed: [0, 1]
  steps.s.method: [l1, l2]
dataset: {source: {npz: {path: d, inputs: x, targets: y}}, samples: {count: 3, shuffle: true}}
metric: {top_k: 5}
steps: [sensitivity: {id: s}]
";

#[test]
fn a_matrix_is_a_pipeline_for_each_combination() {
    let specs = good(MATRIX, &["matrix.seed=[4, 5, 6]"]);
    let names: Vec<&str> = specs.iter().map(|spec| &*spec.pipeline.name).collect();
    assert_eq!(names.len(), 12);
    assert_eq!(names[..3], ["m-a.pt-4-l1", "m-a.pt-4-l2", "m-a.pt-5-l1"]);
    assert_eq!(names[11], "m-b.pt-6-l2");
    let last = &specs[11];
    assert_eq!((&*last.pipeline.model.path, last.pipeline.seed), ("zoo/b.pt", 6));
    assert_eq!(last.spans.diagnostic("model.path", "m", None).line, 6);
    // Values that have no short name of their own are counted.
    let specs = good(
        MATRIX,
        &["matrix={model.path: [a/m.pt, b/m.pt], steps.s.sparsities: [[0.5], [0.25, 0.75]]}"],
    );
    let names: Vec<&str> = specs.iter().map(|spec| &*spec.pipeline.name).collect();
    assert_eq!(names, ["m-1-0.5", "m-1-0.25-0.75", "m-2-0.5", "m-2-0.25-0.75"]);
}

#[test]
fn a_matrix_with_faults_names_each_once() {
    let found = faults(
        "== f.yaml
version: 1
name: m
model: {path: a.pt, input: [4]}
matrix:
  seed: []
  device: cpu
  name: [a]
  steps.x.id: [a]
steps: [flops: {}]
",
        &[],
    );
    let expected = "\
f.yaml:5:9: matrix.seed: must not be empty
f.yaml:6:11: matrix.device: expected a list of values, found the string `cpu`
f.yaml:7:3: matrix.name: `name` cannot vary
";
    assert_eq!(found, expected);
    let found = faults(MATRIX, &["matrix.seed=[0, x]", "matrix.steps.t.method=[l1, l2]"]);
    let expected = "\
--set matrix.seed=[0, x]:1:17: seed: expected an integer, found the string `x`
--set matrix.steps.t.method=[l1, l2]:1:14: steps: no step has the id `t`
";
    assert_eq!(found, expected);
    assert!(faults(MATRIX, &["matrix=3"]).contains("expected lists of values by key, found the number 3"));
    let many: String = (0..1001).map(|seed| format!("{seed}, ")).collect();
    let set = format!("matrix.seed=[{many}]");
    let sets = [Set::new(set)];
    let world = world(MATRIX);
    let found = read_family(&world.files["f.yaml"], Path::new("f.yaml"), &sets, &world).unwrap_err();
    assert!(found[0].message.contains("more than 1000 combinations"), "{}", found[0]);
}

#[test]
fn the_schema_knows_the_keys() {
    let schema: serde_json::Value = serde_json::from_str(&crate::spec::schema_json()).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    for texts in [BASED, MATRIX] {
        for (name, text) in &world(texts).files {
            let value: serde_json::Value = serde_yaml::from_str(&text.replace("  normalize:\n", "")).unwrap();
            assert_eq!(validator.is_valid(&value), !name.ends_with("root.yaml"), "{name}");
        }
    }
    for wrong in [
        "extends: [a]",
        "extends: a\nvars: {a: [1]}",
        "extends: a\nmatrix: {seed: 1}",
    ] {
        let value: serde_json::Value = serde_yaml::from_str(wrong).unwrap();
        assert!(!validator.is_valid(&value), "{wrong}");
    }
    let misspelt = super::read_text("version: 1\nextend: a\n", &[]).unwrap_err();
    assert_eq!(misspelt[3].suggestion.as_deref(), Some("extends"), "{misspelt:?}");
}
