//! `explain PIPELINE [LAYER [LAYER]]`: why layers go together, and why they must stay.

use super::{CliError, Exit, FileArgs, answer, load};
use crate::report::explain::{dot, mermaid, svg, text};
use crate::stages::explain::ExplainError;
use std::path::PathBuf;

/// One layer: its coupled groups, and what freezes the rest. Two layers: the shortest chain of operators that couples
/// them. None: every coupled group.
///
/// Attention heads are cut as the first `dependencies` step says (`--set steps.ID.heads=whole` changes it).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    /// Layers by their PyTorch module names: `layer1.0.conv1`.
    #[arg(value_name = "LAYER", num_args = 0..=2)]
    layers: Vec<String>,
    /// Text, or a drawing of the coupled groups.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    sets: FileArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Sentences for a terminal.
    #[default]
    Text,
    /// Graphviz' language.
    Dot,
    /// A flowchart that GitHub and GitLab draw.
    Mermaid,
    /// A drawing that every browser shows.
    Svg,
}

pub fn explain(args: &Args) -> Result<Exit, CliError> {
    for loaded in load::with_model(&args.file, &args.sets.sets)? {
        let found = match loaded.explain(&args.layers) {
            Ok(found) => found,
            Err(fault @ ExplainError::Unknown(_)) => return Err(CliError::Usage(fault.to_string())),
            Err(ExplainError::Failed(fault)) => {
                super::say(&format!("error: {}", fault.text()));
                return Ok(Exit::StageFailed);
            }
        };
        answer(&match args.format {
            Format::Text => text(&found),
            Format::Dot => dot(&found.drawing, loaded.name()),
            Format::Mermaid => mermaid(&found.drawing),
            Format::Svg => svg(&found.drawing, loaded.name()),
        })?;
    }
    Ok(Exit::Done)
}
