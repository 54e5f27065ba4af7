//! What a traced archive says of the inputs that it was traced with.
//!
//! Owns `traced_inputs.pkl`: the shape and element type of each tensor that was given, whose storages hold nothing.
//! Deliberately knows nothing of the code.

use crate::formats::pickle::{self, Document, Id};
use crate::formats::torch_tensor::{self, Strided};
use crate::formats::zip::Archive;
use crate::tensor::DType;

const ENTRY: &str = "traced_inputs.pkl";

/// Shape (batch included) and element type of each input that `forward` was traced with; nothing where the archive does
/// not say, or an input was no tensor.
pub fn traced_inputs(archive: &Archive) -> Option<Vec<(Vec<usize>, DType)>> {
    let bytes = archive.contains(ENTRY).then(|| archive.get(ENTRY))?.ok()?;
    let allowed = |module: &str, name: &str| {
        torch_tensor::allowed(module, name) || (module == "torch.jit._pickle" && name == "restore_type_tag")
    };
    let document = pickle::load(&bytes, &allowed, &pickle::Limits::default()).ok()?;
    let methods = untagged(&document, document.root());
    let forward = untagged(&document, document.lookup(methods, "forward")?);
    let inputs = document.list(forward)?.iter().map(|&input| {
        let tensor = Strided::read(&document, input).ok()?;
        Some((tensor.sizes, tensor.dtype))
    });
    inputs.collect()
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript/networks");
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
        check("resnet.pt", Some("float32 [2, 3, 32, 32]"));
        check("bert.pt", Some("int64 [2, 8]"));
        check("scripted.pt", None);
    }
}
