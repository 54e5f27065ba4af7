//! The labels that a value carries, one optional row an axis, and how rows follow a change of shape.

use super::{FREE, FROZEN, Label, Labels, MOST_ELEMENTS, Parts, Reason};
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

/// Which part of a split axis keeps its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Every block keeps the same positions: the innermost part that varies keeps the labels.
    Within,
    /// Whole blocks go: the part just outside the innermost one keeps the labels.
    Whole,
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
/// Where one labelled axis is split over several, its labels are tied so that the kept part stays rectangular:
/// `split` says across which part. Both shapes hold equally many elements.
pub fn reshape(from: &Axes, shape: &[usize], split: Split, labels: &mut Labels, reason: Reason) -> Axes {
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
        carry(from, start_i..i, &mut to, start_j..j, split, labels, reason);
    }
    to
}

fn carry(
    from: &Axes,
    source: std::ops::Range<usize>,
    to: &mut Axes,
    target: std::ops::Range<usize>,
    split: Split,
    labels: &mut Labels,
    reason: Reason,
) {
    let mut labelled = source.clone().filter(|&axis| from.rows[axis].is_some());
    // Of two labelled axes that merge, an element would need two labels: the innermost keeps its own.
    let Some(axis) = labelled.next_back() else { return };
    for other in labelled {
        from.freeze_axis(
            other,
            labels,
            Reason {
                what: "merges it with another axis that may shrink",
                ..reason
            },
        );
    }
    let Some(row) = from.rows[axis].clone() else { return };
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
    if let Some((axis, row)) = settle(&elements, &shape, target.start, split, labels, reason) {
        to.rows[target.start + axis] = Some(row);
    }
}

/// Finds the one axis along which an element-wise labelling varies, tying labels where there are several. `first` is the
/// axis of the whole value with which `shape` starts.
pub(super) fn settle(
    elements: &[Label],
    shape: &[usize],
    first: usize,
    split: Split,
    labels: &mut Labels,
    reason: Reason,
) -> Option<(usize, Row)> {
    let varying = varying_axes(elements, shape, labels);
    let kept = match (split, &varying[..]) {
        (_, []) => {
            // One class everywhere, and more than one position: removing it would remove everything.
            labels.freeze(
                elements.get(..1).unwrap_or_default(),
                Reason {
                    what: "spreads it over every position",
                    ..reason
                },
            );
            return None;
        }
        (Split::Whole, [.., outer, _]) => *outer,
        (_, [.., last]) => *last,
    };
    let extent = shape[kept];
    let inner: usize = shape[kept + 1..].iter().product();
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
        }
    }
    for slot in row.iter_mut().filter(|slot| **slot == FREE) {
        *slot = labels.fresh(1)[0];
    }
    if let (Some(node), true) = (reason.node, varying.len() > 1) {
        labels.note_parts(Parts {
            node,
            axes: varying.iter().map(|&axis| first + axis).collect(),
            extents: varying.iter().map(|&axis| shape[axis]).collect(),
            row: row.clone(),
        });
    }
    Some((kept, row.into()))
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
