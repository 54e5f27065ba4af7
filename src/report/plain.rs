//! Progress as lines: one a change of state, and a heartbeat while a stage works.

use super::{duration, remaining};
use crate::pipeline::{Event, Status};
use std::fmt::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a working stage says how far it is.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) struct Plain {
    shared: Arc<Shared>,
    heart: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    over: bool,
}

struct Running {
    id: String,
    start: Instant,
    done: u64,
    total: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plain {
    pub(super) fn new() -> Plain {
        let shared = Arc::new(Shared::default());
        let beating = Arc::clone(&shared);
        // Without the thread (none can be made) there are no heartbeats, and nothing else is amiss.
        let heart = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beat(&beating))
            .ok();
        Plain { shared, heart }
    }

    pub(super) fn event(&self, event: &Event) {
        let mut state = self.shared.lock();
        match event {
            Event::StageStarted { id, .. } => {
                state.running = Some(Running {
                    id: id.clone(),
                    start: Instant::now(),
                    done: 0,
                    total: 0,
                });
            }
            Event::Progress { id, done, total } => {
                if let Some(running) = state.running.as_mut().filter(|running| &running.id == id) {
                    (running.done, running.total) = (*done, *total);
                }
            }
            Event::StageFinished { .. } => state.running = None,
            Event::RunStarted { .. }
            | Event::Waiting { .. }
            | Event::Warning { .. }
            | Event::Damaged { .. }
            | Event::BoundBroken { .. }
            | Event::RunFinished { .. } => {}
        }
        if let Some(text) = state_change(event) {
            super::line(&text);
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
    }
}

fn beat(shared: &Shared) {
    let mut state = shared.lock();
    while !state.over {
        let waited = shared.changed.wait_timeout(state, HEARTBEAT);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(running) = state.running.as_ref().filter(|_| !state.over) {
            super::line(&heartbeat(running));
        }
    }
}

fn heartbeat(running: &Running) -> String {
    let Running { id, start, done, total } = running;
    let elapsed = start.elapsed().as_secs_f64();
    let mut text = format!("{id}: running for {}", duration(elapsed));
    if *total > 0 {
        let _ = write!(text, ", {done}/{total}");
        if let Some(rest) = remaining(elapsed, *done, *total) {
            let _ = write!(text, ", about {} left", duration(rest));
        }
    }
    text
}

/// The line of an event that changes the state of a run.
pub(super) fn state_change(event: &Event) -> Option<String> {
    match event {
        Event::RunStarted { name, stages } => Some(format!("{name}: {}", stages.join(", "))),
        Event::Waiting { what } => Some(format!("waiting for {what}")),
        Event::StageStarted { id, .. } => Some(format!("{id}: running")),
        Event::StageFinished {
            id,
            status,
            cells,
            seconds,
            message,
            ..
        } => {
            let mut text = format!("{id}: {}", status.name());
            if status.is_done() {
                let _ = write!(text, " in {seconds:.1} s");
            }
            if cells.computed + cells.reused > 0 {
                let _ = write!(text, ", {} cells computed, {} reused", cells.computed, cells.reused);
            }
            // Why a stage failed is logged as an error, in every mode.
            if let Some(message) = message.as_ref().filter(|_| *status == Status::Skipped) {
                let _ = write!(text, ": {message}");
            }
            Some(text)
        }
        // What is damaged or broken is logged, in every mode.
        Event::Progress { .. }
        | Event::Warning { .. }
        | Event::Damaged { .. }
        | Event::BoundBroken { .. }
        | Event::RunFinished { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Cells;

    #[test]
    fn lines_say_what_changed() {
        let finished = |status, message: Option<&str>| {
            state_change(&Event::StageFinished {
                id: "sens".into(),
                kind: "sensitivity",
                status,
                cells: Cells { computed: 3, reused: 1 },
                seconds: 1.25,
                message: message.map(Into::into),
            })
        };
        let done = finished(Status::Computed, None);
        assert_eq!(
            done.as_deref(),
            Some("sens: computed in 1.2 s, 3 cells computed, 1 reused")
        );
        let failed = finished(Status::Failed, Some("it broke"));
        assert_eq!(failed.as_deref(), Some("sens: failed, 3 cells computed, 1 reused"));
        let skipped = finished(Status::Skipped, Some("stopped"));
        assert_eq!(
            skipped.as_deref(),
            Some("sens: skipped, 3 cells computed, 1 reused: stopped")
        );
    }

    #[test]
    fn heartbeats_tell_how_far() {
        let start = Instant::now().checked_sub(Duration::from_secs(10));
        let running = Running {
            id: "sens".into(),
            start: start.unwrap_or_else(Instant::now),
            done: 1,
            total: 4,
        };
        assert_eq!(heartbeat(&running), "sens: running for 10 s, 1/4, about 30 s left");
    }
}
