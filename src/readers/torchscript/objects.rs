//! The objects of an archive: `data.pkl` and `constants.pkl` as values.
//!
//! Owns the object tree with its identities (a tied tensor or module is one object under two paths), where the tensors'
//! bytes lie, and the lists of parameters and modules in registration order. Deliberately runs no code, and reads no
//! tensor.

use super::ReadError;
use super::library::Library;
use super::storage::{Storage, weight};
use super::value::{EnumVal, Object, ObjectId, Val};
use crate::formats::pickle::{self, Document, Id, Object as Pickled};
use crate::formats::torch_tensor::{Strided, copied};
use crate::formats::zip::Archive;
use crate::tensor::Weight;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of the dotted path of an attribute.
const MAX_PATH: usize = 1_000;

/// Bytes that the tensors of an archive of this size may take together which must be copied out of their storages.
fn copies(archive: u64) -> u64 {
    archive.saturating_mul(4).saturating_add(16 << 20)
}

/// Reads one pickle of the archive into values.
pub struct Loader<'a, 'l> {
    pub archive: &'a Archive,
    pub library: &'l mut Library<'a>,
    pub objects: Vec<Object>,
    pub tensors: Vec<Weight>,
    /// By the names of their entries.
    storages: BTreeMap<String, Arc<Storage>>,
    /// What is left of [`copies`].
    copies: u64,
}

/// A pickle that was read; tensors are `Val::Tensor` cells numbered as in [`Loader::tensors`].
pub struct Loaded {
    pub root: Val,
}

impl<'a, 'l> Loader<'a, 'l> {
    pub fn new(archive: &'a Archive, library: &'l mut Library<'a>) -> Loader<'a, 'l> {
        Loader {
            archive,
            library,
            objects: Vec::new(),
            tensors: Vec::new(),
            storages: BTreeMap::new(),
            copies: copies(archive.source().size()),
        }
    }

    /// Reads `data.pkl` or `constants.pkl`, whose storages lie in `folder`.
    pub fn load(&mut self, name: &str, folder: &str) -> Result<Loaded, ReadError> {
        let bytes = self.archive.get(name)?;
        let limits = pickle::Limits {
            ops: 2_000_000,
            memo: 1_000_000,
            ..pickle::Limits::default()
        };
        let document = pickle::load(&bytes, &allowed, &limits).map_err(|error| ReadError::Pickle {
            entry: name.into(),
            error,
        })?;
        let mut walk = Walk {
            loader: self,
            document: &document,
            folder,
            entry: name,
            known: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let root = walk.value(document.root(), "")?;
        Ok(Loaded { root })
    }
}

/// Names that these pickles may hold; nothing is called.
fn allowed(module: &str, name: &str) -> bool {
    match module {
        "torch._utils" => name == "_rebuild_tensor_v2",
        "collections" => name == "OrderedDict",
        "torch" => name == "device" || name.ends_with("Storage"),
        "torch.jit._pickle" => [
            "build_intlist",
            "build_doublelist",
            "build_tensorlist",
            "build_boollist",
            "restore_type_tag",
        ]
        .contains(&name),
        _ => module == "__torch__" || module.starts_with("__torch__."),
    }
}

struct Walk<'w, 'a, 'l> {
    loader: &'w mut Loader<'a, 'l>,
    document: &'w Document,
    folder: &'w str,
    entry: &'w str,
    known: BTreeMap<Id, Val>,
    /// Names of attributes, each held once.
    names: BTreeMap<Id, Rc<str>>,
}

