//! What a plug-in writes to its standard error and output: into our log, and the last of it kept for errors.
//!
//! Owns one thread a plug-in, which always reads, so that no flood blocks the plug-in, and which stops by itself.
//! Deliberately interprets nothing.

use super::pipe::readable;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines kept for errors.
const LAST: usize = 12;

/// The longest line that is kept, in bytes; longer ones are cut.
const LONGEST: usize = 400;

/// Lines that are logged; those after it are only read.
const LOGGED: u64 = 500;

/// How long what a plug-in wrote before its end is read after it.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// The reading thread and what it keeps.
pub(super) struct Log {
    last: Arc<Mutex<VecDeque<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    pub(super) fn start(name: &str, stdout: OwnedFd, stderr: OwnedFd) -> Log {
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let over = Arc::new(AtomicBool::new(false));
        let mut reader = Reader {
            name: name.to_owned(),
            last: last.clone(),
            logged: 0,
        };
        let stop = over.clone();
        let work = move || reader.read([stderr.into(), stdout.into()], &stop);
        // Without the thread the plug-in is unheard, no more.
        let thread = std::thread::Builder::new().name("plug-in log".into()).spawn(work).ok();
        Log { last, over, thread }
    }

    /// The last lines, once the plug-in has ended.
    pub(super) fn last_lines(&mut self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect()
    }
}

struct Reader {
    name: String,
    last: Arc<Mutex<VecDeque<String>>>,
    logged: u64,
}

impl Reader {
    /// Reads until both streams are closed, or the plug-in is over and nothing more is there: somebody else may hold a
    /// stream open.
    fn read(&mut self, streams: [File; 2], over: &AtomicBool) {
        let mut open: Vec<(File, Vec<u8>)> = streams.into_iter().map(|file| (file, Vec::new())).collect();
        let mut chunk = [0; 16 << 10];
        let mut last_looks = None;
        while !open.is_empty() {
            let last_look = over.load(Ordering::Relaxed);
            let patience = Duration::from_millis(if last_look { 0 } else { 20 });
            let files: Vec<&File> = open.iter().map(|(file, _)| file).collect();
            let mut ready = readable(&files, patience).into_iter();
            let mut silent = true;
            open.retain_mut(|(file, line)| {
                if !ready.next().unwrap_or(false) {
                    return true;
                }
                silent = false;
                match file.read(&mut chunk) {
                    Ok(0) | Err(_) => {
                        self.line(line);
                        false
                    }
                    Ok(count) => {
                        self.bytes(&chunk[..count], line);
                        true
                    }
                }
            });
            // Somebody who left the group may hold a stream open, or even write on.
            let end = *last_looks.get_or_insert_with(|| Instant::now() + LAST_LOOKS);
            if last_look && (silent || Instant::now() > end) {
                break;
            }
            if !last_look {
                last_looks = None;
            }
        }
        for (_, mut line) in open {
            self.line(&mut line);
        }
        if self.logged > LOGGED {
            let more = self.logged - LOGGED;
            tracing::warn!("{}: {more} more lines were not logged", self.name);
        }
    }

    fn bytes(&mut self, bytes: &[u8], line: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST.saturating_sub(line.len());
            line.extend(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line);
        // What moves a terminal's cursor has no place in a log.
        let text: String = text.trim_end().chars().filter(|letter| !letter.is_control()).collect();
        line.clear();
        if text.is_empty() {
            return;
        }
        self.logged += 1;
        if self.logged <= LOGGED {
            tracing::warn!("{}: {text}", self.name);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(text);
    }
}
