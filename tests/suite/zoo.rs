//! `cargo xtask zoo` in parts: what it is asked, which models a folder holds, what they are run on, and its tables.

#[path = "../../benches/zoo/arguments.rs"]
mod arguments;
#[path = "../../benches/zoo/models.rs"]
pub mod models;
#[path = "../../benches/zoo/table.rs"]
mod table;

use arguments::Arguments;
use models::{Entry, enlivened, entries, read, samples};
use secateur::graph::parse;
use secateur::labels::Split;
use secateur::runtime::Runtime;
use std::fs;
use std::path::{Path, PathBuf};
use table::{Row, tsv, write};

type Checked = Result<(), Box<dyn std::error::Error>>;

fn networks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript/networks")
}

fn asked(words: &str) -> Result<Option<Arguments>, String> {
    Arguments::read(words.split_whitespace().map(str::to_owned))
}

#[test]
fn paths_are_relative_to_where_one_stands() -> Checked {
    assert!(asked("--bench")?.is_none());
    let found = asked("models a b --side 96 --groups 3 --heads whole --no-proof --out o --from /here")?;
    let found = found.ok_or("nothing was asked")?;
    assert_eq!(found.folder, Path::new("/here/models"));
    assert_eq!(found.out, Path::new("/here/o"));
    assert_eq!((found.side, found.groups, found.prove), (Some(96), 3, false));
    assert_eq!((found.heads, found.names.join(" ")), (Split::Whole, "a b".to_owned()));
    for (words, expected) in [
        ("--from /here", "a folder is missing"),
        ("models --side 0", "--side is a number, 1 or more, not 0"),
        ("models --heads some", "--heads is within or whole, not some"),
        ("models --out", "--out needs a value"),
        ("models --prove", "there is no --prove"),
    ] {
        let said = asked(words).err().unwrap_or_default();
        assert!(said.starts_with(expected), "{words}: {said}");
    }
    Ok(())
}

#[test]
fn folders_tell_their_models_by_an_index_or_by_name() -> Checked {
    let folder = tempfile::tempdir()?;
    let said = entries(folder.path()).err().unwrap_or_default();
    assert!(said.contains("neither an index.jsonl nor a *.pt"), "{said}");

    let runtime = Runtime::new();
    for file in ["resnet.pt", "bert.pt", "scripted.pt"] {
        fs::copy(networks().join(file), folder.path().join(file))?;
    }
    let (found, faults) = entries(folder.path())?;
    let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!((names.join(" "), faults.len()), ("bert resnet scripted".to_owned(), 0));
    let shapes = |entry: &Entry| read(folder.path(), entry, &runtime).map(|(_, options)| options.inputs[0].0.clone());
    assert_eq!(shapes(&found[1]), Ok(vec![2, 3, 32, 32]));
    let said = shapes(&found[2]).err().unwrap_or_default();
    assert!(
        said.contains("the model takes 1 inputs, and of none is the shape known"),
        "{said}"
    );

    let index = r#"{"name": "mine", "file": "resnet.pt", "inputs": [{"shape": [1, 3, 16, 16], "dtype": "float32"}]}
{"name": "gone", "error": "it could not be exported"}

{"name": "odd", "file": "odd.pt", "inputs": [{"shape": [1], "dtype": "float12"}]}
no line"#;
    fs::write(folder.path().join("index.jsonl"), index)?;
    let (found, faults) = entries(folder.path())?;
    assert_eq!((found.len(), shapes(&found[0])), (1, Ok(vec![1, 3, 16, 16])));
    assert_eq!(faults[0], "index.jsonl:4: no element type is called float12");
    assert!(
        faults.len() == 2 && faults[1].starts_with("index.jsonl:5: "),
        "{faults:?}"
    );
    Ok(())
}

#[test]
fn samples_fit_the_tables_that_they_index_and_nothing_is_even() -> Checked {
    // A table of three rows, and a scale that is 1 everywhere.
    let text = r#"module "" "M"
%ids: Tensor = input
%table: Tensor = param "table" float32[3, 2] 000000000000803f0000004000004040000080400000a040
%scale: Tensor = param "scale" float32[2] 0000803f0000803f
%back: Tensor = aten::flip(self=%ids, dims=[1]) in ""
%rows: Tensor = aten::embedding(weight=%table, indices=%back, padding_idx=-1, scale_grad_by_freq=False, sparse=False) in ""
%made: Tensor = aten::mul.Tensor(self=%rows, other=%scale) in ""
output %made
values %ids %table %scale %back %rows %made"#;
    let graph = parse(text)?;
    let mut options = secateur::topology::Options::of_shapes([vec![2, 50]]);
    options.inputs[0].1 = secateur::tensor::DType::I64;
    let values = samples(&graph, &options)[0].to_f64();
    assert!(values.iter().all(|value| (0.0..3.0).contains(value)) && values.contains(&2.0));
    options.inputs[0].1 = secateur::tensor::DType::F32;
    assert!(samples(&graph, &options)[0].to_f64().iter().any(|&value| value < 0.0));

    let uneven = enlivened(graph.clone())?;
    assert_eq!(uneven.params[0], graph.params[0]);
    let scale = uneven.params[1].tensor.read()?.to_f64();
    assert!(scale[0] != scale[1] && scale.iter().all(|value| (1.25..1.75).contains(value)));
    Ok(())
}

#[test]
fn tables_have_a_line_a_model_and_tell_what_failed() -> Checked {
    let row = |name: &str, each: Result<f64, String>, all: Result<f64, String>| {
        let mut row = Row {
            name: name.into(),
            read: "ok".into(),
            groups: 2,
            ..Row::default()
        };
        row.each.record(each);
        row.all.record(all);
        row
    };
    let rows = [
        row("right", Ok(1e-15), Ok(2e-16)),
        row("wrong", Ok(1e-15), Ok(0.5)),
        row("fails", Err("it does not\nrun | at all".into()), Ok(0.0)),
        Row {
            name: "bare".into(),
            read: "ok".into(),
            ..Row::default()
        },
        Row {
            name: "unread".into(),
            read: "no\tarchive".into(),
            ..Row::default()
        },
    ];
    let told: Vec<(bool, bool)> = rows.iter().map(|row| (row.holds(), row.proven())).collect();
    let wanted = [
        (true, true),
        (false, false),
        (false, false),
        (true, false),
        (false, false),
    ];
    assert_eq!(told, wanted);
    assert!(tsv(&rows[2]).contains("\t1 of 1 failed: it does not run | at all\t"));

    let folder = tempfile::tempdir()?;
    write(folder.path(), &rows)?;
    let (lines, markdown) = (
        fs::read_to_string(folder.path().join("zoo.tsv"))?,
        fs::read_to_string(folder.path().join("zoo.md"))?,
    );
    assert_eq!((lines.lines().count(), markdown.lines().count()), (6, 7));
    assert!(lines.lines().all(|line| line.split('\t').count() == 14), "{lines}");
    assert!(markdown.contains("it does not run \\| at all"), "{markdown}");
    Ok(())
}
