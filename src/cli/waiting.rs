//! Waiting for other runs: `--no-wait`, what is said meanwhile, and signals that end it.

use super::{CliError, say, signals};
use crate::pipeline::{Event, RunError, Stop, Waiting};
use crate::store::{Busy, Patience, Store, Wait};

#[derive(Clone, Debug, Default, clap::Args)]
pub struct WaitArgs {
    /// End with 9 instead of waiting when another run is at the same work.
    #[arg(long)]
    pub no_wait: bool,
}

impl WaitArgs {
    pub fn wait(&self) -> Wait {
        if self.no_wait { Wait::No } else { Wait::Yes }
    }

    /// Takes a lock of the store for a verb that shows no progress; `what` says what others do while it is waited.
    pub fn with<T>(
        &self,
        store: &Store,
        what: &str,
        take: impl FnOnce(&mut Patience<'_>) -> Result<T, Busy>,
    ) -> Result<T, CliError> {
        let stop = Stop::default();
        signals::listen(&stop);
        let sink = |event: &Event| {
            if let Event::Waiting { what } = event {
                say(&format!("waiting for {what}"));
            }
        };
        let mut patience = Patience {
            wait: self.wait(),
            waiting: &mut Waiting::new(&sink, store, what.into()).tell(),
            stopped: &|| stop.is_set(),
        };
        Ok(take(&mut patience).map_err(RunError::Busy)?)
    }
}
