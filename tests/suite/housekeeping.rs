//! Looking after a store on the real binary: sizes, verification, what goes and what stays, results to take elsewhere.

use super::faults::{Held, PIPELINE, expected};
use super::run::{Checked, Place, stderr};
use std::fs;
use std::process::Output;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn place() -> Result<Place, Box<dyn std::error::Error>> {
    let place = Place::new()?;
    place.write("s.yaml", PIPELINE)?;
    place.expect(0, &["run", "s.yaml"])?;
    Ok(place)
}

#[test]
fn stores_are_weighed_and_verified() -> Checked {
    let place = place()?;
    let sizes = stdout(&place.expect(0, &["cache", "size"])?);
    assert!(
        sizes.contains("3 artifacts") && sizes.contains("13 cells") && sizes.contains("in all"),
        "{sizes}"
    );
    assert!(stdout(&place.expect(0, &["cache", "verify"])?).contains(" whole, 0 damaged"));
    let cells = fs::read_dir(place.path(".secateur/cells"))?.flatten().next();
    let cell = cells
        .and_then(|shard| fs::read_dir(shard.path()).ok()?.flatten().next())
        .map(|cell| cell.path());
    fs::write(cell.unwrap_or_default(), "rubbish")?;
    let damaged = place.expect(1, &["cache", "verify"])?;
    assert!(stdout(&damaged).contains("1 damaged") && stderr(&damaged).contains("it lies in .secateur/damaged/"));
    place.expect(0, &["cache", "verify"])?;
    for verb in [&["cache", "size"][..], &["cache", "verify"], &["gc"]] {
        let none = place.expect(2, &[verb, &["--store", "nowhere"]].concat())?;
        assert!(
            stderr(&none).contains("there is no store in nowhere"),
            "{}",
            stderr(&none)
        );
    }
    Ok(())
}

#[test]
fn what_is_needed_stays() -> Checked {
    let place = place()?;
    let told = stdout(&place.expect(0, &["gc", "--max-size", "0", "--dry-run"])?);
    assert!(told.contains("would remove cells: 13"), "{told}");
    assert!(stdout(&place.expect(0, &["gc", "--keep-days", "30"])?).starts_with("removed nothing"));
    place.expect(0, &["gc", "--max-size", "1GB"])?;
    place.expect(0, &["run", "s.yaml"])?;
    assert!(place.statuses("out/s")?.iter().all(|(_, status)| status == "cached"));
    place.expect(2, &["gc", "--max-size", "much"])?;
    // What a pinned run needs stays, whatever the limits.
    let pinned = stdout(&place.expect(0, &["runs", "pin", "last"])?);
    assert!(pinned.contains("is pinned"), "{pinned}");
    for (words, sign) in [
        (vec!["runs"], "  pinned\n"),
        (vec!["runs", "show", "last"], ", pinned\n"),
    ] {
        let shown = stdout(&place.expect(0, &words)?);
        assert!(shown.contains(sign), "{shown}");
    }
    let told = stdout(&place.expect(0, &["gc", "--max-size", "0"])?);
    assert!(told.contains("16 results of pinned runs stay"), "{told}");
    place.expect(0, &["plan", "s.yaml", "--exit-code"])?;
    place.expect(0, &["runs", "unpin", "last"])?;
    place.expect(2, &["runs", "pin", "nonesuch"])?;
    let told = stdout(&place.expect(0, &["gc", "--max-size", "0"])?);
    assert!(
        told.contains("removed artifacts: 3") && told.contains("removed cells: 13"),
        "{told}"
    );
    place.expect(5, &["plan", "s.yaml", "--exit-code"])?;
    place.expect(0, &["run", "s.yaml"])?;
    assert_eq!(place.results("out/s")?, *expected());
    // While a run is at work nothing is taken away.
    fs::remove_dir_all(place.path(".secateur"))?;
    let run = Held::at(&place, "folder@9", "cells")?;
    let busy = place.expect(9, &["gc", "--max-size", "0", "--no-wait"])?;
    assert!(stderr(&busy).contains("another run holds"), "{}", stderr(&busy));
    let (run, waited) = run.let_go_when_waited_for(&mut place.command(&["gc", "--max-size", "0"]))?;
    assert_eq!(
        (run.status.code(), waited.status.code()),
        (Some(0), Some(0)),
        "{}",
        stderr(&run)
    );
    assert!(stderr(&waited).contains("waiting for another run, which is at work in the store"));
    assert_eq!(place.results("out/s")?, *expected());
    // Nor where nobody can know.
    let mut unlocked = place.command(&["gc", "--max-size", "0"]);
    let unlocked = unlocked.env("SECATEUR_FAULTS", "lock:unsupported").output()?;
    assert_eq!(unlocked.status.code(), Some(1));
    assert!(
        stderr(&unlocked).contains("nothing is deleted"),
        "{}",
        stderr(&unlocked)
    );
    Ok(())
}

