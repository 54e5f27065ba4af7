//! Explanations for people: text, and drawings of coupled groups.
//!
//! Owns how they look. Deliberately finds nothing out: everything told here is in the [`Explanation`].

mod graphs;
mod svg;

use crate::stages::explain::{About, Channels, Coupled, Explanation, Link, Part, ranges, shape};
use std::fmt::Write;

pub use graphs::{dot, mermaid};
pub use svg::svg;

/// An explanation as text.
pub fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    if explanation.layers.is_empty() {
        overview(&mut text, explanation);
    }
    if let [a, b] = &explanation.layers[..] {
        if explanation.coupled.is_empty() {
            let _ = writeln!(
                text,
                "nothing couples {} and {}: no unit holds channels of both\n",
                a.name, b.name
            );
        }
        for pair in &explanation.coupled {
            coupled(&mut text, a, b, pair);
        }
    }
    for layer in &explanation.layers {
        about(&mut text, layer);
    }
    text
}

fn overview(text: &mut String, explanation: &Explanation) {
    let groups = &explanation.drawing.groups;
    for group in groups {
        let names = |side| {
            let own = group.members.iter().filter(|member| member.side == side);
            own.map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(text, "group {}: {}", group.number, units(group.units));
        for (word, side) in [
            ("outputs", crate::stages::explain::Side::Output),
            ("inputs", crate::stages::explain::Side::Input),
        ] {
            let _ = writeln!(text, "  {word}: {}", names(side));
        }
    }
    if groups.is_empty() {
        text.push_str("no channel may go\n");
    }
}

fn units(count: usize) -> String {
    if count == 1 {
        "1 unit".into()
    } else {
        format!("{count} units")
    }
}

fn coupled(text: &mut String, a: &About, b: &About, pair: &Coupled) {
    let [from, to] = pair.sides;
    let groups: Vec<String> = pair.groups.iter().map(usize::to_string).collect();
    let of = if groups.is_empty() {
        String::new()
    } else {
        format!(" of group {}", groups.join(", "))
    };
    let _ = writeln!(
        text,
        "{} {from} channels and {} {to} channels go together: {}{of}",
        a.name,
        b.name,
        units(pair.units)
    );
    chain(text, &pair.steps);
    text.push('\n');
}

/// The chain, one line an end and one an operator.
fn chain(text: &mut String, steps: &[Link]) {
    if let Some(first) = steps.first() {
        let _ = writeln!(text, "    {}", first.from);
    }
    for step in steps {
        let _ = match (step.place.is_empty(), step.shapes.is_empty()) {
            (true, _) => writeln!(text, "      {}", step.what),
            (_, true) => writeln!(text, "      {}: {}", step.place, step.what),
            _ => writeln!(text, "      {} ({}): {}", step.place, step.shapes, step.what),
        };
        let _ = writeln!(text, "    {}", step.to);
    }
}

fn about(text: &mut String, layer: &About) {
    let _ = writeln!(
        text,
        "{} ({}, weight {})",
        layer.name,
        layer.class,
        shape(&layer.weight)
    );
    for (place, shapes) in &layer.uses {
        let _ = writeln!(text, "  applied by {place}: {shapes}");
    }
    channels(text, "output", &layer.outputs);
    if let Some(inputs) = &layer.inputs {
        channels(text, "input", inputs);
    }
}

fn channels(text: &mut String, side: &str, channels: &Channels) {
    let of = |taken: &[usize]| {
        if taken.len() == 1 && channels.count == 1 {
            format!("the only {side} channel")
        } else if taken.len() == channels.count {
            format!("all {} {side} channels", channels.count)
        } else {
            format!("{side} channels {} of {}", ranges(taken), channels.count)
        }
    };
    for part in &channels.groups {
        let _ = writeln!(
            text,
            "  {}: group {}, {}{}",
            of(&part.channels),
            part.group,
            units(part.units),
            notes(part)
        );
        for (word, names) in [("outputs", &part.outputs), ("inputs", &part.inputs)] {
            if !names.is_empty() {
                let _ = writeln!(text, "    {word}: {}", names.join(", "));
            }
        }
    }
    if !channels.whole.is_empty() {
        let _ = writeln!(text, "  {}: cannot go, for nothing would be left", of(&channels.whole));
    }
    for part in &channels.frozen {
        let _ = writeln!(text, "  {}: frozen, because {}", of(&part.channels), part.reason);
        chain(text, &part.steps);
    }
}

fn notes(part: &Part) -> String {
    let mut notes = String::new();
    if part.blocks > 1 {
        let _ = write!(notes, ", equally many of each of {} blocks", part.blocks);
    }
    if let Some(heads) = &part.heads {
        let _ = match heads.cut {
            "whole" => write!(notes, ", whole heads of {} features", heads.size),
            _ => write!(notes, ", the same positions within each of {} heads", heads.count),
        };
    }
    if part.approximate {
        notes.push_str(", approximate: a norm mixes them");
    }
    notes
}
