//! Every model of a folder, as the program that its graph prints to, against the file's own `forward`.
//!
//! The folder is `$SECATEUR_ZOO`, as `cargo xtask zoo` takes one.
//! Without it there is nothing to compare, and the test says so. `$SECATEUR_ZOO_ONLY` keeps names that contain it.

use super::zoo::models::{Entry, entries, read, samples};
use secateur::runtime::{Runtime, compare};

fn measure(folder: &std::path::Path, entry: &Entry, runtime: &Runtime) -> Result<(String, f64), String> {
    let bytes = std::fs::read(folder.join(&entry.file)).map_err(|error| error.to_string())?;
    let (graph, options) = read(folder, entry, runtime).map_err(|error| format!("unread: {error}"))?;
    let inputs = samples(&graph, &options);
    let found = compare(&bytes, &graph, &inputs).map_err(|error| error.to_string())?;
    let line = format!(
        "{} nodes, {} issues, {} outputs, relative {:.1e}, compile {:.0?}, program {:.0?}, forward {:.0?}",
        graph.nodes.len(),
        graph.issues.len(),
        found.outputs,
        found.relative,
        found.compile,
        found.program,
        found.forward
    );
    let issues = graph
        .issues
        .iter()
        .map(|issue| format!("\n    {} {}: {}", issue.scope, issue.op, issue.message));
    Ok((line + &issues.collect::<String>(), found.relative))
}

#[test]
fn programs_equal_forward() {
    let Some(folder) = std::env::var_os("SECATEUR_ZOO") else {
        println!("SECATEUR_ZOO is not set: nothing compared");
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let only = std::env::var("SECATEUR_ZOO_ONLY").unwrap_or_default();
    let (entries, mut failed) = entries(&folder).expect("a folder of models");
    let runtime = Runtime::new();
    for entry in entries.into_iter().filter(|entry| entry.name.contains(&only)) {
        let result = measure(&folder, &entry, &runtime);
        match &result {
            Ok((line, relative)) if *relative <= 1e-6 => println!("equal   {}: {line}", entry.name),
            Ok((line, _)) => println!("differs {}: {line}", entry.name),
            Err(message) => println!("failed  {}: {message}", entry.name),
        }
        if result.is_ok_and(|(_, relative)| relative <= 1e-6) {
            continue;
        }
        failed.push(entry.name);
    }
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}
