//! Kills at random instants, in the middle of writes too, over a disk that lies and fills up: no wrong byte, no step that
//! needs a hand. `cargo xtask torture` runs it for minutes or hours; a short part is one of the tests.

use super::faults::PIPELINE;
use super::run::{Checked, Place, stderr};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

type Results = BTreeMap<PathBuf, Vec<u8>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Kills that a long torture deals at least.
const KILLS: u64 = 200;

/// Calls of each kind that a run makes, roughly: where in a run a fault may strike.
const CALLS: u64 = 45;

/// Steps of the kinds that the common pipeline lacks.
const FURTHER: &str = "  - sensitivity: {id: guess, sparsities: [0.5], layers: [conv1, mix.near], estimate: {margin: 0.5, asymptotic: true}}
  - gate: {step: sens, baseline: {max: 100}}
  - mask_fix: {masks: quickstart/masks.pth}
";

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What happens to one run.
#[derive(Debug)]
enum Fate {
    /// SIGKILL from outside after so many milliseconds.
    Kill(u64),
    /// A plan of faults.
    Faults(String),
    /// Two runs at once, both of which are killed, one after the other.
    Both(u64, u64),
}

#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    crashes: u64,
    full: u64,
    finished: u64,
    untouched: u64,
    computed: u64,
    reused: u64,
    damaged: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.computed + self.reused;
        writeln!(
            f,
            "{} runs killed, {} crashed in the middle of a call or by a power cut, {} out of disk, {} over before that",
            self.kills, self.crashes, self.full, self.untouched
        )?;
        writeln!(
            f,
            "{} runs after them: 0 wrong bytes, 0 steps that needed a hand; {} of {all} cells reused ({} %), {} damaged \
             results found out and computed again",
            self.finished,
            self.reused,
            self.reused * 100 / all.max(1),
            self.damaged
        )
    }
}

/// A pipeline and what an undisturbed run of it leaves.
struct Subject {
    file: &'static str,
    name: &'static str,
    expected: Results,
}

struct Torture {
    place: Place,
    subjects: Vec<Subject>,
    /// How long an undisturbed run takes.
    whole: Duration,
    dice: Dice,
    tally: Tally,
}

impl Torture {
    fn new(seed: u64) -> Fallible<Torture> {
        let place = Place::new()?;
        // Every kind of step; the second pipeline shares cells with the first and has a table of its own.
        let a = PIPELINE.replace("name: s", "name: a") + FURTHER;
        let b = a
            .replace("name: a", "name: b")
            .replace("[0.25, 0.5, 0.75]", "[0.1, 0.5, 0.75, 0.9]");
        place.write("a.yaml", &a)?;
        place.write("b.yaml", &b)?;
        let mut subjects = Vec::new();
        let mut whole = Duration::ZERO;
        for (file, name) in [("a.yaml", "a"), ("b.yaml", "b")] {
            let start = Instant::now();
            let store = format!("right-{name}");
            place.expect(0, &["run", file, "--store", &store, "--output", "right-out"])?;
            whole = whole.max(start.elapsed());
            let expected = place.results(&format!("right-out/{name}"))?;
            subjects.push(Subject { file, name, expected });
        }
        Ok(Torture {
            place,
            subjects,
            whole,
            dice: Dice(seed),
            tally: Tally::default(),
        })
    }

    fn fate(&mut self) -> Fate {
        let whole = self.whole.as_millis() as u64;
        let instant = self.dice.below(whole * 9 / 10);
        let call = 1 + self.dice.below(CALLS);
        match self.dice.below(10) {
            0..4 => Fate::Kill(instant),
            4 => Fate::Both(instant, self.dice.below(whole)),
            5 | 6 => {
                let site = self.dice.pick(&["make", "write", "sync", "rename", "folder", "read"]);
                Fate::Faults(format!("{site}:crash@{call},often"))
            }
            7 => Fate::Faults(format!("rename:torn@{call}")),
            // The disk said that everything was safe.
            8 => {
                let lies = self
                    .dice
                    .pick(&["sync:lost", "rename:lost", "sync:lost,rename:lost,folder:lost"]);
                Fate::Faults(format!("{lies},often,after:crash={instant}"))
            }
            _ => {
                let site = self.dice.pick(&["make", "write", "sync", "rename"]);
                let fault = self.dice.pick(&["full", "quota", "short"]);
                let each = 2 + self.dice.below(CALLS / 2);
                Fate::Faults(format!("{site}:{fault}%{each}"))
            }
        }
    }

