//! `plugin new` and `plugin test`: for those who write plug-ins; and the way into the sandbox.

use super::{CliError, Exit, answer, say};
use crate::plugin::{self, Language, Launch, Purpose, Samples};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write a new plug-in to start from.
    New(New),
    /// Ask a plug-in everything that it may ever be asked, and tell what it does.
    Test(Test),
}

#[derive(Debug, clap::Args)]
struct New {
    /// What it is to be.
    #[arg(value_enum)]
    kind: Kind,
    /// The language.
    #[arg(long, value_enum, default_value_t = Lang::Python)]
    lang: Lang,
    /// The folder that receives it.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Metric,
    Dataset,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lang {
    Python,
    Rust,
    C,
}

#[derive(Debug, clap::Args)]
struct Test {
    /// The shape of one sample's outputs that a metric is given, such as 10 or 21x64x64.
    #[arg(long, value_name = "SHAPE", default_value = "10", value_parser = shape)]
    outputs: Shape,
    /// The shape of one sample's targets; without it one number.
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    targets: Option<Shape>,
    /// Whether targets are numbers instead of classes.
    #[arg(long)]
    float_targets: bool,
    /// A variable that it sees.
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// A variable of the surroundings that it sees.
    #[arg(long, value_name = "KEY")]
    pass_env: Vec<String>,
    /// How many seconds one answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    /// Run it in the sandbox.
    #[arg(long)]
    sandbox: bool,
    /// The program and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGV"
    )]
    argv: Vec<String>,
}

#[derive(Clone, Debug)]
struct Shape(Vec<usize>);

fn shape(text: &str) -> Result<Shape, String> {
    let extents: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let extents = extents.map_err(|_| "a shape is written as 3x32x32".to_owned())?;
    let numbers = extents
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent));
    match numbers {
        Some(1..=10_000_000) => Ok(Shape(extents)),
        _ => Err("a sample has between 1 and 10 000 000 numbers".into()),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a variable is written as KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

pub fn plugin(args: &Args) -> Result<Exit, CliError> {
    match &args.what {
        What::New(new) => write(new),
        What::Test(test) => try_out(test),
    }
}

fn write(new: &New) -> Result<Exit, CliError> {
    let (purpose, key) = match new.kind {
        Kind::Metric => (Purpose::Metric, "metric: {command: {argv: [ARGV]}}"),
        Kind::Dataset => (Purpose::Dataset, "dataset: {source: {command: {argv: [ARGV]}}}"),
    };
    let language = match new.lang {
        Lang::Python => Language::Python,
        Lang::Rust => Language::Rust,
        Lang::C => Language::C,
    };
    let (files, argv) =
        plugin::new_skeleton(purpose, language, &new.dir).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut text = String::new();
    for file in files {
        text += &format!("wrote {}\n", file.display());
    }
    let argv = argv.join(", ");
    text += &format!("in a pipeline beside it: {}\n", key.replace("ARGV", &argv));
    text += &format!("try it there: secateur plugin test {}\n", argv.replace(", ", " "));
    answer(&text)?;
    Ok(Exit::Done)
}

fn try_out(test: &Test) -> Result<Exit, CliError> {
    let sandbox = match test.sandbox {
        true => Some(std::env::current_exe().map_err(|error| CliError::Usage(error.to_string()))?),
        false => None,
    };
    let launch = Launch {
        name: test
            .argv
            .last()
            .map_or_else(String::new, |word| word.rsplit('/').next().unwrap_or(word).into()),
        argv: test.argv.clone(),
        folder: ".".into(),
        env: test.env.clone(),
        pass_env: test.pass_env.clone(),
        timeout: Duration::from_secs(test.timeout.into()),
        workers: 1,
        sandbox,
        stop: Arc::new(|| false),
    };
    let samples = Samples {
        outputs: test.outputs.0.clone(),
        targets: test.targets.as_ref().map_or_else(Vec::new, |shape| shape.0.clone()),
        float_targets: test.float_targets,
    };
    let tried = plugin::probe(&launch, &samples);
    let mut text = String::new();
    for one in &tried {
        let (mark, seen) = match &one.outcome {
            Ok(seen) => ("ok", seen),
            Err(wrong) => ("FAILED", wrong),
        };
        text += &format!("{mark:<7} {}: {seen}\n", one.what);
    }
    let failed = tried.iter().filter(|one| one.outcome.is_err()).count();
    text += &match failed {
        0 => format!(
            "it speaks the protocol: {} of {} checks hold\n",
            tried.len(),
            tried.len()
        ),
        _ => format!("it does not: {failed} of {} checks failed\n", tried.len()),
    };
    answer(&text)?;
    Ok(if failed == 0 { Exit::Done } else { Exit::StageFailed })
}

#[derive(Debug, clap::Args)]
pub struct SandboxArgs {
    writable: PathBuf,
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// Becomes another program with fewer rights; comes back only with an error.
pub fn sandboxed(args: &SandboxArgs) -> Result<Exit, CliError> {
    let Some((program, arguments)) = args.argv.split_first() else {
        return Err(CliError::Usage("no program is named".into()));
    };
    match plugin::enter_sandbox(&args.writable, program, arguments) {
        Ok(never) => match never {},
        Err(error) => {
            say(&error.to_string());
            Ok(Exit::StageFailed)
        }
    }
}
