//! The operator table: one file an operator family; labels, cost and the sizes written in arguments side by side.
//!
//! Owns what is known of each operator: how labels and shapes pass through it ([`Op::rule`]), how many multiply-
//! accumulates it costs ([`Op::macs`]) and which of its arguments hold sizes that follow a removal ([`Op::sizes`]).
//! Deliberately knows neither layers nor masks, and never computes a tensor itself.

mod attention;
mod complex;
mod convolution;
mod create;
mod elementwise;
mod fact;
mod fractions;
mod linear;
mod lookup;
mod moves;
mod norm;
mod parts;
mod pool;
mod recurrent;
mod reduce;
mod run;
mod scalar;
mod site;
mod stretch;
mod zeros;

pub use fact::{Fact, Number, TensorFact};
pub(crate) use lookup::picked;
pub use site::{Choices, Site, Trouble};
pub(crate) use site::{elements, site_for, wrap_axis};
pub use zeros::{Trait, Zeros};

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How labels and shapes pass through an operator: reads the arguments' facts, writes the outputs'.
pub type Rule = fn(&mut Site) -> Result<(), Trouble>;

/// Multiply-accumulates of one application, after its rule has run.
pub type Macs = fn(&Site) -> u64;

/// An argument that holds sizes, and what they are sizes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// The output's shape (`view`, `expand`).
    Output(&'static str),
    /// The extents of the input's last axes (`layer_norm`).
    Trailing(&'static str),
    /// The parts of one axis that the outputs take (`split_with_sizes`).
    Parts { sizes: &'static str, axis: &'static str },
    /// The extent of each part of one axis (`split`).
    Part { size: &'static str, axis: &'static str },
    /// First and last position on an axis (`slice`).
    Bounds {
        start: &'static str,
        end: &'static str,
        axis: &'static str,
    },
    /// First position and extent on an axis (`narrow`).
    Start {
        start: &'static str,
        length: &'static str,
        axis: &'static str,
    },
    /// Number of blocks that the input's channels form, where whole blocks go (`group_norm`).
    Blocks(&'static str),
    /// A convolution's groups.
    ConvGroups(&'static str),
    /// The extents into which one axis is split (`unflatten`).
    Unflatten { sizes: &'static str, axis: &'static str },
    /// How often each axis is repeated, or one axis.
    Times(&'static str),
    /// Positions of an axis that are picked by number.
    Picked(&'static str),
    /// Amounts added before and after the last axes (`pad`).
    Padding(&'static str),
    /// A scale that, left out, would follow the size of the query's last axis.
    Scale(&'static str),
}

/// One operator of the table.
#[derive(Clone, Copy)]
pub struct Op {
    /// `aten::conv2d`; all overloads.
    pub name: &'static str,
    pub rule: Rule,
    pub macs: Option<Macs>,
    pub sizes: &'static [Sizes],
    /// When the result is zero at the channels that go.
    pub zeros: Zeros,
}

impl Op {
    const fn new(name: &'static str, rule: Rule) -> Op {
        Op {
            name,
            rule,
            macs: None,
            sizes: &[],
            zeros: Zeros::Never,
        }
    }

    const fn costing(self, macs: Macs) -> Op {
        Op {
            macs: Some(macs),
            ..self
        }
    }

    const fn sized(self, sizes: &'static [Sizes]) -> Op {
        Op { sizes, ..self }
    }

    const fn zero(self, zeros: Zeros) -> Op {
        Op { zeros, ..self }
    }
}

const FAMILIES: [&[Op]; 16] = [
    convolution::OPS,
    linear::OPS,
    attention::OPS,
    recurrent::OPS,
    norm::OPS,
    pool::OPS,
    elementwise::OPS,
    complex::OPS,
    reduce::OPS,
    moves::OPS,
    stretch::OPS,
    parts::OPS,
    run::OPS,
    lookup::OPS,
    create::OPS,
    scalar::OPS,
];

/// The smallest example of each operator of the table, one a line; the text says in which form. Tests sweep it.
pub const EXAMPLES: &str = include_str!("examples.txt");

/// Every operator of the table, family by family.
pub fn table() -> impl Iterator<Item = &'static Op> {
    FAMILIES.into_iter().flatten()
}

/// The table's entry for an operator; none for one that stays opaque.
pub fn find(name: &str) -> Option<&'static Op> {
    static INDEX: OnceLock<BTreeMap<&'static str, &'static Op>> = OnceLock::new();
    INDEX
        .get_or_init(|| table().map(|op| (op.name, op)).collect())
        .get(name)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        for op in table() {
            assert!(seen.insert(op.name), "{} stands twice", op.name);
        }
    }
}
