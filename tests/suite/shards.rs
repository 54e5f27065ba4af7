//! Work divided by hand: parts of a pipeline, in stores of their own or in one, merged into what one run leaves.

use super::faults::{PIPELINE, expected};
use super::run::{Checked, Place, stderr};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

/// Without an early stop cells are divided, with one whole rows.
const WHOLE_TABLE: &str = "\n      early_stop: {mode: maximize, value: 1000}";

fn place() -> Result<Place, Box<dyn std::error::Error>> {
    let place = Place::new()?;
    place.write("rows.yaml", PIPELINE)?;
    place.write(
        "cells.yaml",
        &PIPELINE.replace(WHOLE_TABLE, "").replace("name: s", "name: cells"),
    )?;
    place.write(
        "estimates.yaml",
        &PIPELINE
            .replace(WHOLE_TABLE, "\n      estimate: {margin: 0.25}")
            .replace("samples: 48", "samples: 320")
            .replace("cross_entropy", "accuracy")
            .replace("name: s", "name: estimates"),
    )?;
    Ok(place)
}

#[test]
fn three_shards_make_one_run() -> Checked {
    let place = place()?;
    let mut whole = Vec::new();
    for (file, name) in [("cells.yaml", "cells"), ("estimates.yaml", "estimates")] {
        place.expect(0, &["run", file, "--store", "whole-store", "--output", "whole"])?;
        whole.push(place.results(&format!("whole/{name}"))?);
    }
    // Or it would show nothing of samples that are shared.
    let estimated: Value = serde_json::from_slice(&whole[1][&PathBuf::from("sens/sensitivity.json")])?;
    let samples = |cell: &Value| cell["samples"].as_u64();
    let few = estimated["cells"].as_array().into_iter().flatten();
    assert!(few.filter(|cell| samples(cell) < Some(320)).count() > 3, "{estimated}");
    let all = [
        ("rows.yaml", "s", expected()),
        ("cells.yaml", "cells", &whole[0]),
        ("estimates.yaml", "estimates", &whole[1]),
    ];
    for (file, name, expected) in all {
        let mut computed = Vec::new();
        for index in 1..=3 {
            let (store, shard) = (format!("{name}{index}"), format!("{index}/3"));
            let run = place.expect(0, &["run", file, "--store", &store, "--shard", &shard])?;
            let folder = format!("out/{name}.shard-{index}-of-3");
            assert!(!place.path(&folder).join("sens/sensitivity.csv").exists());
            let record = place.record(&folder)?;
            assert_eq!(record["stages"][0]["status"], "skipped", "{}", stderr(&run));
            computed.push(record["stages"][0]["cells"]["computed"].as_u64().unwrap_or_default());
        }
        // Each has the unmasked model and its part; 4 rows of 3 cells, divided by rows or by cells.
        let parts: &[u64] = if name == "s" { &[7, 4, 4] } else { &[5, 5, 5] };
        assert_eq!(computed, parts);
        // One is missing, which is said and leaves nothing that could be taken for a table.
        let short = place.expect(
            4,
            &[
                "merge",
                file,
                &format!("{name}1"),
                &format!("{name}3"),
                "--store",
                "short",
            ],
        )?;
        let told = String::from_utf8_lossy(&short.stdout).into_owned();
        assert!(
            told.contains("cells are in none of the stores: run the shards that are missing"),
            "{told}"
        );
        assert!(!place.path("out").join(name).join("sens/sensitivity.csv").exists());
        let stores = [1, 2, 3].map(|index| format!("{name}{index}"));
        let mut words = vec!["merge", file, "--store", "united"];
        words.extend(stores.iter().map(String::as_str));
        place.expect(0, &words)?;
        assert!(
            place.results(&format!("out/{name}"))? == *expected,
            "{file}: other bytes than one run's"
        );
        // Again, and as a usual run, it is all there.
        place.expect(0, &words)?;
        place.expect(0, &["run", file, "--store", "united"])?;
        assert!(
            place
                .statuses(&format!("out/{name}"))?
                .iter()
                .all(|(_, status)| status == "cached")
        );
    }
    place.expect(2, &["run", "rows.yaml", "--shard", "4/3"])?;
    place.expect(2, &["merge", "rows.yaml", "nowhere"])?;
    fs::create_dir(place.path("empty"))?;
    let none = place.expect(2, &["merge", "empty"])?;
    assert!(
        stderr(&none).contains("there is no store in empty"),
        "{}",
        stderr(&none)
    );
    Ok(())
}

#[test]
fn shards_of_one_store_work_side_by_side() -> Checked {
    let place = place()?;
    let start = |shard: &str| {
        let mut command = place.command(&["run", "rows.yaml", "--jobs", "1", "--no-wait", "--shard", shard]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let runs = [start("1/3")?, start("2/3")?, start("3/3")?];
    for mut run in runs {
        // Nobody waits for another.
        assert_eq!(run.wait()?.code(), Some(0));
    }
    place.expect(0, &["merge", "rows.yaml"])?;
    assert_eq!(place.results("out/s")?, *expected());
    Ok(())
}

#[test]
fn damaged_results_of_others_are_left_out() -> Checked {
    let place = place()?;
    place.expect(0, &["run", "rows.yaml", "--store", "theirs", "--output", "theirs-out"])?;
    let cells = place.path("theirs/cells");
    let cell = fs::read_dir(&cells)?
        .flatten()
        .find_map(|shard| fs::read_dir(shard.path()).ok()?.flatten().next());
    let cell = cell.map(|entry| entry.path()).unwrap_or_default();
    fs::write(&cell, "rubbish")?;
    fs::remove_dir_all(place.path("theirs/artifacts"))?;
    let merged = place.expect(4, &["merge", "rows.yaml", "theirs"])?;
    assert!(stderr(&merged).contains("is damaged"), "{}", stderr(&merged));
    assert!(cell.exists(), "what is theirs is left alone");
    place.expect(0, &["run", "rows.yaml"])?;
    let record = place.record("out/s")?;
    assert_eq!(record["stages"][0]["cells"]["computed"], 1);
    assert_eq!(place.results("out/s")?, *expected());
    Ok(())
}

#[test]
fn without_a_file_those_on_record_are_merged() -> Checked {
    let place = place()?;
    for index in 1..=2 {
        let (store, shard) = (format!("store{index}"), format!("{index}/2"));
        place.expect(0, &["run", "rows.yaml", "--store", &store, "--shard", &shard])?;
    }
    fs::remove_dir_all(place.path("out"))?;
    place.expect(0, &["merge", "store1", "store2", "--store", "united"])?;
    assert_eq!(place.results("out/s")?, *expected());
    // Where the file lies no more, stores are made one all the same, and what is missing is said.
    fs::rename(place.path("rows.yaml"), place.path("renamed.yaml"))?;
    let merged = place.expect(0, &["merge", "store1", "store2", "--store", "again"])?;
    let told = String::from_utf8_lossy(&merged.stdout).into_owned();
    assert!(told.contains("no table is written"), "{told}");
    place.expect(0, &["merge", "renamed.yaml", "again", "--store", "again"])?;
    assert_eq!(place.results("out/s")?, *expected());
    Ok(())
}
