//! Model files that change or are damaged while their weights are still in them, on the real binary.

use super::faults::{Held, expected, heals, place};
use super::run::{Checked, stderr};
use secateur::formats::zip;
use std::fs;
use std::io::Cursor;
use std::time::Duration;

#[test]
fn a_model_that_changes_while_it_is_read_leaves_no_cell() -> Checked {
    for taken in [true, false] {
        let place = place()?;
        let run = Held::at(&place, "lock@4", "leases")?;
        while fs::read_dir(place.path(".secateur/leases"))?.count() < 2 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let model = place.path("quickstart/model.pt");
        let right = fs::read(&model)?;
        let other = another(right.clone())?;
        if taken {
            // The run goes on with the file that it opened, to no avail.
            fs::write(place.path("other.pt"), other)?;
            fs::rename(place.path("other.pt"), &model)?;
        } else {
            fs::write(&model, other)?;
        }
        let output = run.let_go()?;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("model.pt") && said.contains("changed while it was read"),
            "{said}"
        );
        assert!(!place.path(".secateur/cells").exists(), "values of one of two models");
        fs::write(&model, right)?;
        heals(&place, "changed model")?;
    }
    Ok(())
}

/// A model of which every weight is damaged is as good as another where nobody asks for weights: `check` and the steps
/// that analyse its structure read none. Who does says which.
#[test]
fn damaged_weights_hurt_who_reads_them() -> Checked {
    let place = place()?;
    let path = place.path("quickstart/model.pt");
    let mut bytes = fs::read(&path)?;
    for entry in zip::index(Cursor::new(&bytes.clone()), &zip::Limits::default())? {
        if entry.name.contains("/data/") {
            bytes[entry.start as usize] ^= 1;
        }
    }
    fs::write(&path, bytes)?;
    place.expect(0, &["check", "s.yaml"])?;
    let output = place.expect(4, &["run", "s.yaml", "--keep-going"])?;
    let said = stderr(&output);
    assert!(
        said.contains("quickstart/model.pt: zip archive: entry \"data/") && said.contains("is damaged: CRC"),
        "{said}"
    );
    let mut structure = expected().clone();
    structure.retain(|path, _| !path.starts_with("sens"));
    assert!(structure.len() > 4 && place.results("out/s")? == structure, "{said}");
    place.expect(1, &["run", "s.yaml"])?;
    Ok(())
}

/// The same model with another weight.
pub fn another(model: Vec<u8>) -> Result<Vec<u8>, zip::ZipError> {
    let archive = zip::Archive::read(model.into(), &zip::Limits::default())?;
    let mut entries = Vec::new();
    for name in archive.names() {
        let mut content = archive.get(name)?.to_vec();
        if name == "data/0" {
            content[0] ^= 1;
        }
        entries.push((name.to_owned(), content));
    }
    zip::write(archive.root(), &entries)
}
