//! Runs at the same time: they share the work, or say that they would have to wait.

use super::faults::{Held, PIPELINE, cells, expected, files, place};
use super::run::{Checked, Place, stderr};
use std::process::{Child, Stdio};

#[test]
fn eight_runs_share_the_work() -> Checked {
    let start = |place: &Place, faults: &str| -> std::io::Result<Vec<Child>> {
        let one = |index: usize| {
            let output = format!("out{index}");
            let mut command = place.command(&["run", "s.yaml", "--jobs", "1", "--output", &output]);
            command
                .env("SECATEUR_FAULTS", faults)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        (0..8).map(one).collect()
    };
    // Also where the file system knows no locks: then work may be done twice, never wrongly.
    for (faults, shared) in [("", true), ("lock:unsupported", false)] {
        let place = place()?;
        for mut run in start(&place, faults)? {
            assert_eq!(run.wait()?.code(), Some(0));
        }
        let (mut computed, mut most) = (0, 0);
        for index in 0..8 {
            let folder = format!("out{index}/s");
            assert_eq!(place.results(&folder)?, *expected());
            let (now, reused) = cells(&place, &folder)?;
            computed += now;
            most = most.max(now + reused);
        }
        let stored = files(&place.path(".secateur/cells"))?.len() as u64;
        assert_eq!(most, stored);
        assert!(
            if shared { computed == stored } else { computed >= stored },
            "{computed} of {stored}"
        );
    }
    Ok(())
}

#[test]
fn nobody_waits_who_was_told_not_to() -> Checked {
    let place = place()?;
    let run = Held::at(&place, "folder@9", "cells")?;
    let busy = place.expect(9, &["run", "s.yaml", "--output", "elsewhere", "--no-wait"])?;
    assert!(stderr(&busy).contains("another run holds"), "{}", stderr(&busy));
    // Another table of the same cells waits as well.
    let more = PIPELINE.replace("name: s", "name: more").replace("0.75]", "0.75, 0.9]");
    place.write("more.yaml", &more)?;
    place.expect(9, &["run", "more.yaml", "--no-wait"])?;
    let (run, waited) = run.let_go_when_waited_for(&mut place.command(&["run", "more.yaml"]))?;
    assert_eq!(
        (run.status.code(), waited.status.code()),
        (Some(0), Some(0)),
        "{}",
        stderr(&waited)
    );
    assert!(
        stderr(&waited).contains("waiting for another run, which computes sens (sens: "),
        "{}",
        stderr(&waited)
    );
    assert_eq!(cells(&place, "out/more")?, (4, 13));
    Ok(())
}
