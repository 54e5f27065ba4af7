//! Small parts on their own: `cargo bench --bench micro`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use secateur::confidence::{Aim, Betting, Sequence};
use secateur::store::{Document, Key, NewCell, Store};
use serde_json::json;
use std::hint::black_box;

const AIM: Aim = Aim {
    margin: 0.01,
    relative: 0.2,
    confidence: 0.95,
};

/// Differences of a cell that loses 3 in 100 samples and wins 1, in no particular order.
fn differences(count: usize) -> Vec<f64> {
    let one = |at: usize| match at.wrapping_mul(7919) % 100 {
        0..3 => -1.0,
        3 => 1.0,
        _ => 0.0,
    };
    (0..count).map(one).collect()
}

/// What an estimated cell costs beside its replays: every micro-batch is taken in and looked at.
fn confidence(criterion: &mut Criterion) {
    let values = differences(10_000);
    criterion.bench_function("a cell of 10 000 samples until it ends", |bencher| {
        bencher.iter(|| {
            let mut sequence = Betting::new(values.len(), -1.0, 1.0, AIM);
            for values in black_box(&values).chunks(64) {
                sequence.extend(values);
                if sequence.is_narrow() {
                    break;
                }
            }
            sequence.interval()
        });
    });
}

fn store(criterion: &mut Criterion) {
    let document = |number: u32| Document::new().with("bench", "micro").with("cell", json!(number));
    criterion.bench_function("a key", |bencher| bencher.iter(|| document(black_box(7)).key()));
    criterion.bench_function("the digest of a megabyte", |bencher| {
        let bytes = vec![7; 1 << 20];
        bencher.iter(|| Key::of(black_box(&bytes)));
    });
    criterion.bench_function("a cell written, synced, and found", |bencher| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("a store");
        let mut number = 0;
        let next = || {
            number += 1;
            NewCell {
                document: document(number),
                value: json!({"value": 0.5}),
            }
        };
        bencher.iter_batched(
            next,
            |cell| {
                let key = cell.document.key();
                store.put_cells(&[cell]).expect("a cell is written");
                store.cell(key).expect("a cell is found")
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(parts, confidence, store);
criterion_main!(parts);
