//! Mask conflicts: masks that could not be cut out, and how they are repaired.
//!
//! Owns the rules (groups first, then channels; only ever by keeping more, except that what has no filters of its own
//! follows) for the exact repair and for NNI's. Deliberately knows no graph: the caller says which filters of which
//! layers belong together ([`TiedLayer`]).

use super::{Layout, Mask, MaskSet, Slices};
use std::collections::{BTreeMap, BTreeSet};

/// A layer that a mask may be for, and what ties its filters (or input channels).
#[derive(Clone, Debug, PartialEq)]
pub struct TiedLayer {
    pub name: String,
    /// Shape of its weight.
    pub shape: Vec<usize>,
    pub layout: Layout,
    /// The class of each filter (input channel); positions of one class are kept or masked together. None where nothing
    /// ties the position.
    pub classes: Vec<Option<u32>>,
    /// Whether it has no filters of its own and follows the others (depthwise convolutions).
    pub follows: bool,
    /// The number that its count of filters must stay a multiple of.
    pub multiple: usize,
    /// The smallest such number that divides the others: NNI lets whole blocks of it go.
    pub least: usize,
}

/// What masks are cut along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Filters,
    Inputs,
}

/// Whose rules are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// To a fixpoint; biases follow; sets with fine-grained masks are left alone.
    Exact,
    /// NNI 2.10.1: once each; the group step forgets biases; fine-grained masks of a set are overwritten.
    Nni,
}

/// One channel whose mask changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    pub layer: String,
    pub channel: usize,
    pub before: bool,
    pub after: bool,
    pub reason: String,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// By layer in the order given, then by channel.
    pub changes: Vec<Changed>,
    pub warnings: Vec<String>,
}

/// Why masks cannot be repaired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflictError {
    #[error("the masks are for layer {layer:?}, which the model does not have{}", near.as_ref().map_or_else(String::new, |near| format!("; there is {near:?}")))]
    Unknown { layer: String, near: Option<String> },
    #[error("layer {layer:?}: the mask has shape {mask:?}, but the {part} has shape {shape:?}")]
    Shape {
        layer: String,
        part: &'static str,
        mask: Vec<usize>,
        shape: Vec<usize>,
    },
    #[error("layer {layer:?}: {filters} filters do not form {multiple} groups")]
    Multiple {
        layer: String,
        filters: usize,
        multiple: usize,
    },
}

/// Whether masks take input channels rather than filters: the axis that loses more of its positions, as NNI decides it.
/// `convolutions` are the layers that count.
pub fn masked_axis(masks: &MaskSet, convolutions: &BTreeSet<String>) -> Axis {
    let (mut kept, mut all) = ([0.0, 0.0], [0.0, 0.0]);
    for (_, mask) in masks.iter().filter(|(layer, _)| convolutions.contains(*layer)) {
        let shape = mask.weight.shape();
        let along = [
            Slices::filters(shape, Layout::ROWS),
            Slices::inputs(shape, Layout::ROWS),
        ];
        for (axis, slices) in along.into_iter().enumerate() {
            let Some(slices) = slices else { continue };
            all[axis] += slices.count() as f64;
            kept[axis] += (0..slices.count())
                .filter(|&at| mask.weight.kept(&slices, at).0 > 0)
                .count() as f64;
        }
    }
    let sparsity = |axis: usize| {
        if all[axis] == 0.0 {
            0.0
        } else {
            1.0 - kept[axis] / all[axis]
        }
    };
    if sparsity(0) >= sparsity(1) {
        Axis::Filters
    } else {
        Axis::Inputs
    }
}

/// Repairs masks in place.
///
/// # Errors
/// When a mask is for no layer of the model, or not of its shape.
pub fn repair(masks: &mut MaskSet, layers: &[TiedLayer], axis: Axis, rules: Rules) -> Result<Repair, ConflictError> {
    check(masks, layers)?;
    let before = masks.clone();
    let mut work = Work {
        masks,
        layers,
        axis,
        rules,
        reasons: BTreeMap::new(),
        warnings: BTreeSet::new(),
    };
    work.run()?;
    let (reasons, warnings) = (work.reasons, work.warnings);
    let mut repair = Repair {
        warnings: warnings.into_iter().collect(),
        ..Repair::default()
    };
    for layer in layers {
        let (Some(old), Some(new)) = (before.get(&layer.name), masks.get(&layer.name)) else {
            continue;
        };
        let Some(slices) = slices(layer, axis) else { continue };
        for channel in 0..slices.count() {
            let (old, new) = (
                old.weight.kept(&slices, channel).0 > 0,
                new.weight.kept(&slices, channel).0 > 0,
            );
            if old != new {
                let reason = reasons.get(&(layer.name.clone(), channel)).cloned().unwrap_or_default();
                repair.changes.push(Changed {
                    layer: layer.name.clone(),
                    channel,
                    before: old,
                    after: new,
                    reason,
                });
            }
        }
    }
    Ok(repair)
}

