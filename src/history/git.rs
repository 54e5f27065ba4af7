//! What git knows of a pipeline file, where there is git and a repository. Never an error: history goes on without.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest that a run waits for git: a slow disk must not hold a run up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state of a file's repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    pub commit: String,
    /// Whether tracked files differ from the commit.
    pub dirty: bool,
    /// The file's path in the repository.
    pub path: String,
}

/// The folder of a file; git is asked there.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What git answers, or nothing.
fn ask(folder: &Path, words: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(words);
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = io::Read::read_to_end(&mut stdout, &mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    });
    let Ok(Ok(bytes)) = receiver.recv_timeout(PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    child.wait().ok()?.success().then_some(bytes)
}

fn line(folder: &Path, words: &[&str]) -> Option<String> {
    let text = String::from_utf8(ask(folder, words)?).ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}

impl Git {
    /// The state of the repository that a file lies in.
    pub fn of(file: &Path) -> Option<Git> {
        let folder = folder(file);
        let commit = line(folder, &["rev-parse", "--verify", "HEAD"])?;
        let prefix = line(folder, &["rev-parse", "--show-prefix"])?;
        let changed = ask(folder, &["status", "--porcelain", "--untracked-files=no"])?;
        Some(Git {
            commit,
            dirty: !changed.is_empty(),
            path: format!("{prefix}{}", file.file_name()?.to_str()?),
        })
    }
}

/// A commit, and files as they were then.
#[derive(Clone, Debug)]
pub struct Revision {
    /// As the user wrote it.
    pub word: String,
    /// The commit's full name.
    pub commit: String,
    /// The path of the pipeline file in the repository.
    pub path: String,
    top: PathBuf,
}

impl Revision {
    /// The commit that a word means in the repository of a file; nothing where there is none.
    pub fn find(word: &str, file: &Path) -> Option<Revision> {
        let folder = folder(file);
        let wanted = format!("{word}^{{commit}}");
        let commit = line(
            folder,
            &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted],
        )?;
        let prefix = line(folder, &["rev-parse", "--show-prefix"])?;
        Some(Revision {
            word: word.to_owned(),
            commit,
            path: format!("{prefix}{}", file.file_name()?.to_str()?),
            top: PathBuf::from(line(folder, &["rev-parse", "--show-toplevel"])?),
        })
    }

    /// A file as it was then, named as the user would name it now.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let whole = std::path::absolute(path)?;
        let mut plain = PathBuf::new();
        for part in whole.components() {
            match part {
                std::path::Component::ParentDir => {
                    plain.pop();
                }
                other => plain.push(other),
            }
        }
        let top = self.top.canonicalize().unwrap_or_else(|_| self.top.clone());
        let inside = plain.strip_prefix(&top).or_else(|_| plain.strip_prefix(&self.top));
        let inside = inside.map_err(|_| io::Error::other("it lies outside the repository"))?;
        let name = format!("{}:{}", self.commit, inside.display());
        let missing = || io::Error::other(format!("it is not in the commit {}", self.word));
        ask(&self.top, &["cat-file", "blob", &name]).ok_or_else(missing)
    }
}
