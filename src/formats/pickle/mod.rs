//! Pickles of protocol 2, as inert data.
//!
//! Owns a small machine with an allow-list of opcodes (`machine`) and the nodes that it leaves. Nothing is ever called:
//! a `GLOBAL` is a name that the caller allows or refuses, a `REDUCE` remembers what would have been called with what.
//! Nodes are known by [`Id`], so an object that was memoised and met again is the same `Id`: tied tensors and modules
//! can be told from equal ones. Deliberately knows nothing of tensors.

mod machine;
#[cfg(test)]
mod tests;
mod walk;

pub use machine::{load, load_prefix};

/// Index of an object in its [`Document`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// One object of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: two's complement, little-endian.
    Long(Box<[u8]>),
    Float(f64),
    Str(Box<str>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    /// In order of writing; a repeated key is kept, and the last one counts (see [`Document::lookup`]).
    Dict(Vec<(Id, Id)>),
    Global(Box<Global>),
    Reduce(Box<Reduce>),
    Instance(Box<Instance>),
    /// `BINPERSID`: torch's reference to a storage.
    Persistent(Id),
}

/// A name that would have been imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    pub module: String,
    pub name: String,
}

/// A call that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Always a [`Object::Global`].
    pub callable: Id,
    /// A tuple as a rule; TorchScript writes enum values with a bare string.
    pub args: Id,
    /// Items set on the result, as for an `OrderedDict`.
    pub items: Vec<(Id, Id)>,
    /// What `BUILD` would have set.
    pub state: Option<Id>,
}

/// An object of a class that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Always a [`Object::Global`].
    pub class: Id,
    pub args: Id,
    /// What `BUILD` would have set; for a module, a dict of its attributes.
    pub state: Option<Id>,
}

/// What a pickle may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bytes: usize,
    /// Opcodes, and so objects.
    pub ops: usize,
    /// Memo keys; torch counts them from 0.
    pub memo: usize,
    /// Containers within containers.
    pub depth: usize,
    /// Objects met when the result is walked without regard to sharing.
    pub expanded: u64,
}

impl Default for Limits {
    /// For model files: the largest scripted model of torchvision (efficientnet_v2_l) needs 68,131 opcodes and a memo
    /// of 6,222.
    fn default() -> Limits {
        Limits {
            bytes: 256 << 20,
            ops: 1_000_000,
            memo: 200_000,
            depth: 200,
            expanded: 4_000_000,
        }
    }
}

/// Why a pickle cannot be read; offsets are bytes from its start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PickleError {
    #[error("pickle is cut short at byte {offset}: {what} missing")]
    Truncated { offset: usize, what: &'static str },
    #[error("pickle byte {offset}: opcode {opcode} is not among those that are read")]
    Opcode { offset: usize, opcode: String },
    #[error("pickle byte {offset}: protocol {protocol}, but only 2 is read; save with torch.save's default")]
    Protocol { offset: usize, protocol: u8 },
    #[error(
        "pickle byte {offset}: the name {module}.{name} is not allowed here: what a file asks for is never imported, and only tensors, numbers, texts, lists and dicts are read"
    )]
    Forbidden {
        offset: usize,
        module: String,
        name: String,
    },
    #[error("pickle byte {offset}: {problem}")]
    Malformed { offset: usize, problem: &'static str },
    #[error("pickle byte {offset}: {what} above the limit of {limit}")]
    Limit {
        offset: usize,
        what: &'static str,
        limit: u64,
    },
    #[error("pickle holds an object that contains itself")]
    Cycle,
}

/// A whole pickle: its objects and the one that it is about. Free of cycles.
#[derive(Clone, Debug)]
pub struct Document {
    objects: Vec<Object>,
    root: Id,
}

impl std::ops::Index<Id> for Document {
    type Output = Object;

    fn index(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }
}

impl Document {
    pub fn root(&self) -> Id {
        self.root
    }

    /// Every object, those not reached from the root included.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.objects.len() as u32).map(Id)
    }

    /// The text of a string.
    pub fn str(&self, id: Id) -> Option<&str> {
        match &self[id] {
            Object::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self[id] {
            Object::Int(value) => Some(value),
            _ => None,
        }
    }

    pub fn bool(&self, id: Id) -> Option<bool> {
        match self[id] {
            Object::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match &self[id] {
            Object::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        match &self[id] {
            Object::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The items of a dict or of an `OrderedDict`, in order of writing.
    pub fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self[id] {
            Object::Dict(items) => Some(items),
            Object::Reduce(reduce) if self.is_global(reduce.callable, "collections", "OrderedDict") => {
                Some(&reduce.items)
            }
            _ => None,
        }
    }

    /// The value of a string key in a dict or an `OrderedDict`.
    pub fn lookup(&self, id: Id, key: &str) -> Option<Id> {
        let mut items = self.items(id)?.iter().rev();
        items
            .find(|(name, _)| self.str(*name) == Some(key))
            .map(|&(_, value)| value)
    }

    pub fn global(&self, id: Id) -> Option<&Global> {
        match &self[id] {
            Object::Global(global) => Some(global),
            _ => None,
        }
    }

    pub fn is_global(&self, id: Id, module: &str, name: &str) -> bool {
        self.global(id)
            .is_some_and(|global| global.module == module && global.name == name)
    }

    pub fn instance(&self, id: Id) -> Option<&Instance> {
        match &self[id] {
            Object::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    pub fn reduce(&self, id: Id) -> Option<&Reduce> {
        match &self[id] {
            Object::Reduce(reduce) => Some(reduce),
            _ => None,
        }
    }

    /// What a call was to: `(module, name, arguments)`, the arguments being a tuple's elements or one bare object.
    pub fn call(&self, id: Id) -> Option<(&str, &str, &[Id])> {
        let reduce = self.reduce(id)?;
        let global = self.global(reduce.callable)?;
        let args = match &self[reduce.args] {
            Object::Tuple(elements) => elements,
            _ => std::slice::from_ref(&reduce.args),
        };
        Some((&global.module, &global.name, args))
    }

    /// What kind of object it is, for messages.
    pub fn kind(&self, id: Id) -> &'static str {
        match self[id] {
            Object::None => "None",
            Object::Bool(_) => "a bool",
            Object::Int(_) | Object::Long(_) => "an int",
            Object::Float(_) => "a float",
            Object::Str(_) => "a string",
            Object::Tuple(_) => "a tuple",
            Object::List(_) => "a list",
            Object::Dict(_) => "a dict",
            Object::Global(_) => "a class or function",
            Object::Reduce(_) => "a call",
            Object::Instance(_) => "an object",
            Object::Persistent(_) => "a storage",
        }
    }
}
