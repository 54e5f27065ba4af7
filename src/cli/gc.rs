//! `gc`: takes away what nobody needs, once no run is at work.

use super::waiting::WaitArgs;
use super::{CliError, Exit, StoreArgs, answer, size};
use crate::store::{Limits, StoreError, Tidied};
use std::fmt::Write;
use std::time::Duration;

const DAY: u64 = 86_400;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Results that no run used for so many days go.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// The least recently used results go until the store is no larger: 500MB, 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
    /// Only tell what would go.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub fn gc(args: &Args) -> Result<Exit, CliError> {
    let store = args.store.existing()?;
    let limits = Limits {
        keep: args.keep_days.map(|days| Duration::from_secs(u64::from(days) * DAY)),
        size: args.max_size,
    };
    let tidied = if args.dry_run {
        store.tidy(limits, None)?
    } else {
        let alone = args
            .wait
            .with(&store, "is at work in the store", |patience| store.alone(patience))?;
        if !alone.holds() {
            let path = store.root().to_owned();
            return Err(CliError::Store(StoreError::Unlocked { path }));
        }
        store.tidy(limits, Some(&alone))?
    };
    answer(&text(&tidied, args.dry_run))?;
    Ok(Exit::Done)
}

fn text(tidied: &Tidied, dry_run: bool) -> String {
    let mut text = String::new();
    let verb = if dry_run { "would remove" } else { "removed" };
    for (kind, tally) in &tidied.gone {
        let _ = writeln!(
            text,
            "{verb} {}: {} ({})",
            kind.name(),
            tally.count,
            size::text(tally.bytes)
        );
    }
    if tidied.gone.is_empty() {
        let _ = writeln!(text, "{verb} nothing");
    }
    if tidied.pinned > 0 {
        let _ = writeln!(text, "{} results of pinned runs stay", tidied.pinned);
    }
    let _ = writeln!(text, "{} left", size::text(tidied.left.bytes));
    text
}