fn check(masks: &MaskSet, layers: &[TiedLayer]) -> Result<(), ConflictError> {
    for (name, mask) in masks.iter() {
        let Some(layer) = layers.iter().find(|layer| layer.name == name) else {
            let near = layers
                .iter()
                .map(|layer| (strsim::damerau_levenshtein(name, &layer.name), &layer.name))
                .min();
            let near = near
                .filter(|(distance, _)| *distance <= (name.len() / 3).max(1))
                .map(|(_, near)| near.clone());
            return Err(ConflictError::Unknown {
                layer: name.to_owned(),
                near,
            });
        };
        let shape = |part, mask: &Mask, shape: Vec<usize>| {
            if mask.shape() == shape {
                return Ok(());
            }
            Err(ConflictError::Shape {
                layer: name.to_owned(),
                part,
                mask: mask.shape().to_vec(),
                shape,
            })
        };
        shape("weight", &mask.weight, layer.shape.clone())?;
        if let (Some(bias), Some(filters)) = (&mask.bias, Slices::filters(&layer.shape, layer.layout)) {
            shape("bias", bias, vec![filters.count()])?;
        }
    }
    Ok(())
}

fn slices(layer: &TiedLayer, axis: Axis) -> Option<Slices> {
    match axis {
        Axis::Filters => Slices::filters(&layer.shape, layer.layout),
        Axis::Inputs => Slices::inputs(&layer.shape, layer.layout),
    }
}

struct Work<'a> {
    masks: &'a mut MaskSet,
    layers: &'a [TiedLayer],
    axis: Axis,
    rules: Rules,
    reasons: BTreeMap<(String, usize), String>,
    warnings: BTreeSet<String>,
}

