//! Files of `torch.save`: nested dicts, lists and tuples of tensors and plain values.
//!
//! Reads the zip form and the legacy form (five pickles, then raw storages), and writes the zip form so that
//! `torch.load(weights_only=True)` reads it. Deliberately reads no modules, optimisers or other classes.

use super::pickle::{self, Document, Id, Object, PickleError};
use super::torch_tensor::{Rebuilder, StorageRef, TensorError, allowed, storage_name};
use super::zip::{self, Archive, ZipError};
use crate::tensor::{DType, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Tensor(Tensor),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// In order; an `OrderedDict` is one too.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The value of a string key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dict(items) = self else {
            return None;
        };
        let mut items = items.iter().rev();
        items
            .find(|(name, _)| matches!(name, Value::Str(name) if name == key))
            .map(|(_, value)| value)
    }
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileError {
    #[error("not a file of torch.save: it begins with neither a zip archive nor torch's magic number")]
    Magic,
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("{part}: {error}")]
    Pickle { part: &'static str, error: PickleError },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("{at}: {problem}")]
    Content { at: String, problem: String },
}

/// The magic number 0x1950a86a20f9469cfc6c, as the first pickle of a legacy file writes it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

fn limits() -> pickle::Limits {
    pickle::Limits {
        expanded: 1_000_000,
        depth: 64,
        ..pickle::Limits::default()
    }
}

/// Reads a whole file.
///
/// # Errors
/// When it is in neither form, damaged, or holds what is not plain data.
pub fn read(bytes: Bytes) -> Result<Value, TorchFileError> {
    if bytes.starts_with(b"PK\x03\x04") {
        return read_zip(bytes);
    }
    read_legacy(&bytes)
}

fn content(at: impl Into<String>, problem: impl Into<String>) -> TorchFileError {
    let (at, problem) = (at.into(), problem.into());
    TorchFileError::Content { at, problem }
}

fn read_zip(bytes: Bytes) -> Result<Value, TorchFileError> {
    let budget = copies(bytes.len());
    let archive = Archive::read(bytes, &zip::Limits::default())?;
    if archive.contains("code/__torch__.py") || archive.contains("constants.pkl") {
        return Err(content(
            "archive",
            "this is a TorchScript model, not a file of torch.save",
        ));
    }
    if archive.contains("byteorder") && &archive.get("byteorder")?[..] != b"little" {
        return Err(content("byteorder", "only little-endian files are read"));
    }
    let data = archive.get("data.pkl")?;
    let document = pickle::load(&data, &allowed, &limits()).map_err(|error| TorchFileError::Pickle {
        part: "data.pkl",
        error,
    })?;
    let mut fetch = |storage: &StorageRef| -> Result<Bytes, TorchFileError> {
        let name = format!("data/{}", storage.key);
        let bytes = archive.get(&name)?;
        match storage.bytes() == Some(bytes.len()) {
            true => Ok(bytes),
            false => {
                let problem = format!(
                    "has {} bytes, but {} elements are announced",
                    bytes.len(),
                    storage.numel
                );
                Err(content(name, problem))
            }
        }
    };
    let mut rebuilder = Rebuilder::new(&document, &mut fetch, budget);
    value(&document, document.root(), &mut rebuilder, "the file")
}

/// Bytes that strided tensors of a file of this length may take together.
fn copies(file: usize) -> u64 {
    4 * file as u64 + (16 << 20)
}

