//! Over a folder of model files: what the reader, the labels and removal make of each.
//!
//! `cargo xtask zoo DIR` runs this. It prints a line a model and writes `zoo.tsv` and `zoo.md`, again after each model, so
//! that a run that is cut short has lost nothing.

mod arguments;
mod models;
mod prove;
mod table;

use arguments::Arguments;
use models::Entry;
use secateur::prune::in_float64;
use secateur::runtime::Runtime;
use secateur::topology::{Options, coupling, walk};
use std::process::ExitCode;
use std::time::Instant;
use table::{Row, tsv, write};

fn main() -> ExitCode {
    let found = match Arguments::read(std::env::args().skip(1)) {
        // `cargo bench` runs every bench with no arguments.
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(found)) => found,
        Err(message) => return fail(2, &message),
    };
    let (entries, faults) = match models::entries(&found.folder) {
        Ok(entries) => entries,
        Err(message) => return fail(2, &message),
    };
    let wanted = |entry: &&Entry| found.names.is_empty() || found.names.contains(&entry.name);
    for name in &found.names {
        if !entries.iter().any(|entry| entry.name == *name) {
            return fail(2, &format!("{}: there is no model {name}", found.folder.display()));
        }
    }
    faults.iter().for_each(|fault| eprintln!("zoo: {fault}"));
    let mut rows = Vec::new();
    for entry in entries.iter().filter(wanted) {
        let row = look(&found, entry);
        println!("{}", tsv(&row));
        rows.push(row);
        if let Err(fault) = write(&found.out, &rows) {
            return fail(1, &format!("{}: {fault}", found.out.display()));
        }
    }
    let proven = rows.iter().filter(|row| row.proven()).count();
    let bare = rows.iter().filter(|row| row.holds() && row.groups == 0).count();
    let failed = rows.iter().filter(|row| !row.holds()).count() + faults.len();
    eprintln!(
        "zoo: {} models: {proven} proven, {bare} without groups, {failed} failed",
        rows.len()
    );
    ExitCode::from(u8::from(failed > 0))
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("zoo: {message}");
    ExitCode::from(code)
}

fn look(arguments: &Arguments, entry: &Entry) -> Row {
    let mut row = Row {
        name: entry.name.clone(),
        read: "ok".into(),
        ..Row::default()
    };
    if let Err(message) = fill(&mut row, arguments, entry) {
        row.read = message;
    }
    row
}

fn fill(row: &mut Row, arguments: &Arguments, entry: &Entry) -> Result<(), String> {
    let text = |fault: secateur::tensor::WeightError| fault.to_string();
    let runtime = Runtime::new();
    let start = Instant::now();
    let (mut graph, inputs) = models::read(&arguments.folder, entry, &runtime)?;
    row.read_seconds = start.elapsed().as_secs_f64();
    // Without a proof nobody looks at what the weights hold.
    if arguments.prove {
        graph = models::enlivened(graph).map_err(text)?;
    }
    row.nodes = graph.nodes.len();
    let start = Instant::now();
    let options = Options {
        heads: arguments.heads,
        ..inputs
    };
    let mut walked = walk(&graph, &options, &runtime);
    let found = coupling(&mut walked);
    row.couple_seconds = start.elapsed().as_secs_f64();
    let opaque = found.issues.iter();
    row.opaque = opaque
        .map(|issue| format!("{} ({}): {}", issue.op, issue.scope, issue.message))
        .collect();
    row.layers = secateur::topology::all_layers(&walked).len();
    row.groups = found.groups.len();
    row.frozen = found.frozen.len();
    if arguments.prove {
        drop(walked);
        let start = Instant::now();
        let wide = in_float64(&graph).map_err(text)?;
        drop(graph);
        let options = prove::sized(arguments.side, &wide, options, &runtime);
        prove::prove(row, &wide, &options, arguments.groups, &runtime);
        row.prove_seconds = start.elapsed().as_secs_f64();
    }
    Ok(())
}
