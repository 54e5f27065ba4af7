//! The benchmark's tables: medians, ratios within a run, and an older run beside.

#[path = "../../benches/speed/report.rs"]
mod report;

use report::{Report, Row, Section, median};

fn report(seconds: &[f64]) -> Report {
    let mut section = Section::new("a network");
    section.rows.push(Row::new("plain loop", "s").with([4.0, 6.0, 5.0]));
    let row = Row::new("replay", "s").against("plain loop").note("the same");
    section.rows.push(row.with(seconds.iter().copied()));
    section.rows.push(Row::new("product", "GFLOP/s").with([100.0]));
    section
        .rows
        .push(Row::new("achieved", "GFLOP/s").against("product").with([70.0]));
    Report {
        machine: "two cores".into(),
        sections: vec![section],
    }
}

#[test]
fn tables_show_medians_ratios_and_what_was_before() -> Result<(), serde_json::Error> {
    assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0])), (2.0, 1.5));
    let now = report(&[2.0, 1.0, 3.0]);
    let table = now.table(None);
    for line in [
        "| plain loop | 5.00 s (4.00–6.00) |  |  |  |",
        "| replay | 2.00 s (1.00–3.00) | 2.50 | plain loop | the same |",
        "| achieved | 70.0 GFLOP/s | 0.700 | product |  |",
    ] {
        assert!(table.contains(line), "{line} is not in\n{table}");
    }
    let json = serde_json::to_string(&report(&[4.0]))?;
    let old: Report = serde_json::from_str(&json)?;
    let table = now.table(Some(&old));
    let line = "| replay | 2.00 s (1.00–3.00) | 2.50 | plain loop | 4.00 s | 0.500 | the same |";
    assert!(table.contains(line), "{line} is not in\n{table}");
    Ok(())
}
