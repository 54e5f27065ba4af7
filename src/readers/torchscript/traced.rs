//! What a traced archive says of the inputs that it was traced with.
//!
//! Owns `traced_inputs.pkl`: the shape and element type of each tensor that was given, whose storages hold nothing.
//! Deliberately knows nothing of the code.

use crate::formats::pickle::{self, Document, Id};
use crate::formats::torch_tensor::{self, Strided};
use crate::formats::zip::Archive;
use crate::tensor::DType;

const ENTRY: &str = "traced_inputs.pkl";

/// What an argument of `forward` was when it was traced.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Tensor(Vec<usize>, DType),
    Tuple(Vec<Given>),
    Dict(Vec<(String, Given)>),
    Other,
}

/// Values within one another.
const MAX_DEPTH: usize = 20;
/// Values in all, however often one is met.
const MAX_VALUES: usize = 1_000;

/// Shape (batch included) and element type of each input that `forward` was traced with, those of tuples and dicts one by
/// one; nothing where the archive does not say, or an input was no tensor.
pub fn traced_inputs(archive: &Archive) -> Option<Vec<(Vec<usize>, DType)>> {
    fn flatten(given: Given, into: &mut Vec<(Vec<usize>, DType)>) -> Option<()> {
        match given {
            Given::Tensor(shape, dtype) => into.push((shape, dtype)),
            Given::Tuple(items) => items.into_iter().try_for_each(|item| flatten(item, into))?,
            Given::Dict(items) => items.into_iter().try_for_each(|(_, item)| flatten(item, into))?,
            Given::Other => return None,
        }
        Some(())
    }
    let mut found = Vec::new();
    given(archive)?
        .into_iter()
        .try_for_each(|given| flatten(given, &mut found))?;
    Some(found)
}

/// The arguments that `forward` was traced with, where the archive says.
pub(super) fn given(archive: &Archive) -> Option<Vec<Given>> {
    let bytes = archive.contains(ENTRY).then(|| archive.get(ENTRY))?.ok()?;
    let allowed = |module: &str, name: &str| {
        torch_tensor::allowed(module, name) || (module == "torch.jit._pickle" && name == "restore_type_tag")
    };
    let document = pickle::load(&bytes, &allowed, &pickle::Limits::default()).ok()?;
    let methods = untagged(&document, document.root());
    let forward = untagged(&document, document.lookup(methods, "forward")?);
    let mut left = MAX_VALUES;
    let inputs = document.list(forward)?.iter();
    inputs
        .map(|&input| value(&document, input, MAX_DEPTH, &mut left))
        .collect()
}

fn value(document: &Document, id: Id, depth: usize, left: &mut usize) -> Option<Given> {
    *left = left.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    let id = untagged(document, id);
    if let Some(items) = document.tuple(id) {
        let items = items.iter().map(|&item| value(document, item, depth, left));
        return items.collect::<Option<_>>().map(Given::Tuple);
    }
    if let Ok(tensor) = Strided::read(document, id) {
        return Some(Given::Tensor(tensor.sizes, tensor.dtype));
    }
    let Some(items) = document.items(id) else {
        return Some(Given::Other);
    };
    let items = items.iter().map(|&(key, item)| {
        let key = document.str(key)?.to_owned();
        Some((key, value(document, item, depth, left)?))
    });
    items.collect::<Option<_>>().map(Given::Dict)
}

/// What stands under `restore_type_tag(value, "…")`.
fn untagged(document: &Document, id: Id) -> Id {
    match document.call(id) {
        Some(("torch.jit._pickle", _, [value, ..])) => *value,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use crate::formats::source::Source;
    use crate::readers::traced_inputs;
    use std::path::Path;

    /// The archive of a fixture, and the shapes that it was traced with.
    fn check(file: &str, expected: Option<&str>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript");
        let source = Source::open(&folder.join(file)).expect("a fixture");
        let found = traced_inputs(&source).map(|inputs| {
            let inputs = inputs
                .iter()
                .map(|(shape, dtype)| format!("{} {shape:?}", dtype.name()));
            inputs.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(found.as_deref(), expected, "{file}");
    }

    #[test]
    fn traces_tell_their_inputs_and_scripts_do_not() {
        check("networks/resnet.pt", Some("float32 [2, 3, 32, 32]"));
        check("networks/bert.pt", Some("int64 [2, 8]"));
        check("networks/scripted.pt", None);
        check(
            "nested.pt",
            Some("float32 [2, 3], float32 [2, 3], float32 [2, 3], float32 [2, 3], float32 [2, 4], float32 [1]"),
        );
    }
}