fn read_legacy(bytes: &Bytes) -> Result<Value, TorchFileError> {
    let mut at = 0;
    let mut next = |part: &'static str| -> Result<(Document, usize), TorchFileError> {
        let (document, used) = pickle::load_prefix(&bytes[at..], &allowed, &limits())
            .map_err(|error| TorchFileError::Pickle { part, error })?;
        at += used;
        Ok((document, at))
    };
    let magic = next("the magic number").map_err(|_| TorchFileError::Magic)?.0;
    if magic[magic.root()] != Object::Long(MAGIC.into()) {
        return Err(TorchFileError::Magic);
    }
    let protocol = next("the protocol")?.0;
    if protocol.int(protocol.root()) != Some(1001) {
        return Err(content("the protocol", "only 1001 is read"));
    }
    let system = next("the system information")?.0;
    let little = system
        .lookup(system.root(), "little_endian")
        .and_then(|id| system.bool(id));
    if little != Some(true) {
        return Err(content("the system information", "only little-endian files are read"));
    }
    let document = next("the object")?.0;
    let (keys, mut at) = next("the storage keys")?;
    let mut announced = BTreeMap::new();
    for id in document
        .ids()
        .filter(|&id| matches!(document[id], Object::Persistent(_)))
    {
        let storage = StorageRef::read(&document, id)?;
        announced.insert(storage.key.clone(), storage);
    }
    let order = keys
        .list(keys.root())
        .ok_or_else(|| content("the storage keys", "they are not a list"))?;
    let mut storages = BTreeMap::new();
    for &id in order {
        let key = keys
            .str(id)
            .ok_or_else(|| content("the storage keys", "one is not a string"))?;
        let place = format!("storage {key:?} at byte {at}");
        let storage = announced.get(key).ok_or_else(|| content(&place, "no tensor uses it"))?;
        let header = bytes.get(at..at + 8).and_then(|header| header.first_chunk::<8>());
        let header = *header.ok_or_else(|| content(&place, "the file ends before it"))?;
        if u64::from_le_bytes(header) != storage.numel as u64 {
            return Err(content(
                &place,
                format!("it does not have the {} elements announced", storage.numel),
            ));
        }
        at += 8;
        let end = storage
            .bytes()
            .and_then(|length| at.checked_add(length))
            .filter(|&end| end <= bytes.len());
        let end = end.ok_or_else(|| content(&place, "the file ends within it"))?;
        storages.insert(key.to_owned(), bytes.slice(at..end));
        at = end;
    }
    if at != bytes.len() {
        return Err(content(format!("byte {at}"), "bytes follow the last storage"));
    }
    let mut fetch = |storage: &StorageRef| -> Result<Bytes, TorchFileError> {
        let bytes = storages.get(&storage.key).cloned();
        bytes.ok_or_else(|| content(format!("storage {:?}", storage.key), "the file does not hold it"))
    };
    let mut rebuilder = Rebuilder::new(&document, &mut fetch, copies(bytes.len()));
    value(&document, document.root(), &mut rebuilder, "the file")
}

/// Turns an object into a value. The pickle's limits bound depth and number of calls.
fn value(
    document: &Document,
    id: Id,
    rebuilder: &mut Rebuilder<'_, TorchFileError>,
    at: &str,
) -> Result<Value, TorchFileError> {
    let mut all = |ids: &[Id]| -> Result<Vec<Value>, TorchFileError> {
        ids.iter()
            .enumerate()
            .map(|(n, &id)| value(document, id, rebuilder, &format!("{at}[{n}]")))
            .collect()
    };
    Ok(match &document[id] {
        Object::None => Value::None,
        Object::Bool(value) => Value::Bool(*value),
        Object::Int(value) => Value::Int(*value),
        Object::Float(value) => Value::Float(*value),
        Object::Str(text) => Value::Str(text.to_string()),
        Object::Tuple(elements) => Value::Tuple(all(elements)?),
        Object::List(elements) => Value::List(all(elements)?),
        Object::Dict(_) | Object::Reduce(_) => {
            let Some(items) = document.items(id) else {
                let wrong = |error: TorchFileError| content(at, error.to_string());
                return rebuilder.tensor(id).map(Value::Tensor).map_err(wrong);
            };
            let mut dict = Vec::new();
            for &(key, inner) in items {
                let name = match &document[key] {
                    Object::Str(text) => format!("{at}[{text:?}]"),
                    Object::Int(number) => format!("{at}[{number}]"),
                    _ => return Err(content(at, format!("{} is the key of a dict", document.kind(key)))),
                };
                dict.push((
                    value(document, key, rebuilder, &name)?,
                    value(document, inner, rebuilder, &name)?,
                ));
            }
            Value::Dict(dict)
        }
        Object::Long(_) | Object::Global(_) | Object::Instance(_) | Object::Persistent(_) => {
            return Err(content(at, format!("{} is not plain data", document.kind(id))));
        }
    })
}

/// Writes the zip form. The same value gives the same bytes.
///
/// # Errors
/// When the archive cannot be written (never for values of ordinary size).
pub fn write(root: &Value) -> Result<Vec<u8>, TorchFileError> {
    let mut pickler = Pickler {
        out: vec![0x80, 2],
        storages: Vec::new(),
    };
    pickler.value(root)?;
    pickler.out.push(b'.');
    let mut entries = vec![
        ("data.pkl".to_owned(), Bytes::from(pickler.out)),
        (".format_version".to_owned(), Bytes::from_static(b"1")),
        (".storage_alignment".to_owned(), Bytes::from_static(b"64")),
        ("byteorder".to_owned(), Bytes::from_static(b"little")),
    ];
    for (number, data) in pickler.storages.into_iter().enumerate() {
        entries.push((format!("data/{number}"), data));
    }
    entries.push(("version".to_owned(), Bytes::from_static(b"3\n")));
    Ok(zip::write("archive", &entries)?)
}

/// Writes opcodes of protocol 2, without a memo: nothing is shared.
struct Pickler {
    out: Vec<u8>,
    storages: Vec<Bytes>,
}

