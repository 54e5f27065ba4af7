//! Coupled groups as a drawing that needs no program: layers that lose output channels left, layers that lose input
//! channels right, what joins them between.

use super::graphs::{heading, role, title};
use crate::stages::explain::{Drawing, DrawnGroup, Member, Operator, Side, shape};
use std::fmt::Write;

/// Widths and heights in pixels.
const MARGIN: usize = 20;
const ROW: usize = 46;
const BOX: usize = 36;
const LETTER: usize = 7;
const GAP: usize = 90;
const LANE: usize = 14;
const HEAD: usize = 34;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1b1f24}.t{font-weight:600;font-size:14px}.s{fill:#57606a;\
font-size:10px}rect{stroke:#57606a;fill:#fff}.p{fill:#f6f8fa;stroke:#d0d7de}.o{fill:#eaf4ff;stroke:#54a3e0}path{fill:none;\
stroke:#8c959f}.l rect,rect.l{stroke:#c9510c;stroke-width:2.5}path.l{stroke:#c9510c;stroke-width:2.5}";

/// All groups below one another.
pub fn svg(drawing: &Drawing, name: &str) -> String {
    let panels: Vec<Panel> = drawing.groups.iter().map(Panel::of).collect();
    let width = panels.iter().map(|panel| panel.width).max().unwrap_or(300) + 2 * MARGIN;
    let height: usize = panels.iter().map(|panel| panel.height + MARGIN).sum::<usize>() + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\">\n<title>coupled groups of {}</title>\n<style>{STYLE}</style>\n<rect class=\"p\" width=\"{width}\" \
         height=\"{height}\"/>\n",
        escaped(name)
    );
    let mut top = MARGIN;
    for panel in &panels {
        panel.draw(&mut text, top);
        top += panel.height + MARGIN;
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// A box: its column, its top in the panel, its lines.
struct Cell {
    column: usize,
    top: usize,
    lines: [String; 2],
    /// What a pointer that rests on an operator is told; empty for a member.
    hint: String,
    lit: bool,
}

/// From cell to cell; one that crosses the middle column does so in a lane of its own, at this height.
struct Line {
    from: usize,
    to: usize,
    lane: Option<usize>,
    lit: bool,
}

/// One group, laid out.
struct Panel<'d> {
    group: &'d DrawnGroup,
    cells: Vec<Cell>,
    lines: Vec<Line>,
    /// Left edge and width of each column.
    columns: [(usize, usize); 3],
    width: usize,
    height: usize,
}

impl<'d> Panel<'d> {
    fn of(group: &'d DrawnGroup) -> Panel<'d> {
        let mut cells: Vec<Cell> = Vec::new();
        let mut lines = Vec::new();
        let direct: Vec<(usize, usize, bool)> = group.operators.iter().filter_map(|one| direct(group, one)).collect();
        let mut tops = [HEAD, HEAD + direct.len() * LANE, HEAD];
        let mut place = |column: usize, lines: [String; 2], hint: String, lit: bool| {
            let top = tops[column];
            tops[column] += ROW;
            cells.push(Cell {
                column,
                top,
                lines,
                hint,
                lit,
            });
            cells.len() - 1
        };
        // A norm's parameters are told with the norm.
        let folded = |at: usize| {
            let joins = group.operators.iter().filter(|operator| operator.joins.contains(&at));
            group.members[at].side == Side::Other && joins.count() == 1
        };
        let mut cell_of = vec![None; group.members.len()];
        for (at, member) in group.members.iter().enumerate().filter(|&(at, _)| !folded(at)) {
            let lines = [
                member.name.clone(),
                format!("{}, {}", role(member), shape(&member.shape)),
            ];
            cell_of[at] = Some(place(column(member), lines, String::new(), member.lit));
        }
        for (at, &(from, to, lit)) in direct.iter().enumerate() {
            if let (Some(from), Some(to)) = (cell_of[from], cell_of[to]) {
                let lane = Some(HEAD + at * LANE + LANE / 2);
                lines.push(Line { from, to, lane, lit });
            }
        }
        for operator in group.operators.iter().filter(|one| self::direct(group, one).is_none()) {
            let hint = format!("{}: {}", operator.what, operator.shapes);
            let at = place(1, [title(operator), operator.what.to_owned()], hint, operator.lit);
            for &member in &operator.joins {
                let Some(end) = cell_of[member] else { continue };
                let (from, to) = if column(&group.members[member]) == 2 {
                    (at, end)
                } else {
                    (end, at)
                };
                let lit = operator.lit && group.members[member].lit;
                lines.push(Line {
                    from,
                    to,
                    lane: None,
                    lit,
                });
            }
        }
        let mut columns = [(0, 0); 3];
        let mut left = MARGIN;
        for (column, slot) in columns.iter_mut().enumerate() {
            let own = cells.iter().filter(|cell| cell.column == column);
            let letters = own.flat_map(|cell| [cell.lines[0].chars().count(), cell.lines[1].chars().count() * 6 / 7]);
            let width = letters.max().map_or(0, |letters| letters * LETTER + 20);
            *slot = (left, width);
            left += if width == 0 { 0 } else { width + GAP };
        }
        let right = columns.iter().map(|&(left, width)| left + width).max().unwrap_or(0);
        Panel {
            width: (right + MARGIN).max(heading(group).chars().count() * 8 + 2 * MARGIN),
            height: tops.into_iter().max().unwrap_or(HEAD) + MARGIN / 2,
            group,
            cells,
            lines,
            columns,
        }
    }

    /// Left, top, width of a cell in a panel whose top is given.
    fn spot(&self, cell: &Cell, top: usize) -> (usize, usize, usize) {
        let (left, width) = self.columns[cell.column];
        (MARGIN + left, top + cell.top, width)
    }

    fn curve(&self, line: &Line, top: usize) -> String {
        let (left, y, width) = self.spot(&self.cells[line.from], top);
        let (right, end, other) = self.spot(&self.cells[line.to], top);
        let (start, y, end) = (left + width, y + BOX / 2, end + BOX / 2);
        let bend = |x: usize, y: usize, to: usize, end: usize| {
            let middle = (x + to) / 2;
            format!("C{middle} {y} {middle} {end} {to} {end}")
        };
        match line.lane {
            Some(lane) => {
                let lane = top + lane;
                let (enter, leave) = (start + GAP, right - GAP);
                let (into, out) = (bend(start, y, enter, lane), bend(leave, lane, right, end));
                format!("M{start} {y}{into}L{leave} {lane}{out}")
            }
            None if right > start => format!("M{start} {y}{}", bend(start, y, right, end)),
            // Within one column the curve leaves to the right and comes back.
            None => {
                let (back, out) = (right + other, start + GAP / 2);
                format!("M{start} {y}C{out} {y} {out} {end} {back} {end}")
            }
        }
    }

    fn draw(&self, text: &mut String, top: usize) {
        let _ = writeln!(
            text,
            "<g>\n<rect class=\"p\" x=\"{MARGIN}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"8\" style=\"fill:#fff\"/>\n\
             <text class=\"t\" x=\"{}\" y=\"{}\">{}</text>",
            self.width,
            self.height,
            2 * MARGIN,
            top + 22,
            escaped(&heading(self.group))
        );
        for line in &self.lines {
            let class = if line.lit { " class=\"l\"" } else { "" };
            let _ = writeln!(text, "<path{class} d=\"{}\"/>", self.curve(line, top));
        }
        for cell in &self.cells {
            let (x, y, width) = self.spot(cell, top);
            let class = match (cell.hint.is_empty(), cell.lit) {
                (true, false) => "",
                (true, true) => " class=\"l\"",
                (false, false) => " class=\"o\"",
                (false, true) => " class=\"o l\"",
            };
            let round = if cell.hint.is_empty() { 3 } else { BOX / 2 };
            let hint = if cell.hint.is_empty() {
                String::new()
            } else {
                format!("<title>{}</title>", escaped(&cell.hint))
            };
            let _ = writeln!(
                text,
                "<g>{hint}<rect{class} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"{round}\"/><text \
                 x=\"{}\" y=\"{}\">{}</text><text class=\"s\" x=\"{}\" y=\"{}\">{}</text></g>",
                x + 10,
                y + 15,
                escaped(&cell.lines[0]),
                x + 10,
                y + 28,
                escaped(&cell.lines[1])
            );
        }
        text.push_str("</g>\n");
    }
}

fn column(member: &Member) -> usize {
    match member.side {
        Side::Output => 0,
        Side::Other => 1,
        Side::Input => 2,
    }
}

/// A layer that only reads another's channels needs no box for its own operator: one line from left to right says it.
fn direct(group: &DrawnGroup, operator: &Operator) -> Option<(usize, usize, bool)> {
    let &[a, b] = &operator.joins[..] else { return None };
    let reads = |from: &Member, reader: &Member| {
        from.side == Side::Output && reader.side == Side::Input && reader.name == operator.scope
    };
    match (&group.members[a], &group.members[b]) {
        (from, reader) if reads(from, reader) => Some((a, b, operator.lit)),
        (reader, from) if reads(from, reader) => Some((b, a, operator.lit)),
        _ => None,
    }
}