impl Work<'_> {
    fn run(&mut self) -> Result<(), ConflictError> {
        loop {
            let mut changed = false;
            // Groups concern filters; NNI runs the step on whatever lies on axis 0.
            if self.axis == Axis::Filters || self.rules == Rules::Nni {
                changed |= self.groups()?;
            }
            changed |= self.channels();
            if !changed || self.rules == Rules::Nni {
                return Ok(());
            }
        }
    }

    /// Which slices are kept; None when one is kept in part.
    fn whole(mask: &Mask, slices: &Slices) -> Option<Vec<bool>> {
        (0..slices.count())
            .map(|at| match mask.kept(slices, at) {
                (0, _) => Some(false),
                (kept, all) if kept == all => Some(true),
                _ => None,
            })
            .collect()
    }

    fn set(&mut self, layer: &TiedLayer, slices: &Slices, channel: usize, keep: bool, bias: bool, reason: &str) {
        let Some(mask) = self.masks.get_mut(&layer.name) else {
            return;
        };
        mask.weight.set(slices, channel, keep);
        if let (true, Axis::Filters, Some(mask)) = (bias, self.axis, mask.bias.as_mut()) {
            let elements = Slices::elements(mask.shape()[0]);
            mask.set(&elements, channel, keep);
        }
        self.reasons.insert((layer.name.clone(), channel), reason.to_owned());
    }

    /// Every block loses equally many: the surplus of highest index is kept.
    fn groups(&mut self) -> Result<bool, ConflictError> {
        let mut changed = false;
        let layers = self.layers;
        for layer in layers.iter().filter(|layer| layer.multiple > 1) {
            let rows = Layout {
                transposed: false,
                ..layer.layout
            };
            let slices = match self.rules {
                Rules::Nni => Slices::filters(&layer.shape, rows),
                Rules::Exact => slices(layer, Axis::Filters),
            };
            let (Some(mask), Some(slices)) = (self.masks.get(&layer.name), slices) else {
                continue;
            };
            let Some(kept) = Self::whole(&mask.weight, &slices) else {
                continue;
            };
            if !kept.len().is_multiple_of(layer.multiple) {
                let (filters, multiple) = (kept.len(), layer.multiple);
                return Err(ConflictError::Multiple {
                    layer: layer.name.clone(),
                    filters,
                    multiple,
                });
            }
            let gone = |blocks: usize| -> Vec<Vec<usize>> {
                let size = kept.len() / blocks;
                (0..blocks)
                    .map(|block| (block * size..(block + 1) * size).filter(|&at| !kept[at]).collect())
                    .collect()
            };
            let blocks = gone(layer.multiple);
            let fewest = blocks.iter().map(Vec::len).min().unwrap_or(0);
            let mut surplus: BTreeSet<usize> = blocks.iter().flat_map(|block| &block[fewest..]).copied().collect();
            if self.rules == Rules::Nni && layer.least > 0 {
                // A block of which nothing is left may go as a whole.
                let size = kept.len() / layer.least;
                for block in gone(layer.least).into_iter().filter(|block| block.len() == size) {
                    block.iter().for_each(|at| {
                        surplus.remove(at);
                    });
                }
            }
            let reason = format!("each of {} groups must lose equally many", layer.multiple);
            for channel in surplus {
                self.set(layer, &slices, channel, true, self.rules == Rules::Exact, &reason);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What one member of a class keeps, all keep.
    fn channels(&mut self) -> bool {
        let fine = self.fine_sets();
        // By class: whether anything keeps it, and the first layer that does.
        let mut keeper: BTreeMap<u32, Option<&str>> = BTreeMap::new();
        let layers = self.layers;
        for layer in layers {
            let Some(slices) = slices(layer, self.axis) else {
                continue;
            };
            let mask = self.masks.get(&layer.name);
            if layer.follows && self.axis == Axis::Filters {
                continue;
            }
            for (channel, class) in layer.classes.iter().enumerate() {
                let Some(class) = class else { continue };
                let keeps = mask.is_none_or(|mask| mask.weight.kept(&slices, channel).0 > 0);
                let known = keeper.entry(*class).or_insert(None);
                if keeps && known.is_none() {
                    *known = Some(&layer.name);
                }
            }
        }
        let mut changed = false;
        for layer in layers {
            let (Some(slices), true) = (slices(layer, self.axis), self.masks.get(&layer.name).is_some()) else {
                continue;
            };
            for (channel, class) in layer.classes.iter().enumerate() {
                let Some(class) = class.filter(|class| !fine.contains(class)) else {
                    continue;
                };
                let Some(&keeper) = keeper.get(&class) else { continue };
                let Some((kept, all)) = self
                    .masks
                    .get(&layer.name)
                    .map(|mask| mask.weight.kept(&slices, channel))
                else {
                    continue;
                };
                let wanted = if keeper.is_some() { all } else { 0 };
                if kept != wanted {
                    let reason = match keeper {
                        Some(other) => format!("{other} keeps it"),
                        None => "everything tied to it is masked".to_owned(),
                    };
                    self.set(layer, &slices, channel, keeper.is_some(), true, &reason);
                    changed = true;
                } else if let Some(mask) = self.masks.get_mut(&layer.name)
                    && let (Axis::Filters, Some(bias)) = (self.axis, mask.bias.as_mut())
                {
                    let elements = Slices::elements(bias.shape()[0]);
                    bias.set(&elements, channel, keeper.is_some());
                }
            }
        }
        changed
    }

    /// Classes of the sets that hold a mask of single weights; such a set is left as it is. NNI has no such sets.
    fn fine_sets(&mut self) -> BTreeSet<u32> {
        if self.rules == Rules::Nni {
            return BTreeSet::new();
        }
        let mut fine: BTreeSet<u32> = BTreeSet::new();
        for layer in self.layers {
            let (Some(mask), Some(slices)) = (self.masks.get(&layer.name), slices(layer, self.axis)) else {
                continue;
            };
            if Self::whole(&mask.weight, &slices).is_none() {
                fine.extend(layer.classes.iter().flatten());
                self.warnings.insert(format!(
                    "the mask of {} takes single weights, not whole channels: it and what is tied to it are left as they are",
                    layer.name
                ));
            }
        }
        // A set is all layers that share classes.
        loop {
            let touched: Vec<u32> = self
                .layers
                .iter()
                .filter(|layer| layer.classes.iter().flatten().any(|class| fine.contains(class)))
                .flat_map(|layer| layer.classes.iter().flatten().copied())
                .collect();
            let size = fine.len();
            fine.extend(touched);
            if fine.len() == size {
                return fine;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::LayerMask;

    fn layer(name: &str, filters: usize, classes: Option<u32>, multiple: usize) -> TiedLayer {
        TiedLayer {
            name: name.into(),
            shape: vec![filters, 2, 1, 1],
            layout: Layout::ROWS,
            classes: (0..filters as u32).map(|at| classes.map(|first| first + at)).collect(),
            follows: false,
            multiple,
            least: multiple,
        }
    }

    fn masks(layers: &[(&str, &[u8])]) -> MaskSet {
        let mut set = MaskSet::new();
        for (name, keep) in layers {
            let mut weight = Mask::full(&[keep.len(), 2, 1, 1]);
            let mut bias = Mask::full(&[keep.len()]);
            for (at, _) in keep.iter().enumerate().filter(|(_, keep)| **keep == 0) {
                weight.clear(0, at);
                bias.clear(0, at);
            }
            set.insert(
                name,
                LayerMask {
                    weight,
                    bias: Some(bias),
                },
            );
        }
        set
    }

    fn kept(masks: &MaskSet, name: &str) -> Vec<u8> {
        let mask = masks.get(name).expect("a mask");
        let slices = Slices::filters(mask.weight.shape(), Layout::ROWS).expect("filters");
        (0..slices.count())
            .map(|at| u8::from(mask.weight.kept(&slices, at).0 > 0))
            .collect()
    }

    #[test]
    fn what_one_keeps_all_keep() {
        let layers = [
            layer("a", 4, Some(0), 1),
            layer("b", 4, Some(0), 1),
            layer("c", 4, None, 1),
        ];
        let mut set = masks(&[("a", &[0, 0, 1, 1]), ("b", &[0, 1, 0, 1]), ("c", &[0, 1, 1, 1])]);
        let repair = repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect("a repair");
        assert_eq!(
            (kept(&set, "a"), kept(&set, "b"), kept(&set, "c")),
            (vec![0, 1, 1, 1], vec![0, 1, 1, 1], vec![0, 1, 1, 1])
        );
        assert_eq!(repair.changes.len(), 2);
        assert_eq!(repair.changes[0].reason, "b keeps it");
    }

    #[test]
    fn a_layer_without_a_mask_keeps_everything_unless_it_follows() {
        let mut layers = [layer("a", 2, Some(0), 1), layer("b", 2, Some(0), 1)];
        let mut set = masks(&[("a", &[0, 1])]);
        repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect("a repair");
        assert_eq!(kept(&set, "a"), [1, 1]);
        layers[1].follows = true;
        let mut set = masks(&[("a", &[0, 1])]);
        repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect("a repair");
        assert_eq!(kept(&set, "a"), [0, 1]);
    }

    #[test]
    fn groups_lose_equally_many_to_a_fixpoint() {
        // The channel step keeps filter 0 of `a` for `b`, which unbalances the groups again.
        let layers = [layer("a", 4, Some(0), 2), layer("b", 4, Some(0), 1)];
        let mut set = masks(&[("a", &[0, 1, 0, 1]), ("b", &[1, 1, 0, 1])]);
        repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect("a repair");
        assert_eq!((kept(&set, "a"), kept(&set, "b")), (vec![1; 4], vec![1; 4]));
        let mut set = masks(&[("a", &[0, 0, 0, 1]), ("b", &[0, 0, 0, 0])]);
        repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect("a repair");
        assert_eq!(kept(&set, "a"), [0, 1, 0, 1]);
    }

    #[test]
    fn masks_of_other_models_are_refused() {
        let layers = [layer("conv1", 2, None, 1)];
        let mut set = masks(&[("conv2", &[0, 1])]);
        let fault = repair(&mut set, &layers, Axis::Filters, Rules::Exact).expect_err("no such layer");
        assert_eq!(
            fault.to_string(),
            "the masks are for layer \"conv2\", which the model does not have; there is \"conv1\""
        );
        let mut set = masks(&[("conv1", &[0, 1, 1])]);
        assert!(repair(&mut set, &layers, Axis::Filters, Rules::Exact).is_err());
    }
}
