//! Bars on a terminal: one for the stage that runs.

use super::plain::state_change;
use crate::pipeline::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Bars {
    all: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    pub(super) fn new(all: MultiProgress) -> Bars {
        Bars {
            all,
            running: Mutex::default(),
        }
    }

    pub(super) fn event(&self, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StageStarted { id, .. } => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_style(style("  {spinner} {prefix} {elapsed}"));
                bar.set_prefix(id.clone());
                bar.enable_steady_tick(Duration::from_millis(200));
                running.insert(id.clone(), bar);
            }
            Event::Progress { id, done, total } => {
                if let Some(bar) = running.get(id) {
                    if bar.length() != Some(*total) {
                        bar.set_length(*total);
                        bar.set_style(style("  {spinner} {prefix} {wide_bar} {pos}/{len}, {eta} left"));
                    }
                    bar.set_position(*done);
                }
            }
            Event::StageFinished { id, .. } => {
                if let Some(bar) = running.remove(id) {
                    bar.finish_and_clear();
                }
            }
            Event::RunStarted { .. }
            | Event::Waiting { .. }
            | Event::Warning { .. }
            | Event::Damaged { .. }
            | Event::BoundBroken { .. }
            | Event::RunFinished { .. } => {}
        }
        if let Some(text) = state_change(event) {
            self.all.suspend(|| super::line(&text));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
