//! The classes and functions of an archive, by qualified name.
//!
//! Owns finding, bounding and parsing of `code/**.py`; a file is parsed when a name in it is first asked for.
//! Deliberately runs nothing.

use super::ast::{Class, Function, Item};
use super::parser::parse;
use super::{Place, ReadError};
use crate::formats::zip::Archive;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes of code in one archive; the largest of 78 models has 3 MB.
const MAX_CODE: usize = 16 << 20;

/// The code of one archive.
pub struct Library<'a> {
    archive: &'a Archive,
    files: BTreeMap<String, Rc<File>>,
    read: usize,
}

/// One parsed file.
pub struct File {
    pub name: String,
    items: BTreeMap<Rc<str>, Item>,
}

impl File {
    /// No file: where nothing runs yet.
    pub fn none() -> File {
        File {
            name: "code".into(),
            items: BTreeMap::new(),
        }
    }
}

/// Something that has a name in the code.
pub enum Named {
    Function(Rc<Function>),
    Class(Rc<Class>),
}

impl<'a> Library<'a> {
    pub fn new(archive: &'a Archive) -> Library<'a> {
        Library {
            archive,
            files: BTreeMap::new(),
            read: 0,
        }
    }

    /// What `__torch__.a.b.Name` names, and its file; `None` when the archive has no such name.
    pub fn find(&mut self, qualified: &str) -> Result<Option<(Named, Rc<File>)>, ReadError> {
        let Some((module, name)) = qualified.rsplit_once('.') else {
            return Ok(None);
        };
        let path = format!("code/{}.py", module.replace('.', "/"));
        let Some(file) = self.file(&path)? else {
            return Ok(None);
        };
        let found = file.items.get(name).map(|item| match item {
            Item::Function(function) => Named::Function(function.clone()),
            Item::Class(class) => Named::Class(class.clone()),
        });
        Ok(found.map(|found| (found, file)))
    }

    /// The class of that name.
    pub fn class(&mut self, qualified: &str) -> Result<Rc<Class>, ReadError> {
        match self.find(qualified)? {
            Some((Named::Class(class), _)) => Ok(class),
            _ => Err(match qualified.strip_prefix("__torch__.torch.classes.") {
                Some(name) if name.starts_with("quantized.") => ReadError::Unsupported(format!(
                    "the model is quantised (it holds an object of torch.classes.{name}), which is not read; save the float \
                     model that it was made from"
                )),
                Some(name) => ReadError::Unsupported(format!(
                    "the model holds an object of torch.classes.{name}, which is a program of its own and not read; save the \
                     model without it"
                )),
                None => ReadError::Archive(format!(
                    "the class {qualified} of an object has no code; the archive is incomplete"
                )),
            }),
        }
    }

    fn file(&mut self, path: &str) -> Result<Option<Rc<File>>, ReadError> {
        if let Some(file) = self.files.get(path) {
            return Ok(Some(file.clone()));
        }
        if !self.archive.contains(path) {
            return Ok(None);
        }
        let size = self.archive.size(path).unwrap_or(u64::MAX);
        if size > (MAX_CODE - self.read) as u64 {
            return Err(ReadError::Limit {
                what: "bytes of code",
                limit: MAX_CODE as u64,
            });
        }
        let bytes = self.archive.get(path)?;
        self.read += bytes.len().min(MAX_CODE - self.read);
        let text = String::from_utf8_lossy(&bytes);
        let items = parse(&text).map_err(|error| ReadError::Code {
            place: Place {
                file: path.into(),
                line: error.line,
                scope: String::new(),
            },
            message: error.message,
        })?;
        let file = Rc::new(File {
            name: path.into(),
            items: items.into_iter().map(|item| (item.name(), item)).collect(),
        });
        self.files.insert(path.into(), file.clone());
        Ok(Some(file))
    }
}
