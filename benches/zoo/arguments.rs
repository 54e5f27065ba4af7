//! The arguments of the zoo.

use secateur::labels::Split;
use std::path::PathBuf;

pub const USAGE: &str = "cargo xtask zoo DIR [NAME…] [OPTIONS]

Reads every model of a folder (or those named), finds its coupled groups, and proves them by removal. The folder holds
archives (*.pt) and perhaps an index.jsonl that names them and their inputs; without one, traced archives tell the shapes
that they were traced with.

  --heads within|whole  how attention is cut [default: within]
  --side N              proves on images of N x N where the network takes them
  --groups N            removes only N groups alone, evenly chosen [default: all]
  --no-proof            reads and couples only
  --out DIR             where zoo.tsv and zoo.md go [default: the current folder]

Ends with 1 when a model is not read, a removal does not run, or a difference is above 1e-9.";

pub struct Arguments {
    pub folder: PathBuf,
    pub out: PathBuf,
    pub heads: Split,
    pub names: Vec<String>,
    pub prove: bool,
    /// How many groups are removed alone, evenly chosen.
    pub groups: usize,
    /// The side of the images that the proof runs on, where the network takes them.
    pub side: Option<usize>,
}

impl Arguments {
    /// Reads the command line, or nothing where there is none; an error is a line for the user.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let mut words = words.filter(|word| word != "--bench").peekable();
        if words.peek().is_none() {
            return Ok(None);
        }
        let mut from = PathBuf::new();
        let mut folder = None;
        let mut found = Arguments {
            folder: PathBuf::new(),
            out: PathBuf::from("."),
            heads: Split::Within,
            names: Vec::new(),
            prove: true,
            groups: usize::MAX,
            side: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
            match word.as_str() {
                // Cargo starts a bench in the package's folder; this is where the user stands.
                "--from" => from = value()?.into(),
                "--out" => found.out = value()?.into(),
                "--heads" => {
                    found.heads = match value()?.as_str() {
                        "whole" => Split::Whole,
                        "within" => Split::Within,
                        other => return Err(format!("--heads is within or whole, not {other}")),
                    }
                }
                "--no-proof" => found.prove = false,
                "--groups" => found.groups = number(&word, &value()?)?,
                "--side" => found.side = Some(number(&word, &value()?)?),
                _ if word.starts_with('-') => return Err(format!("there is no {word}\n\n{USAGE}")),
                _ if folder.is_none() => folder = Some(PathBuf::from(word)),
                _ => found.names.push(word),
            }
        }
        let folder = folder.ok_or_else(|| format!("a folder is missing\n\n{USAGE}"))?;
        found.folder = from.join(folder);
        found.out = from.join(found.out);
        Ok(Some(found))
    }
}

fn number(flag: &str, text: &str) -> Result<usize, String> {
    let found = text.parse().ok().filter(|&number| number > 0);
    found.ok_or_else(|| format!("{flag} is a number, 1 or more, not {text}"))
}
