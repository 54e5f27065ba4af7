//! Coupled groups in Graphviz' language and as Mermaid flowcharts.

use crate::stages::explain::{Drawing, DrawnGroup, Member, Operator, Side, shape};
use std::fmt::Write;

/// What a member is, in words.
pub(super) fn role(member: &Member) -> &'static str {
    match member.side {
        Side::Output => "output channels",
        Side::Input => "input channels",
        Side::Other => "parameters",
    }
}

/// `add in layer1.0`.
pub(super) fn title(operator: &Operator) -> String {
    let op = operator.op.rsplit("::").next().unwrap_or(&operator.op);
    if operator.scope.is_empty() {
        op.to_owned()
    } else {
        format!("{op} in {}", operator.scope)
    }
}

/// `group 1: 16 units`.
pub(super) fn heading(group: &DrawnGroup) -> String {
    let units = if group.units == 1 {
        "1 unit".into()
    } else {
        format!("{} units", group.units)
    };
    match group.heads {
        Some("whole") => format!("group {}: {units}, whole heads", group.number),
        Some(_) => format!("group {}: {units}, within heads", group.number),
        None => format!("group {}: {units}", group.number),
    }
}

/// In Graphviz' language, one cluster a group.
pub fn dot(drawing: &Drawing, name: &str) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!(
        "graph \"{}\" {{\n    rankdir=LR;\n    node [shape=box];\n",
        quoted(name)
    );
    for group in &drawing.groups {
        let g = group.number;
        let _ = writeln!(
            text,
            "    subgraph cluster_{g} {{\n        label=\"{}\";",
            heading(group)
        );
        for (at, member) in group.members.iter().enumerate() {
            let bold = if member.lit { ", penwidth=3" } else { "" };
            let name = quoted(&member.name);
            let _ = writeln!(
                text,
                "        g{g}m{at} [label=\"{name}\\n{}\\n{}\"{bold}];",
                role(member),
                shape(&member.shape)
            );
        }
        for (at, operator) in group.operators.iter().enumerate() {
            let bold = if operator.lit { ", penwidth=3" } else { "" };
            let title = quoted(&title(operator));
            let _ = writeln!(
                text,
                "        g{g}o{at} [shape=ellipse, label=\"{title}\", tooltip=\"{}: {}\"{bold}];",
                operator.what, operator.shapes
            );
            for member in &operator.joins {
                let _ = writeln!(text, "        g{g}m{member} -- g{g}o{at};");
            }
        }
        text.push_str("    }\n");
    }
    text.push_str("}\n");
    text
}

/// As a Mermaid flowchart, one subgraph a group.
pub fn mermaid(drawing: &Drawing) -> String {
    let quoted = |text: &str| text.replace('"', "#quot;");
    let mut text = String::from("flowchart LR\n");
    let mut lit = Vec::new();
    for group in &drawing.groups {
        let g = group.number;
        let _ = writeln!(text, "    subgraph g{g}[\"{}\"]", heading(group));
        for (at, member) in group.members.iter().enumerate() {
            let name = quoted(&member.name);
            let _ = writeln!(
                text,
                "        g{g}m{at}[\"{name}<br/>{}<br/>{}\"]",
                role(member),
                shape(&member.shape)
            );
            lit.extend(member.lit.then(|| format!("g{g}m{at}")));
        }
        for (at, operator) in group.operators.iter().enumerate() {
            let _ = writeln!(text, "        g{g}o{at}([\"{}\"])", quoted(&title(operator)));
            lit.extend(operator.lit.then(|| format!("g{g}o{at}")));
            for member in &operator.joins {
                let _ = writeln!(text, "        g{g}m{member} --- g{g}o{at}");
            }
        }
        text.push_str("    end\n");
    }
    if !lit.is_empty() {
        let _ = writeln!(
            text,
            "    classDef lit stroke-width:4px\n    class {} lit",
            lit.join(",")
        );
    }
    text
}
