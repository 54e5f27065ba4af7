//! What was found of each model, as a table.

use std::path::Path;

#[derive(Default)]
pub struct Row {
    pub name: String,
    pub read: String,
    pub nodes: usize,
    pub opaque: Vec<String>,
    pub groups: usize,
    pub frozen: usize,
    pub layers: usize,
    pub each: Proof,
    pub all: Proof,
    /// The shapes that the proof ran at.
    pub ran: Vec<String>,
    pub read_seconds: f64,
    pub couple_seconds: f64,
    pub prove_seconds: f64,
}

/// The largest difference of the removals that ran, and the first that did not.
#[derive(Default)]
pub struct Proof {
    pub worst: f64,
    pub tried: usize,
    pub failed: Vec<String>,
}

/// The largest difference, relative to the largest output, at which removed and zeroed count as equal.
const EQUAL: f64 = 1e-9;

impl Row {
    /// Read, and nothing that was tried failed.
    pub fn holds(&self) -> bool {
        let held = |proof: &Proof| proof.failed.is_empty() && proof.worst <= EQUAL;
        self.read == "ok" && held(&self.each) && held(&self.all)
    }

    /// All groups were removed, and nothing differs.
    pub fn proven(&self) -> bool {
        self.holds() && self.all.tried > 0
    }
}

impl Proof {
    pub fn record(&mut self, result: Result<f64, String>) {
        self.tried += 1;
        match result {
            Ok(difference) => self.worst = self.worst.max(difference),
            Err(message) => self.failed.push(message),
        }
    }
}

/// A row's cells, each on one line.
pub fn tsv(row: &Row) -> String {
    let proof = |proof: &Proof| match proof.failed.first() {
        Some(message) => format!("{} of {} failed: {message}", proof.failed.len(), proof.tried),
        None if proof.tried == 0 => "-".into(),
        None => format!("{:.1e}", proof.worst),
    };
    [
        row.name.clone(),
        row.read.clone(),
        row.nodes.to_string(),
        row.opaque.len().to_string(),
        row.groups.to_string(),
        format!("{}/{}", row.frozen, row.layers),
        proof(&row.each),
        proof(&row.all),
        row.each.tried.to_string(),
        row.ran.join(", "),
        format!("{:.2}", row.read_seconds),
        format!("{:.2}", row.couple_seconds),
        format!("{:.1}", row.prove_seconds),
        row.opaque.first().cloned().unwrap_or_default(),
    ]
    .map(|cell| cell.replace(char::is_control, " "))
    .join("\t")
}

const HEADER: [&str; 14] = [
    "network",
    "read",
    "nodes",
    "opaque",
    "groups",
    "frozen layers",
    "proof, one group",
    "proof, all groups",
    "groups removed alone",
    "inputs",
    "seconds to read",
    "seconds to couple",
    "seconds to prove",
    "first opaque node",
];

/// Writes `zoo.tsv` and `zoo.md`.
pub fn write(folder: &Path, rows: &[Row]) -> std::io::Result<()> {
    let lines: Vec<String> = rows.iter().map(tsv).collect();
    std::fs::write(
        folder.join("zoo.tsv"),
        format!("{}\n{}\n", HEADER.join("\t"), lines.join("\n")),
    )?;
    let cell = |text: &str| format!("| {} |\n", text.replace('|', "\\|").replace('\t', " | "));
    let mut markdown = cell(&HEADER.join("\t"));
    markdown += &cell(&vec!["---"; HEADER.len()].join("\t"));
    lines.iter().for_each(|line| markdown += &cell(line));
    std::fs::write(folder.join("zoo.md"), markdown)
}
