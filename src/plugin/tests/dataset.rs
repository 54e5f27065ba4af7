//! Datasets of other processes: what they give, and every way in which they may fail.

use super::{Launch, python};
use crate::dataset::{Config, Dataset, DatasetError, Input, Samples, SourceConfig};
use crate::plugin::CommandDataset;
use crate::tensor::DType;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn launch(fault: &str, form: &str) -> Launch {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin/testdata/data.py");
    Launch {
        name: "ten".into(),
        argv: vec![
            "python3".into(),
            script.display().to_string(),
            fault.into(),
            form.into(),
        ],
        ..super::launch("good", &[])
    }
}

fn config(launch: &Launch, samples: Option<Samples>) -> Result<Config, String> {
    let plugin = CommandDataset::start(launch).map_err(|error| error.to_string())?;
    Ok(Config {
        source: SourceConfig::Foreign(Arc::new(plugin)),
        normalize: None,
        samples,
        seed: 0,
        inputs: vec![Input::only(&[2])],
    })
}

fn open(launch: &Launch, samples: Option<Samples>) -> Result<Dataset, String> {
    Dataset::open(&config(launch, samples)?).map_err(|error| error.to_string())
}

/// The numbers of all samples, as their inputs tell them; targets are held.
fn numbers(dataset: &Dataset, batch: usize) -> Result<Vec<i64>, DatasetError> {
    let mut found = Vec::new();
    for batch in dataset.batches(batch) {
        let batch = batch?;
        let rows = batch.inputs[0].to_f64();
        let rows: Vec<i64> = rows.chunks_exact(2).map(|sample| sample[0] as i64).collect();
        let targets = batch.targets.map(|targets| targets.to_i64()).unwrap_or_default();
        assert_eq!(targets, rows.iter().map(|row| row % 3).collect::<Vec<_>>());
        found.extend(rows);
    }
    Ok(found)
}

#[test]
fn samples_come_in_order_however_they_are_held() {
    if !python() {
        return;
    }
    let all: Vec<i64> = (0..10).collect();
    for (form, workers) in [("random", 1), ("random", 3), ("stream", 1)] {
        let launch = Launch {
            workers,
            ..launch("good", form)
        };
        let dataset = open(&launch, None).unwrap();
        assert_eq!((dataset.len(), dataset.targets()), (10, Some(DType::I64)));
        // Twice: a stream begins again.
        for batch in [4, 3] {
            assert_eq!(numbers(&dataset, batch).unwrap(), all, "{form}");
        }
        let drawn = Samples {
            count: 4,
            shuffle: true,
        };
        let drawn = open(&launch, Some(drawn)).unwrap();
        assert_eq!(numbers(&drawn, 3).unwrap(), [2, 4, 8, 9], "{form}");
        let (shuffled, order) = dataset.shuffled(7).unwrap();
        let order: Vec<i64> = order.into_iter().map(|row| row as i64).collect();
        assert_eq!(numbers(&shuffled, 4).unwrap(), order, "{form}");
    }
}

#[test]
fn a_stream_need_not_know_its_length() {
    if !python() {
        return;
    }
    let endless = launch("endless", "stream");
    let some = |count, shuffle| Some(Samples { count, shuffle });
    assert_eq!(
        numbers(&open(&endless, some(7, false)).unwrap(), 4).unwrap(),
        [0, 1, 2, 3, 4, 5, 6]
    );
    for (samples, expected) in [
        (
            None,
            "plug-in ten does not say how many samples it has: write how many are wanted",
        ),
        (
            some(7, true),
            "plug-in ten does not say how many samples it has, so none can be drawn: leave `shuffle` out",
        ),
    ] {
        assert_eq!(open(&endless, samples).unwrap_err(), expected);
    }
    let error = numbers(&open(&endless, some(12, false)).unwrap(), 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plug-in ten: batch of samples 8 to 11: it refuses: it ended after 10 samples"
    );
}

#[test]
fn each_fault_is_told_with_its_samples() {
    if !python() {
        return;
    }
    for (fault, expected) in [
        (
            "few",
            "its tensor `x` is float32 [2, 2] where float32 [3, 2] was announced and asked for",
        ),
        (
            "dtype",
            "its tensor `x` is int32 [3, 2] where float32 [3, 2] was announced and asked for",
        ),
        ("lacks", "its answer lacks the tensor `targets`"),
        (
            "many",
            "an answer promises 100202 bytes of tensors where at most 3120 may come",
        ),
        (
            "cut",
            "the answer: not a safetensors file, or cut short: the header claims 1099511627776 bytes",
        ),
        (
            "die",
            "it ended before it answered (exit status: 3); its last lines:\n  | about to die",
        ),
    ] {
        let dataset = open(&launch(fault, "random"), None).unwrap();
        let expected = format!("plug-in ten: batch of samples 3 to 5: {expected}");
        assert_eq!(numbers(&dataset, 3).unwrap_err().to_string(), expected, "{fault}");
    }
    // No number is data like any other: models and metrics say what comes of it.
    let dataset = open(&launch("nan", "random"), None).unwrap();
    let batch = dataset.read(4..6).unwrap();
    assert!(batch.inputs[0].to_f64()[0].is_nan());

    // Long enough for an interpreter to start on a busy machine.
    let hangs = Launch {
        timeout: Duration::from_secs(5),
        ..launch("hang", "stream")
    };
    let error = numbers(&open(&hangs, None).unwrap(), 3).unwrap_err();
    assert!(error.to_string().contains("it did not answer within 5 s"), "{error}");
}

#[test]
fn what_is_no_dataset_for_the_model_is_not_opened() {
    if !python() {
        return;
    }
    let several = |fault, form| Launch {
        workers: 2,
        ..launch(fault, form)
    };
    for (launch, expected) in [
        (
            launch("metric", "random"),
            "plug-in ten: it is a metric, and a dataset is wanted here",
        ),
        (
            several("good", "stream"),
            "plug-in ten: its data come as a stream, which one process gives: leave `workers` out",
        ),
        (
            several("moody", "random"),
            "plug-in ten: its processes say different things of themselves",
        ),
    ] {
        assert_eq!(open(&launch, None).unwrap_err(), expected);
    }
    let mut config = config(&launch("good", "random"), None).unwrap();
    let mut error = |inputs: &[Input]| {
        config.inputs = inputs.to_vec();
        Dataset::open(&config).unwrap_err().to_string()
    };
    assert_eq!(
        error(&[Input::only(&[3])]),
        "plug-in ten, tensor \"x\": a sample has shape [2], but the model's input is [3]"
    );
    let named = |name: &str| Input {
        name: Some(name.into()),
        ..Input::only(&[2])
    };
    assert_eq!(
        error(&[named("x"), named("mask")]),
        "plug-in ten has no tensor for the model's input `mask`, but x"
    );
}

#[test]
fn a_run_that_is_stopped_does_not_wait() {
    if !python() {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let hangs = Launch {
        stop: Arc::new(move || asked.load(Ordering::Relaxed)),
        ..launch("hang", "random")
    };
    let dataset = open(&hangs, None).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| dataset.read(3..6));
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(reading.join().unwrap(), Err(DatasetError::Stopped)));
    });
}
