//! The arguments of the benchmark.

use std::path::PathBuf;

pub const USAGE: &str = "cargo xtask bench [OPTIONS]

  --model FILE         another network than the quickstart's: a traced archive
  --input C,H,W        one sample's shape, for --model [default: 3,32,32]
  --samples N          how many samples [default: 1000]
  --batch N            how many at once [default: 64]
  --sparsities A,B     what is masked [default: 0.25,0.5,0.75]
  --rounds N           how often everything is measured, in turns [default: 3]
  --jobs N             threads [default: all cores]
  --images FILE        images (IDX) for the quickstart's network instead of its own 2 000
  --labels FILE        their labels
  --nni DIR            NNI 1.9 as well; DIR/tp/bin/python has torch, DIR/nni-1.9 has NNI
  --zoo DIR            reading and coupling of ResNet-18 and ResNet-152 in this folder
  --only WORD          only the sections whose name holds the word (loops, rates, growth, store, runs)
  --json FILE          writes everything as JSON
  --compare OLD.json   shows an older run's numbers beside";

pub struct Arguments {
    pub model: Option<PathBuf>,
    pub input: Vec<usize>,
    pub samples: usize,
    pub batch: usize,
    pub sparsities: Vec<f64>,
    pub rounds: usize,
    pub jobs: usize,
    pub images: Option<PathBuf>,
    pub labels: Option<PathBuf>,
    pub nni: Option<PathBuf>,
    pub zoo: Option<PathBuf>,
    pub only: Option<String>,
    pub json: Option<PathBuf>,
    pub compare: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line; an error is a line for the user.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut found = Arguments {
            model: None,
            input: vec![3, 32, 32],
            samples: 1000,
            batch: 64,
            sparsities: vec![0.25, 0.5, 0.75],
            rounds: 3,
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            images: None,
            labels: None,
            nni: None,
            zoo: None,
            only: None,
            json: None,
            compare: None,
        };
        let mut from = PathBuf::new();
        let mut words = words.filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
            match word.as_str() {
                // Cargo starts a bench in the package's folder; this is where the user stands.
                "--from" => from = value()?.into(),
                "--model" => found.model = Some(value()?.into()),
                "--input" => found.input = numbers(&value()?)?,
                "--samples" => found.samples = number(&value()?)?,
                "--batch" => found.batch = number(&value()?)?,
                "--sparsities" => found.sparsities = numbers(&value()?)?,
                "--rounds" => found.rounds = number(&value()?)?,
                "--jobs" => found.jobs = number(&value()?)?,
                "--images" => found.images = Some(value()?.into()),
                "--labels" => found.labels = Some(value()?.into()),
                "--nni" => found.nni = Some(value()?.into()),
                "--zoo" => found.zoo = Some(value()?.into()),
                "--only" => found.only = Some(value()?),
                "--json" => found.json = Some(value()?.into()),
                "--compare" => found.compare = Some(value()?.into()),
                _ => return Err(format!("there is no {word}\n\n{USAGE}")),
            }
        }
        if found.images.is_some() != found.labels.is_some() {
            return Err("--images and --labels go together".into());
        }
        let data = [&mut found.model, &mut found.images, &mut found.labels];
        let others = [&mut found.nni, &mut found.zoo, &mut found.json, &mut found.compare];
        for path in data.into_iter().chain(others).flatten() {
            *path = from.join(&*path);
        }
        Ok(found)
    }

    /// Whether a section is asked for.
    pub fn wants(&self, section: &str) -> bool {
        self.only.as_ref().is_none_or(|word| section.contains(word.as_str()))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text} is no number"))
}

fn numbers<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(number).collect()
}
