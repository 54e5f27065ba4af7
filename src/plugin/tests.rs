//! Every way in which a plug-in may fail, and what is left of it.

use super::*;
use crate::dataset::Batch;
use crate::metric::{self, Forward, Metric, MetricError, Score};
use crate::tensor::Tensor;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

mod dataset;

/// Whether the plug-ins of these tests can run: a fresh machine has python3.
fn python() -> bool {
    let found = std::process::Command::new("python3").arg("--version").output();
    let works = found.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: there is no python3");
    }
    works
}

fn launch(fault: &str, more: &[&str]) -> Launch {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin/testdata/faulty.py");
    let mut argv = vec!["python3".to_owned(), script.display().to_string(), fault.to_owned()];
    argv.extend(more.iter().map(|word| (*word).to_owned()));
    Launch {
        name: "faulty".into(),
        argv,
        folder: std::env::temp_dir(),
        env: Vec::new(),
        pass_env: Vec::new(),
        timeout: Duration::from_secs(30),
        workers: 1,
        sandbox: None,
        stop: Arc::new(|| false),
    }
}

const CELL: &str = "conv1 at sparsity 0.5";

/// Measures eight samples in batches of four.
fn measure(metric: &dyn Metric) -> Result<Score, MetricError> {
    let cell = metric::open(metric, CELL)?;
    // The second batch first: order is the accumulator's business.
    for first in [0, 4] {
        let outputs = Tensor::from_f32([4, 2], &[0.5; 8]);
        let forward = Forward {
            cell: CELL,
            outputs: std::slice::from_ref(&outputs),
            baseline: None,
            batch: &Batch::new(vec![outputs.clone()], None, first),
        };
        cell.add(&forward)?;
    }
    cell.finish()
}

fn run(launch: &Launch) -> Result<Score, String> {
    let metric = CommandMetric::start(launch, None).map_err(|error| error.to_string())?;
    let result = measure(&metric);
    if let Err(MetricError::Foreign { cell, .. }) = &result {
        assert_eq!(cell.as_deref(), Some(CELL));
    }
    result.map_err(|error| error.to_string())
}

/// The process of this number is gone, or only its parent's business.
fn gone(file: &Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        match std::fs::read_to_string(format!("/proc/{}/stat", number.trim())) {
            Err(_) => return true,
            Ok(stat) if stat.contains(") Z ") => return true,
            Ok(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    false
}

#[test]
fn a_good_one_gives_its_values() {
    if !python() {
        return;
    }
    for fault in ["good", "print", "flood"] {
        assert_eq!(run(&launch(fault, &[])).unwrap().value, 3.5, "{fault}");
    }
    let several = Launch {
        workers: 3,
        ..launch("good", &[])
    };
    assert_eq!(run(&several).unwrap().value, 3.5);
    let score = run(&launch("aggregate", &[])).unwrap();
    assert_eq!(score.value, 0.5);
    assert_eq!(score.parts[0], ("cat".to_owned(), 0.25));
    assert!(score.parts[1].1.is_nan());
}

#[test]
fn each_fault_is_told_with_its_place_and_the_last_lines() {
    if !python() {
        return;
    }
    let batch = "plug-in faulty: batch of samples 4 to 7: ";
    for (fault, expected) in [
        (
            "rubbish",
            format!("{batch}the answer \"\u{fffd}\\0 what?\" is no line of JSON with an id"),
        ),
        ("few", format!("{batch}it answered 3 values for 4 samples")),
        ("many", format!("{batch}it answered 5 values for 4 samples")),
        ("text", format!("{batch}\"seven\" in its answer is no number")),
        (
            "close",
            format!("{batch}it closed the channel of answers, but did not end"),
        ),
        (
            "order",
            format!("{batch}it answered question 4 when it was asked question 3"),
        ),
        ("refuse", format!("{batch}it refuses: these samples are not mine")),
        ("nan", "the metric is not a number (first at sample 5)".into()),
        ("aggregate-nan", "the metric is not a number".into()),
        (
            "version",
            "plug-in faulty: it speaks version 2 of the protocol, but this is version 1".into(),
        ),
    ] {
        assert_eq!(run(&launch(fault, &[])).unwrap_err(), expected, "{fault}");
    }
}

#[test]
fn one_that_dies_takes_its_children_along() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("pid");
    let left_word = left.display().to_string();
    let error = run(&launch("die", &[&left_word])).unwrap_err();
    let expected = "plug-in faulty: batch of samples 4 to 7: it ended before it answered (exit status: 3); its last \
                    lines:\n  | about to die";
    assert_eq!(error, expected);
    assert!(gone(&left));

    assert_eq!(run(&launch("fork", &[&left_word])).unwrap().value, 3.5);
    assert!(gone(&left), "a child outlived a plug-in that ended well");
}

#[test]
fn one_that_hangs_is_ended_even_if_it_does_not_want_to() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("pid");
    for fault in ["hang", "stubborn"] {
        let launch = Launch {
            timeout: Duration::from_secs(1),
            ..launch(fault, &[&left.display().to_string()])
        };
        let expected = "plug-in faulty: batch of samples 4 to 7: it did not answer within 1 s: raise `timeout` if it \
                        needs longer; its last lines:\n  | thinking";
        assert_eq!(run(&launch).unwrap_err(), expected, "{fault}");
    }
    assert!(gone(&left));
}

