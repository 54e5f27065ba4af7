//! The link `.libtorch` in the checkout.
//!
//! Knows nothing of what it points to.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Points the link at the folder, in one step. True when it pointed elsewhere before.
pub fn point(link: &Path, folder: &Path) -> Result<bool> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", folder.display()))?;
    let before = match fs::symlink_metadata(link) {
        Ok(found) if found.is_symlink() => Some(fs::read_link(link)?),
        Ok(_) => bail!(
            "{} is no link: move it away, and set LIBTORCH to it if it is a libtorch",
            link.display()
        ),
        Err(_) => None,
    };
    if before.as_deref() == Some(&folder) {
        return Ok(false);
    }
    let new = link.with_extension(format!("new-{}", std::process::id()));
    // Left behind only by an interrupted xtask of the same number.
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(&folder, &new)
        .and_then(|()| fs::rename(&new, link))
        .with_context(|| format!("cannot make the link {}", link.display()))?;
    Ok(before.is_some())
}

#[cfg(test)]
mod tests {
    use super::point;
    use std::fs;

    #[test]
    fn points_anew_and_says_so() {
        let room = tempfile::tempdir().expect("a folder");
        let [a, b, link] = ["a", "b", ".libtorch"].map(|name| room.path().join(name));
        fs::create_dir(&a).expect("a");
        fs::create_dir(&b).expect("b");
        assert!(!point(&link, &a).expect("first"));
        assert!(!point(&link, &a).expect("again"));
        assert!(point(&link, &b).expect("elsewhere"));
        assert_eq!(link.canonicalize().expect("a link"), b.canonicalize().expect("b"));
        assert_eq!(fs::read_dir(room.path()).expect("read").count(), 3);
    }

    #[test]
    fn leaves_a_real_folder_alone() {
        let room = tempfile::tempdir().expect("a folder");
        let link = room.path().join(".libtorch");
        fs::create_dir(&link).expect("a folder in the way");
        assert!(
            point(&link, room.path())
                .expect_err("in the way")
                .to_string()
                .contains("move it away")
        );
    }
}
