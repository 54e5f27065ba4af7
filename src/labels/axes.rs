//! The labels that a value carries, one optional row an axis, and how rows follow a change of shape.

use super::{Choice, FREE, FROZEN, Label, Labels, MOST_ELEMENTS, Reason, Side};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The labels along one axis.
pub type Row = Rc<[Label]>;

/// A value's shape and its labels along each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    pub shape: Vec<usize>,
    /// As long as `shape`; no row where the axis keeps its size.
    pub rows: Vec<Option<Row>>,
}

/// How channels that a product splits into heads are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Every head keeps the same positions.
    Within,
    /// Whole heads go.
    Whole,
}

/// Axes that keep their labels where a node can keep those of one only. Where none of them is meant, the innermost does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep(BTreeSet<(Side, usize)>);

impl Keep {
    /// Names an axis in place of others that it was to be chosen from.
    pub fn prefer(&mut self, side: Side, axis: usize, over: &[usize]) {
        self.0.retain(|&(other, known)| other != side || !over.contains(&known));
        self.0.insert((side, axis));
    }

    fn among(&self, side: Side, axes: &[usize]) -> Option<usize> {
        let mut named = axes.iter().copied().filter(|&axis| self.0.contains(&(side, axis)));
        named.next().or(axes.last().copied())
    }
}

impl Axes {
    /// A value none of whose axes may shrink.
    pub fn fixed(shape: Vec<usize>) -> Axes {
        Axes {
            rows: vec![None; shape.len()],
            shape,
        }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn row(&self, axis: usize) -> Option<&Row> {
        self.rows.get(axis).and_then(Option::as_ref)
    }

    /// Whether any axis has labels.
    pub fn labelled(&self) -> bool {
        self.rows.iter().any(Option::is_some)
    }

    /// Replaces the labels of one axis.
    pub fn with_row(mut self, axis: usize, row: Option<Row>) -> Axes {
        if let Some(slot) = self.rows.get_mut(axis) {
            *slot = row;
        }
        self
    }

    /// Freezes every labelled axis.
    pub fn freeze(&self, labels: &mut Labels, reason: Reason) {
        for row in self.rows.iter().flatten() {
            labels.freeze(row, reason);
        }
    }

    /// Freezes one axis.
    pub fn freeze_axis(&self, axis: usize, labels: &mut Labels, reason: Reason) {
        if let Some(row) = self.row(axis) {
            labels.freeze(row, reason);
        }
    }
}

/// Joins the labels of tensors concatenated along an axis: a tensor without labels there adds frozen ones.
pub fn concat(parts: &[(usize, Option<&Row>)]) -> Option<Row> {
    if parts.iter().all(|(_, row)| row.is_none()) {
        return None;
    }
    let joined = parts.iter().flat_map(|&(extent, row)| match row {
        Some(row) => row.to_vec(),
        None => vec![FROZEN; extent],
    });
    Some(joined.collect())
}

/// Lays a row along one axis of a block of axes, element by element in C order.
pub fn spread(row: &[Label], shape: &[usize], axis: usize) -> Vec<Label> {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let once: Vec<Label> = row
        .iter()
        .flat_map(|&label| std::iter::repeat_n(label, inner))
        .collect();
    once.repeat(outer)
}

/// Carries labels over a change of shape that keeps the elements' order (view, reshape, flatten, unflatten).
///
/// Where one labelled axis is split over several, its labels are tied so that the kept part stays rectangular; where
/// several labelled axes merge, one keeps its labels. `keep` says which. Both shapes hold equally many elements.
pub fn reshape(from: &Axes, shape: &[usize], keep: &Keep, labels: &mut Labels, reason: Reason) -> Axes {
    let mut to = Axes::fixed(shape.to_vec());
    if shape.contains(&0) || from.shape.contains(&0) {
        return to;
    }
    let (mut i, mut j) = (0, 0);
    // Pairs of runs of axes that hold equally many elements: labels move only within a pair.
    while i < from.rank() && j < shape.len() {
        let (start_i, start_j) = (i, j);
        let (mut left, mut right) = (from.shape[i], shape[j]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left *= from.shape[i];
                i += 1;
            } else {
                right *= shape[j];
                j += 1;
            }
        }
        carry(from, start_i..i, &mut to, start_j..j, keep, labels, reason);
    }
    to
}

fn carry(
    from: &Axes,
    source: std::ops::Range<usize>,
    to: &mut Axes,
    target: std::ops::Range<usize>,
    keep: &Keep,
    labels: &mut Labels,
    reason: Reason,
) {
    let Some((axis, row)) = merged(from, source.clone(), keep, labels, reason) else {
        return;
    };
    let whole: Vec<usize> = to.shape[target.clone()]
        .iter()
        .copied()
        .enumerate()
        .filter(|&(_, n)| n > 1)
        .map(|(k, _)| k)
        .collect();
    // An axis that only gains or loses neighbours of extent 1 keeps its row.
    if let [only] = whole[..]
        && row.len() == to.shape[target.start + only]
    {
        to.rows[target.start + only] = Some(row);
        return;
    }
    if from.shape[source.clone()].iter().product::<usize>() > MOST_ELEMENTS {
        let what = "moves too many of them";
        labels.freeze(&row, Reason { what, ..reason });
        return;
    }
    let elements = spread(&row, &from.shape[source.clone()], axis - source.start);
    let shape = to.shape[target.clone()].to_vec();
    for (axis, row) in settle(&elements, &shape, target.start, keep, labels, reason) {
        to.rows[target.start + axis] = Some(row);
    }
}

