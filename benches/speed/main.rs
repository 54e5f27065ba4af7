//! How fast it is: `cargo xtask bench`.
//!
//! Everything that is compared is measured in one run, in turns, so that the machine's moods hit all alike; what is shown
//! are medians, with the least and the most beside. See docs/speed.md for how to read it.

mod arguments;
mod growth;
mod loops;
mod network;
mod nni;
mod report;

use arguments::Arguments;
use loops::Run;
use network::Network;
use report::{Report, Row, Section, median};
use secateur::sensitivity::Precision;
use std::error::Error;

fn main() {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    if let Err(error) = run(&arguments) {
        eprintln!("bench: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let old: Option<Report> = match &arguments.compare {
        Some(path) => Some(serde_json::from_slice(&std::fs::read(path)?)?),
        None => None,
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.jobs)
        .build_global()?;
    let mut report = Report {
        machine: format!(
            "{} {}, {} threads, libtorch {}, {} rounds",
            std::env::consts::ARCH,
            secateur::runtime::isa_class(),
            arguments.jobs,
            secateur::runtime::libtorch_version(),
            arguments.rounds
        ),
        sections: Vec::new(),
    };
    if arguments.wants("loops") || arguments.wants("rates") {
        report.sections.extend(table(arguments)?);
    }
    for (word, make) in [
        (
            "growth",
            growth::models as fn(&Arguments) -> Result<Section, Box<dyn Error>>,
        ),
        ("store", growth::store),
        ("runs", growth::runs),
    ] {
        if arguments.wants(word) {
            report.sections.push(make(arguments)?);
        }
    }
    print!("{}", report.table(old.as_ref()));
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

/// One way of making the table.
type Way<'a> = (&'static str, Box<dyn Fn(u64) -> Result<Run, Box<dyn Error>> + 'a>);

fn table(arguments: &Arguments) -> Result<Vec<Section>, Box<dyn Error>> {
    let network = Network::open(arguments)?;
    let network = &network;
    let threads = arguments.jobs;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let folder = tempfile::tempdir()?;
    let mut ways: Vec<Way<'_>> = Vec::new();
    if let Some(environment) = arguments.nni.as_ref().filter(|_| arguments.wants("loops")) {
        nni::samples(network, folder.path())?;
        ways.push((
            "NNI 1.9",
            Box::new(|_| nni::run(network, environment, folder.path(), threads)),
        ));
    }
    ways.push(("plain loop", Box::new(|_| loops::naive(network, threads))));
    ways.push((
        "replay",
        Box::new(|_| loops::replay(network, false, Precision::Float32)),
    ));
    ways.push((
        "lowered",
        Box::new(|_| loops::replay(network, true, Precision::Float32)),
    ));
    ways.push((
        "bfloat16",
        Box::new(|_| loops::replay(network, true, Precision::Bfloat16)),
    ));
    ways.push(("auto", Box::new(|_| loops::replay(network, true, Precision::Auto))));
    ways.push((
        "lowered, 1 thread",
        Box::new(|_| {
            one.install(|| loops::replay(network, true, Precision::Float32).map_err(|e| e.to_string()))
                .map_err(Into::into)
        }),
    ));
    ways.push(("estimate", Box::new(|seed| loops::estimated(network, seed))));
    if !arguments.wants("loops") {
        // The rates are this one's.
        ways.retain(|(name, _)| *name == "lowered");
    }

    let mut found: Vec<Vec<Run>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for ((name, way), runs) in ways.iter().zip(&mut found) {
            let run = way(round as u64)?;
            eprintln!("round {}: {name}: {:.2} s", round + 1, run.seconds);
            runs.push(run);
        }
    }
    let place = |wanted: &str| ways.iter().position(|(name, _)| *name == wanted);
    let first = |wanted: &str| place(wanted).and_then(|at| found[at].first());
    let mut section = Section::new(network.title());
    for ((name, _), runs) in ways.iter().zip(&found) {
        let mut row = Row::new(name, "s").with(runs.iter().map(|run| run.seconds));
        row = match *name {
            "NNI 1.9" | "plain loop" => row,
            "lowered, 1 thread" | "estimate" => row.against("lowered"),
            _ => row.against("plain loop"),
        };
        if let (Some(plain), Some(run)) = (first("plain loop"), runs.first())
            && !matches!(*name, "plain loop" | "estimate")
        {
            row = row.note(format!(
                "furthest from the plain loop: {:.4}",
                loops::furthest(plain, run)
            ));
        }
        if let (Some(exact), "estimate") = (first("lowered"), *name) {
            let all = (network.dataset.len() * exact.values.len()) as f64;
            let fewer: Vec<f64> = runs.iter().filter_map(|run| Some(all / run.replayed? as f64)).collect();
            let far = runs.iter().map(|run| loops::furthest(exact, run)).fold(0.0, f64::max);
            row = row.note(format!(
                "{:.1} times fewer samples; furthest from exact: {far:.4}",
                median(&fewer)
            ));
        }
        section.rows.push(row);
    }
    let mut sections = Vec::new();
    if arguments.wants("loops") {
        sections.push(section);
    }
    if arguments.wants("rates") {
        let mut rates = Section::new("rates of the replays, against matrix products");
        let done = 2.0 * network.replay_macs() as f64 * network.dataset.len() as f64 / 1e9;
        let seconds = place("lowered").map_or_else(Vec::new, |at| found[at].iter().map(|run| run.seconds).collect());
        let mut peak = Row::new("matrix product, float32", "GFLOP/s");
        let mut reduced = Row::new("matrix product, bfloat16", "GFLOP/s").against("matrix product, float32");
        for _ in 0..arguments.rounds {
            peak.rounds.push(loops::product_rate(tch::Kind::Float, threads)?);
            reduced.rounds.push(loops::product_rate(tch::Kind::BFloat16, threads)?);
        }
        let achieved = Row::new("lowered", "GFLOP/s").against("matrix product, float32");
        rates.rows = vec![
            peak,
            reduced,
            achieved.with(seconds.iter().map(|seconds| done / seconds)),
        ];
        sections.push(rates);
    }
    Ok(sections)
}
