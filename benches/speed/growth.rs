//! What takes time beside the measurement, and how it grows with ten times the work.

use super::arguments::Arguments;
use super::report::{Row, Section};
use secateur::formats::source::Source;
use secateur::graph::parse;
use secateur::runtime::Runtime;
use secateur::store::{Document, NewCell, Store};
use secateur::topology::{Options, coupling, walk};
use serde_json::json;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn timed<T>(work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Reading files, and finding what is coupled.
pub fn models(arguments: &Arguments) -> Result<Section, Box<dyn Error>> {
    let mut section = Section::new("growth: reading and coupling");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart/model.pt");
    let mut files = vec![("quickstart".to_owned(), own, vec![1, 28, 28])];
    if let Some(zoo) = &arguments.zoo {
        for name in ["resnet18", "resnet152"] {
            files.push((
                name.into(),
                zoo.join(format!("torchvision-{name}.pt")),
                vec![3, 224, 224],
            ));
        }
    }
    for (name, path, sample) in files {
        let mut read = Row::new(&format!("read {name}"), "s");
        let mut couple = Row::new(&format!("couple {name}"), "s");
        if name == "resnet152" {
            (read, couple) = (read.against("read resnet18"), couple.against("couple resnet18"));
        }
        for _ in 0..arguments.rounds {
            let start = Instant::now();
            let graph = secateur::readers::read_model_from(&Source::open(&path)?, &secateur::graph::NoSizes)?;
            read.rounds.push(start.elapsed().as_secs_f64());
            let mut shape = vec![2];
            shape.extend(&sample);
            couple.rounds.push(timed(|| {
                let mut walked = walk(&graph, &Options::of_shapes([shape]), &Runtime::new());
                Ok(coupling(&mut walked))
            })?);
        }
        section.rows.extend([read, couple]);
    }
    for (name, blocks) in [("couple 30 blocks", 30), ("couple 300 blocks", 300)] {
        let graph = parse(&chain(blocks)).map_err(|fault| fault.to_string())?;
        let mut row = Row::new(name, "s");
        if blocks == 300 {
            row = row.against("couple 30 blocks").note("10 times the work");
        }
        for _ in 0..arguments.rounds {
            row.rounds.push(timed(|| {
                let mut walked = walk(&graph, &Options::of_shapes([vec![2, 4, 8, 8]]), &Runtime::new());
                Ok(coupling(&mut walked))
            })?);
        }
        section.rows.push(row);
    }
    Ok(section)
}

/// A residual network of so many blocks in the graph's text form.
fn chain(blocks: usize) -> String {
    let mut params = String::new();
    let mut nodes = String::new();
    let mut last = "x".to_owned();
    let zeros = "00".repeat(64);
    for block in 0..blocks {
        let _ = writeln!(
            params,
            "%w{block}: Tensor = param \"block{block}.weight\" float32[4, 4, 1, 1] {zeros}"
        );
        let _ = writeln!(
            nodes,
            "%c{block}: Tensor = aten::conv2d(input=%{last}, weight=%w{block}, bias=None, stride=[1, 1], \
             padding=[0, 0], dilation=[1, 1], groups=1) in \"block{block}\""
        );
        let _ = writeln!(
            nodes,
            "%a{block}: Tensor = aten::add.Tensor(self=%c{block}, other=%{last}, alpha=1) in \"\""
        );
        last = format!("a{block}");
    }
    let modules: String = (0..blocks)
        .map(|block| format!("module \"block{block}\" \"Conv2d\"\n"))
        .collect();
    format!("module \"\" \"Network\"\n{modules}%x: Tensor = input\n{params}{nodes}output %{last}\n")
}

/// Cells in the store: writing and finding them.
pub fn store(arguments: &Arguments) -> Result<Section, Box<dyn Error>> {
    let mut section = Section::new("growth: store");
    for count in [200_u32, 2000] {
        let cells: Vec<NewCell> = (0..count)
            .map(|number| NewCell {
                document: Document::new().with("bench", "speed").with("cell", json!(number)),
                value: json!({"value": f64::from(number) / 7.0}),
            })
            .collect();
        let mut write = Row::new(&format!("write {count} cells, synced"), "s");
        let mut read = Row::new(&format!("find {count} cells"), "s");
        if count == 2000 {
            write = write.against("write 200 cells, synced").note("10 times the work");
            read = read.against("find 200 cells").note("10 times the work");
        }
        for _ in 0..arguments.rounds {
            let folder = tempfile::tempdir()?;
            let store = Store::open(folder.path())?;
            write.rounds.push(timed(|| Ok(store.put_cells(&cells)?))?);
            read.rounds.push(timed(|| {
                for cell in &cells {
                    store.cell(cell.document.key())?.ok_or("a cell is gone")?;
                }
                Ok(())
            })?);
        }
        section.rows.extend([write, read]);
    }
    Ok(section)
}

/// The program itself: a first run of the quickstart, and runs that find everything in the store.
pub fn runs(arguments: &Arguments) -> Result<Section, Box<dyn Error>> {
    let mut section = Section::new("runs: the program on the quickstart");
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.yaml");
    let folder = tempfile::tempdir()?;
    let jobs = arguments.jobs.to_string();
    let many: Vec<String> = (1..=30).map(|cell| format!("{:.2}", 0.02 * f64::from(cell))).collect();
    let many = format!("steps.sens.sparsities=[{}]", many.join(", "));
    let run = |sets: &[&str]| {
        timed(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
            command
                .arg("run")
                .arg(&quickstart)
                .args(["--progress", "none", "--jobs", &jobs]);
            sets.iter().for_each(|set| {
                command.args(["--set", set]);
            });
            command.current_dir(folder.path()).env_remove("SECATEUR_STORE");
            let output = command.stdout(Stdio::null()).output()?;
            match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
            }
        })
    };
    section
        .rows
        .push(Row::new("first run, 3 sparsities", "s").with([run(&[])?]));
    let again = (0..arguments.rounds).map(|_| run(&[])).collect::<Result<Vec<_>, _>>()?;
    section.rows.push(Row::new("cached run, 3 sparsities", "s").with(again));
    let wide = [many.as_str(), "steps.sens.early_stop.value=1.0"];
    section
        .rows
        .push(Row::new("first run, 30 sparsities", "s").with([run(&wide)?]));
    let again = (0..arguments.rounds)
        .map(|_| run(&wide))
        .collect::<Result<Vec<_>, _>>()?;
    let row = Row::new("cached run, 30 sparsities", "s").against("cached run, 3 sparsities");
    section.rows.push(row.note("10 times the work").with(again));
    Ok(section)
}