/// Of labelled axes that merge, the one that keeps its labels: an element would need two. One that is frozen already has
/// nothing to lose, and one that stands for no parameter goes with any other.
fn merged(
    from: &Axes,
    source: std::ops::Range<usize>,
    keep: &Keep,
    labels: &mut Labels,
    reason: Reason,
) -> Option<(usize, Row)> {
    let worth = |row: &Row| {
        if row.iter().all(|&label| labels.find(label) == FROZEN) {
            0
        } else if row.iter().all(|&label| labels.idle(label)) {
            1
        } else {
            2
        }
    };
    let labelled: Vec<(usize, &Row)> = source.filter_map(|axis| Some((axis, from.row(axis)?))).collect();
    let best: Vec<usize> = match &labelled[..] {
        [(only, _)] => vec![*only],
        several => {
            let most = several.iter().map(|(_, row)| worth(row)).max();
            let best = several.iter().filter(|(_, row)| Some(worth(row)) == most);
            best.map(|&(axis, _)| axis).collect()
        }
    };
    let kept = keep.among(Side::Merged, &best)?;
    let why = Reason {
        what: "merges it with another axis that may shrink",
        ..reason
    };
    for (_, row) in labelled.into_iter().filter(|&(axis, _)| axis != kept) {
        labels.freeze(row, why);
    }
    let row = from.row(kept)?.clone();
    if let (Some(node), true) = (reason.node, best.len() > 1) {
        labels.note_choice(Choice {
            node,
            side: Side::Merged,
            axes: best,
            kept,
            row: row.clone(),
        });
    }
    Some((kept, row))
}

/// Finds the one axis along which an element-wise labelling varies, tying labels where there are several; every one of
/// them where labels only tell where axes go. `first` is the axis of the whole value with which `shape` starts.
pub(super) fn settle(
    elements: &[Label],
    shape: &[usize],
    first: usize,
    keep: &Keep,
    labels: &mut Labels,
    reason: Reason,
) -> Vec<(usize, Row)> {
    let varying = varying_axes(elements, shape, labels);
    let axes: Vec<usize> = varying.iter().map(|&axis| first + axis).collect();
    let Some(kept) = keep.among(Side::Split, &axes) else {
        // One class everywhere, and more than one position: removing it would remove everything.
        labels.freeze(
            elements.get(..1).unwrap_or_default(),
            Reason {
                what: "spreads it over every position",
                ..reason
            },
        );
        return Vec::new();
    };
    let mut rows = Vec::new();
    if labels.tracing && varying.len() > 1 {
        rows.extend(
            varying
                .iter()
                .map(|&axis| (axis, traced(elements, shape, axis, labels))),
        );
    } else {
        rows.push((kept - first, tied(elements, shape, kept - first, labels, reason)));
    }
    if let (Some(node), true) = (reason.node, varying.len() > 1) {
        labels.note_choice(Choice {
            node,
            side: Side::Split,
            axes,
            kept,
            row: rows[0].1.clone(),
        });
    }
    rows
}

/// The labels along one axis, with those tied that stand at one position of it.
fn tied(elements: &[Label], shape: &[usize], axis: usize, labels: &mut Labels, reason: Reason) -> Row {
    let extent = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let mut row = vec![FREE; extent];
    for (at, &label) in elements.iter().enumerate() {
        let slot = &mut row[at / inner % extent];
        if *slot == FREE {
            *slot = label;
        } else if *slot != label && label != FREE {
            labels.unite(
                *slot,
                label,
                Reason {
                    what: "splits them into equal parts",
                    ..reason
                },
            );
            if labels.is_stretched(&[label]) {
                *slot = label;
            }
        }
    }
    for slot in row.iter_mut().filter(|slot| **slot == FREE) {
        *slot = labels.fresh(1)[0];
    }
    row.into()
}

/// Labels of an axis' own, equal where the first elements of two positions are.
fn traced(elements: &[Label], shape: &[usize], axis: usize, labels: &mut Labels) -> Row {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut known: BTreeMap<Label, Label> = BTreeMap::new();
    let positions = (0..shape[axis]).map(|at| labels.find(elements[at * inner]));
    let roots: Vec<Label> = positions.collect();
    let own = roots
        .into_iter()
        .map(|root| *known.entry(root).or_insert_with(|| labels.add(1, true)));
    own.collect()
}

/// The axes along which the classes of an element-wise labelling vary. Zeros are of no class, and go with any.
fn varying_axes(elements: &[Label], shape: &[usize], labels: &Labels) -> Vec<usize> {
    let varies = |block: &[Label], inner: usize| {
        let mut known = vec![FREE; inner];
        block.chunks(inner).any(|slab| {
            slab.iter().zip(&mut known).any(|(&label, known)| {
                if *known == FREE {
                    *known = label;
                }
                label != FREE && label != *known && labels.find(label) != labels.find(*known)
            })
        })
    };
    (0..shape.len())
        .filter(|&axis| {
            let inner: usize = shape[axis + 1..].iter().product();
            let mut blocks = elements.chunks(inner * shape[axis]);
            shape[axis] > 1 && blocks.any(|block| varies(block, inner))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_vary_with_nothing() {
        let mut labels = Labels::default();
        let [a, b] = labels.fresh(2)[..] else {
            panic!("two labels")
        };
        for (elements, shape, expected) in [
            (vec![FREE, a, a, FREE, b, b], [2, 3], vec![0]),
            (vec![FREE, FREE, a, a, b, FREE], [3, 2], vec![0]),
            (vec![a, FREE, b, a, FREE, b], [2, 3], vec![1]),
            (vec![FREE, FREE, FREE, FREE, FREE, FREE], [2, 3], vec![]),
            (vec![a, b, FREE, b, a, FREE], [2, 3], vec![0, 1]),
        ] {
            assert_eq!(varying_axes(&elements, &shape, &labels), expected, "{elements:?}");
        }
    }
}
