//! A pipe to or from another process that never waits for longer than it may.
//!
//! Owns the waiting: every read and write ends when data can move, when the deadline has passed, when the run is to stop,
//! or when the other process has gone, even if a child of it holds the other end open. Deliberately knows nothing of what
//! is written.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one wait lasts before stop and the other process are looked at again.
const SLICE: Duration = Duration::from_millis(50);

/// What ends a wait without data, inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Waited {
    #[error("the deadline has passed")]
    Deadline,
    #[error("the run is to stop")]
    Stopped,
    #[error("the process has ended")]
    Gone,
}

impl Waited {
    /// Why a wait ended, if it is that which ended it.
    pub(super) fn of(error: &io::Error) -> Option<Waited> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Asked again and again while waiting.
pub(super) type Asked = Arc<dyn Fn() -> bool + Send + Sync>;

/// Our end of a pipe.
pub(super) struct Pipe {
    file: File,
    pub(super) deadline: Instant,
    stop: Asked,
    gone: Asked,
}

impl Pipe {
    /// # Errors
    /// When the descriptor cannot be told not to block.
    pub(super) fn new(end: OwnedFd, stop: Asked, gone: Asked) -> io::Result<Pipe> {
        rustix::io::ioctl_fionbio(&end, true)?;
        Ok(Pipe {
            file: end.into(),
            deadline: Instant::now(),
            stop,
            gone,
        })
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let gone = (self.gone)();
            let slice = if gone { Duration::ZERO } else { left.min(SLICE) };
            if ready(&self.file, flags, slice)? {
                return Ok(());
            }
            let ended = match () {
                () if gone => Waited::Gone,
                () if (self.stop)() => Waited::Stopped,
                () if left.is_zero() => Waited::Deadline,
                () => continue,
            };
            return Err(io::Error::other(ended));
        }
    }
}

/// Whether data can move within the time.
fn ready(file: &File, flags: PollFlags, time: Duration) -> io::Result<bool> {
    match poll(&mut [PollFd::new(file, flags)], Some(&timespec(time))) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Which of these can be read (their end included), once one of them can or the time is over.
pub(super) fn readable(files: &[&File], time: Duration) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = files.iter().map(|file| PollFd::new(file, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&timespec(time))) {
        Ok(_) => polled.iter().map(|file| !file.revents().is_empty()).collect(),
        Err(Errno::INTR) => vec![false; files.len()],
        // Reading tells what is wrong.
        Err(_) => vec![true; files.len()],
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()) as _,
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                other => return other,
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> Asked {
        Arc::new(|| false)
    }

    fn outcome(stop: Asked, gone: Asked) -> (Option<Waited>, Option<Waited>) {
        let (reader, writer) = io::pipe().unwrap();
        let mut read = Pipe::new(reader.into(), stop.clone(), gone.clone()).unwrap();
        let mut write = Pipe::new(writer.into(), stop, gone).unwrap();
        for pipe in [&mut read, &mut write] {
            pipe.deadline = Instant::now() + Duration::from_millis(20);
        }
        let read = read.read(&mut [0]).unwrap_err();
        // More than a pipe holds, which nobody reads.
        let written = write.write_all(&vec![0; 4 << 20]).unwrap_err();
        (Waited::of(&read), Waited::of(&written))
    }

    #[test]
    fn every_wait_ends() {
        let always: Asked = Arc::new(|| true);
        let both = |waited| (Some(waited), Some(waited));
        assert_eq!(outcome(never(), never()), both(Waited::Deadline));
        assert_eq!(outcome(always.clone(), never()), both(Waited::Stopped));
        assert_eq!(outcome(never(), always), both(Waited::Gone));
    }

    #[test]
    fn what_was_written_before_the_end_is_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"last words").unwrap();
        let mut pipe = Pipe::new(reader.into(), never(), Arc::new(|| true)).unwrap();
        let mut words = [0; 10];
        pipe.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"last words");
        assert_eq!(Waited::of(&pipe.read(&mut words).unwrap_err()), Some(Waited::Gone));
    }
}