    /// Lets one run meet its fate.
    fn strike(&mut self, file: &str) -> Checked {
        let fate = self.fate();
        let start = |output: &str, faults: &str| {
            let mut command = self.place.command(&["run", file, "--jobs", "2", "--output", output]);
            command
                .env("SECATEUR_FAULTS", faults)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        };
        let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
        match &fate {
            Fate::Kill(after) => {
                let mut run = start("out", "often")?;
                pause(*after);
                run.kill()?;
                let output = run.wait_with_output()?;
                let code = output.status.code();
                assert!(
                    matches!(code, None | Some(0)),
                    "{fate:?} ended with {code:?}: {}",
                    stderr(&output)
                );
                self.count(code);
            }
            Fate::Both(first, second) => {
                let mut runs = [start("out", "often")?, start("out2", "often")?];
                for (run, after) in runs.iter_mut().zip([first, second]) {
                    pause(*after / 2);
                    run.kill()?;
                }
                for run in runs {
                    let output = run.wait_with_output()?;
                    let code = output.status.code();
                    assert!(
                        matches!(code, None | Some(0)),
                        "{fate:?} ended with {code:?}: {}",
                        stderr(&output)
                    );
                    self.count(code);
                }
            }
            Fate::Faults(plan) => {
                let output = start("out", plan)?.wait_with_output()?;
                match output.status.code() {
                    Some(1) => self.tally.full += 1,
                    None => self.tally.crashes += 1,
                    Some(0) => self.tally.untouched += 1,
                    Some(code) => panic!("{fate:?} ended with {code}: {}", stderr(&output)),
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, code: Option<i32>) {
        match code {
            None => self.tally.kills += 1,
            Some(_) => self.tally.untouched += 1,
        }
    }

    /// An undisturbed run: it goes through by itself, and every byte is right.
    fn finish(&mut self, which: usize) -> Checked {
        let Subject { file, name, expected } = &self.subjects[which];
        let output = self.place.expect(0, &["run", file])?;
        let found = self.place.results(&format!("out/{name}"))?;
        if found != *expected {
            let kept = self.place.keep();
            let differing = expected.iter().find(|(path, bytes)| found.get(*path) != Some(bytes));
            panic!(
                "wrong bytes in {:?}; see {}",
                differing.map(|(path, _)| path),
                kept.display()
            );
        }
        self.tally.finished += 1;
        self.tally.damaged += stderr(&output).matches("is damaged").count() as u64;
        let record = self.place.record(&format!("out/{name}"))?;
        for stage in record["stages"].as_array().into_iter().flatten() {
            let count = |name: &str| stage["cells"][name].as_u64().unwrap_or_default();
            self.tally.computed += count("computed");
            self.tally.reused += count("reused");
        }
        Ok(())
    }

    /// A few strikes on one store, and an undisturbed run after them.
    fn round(&mut self) -> Checked {
        let which = self.dice.below(2) as usize;
        let file = self.subjects[which].file;
        for _ in 0..=self.dice.below(3) {
            self.strike(file)?;
        }
        self.finish(which)?;
        // What nobody has read yet may be damaged; once that is set aside, all is whole.
        self.place.command(&["cache", "verify"]).output()?;
        self.place.expect(0, &["cache", "verify"])?;
        if self.dice.below(4) > 0 {
            fs::remove_dir_all(self.place.path(".secateur"))?;
        }
        Ok(())
    }

    fn struck(&self) -> u64 {
        self.tally.kills + self.tally.crashes
    }
}

#[test]
fn a_short_torture() -> Checked {
    let mut torture = Torture::new(6)?;
    while torture.struck() < 10 {
        torture.round()?;
    }
    print!("{}", torture.tally);
    assert!(torture.tally.reused > 0, "nothing was reused");
    Ok(())
}

/// `SECATEUR_TORTURE` holds minutes and a seed.
#[test]
#[ignore = "cargo xtask torture"]
fn a_long_torture() -> Checked {
    let told = std::env::var("SECATEUR_TORTURE").unwrap_or_default();
    let mut words = told.split(' ').map(str::parse::<u64>);
    let (Some(Ok(minutes)), Some(Ok(seed))) = (words.next(), words.next()) else {
        return Err("SECATEUR_TORTURE holds no minutes and seed".into());
    };
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut torture = Torture::new(seed)?;
    let mut next = Instant::now();
    while torture.struck() < KILLS || Instant::now() < end {
        if let Err(fault) = torture.round() {
            panic!("{fault}; seed {seed}, after {}", torture.tally);
        }
        if Instant::now() > next {
            eprint!("{}", torture.tally);
            next = Instant::now() + Duration::from_secs(60);
        }
    }
    eprint!("seed {seed}: {}", torture.tally);
    Ok(())
}
