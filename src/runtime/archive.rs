//! The archive that libtorch loads a printed class from, as `torch.jit.save` lays it out.

use super::{RuntimeError, Source};
use crate::tensor::{DType, Tensor};
use std::io::Write as _;

/// The file format version that gives every operator today's meaning: below 4 `div` of integers truncates, below 5
/// `full` of integers makes floats, below 10 `gelu` takes no `approximate`.
const VERSION: &[u8] = b"10\n";

/// A module object without attributes, pickled.
const OBJECT: &[u8] = b"\x80\x02c__torch__\nM\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01\x89ubq\x02.";

/// The archive around one printed class.
pub(super) fn archive(source: &Source) -> Result<Vec<u8>, RuntimeError> {
    let table = table(&source.numbers)?;
    let mut entries: Vec<(String, &[u8])> = vec![
        ("m/data.pkl".into(), OBJECT),
        ("m/code/__torch__.py".into(), source.code.as_bytes()),
        ("m/constants.pkl".into(), &table),
        ("m/version".into(), VERSION),
        ("m/byteorder".into(), b"little"),
    ];
    let numbers = source.numbers.iter().enumerate();
    entries.extend(numbers.map(|(at, number)| (format!("m/constants/{at}"), &number.data()[..])));
    let pack = || -> Result<Vec<u8>, zip::result::ZipError> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, data) in entries {
            writer.start_file(name, stored)?;
            writer.write_all(data)?;
        }
        Ok(writer.finish()?.into_inner())
    };
    pack().map_err(|error| RuntimeError::Compile {
        message: error.to_string(),
    })
}

/// A tuple of tensors without axes, pickled; each lies in a storage of its own.
fn table(numbers: &[Tensor]) -> Result<Vec<u8>, RuntimeError> {
    let mut pickle = b"\x80\x02(".to_vec();
    for (at, number) in numbers.iter().enumerate() {
        let key = at.to_string();
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n");
        pickle.extend(storage(number.dtype())?.as_bytes());
        pickle.extend(b"Storage\nX");
        pickle.extend((key.len() as u32).to_le_bytes());
        pickle.extend(key.as_bytes());
        // Persistent id, offset, no shape, no strides, no gradient, no hooks.
        pickle.extend(b"X\x03\x00\x00\x00cpuK\x01tQK\x00))\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"t.");
    Ok(pickle)
}

fn storage(dtype: DType) -> Result<&'static str, RuntimeError> {
    Ok(match dtype {
        DType::Bool => "Bool",
        DType::U8 => "Byte",
        DType::I8 => "Char",
        DType::I16 => "Short",
        DType::I32 => "Int",
        DType::I64 => "Long",
        DType::F16 => "Half",
        DType::BF16 => "BFloat16",
        DType::F32 => "Float",
        DType::F64 => "Double",
        DType::C64 => "ComplexFloat",
        DType::C128 => "ComplexDouble",
        other => {
            return Err(RuntimeError::Compile {
                message: format!("a number of type {other:?} cannot be written into a program"),
            });
        }
    })
}
