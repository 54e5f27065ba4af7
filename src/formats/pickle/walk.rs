//! What a pickle built, walked before anybody else walks it.
//!
//! Owns the bounds on shape: no cycles, no deep nesting, no sharing that multiplies. Deliberately knows no opcode.

use super::{Document, Id, Limits, Object, PickleError};

/// Refuses cycles, deep nesting, and sharing that would make a walk over the result explode.
pub(super) fn measure(document: &Document, end: usize, limits: &Limits) -> Result<(), PickleError> {
    #[derive(Clone, Copy)]
    enum Mark {
        New,
        Open,
        Done { height: usize, size: u64 },
    }
    let beyond = |what, limit| PickleError::Limit {
        offset: end,
        what,
        limit,
    };
    let mut marks = vec![Mark::New; document.objects.len()];
    let mut work = vec![(document.root, false)];
    while let Some((id, leaving)) = work.pop() {
        let at = id.0 as usize;
        if leaving {
            let (mut height, mut size) = (0, 1u64);
            each_child(&document.objects[at], &mut |child| {
                if let Mark::Done {
                    height: below,
                    size: inner,
                } = marks[child.0 as usize]
                {
                    height = height.max(below + 1);
                    size = size.saturating_add(inner);
                }
            });
            if height > limits.depth {
                return Err(beyond("the depth", limits.depth as u64));
            }
            if size > limits.expanded {
                return Err(beyond(
                    "the number of objects, shared ones counted again,",
                    limits.expanded,
                ));
            }
            marks[at] = Mark::Done { height, size };
            continue;
        }
        match marks[at] {
            Mark::Done { .. } => {}
            Mark::Open => return Err(PickleError::Cycle),
            Mark::New => {
                marks[at] = Mark::Open;
                work.push((id, true));
                let mut circular = false;
                each_child(&document.objects[at], &mut |child| match marks[child.0 as usize] {
                    Mark::New => work.push((child, false)),
                    Mark::Open => circular = true,
                    Mark::Done { .. } => {}
                });
                if circular {
                    return Err(PickleError::Cycle);
                }
            }
        }
    }
    Ok(())
}

fn each_child(object: &Object, visit: &mut dyn FnMut(Id)) {
    let pairs = |items: &[(Id, Id)], visit: &mut dyn FnMut(Id)| {
        for &(key, value) in items {
            visit(key);
            visit(value);
        }
    };
    match object {
        Object::Tuple(elements) => elements.iter().copied().for_each(visit),
        Object::List(elements) => elements.iter().copied().for_each(visit),
        Object::Dict(items) => pairs(items, visit),
        Object::Reduce(reduce) => {
            visit(reduce.callable);
            visit(reduce.args);
            pairs(&reduce.items, visit);
            reduce.state.into_iter().for_each(visit);
        }
        Object::Instance(instance) => {
            visit(instance.class);
            visit(instance.args);
            instance.state.into_iter().for_each(visit);
        }
        Object::Persistent(reference) => visit(*reference),
        _ => {}
    }
}