#[test]
fn a_run_that_is_stopped_does_not_wait() {
    if !python() {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let launch = Launch {
        stop: Arc::new(move || asked.load(Ordering::Relaxed)),
        ..launch("hang", &[])
    };
    let metric = CommandMetric::start(&launch, None).unwrap();
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure(&metric));
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(measured.join().unwrap(), Err(MetricError::Stopped));
    });
}

#[test]
fn what_does_not_start_says_why() {
    let program = |argv: &[&str]| Launch {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..launch("good", &[])
    };
    let start = |launch: &Launch| CommandMetric::start(launch, None).err().map(|error| error.to_string());
    assert_eq!(
        start(&program(&["no-such-program-at-all"])).unwrap(),
        "plug-in faulty: no-such-program-at-all cannot be started: no program of this name is in PATH (a program beside \
         the pipeline is written ./name)"
    );
    let error = start(&program(&["./no-such-file"])).unwrap();
    assert!(
        error.contains("./no-such-file cannot be started") && error.contains("No such file"),
        "{error}"
    );
    assert_eq!(
        start(&program(&["false"])).unwrap(),
        "plug-in faulty: it ended before it answered (exit status: 1)"
    );
    let error = start(&program(&["sh", "-c", "echo what now >&2; kill -9 $$"])).unwrap();
    assert_eq!(
        error,
        "plug-in faulty: it ended before it answered (signal: 9 (SIGKILL)); its last lines:\n  | what now"
    );
    let unset = Launch {
        pass_env: vec!["SECATEUR_SURELY_UNSET".into()],
        ..program(&["true"])
    };
    assert_eq!(
        start(&unset).unwrap(),
        "plug-in faulty: SECATEUR_SURELY_UNSET is to be passed on (pass_env), but it is not set here"
    );
    if python() {
        let error = start(&launch("variable", &[])).unwrap();
        assert!(error.ends_with("\n  | KeyError: 'LIMIT'"), "{error}");
        let given = Launch {
            env: vec![("LIMIT".into(), "3".into())],
            ..launch("variable", &[])
        };
        assert_eq!(start(&given), None);
        let wrong = CommandMetric::start(&launch("good", &[]), Some(Direction::Minimize));
        assert!(wrong.is_ok(), "it says nothing of a direction");
    }
}

/// It sees the allow-list and no descriptor but its own.
#[test]
#[cfg(target_os = "linux")]
fn it_sees_what_it_may() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A descriptor that a careless library left open for children.
    let careless = std::fs::File::create(folder.path().join("open")).unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    let launch = Launch {
        env: vec![("OWN".into(), "1".into())],
        ..launch("environment", &[])
    };
    let place = helper::place().unwrap();
    let mut worker = worker::Worker::start(&launch, place.path())
        .map_err(|error| error.to_string())
        .unwrap();
    let ask = Ask::Values {
        cell: CELL.into(),
        first: 0,
        samples: 1,
    };
    worker.ask(&ask, &[]).unwrap();
    let lines = worker.fail(Fault::Stopped, None).lines;
    assert_eq!(lines[1], "descriptors [0, 1, 2, 3, 4]");
    let seen: Vec<&str> = lines[0]
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|name| name.trim_matches('\''))
        .collect();
    for name in &seen {
        let allowed = ALWAYS_PASSED.contains(name)
            || name.starts_with("PYTHON")
            || name.starts_with("SECATEUR_")
            || name.ends_with("_NUM_THREADS")
            // Shells, and launchers of Python that are shell scripts, set some of their own.
            || ["OWN", "TMPDIR", "_", "PWD", "OLDPWD", "SHLVL"].contains(name)
            || name.contains("PYENV");
        assert!(allowed, "{name} in {seen:?}");
    }
    assert!(seen.contains(&"OWN"));
}