impl Walk<'_, '_, '_> {
    fn error<T>(&self, path: &str, message: impl std::fmt::Display) -> Result<T, ReadError> {
        let place = if path.is_empty() {
            "the root".to_owned()
        } else {
            format!("{path:?}")
        };
        Err(ReadError::Archive(format!("{}: {place}: {message}", self.entry)))
    }

    fn value(&mut self, id: Id, path: &str) -> Result<Val, ReadError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let value = match &self.document[id] {
            Pickled::None => Val::None,
            Pickled::Bool(flag) => Val::Bool(*flag),
            Pickled::Int(int) => Val::Int(*int),
            Pickled::Float(float) => Val::Float(*float),
            Pickled::Str(text) => Val::str(text),
            Pickled::Tuple(items) => Val::tuple(self.values(items, path)?),
            Pickled::List(items) => Val::list(self.values(items, path)?),
            Pickled::Dict(items) => {
                let mut found = Vec::with_capacity(items.len());
                for (key, value) in items {
                    found.push((self.value(*key, path)?, self.value(*value, path)?));
                }
                Val::Dict(Rc::new(found.into()))
            }
            Pickled::Instance(_) => self.instance(id, path)?,
            Pickled::Reduce(_) => self.call(id, path)?,
            Pickled::Long(_) | Pickled::Global(_) | Pickled::Persistent(_) => {
                return self.error(path, format_args!("{} cannot stand here", self.document.kind(id)));
            }
        };
        self.known.insert(id, value.clone());
        Ok(value)
    }

    fn values(&mut self, ids: &[Id], path: &str) -> Result<Vec<Val>, ReadError> {
        ids.iter().map(|id| self.value(*id, path)).collect()
    }

    fn instance(&mut self, id: Id, path: &str) -> Result<Val, ReadError> {
        let document = self.document;
        let Some(instance) = document.instance(id) else {
            return self.error(path, "not an object");
        };
        let Some(global) = document.global(instance.class) else {
            return self.error(path, "an object without a class");
        };
        let qualified = format!("{}.{}", global.module, global.name);
        let class = self.loader.library.class(&qualified)?;
        let object = ObjectId(self.loader.objects.len());
        self.loader.objects.push(Object::new(class, qualified.into()));
        let items = match instance.state {
            Some(state) => document.items(state).unwrap_or(&[]),
            None => &[],
        };
        for (key, value) in items {
            let Some(name) = document.str(*key) else {
                return self.error(path, "an attribute whose name is no string");
            };
            let place = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            if place.len() > MAX_PATH || place.contains(char::is_control) {
                return self.error(
                    path,
                    format_args!(
                        "the name of an attribute holds control characters, or its path is above {MAX_PATH} bytes"
                    ),
                );
            }
            let value = self.value(*value, &place)?;
            // What a pickle writes twice is the last.
            let name = self.names.entry(*key).or_insert_with(|| name.into()).clone();
            self.loader.objects[object.0].set(&name, value);
        }
        Ok(Val::Object(object))
    }

    fn call(&mut self, id: Id, path: &str) -> Result<Val, ReadError> {
        let document = self.document;
        let Some((module, name, args)) = document.call(id) else {
            return self.error(path, "a malformed call");
        };
        match (module, name, args) {
            ("torch._utils", "_rebuild_tensor_v2", _) => self.tensor(id, path),
            ("collections", "OrderedDict", _) => Ok(Val::Dict(Rc::default())),
            ("torch.jit._pickle", _, [value, ..]) => self.value(*value, path),
            ("torch", "device", [name]) => match document.str(*name) {
                Some(name) => Ok(Val::Device(name.into())),
                None => self.error(path, "a device without a name"),
            },
            (_, _, [value]) if module.starts_with("__torch__") => {
                let value = self.value(*value, path)?;
                let class = format!("{module}.{name}").into();
                Ok(Val::Enum(Rc::new(EnumVal { class, value })))
            }
            _ => self.error(path, format_args!("a call of {module}.{name} cannot stand here")),
        }
    }

    fn tensor(&mut self, id: Id, path: &str) -> Result<Val, ReadError> {
        let view = Strided::read(self.document, id).or_else(|error| self.error(path, error))?;
        let storage = self.storage(format!("{}/{}", self.folder, view.storage.key))?;
        let copied = copied(&view, storage.size()).or_else(|error| self.error(path, error))?;
        match self.loader.copies.checked_sub(copied) {
            Some(left) => self.loader.copies = left,
            None => {
                return self.error(
                    path,
                    format_args!(
                        "with this tensor, those that do not lie as their shapes say take more than {} bytes; save the model \
                         with contiguous weights (parameter.data = parameter.data.contiguous())",
                        copies(self.loader.archive.source().size())
                    ),
                );
            }
        }
        self.loader.tensors.push(weight(storage, view));
        Ok(Val::Tensor(super::value::CellId(self.loader.tensors.len() - 1)))
    }

    fn storage(&mut self, entry: String) -> Result<Arc<Storage>, ReadError> {
        if let Some(storage) = self.loader.storages.get(&entry) {
            return Ok(storage.clone());
        }
        let storage = Arc::new(Storage::new(self.loader.archive.find(&entry)?));
        self.loader.storages.insert(entry, storage.clone());
        Ok(storage)
    }
}