impl Pickler {
    fn value(&mut self, value: &Value) -> Result<(), TorchFileError> {
        match value {
            Value::None => self.out.push(b'N'),
            Value::Bool(value) => self.out.push(if *value { 0x88 } else { 0x89 }),
            Value::Int(value) => self.int(*value),
            Value::Float(value) => {
                self.out.push(b'G');
                self.out.extend_from_slice(&value.to_be_bytes());
            }
            Value::Str(text) => self.str(text)?,
            Value::Tensor(tensor) => self.tensor(tensor),
            Value::List(elements) => {
                self.out.extend_from_slice(b"](");
                elements.iter().try_for_each(|element| self.value(element))?;
                self.out.push(b'e');
            }
            Value::Tuple(elements) => {
                self.out.push(b'(');
                elements.iter().try_for_each(|element| self.value(element))?;
                self.out.push(b't');
            }
            Value::Dict(items) => {
                self.out.extend_from_slice(b"}(");
                for (key, value) in items {
                    self.value(key)?;
                    self.value(value)?;
                }
                self.out.push(b'u');
            }
        }
        Ok(())
    }

    fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(small) => {
                self.out.push(b'J');
                self.out.extend_from_slice(&small.to_le_bytes());
            }
            Err(_) => {
                self.out.extend_from_slice(&[0x8a, 8]);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn str(&mut self, text: &str) -> Result<(), TorchFileError> {
        let length = u32::try_from(text.len()).map_err(|_| content("a string", "it is longer than 4 GiB"))?;
        self.out.push(b'X');
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn counts(&mut self, counts: impl Iterator<Item = usize>) {
        self.out.push(b'(');
        // The counts of a tensor in memory fit.
        counts.for_each(|count| self.int(count as i64));
        self.out.push(b't');
    }

    fn ascii(&mut self, text: &str) {
        self.out.push(b'X');
        self.out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Unsigned integers beyond a byte have no storage class that `weights_only` admits: torch writes them untyped.
    fn tensor(&mut self, tensor: &Tensor) {
        let key = self.storages.len().to_string();
        self.storages.push(tensor.data().clone());
        let untyped = matches!(tensor.dtype(), DType::U16 | DType::U32 | DType::U64);
        let (rebuild, storage, numel) = match untyped {
            true => (
                "_rebuild_tensor_v3",
                "torch.storage\nUntypedStorage".to_owned(),
                tensor.data().len(),
            ),
            false => (
                "_rebuild_tensor_v2",
                format!("torch\n{}", storage_name(tensor.dtype())),
                tensor.numel(),
            ),
        };
        self.out
            .extend_from_slice(format!("ctorch._utils\n{rebuild}\n((").as_bytes());
        self.ascii("storage");
        self.out.extend_from_slice(format!("c{storage}\n").as_bytes());
        self.ascii(&key);
        self.ascii("cpu");
        self.int(numel as i64);
        self.out.extend_from_slice(b"tQK\x00");
        self.counts(tensor.shape().iter().copied());
        let mut strides = vec![1; tensor.shape().len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.shape()[axis].max(1);
        }
        self.counts(strides.into_iter());
        self.out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)R");
        if untyped {
            self.out
                .extend_from_slice(format!("ctorch\n{}\n", tensor.dtype()).as_bytes());
        }
        self.out.extend_from_slice(b"tR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Value {
        let weight = Tensor::from_f32([2, 1, 1, 2], &[1.0, 1.0, 0.0, 0.0]);
        let inner = vec![
            (Value::Str("weight".into()), Value::Tensor(weight)),
            (Value::Str("bias".into()), Value::None),
            (
                Value::Str("n".into()),
                Value::List(vec![Value::Int(-5), Value::Int(1 << 40), Value::Float(0.5)]),
            ),
            (
                Value::Str("t".into()),
                Value::Tuple(vec![Value::Bool(true), Value::Tensor(Tensor::from_i64([], &[7]))]),
            ),
        ];
        Value::Dict(vec![(Value::Str("conv1".into()), Value::Dict(inner))])
    }

    #[test]
    fn written_files_read_back() {
        let bytes = write(&masks()).unwrap();
        assert_eq!(bytes, write(&masks()).unwrap());
        assert_eq!(read(bytes.into()).unwrap(), masks());
    }

    #[test]
    fn refusals() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "neither"),
            (b"hello", "neither"),
            (b"\x80\x02K\x01.", "neither"),
            (b"PK\x03\x04", "not a zip"),
        ];
        for (bytes, wanted) in cases {
            let error = read(Bytes::from_static(bytes)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let forbidden = [("data.pkl".to_owned(), b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")];
        let error = read(zip::write("a", &forbidden).unwrap().into())
            .unwrap_err()
            .to_string();
        assert!(error.contains("os.system"), "{error}");
    }
}