#[test]
fn a_run_goes_elsewhere_as_one_file() -> Checked {
    let place = place()?;
    place.expect(0, &["cache", "export", "last", "last.zip"])?;
    let none = place.expect(2, &["cache", "export", "last~9", "none.zip"])?;
    assert!(stderr(&none).contains("there are only 1 runs"), "{}", stderr(&none));
    let stages = place.record("out/s")?["stages"].clone();
    let record = serde_json::json!({"record": {"stages": stages}});
    fs::create_dir_all(place.path(".secateur/runs"))?;
    fs::write(
        place.path(".secateur/runs/20260101-000000-abcd.json"),
        record.to_string(),
    )?;
    place.expect(0, &["cache", "export", "20260101-000000-abcd", "run.zip"])?;
    let none = place.expect(2, &["cache", "export", "1999", "none.zip"])?;
    assert!(stderr(&none).contains("no run on record"), "{}", stderr(&none));
    let taken = place.expect(0, &["cache", "import", "run.zip", "--store", "elsewhere"])?;
    assert!(
        stdout(&taken).contains("13 cells, 3 artifacts and 1 runs taken in"),
        "{}",
        stdout(&taken)
    );
    let again = place.expect(0, &["cache", "import", "run.zip", "--store", "elsewhere"])?;
    assert!(
        stdout(&again).contains("0 cells, 0 artifacts and 0 runs taken in"),
        "{}",
        stdout(&again)
    );
    place.expect(
        0,
        &["run", "s.yaml", "--store", "elsewhere", "--output", "elsewhere-out"],
    )?;
    assert!(
        place
            .statuses("elsewhere-out/s")?
            .iter()
            .all(|(_, status)| status == "cached")
    );
    assert_eq!(place.results("elsewhere-out/s")?, *expected());
    // A byte that was changed on the way is found out, and all else taken in; what is no export is refused.
    let whole = fs::read(place.path("run.zip"))?;
    let names: Vec<_> = whole
        .windows(6)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"cells/")
        .collect();
    let (last, _) = names[names.len() / 2 - 1];
    for (at, left) in [
        (200, "13 cells, 3 artifacts and 0 runs taken in"),
        // Behind the name of the last cell: `cells/ab/` and its key.
        (last + 9 + 64 + 10, "12 cells, 3 artifacts and 1 runs taken in"),
    ] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(place.path("flipped.zip"), flipped)?;
        let store = format!("flipped-{at}");
        let taken = place.expect(1, &["cache", "import", "flipped.zip", "--store", &store])?;
        assert!(stdout(&taken).contains(left), "{at}: {}", stdout(&taken));
        assert!(stderr(&taken).contains("is damaged"), "{at}: {}", stderr(&taken));
    }
    for bad in [&whole[..whole.len() / 2], b"rubbish", b""] {
        fs::write(place.path("bad.zip"), bad)?;
        place.expect(1, &["cache", "import", "bad.zip", "--store", "third"])?;
    }
    // What was used is gone: said before a file is written.
    place.expect(0, &["gc", "--max-size", "0"])?;
    let gone = place.expect(1, &["cache", "export", "20260101", "gone.zip"])?;
    assert!(
        stderr(&gone).contains("is not in the store any more"),
        "{}",
        stderr(&gone)
    );
    assert!(!place.path("gone.zip").exists());
    Ok(())
}
