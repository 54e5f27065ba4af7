//! What must go together: coupled groups, dependency sets and costs, all read off one walk over the labels.
//!
//! Owns the walk, the layers of a graph, the coupling in its published form, the dependency sets (exact, and as NNI
//! gives them) and the multiply-accumulates of each layer. Deliberately changes no graph and writes no file.

mod balance;
mod coupling;
mod declared;
mod explain;
mod flops;
mod heads;
#[cfg(test)]
mod layer_tests;
mod layers;
mod nni;
mod sets;
#[cfg(test)]
mod tests;
mod walk;

pub use coupling::{Coupling, Frozen, Group, Heads, ParamUnits, coupling};
pub use declared::{Declared, Inputs};
pub use explain::{
    About, Channels, Coupled, Drawing, DrawnGroup, Explanation, FrozenPart, Member, Operator, Part, Side, Step,
    explain, place, ranges, shape,
};
pub use flops::{Cost, Flops, flops};
pub use heads::HeadSplit;
pub use layers::{Layer, LayerKind, all_layers, layers};
pub use nni::{NniSets, nni_sets};
pub use sets::{channel_sets, conv_group_multiples, input_channel_sets};
pub use walk::{Options, Walked, walk};
