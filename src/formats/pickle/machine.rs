//! The stack machine that reads pickles: an allow-list of opcodes.
//!
//! Owns stack, marks and memo. Deliberately calls nothing and keeps nothing after `STOP` but the objects, which `walk` checks.

use super::walk::measure;
use super::{Document, Global, Id, Instance, Limits, Object, PickleError, Reduce};

/// Reads a pickle that fills `bytes`.
///
/// `allow` is asked about every `(module, name)` that the pickle would import.
///
/// # Errors
/// When the pickle is damaged, beyond the limits, circular, or asks for what is not allowed.
pub fn load(bytes: &[u8], allow: &dyn Fn(&str, &str) -> bool, limits: &Limits) -> Result<Document, PickleError> {
    let (document, used) = load_prefix(bytes, allow, limits)?;
    match used == bytes.len() {
        true => Ok(document),
        false => Err(PickleError::Malformed {
            offset: used,
            problem: "bytes follow the end",
        }),
    }
}

/// Reads the pickle at the start of `bytes`, and returns where it ended.
///
/// # Errors
/// As [`load`].
pub fn load_prefix(
    bytes: &[u8],
    allow: &dyn Fn(&str, &str) -> bool,
    limits: &Limits,
) -> Result<(Document, usize), PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        op: 0,
        limits,
        allow,
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    let mut ops = 0;
    loop {
        ops += 1;
        if ops > limits.ops {
            return Err(machine.beyond("the number of opcodes", limits.ops as u64));
        }
        if machine.at > limits.bytes {
            return Err(machine.beyond("the size", limits.bytes as u64));
        }
        if !machine.step()? {
            break;
        }
    }
    let root = machine.pop()?;
    if !machine.stack.is_empty() || !machine.marks.is_empty() {
        return Err(machine.malformed("objects are left over at the end"));
    }
    let used = machine.at;
    let document = Document {
        objects: machine.objects,
        root,
    };
    measure(&document, used, limits)?;
    Ok((document, used))
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Where the current opcode began.
    op: usize,
    limits: &'a Limits,
    allow: &'a dyn Fn(&str, &str) -> bool,
    objects: Vec<Object>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; false at `STOP`.
    fn step(&mut self) -> Result<bool, PickleError> {
        self.op = self.at;
        let [opcode] = self.array("an opcode")?;
        match opcode {
            0x80 => {
                let [protocol] = self.array("the protocol")?;
                if protocol != 2 {
                    let offset = self.op;
                    return Err(PickleError::Protocol { offset, protocol });
                }
            }
            b'.' => return Ok(false),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.array("an int")?);
                self.push(Object::Int(value.into()));
            }
            b'K' => {
                let [value] = self.array("an int")?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array("an int")?);
                self.push(Object::Int(value.into()));
            }
            0x8a => {
                let [length] = self.array("an int")?;
                let digits = self.take(length.into(), "an int")?;
                self.push(long(digits));
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array("a float")?);
                self.push(Object::Float(value));
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.array("a string's length")?);
                self.text(length as usize)?;
            }
            b'U' => {
                let [length] = self.array("a string's length")?;
                self.text(length.into())?;
            }
            b')' => self.push(Object::Tuple(Box::new([]))),
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let elements = self.pop_many(count)?;
                self.push(Object::Tuple(elements.into()));
            }
            b't' => {
                let elements = self.pop_mark()?;
                self.push(Object::Tuple(elements.into()));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' => {
                let elements = self.pop_mark()?;
                self.append(elements)?;
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b's' => {
                let pair = self.pop_many(2)?;
                self.set_items(pair)?;
            }
            b'u' => {
                let flat = self.pop_mark()?;
                self.set_items(flat)?;
            }
            b'q' => {
                let [key] = self.array("a memo key")?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array("a memo key")?);
                self.remember(key)?;
            }
            b'h' => {
                let [key] = self.array("a memo key")?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array("a memo key")?);
                self.recall(key)?;
            }
            b'c' => self.import()?,
            b'R' => {
                let args = self.pop()?;
                let callable = self.pop_global()?;
                self.push(Object::Reduce(Box::new(Reduce {
                    callable,
                    args,
                    items: Vec::new(),
                    state: None,
                })));
            }
            0x81 => {
                let args = self.pop()?;
                let class = self.pop_global()?;
                let state = None;
                self.push(Object::Instance(Box::new(Instance { class, args, state })));
            }
            b'b' => self.build()?,
            b'Q' => {
                let reference = self.pop()?;
                self.push(Object::Persistent(reference));
            }
            other => {
                let (offset, opcode) = (self.op, describe(other));
                return Err(PickleError::Opcode { offset, opcode });
            }
        }
        Ok(true)
    }

    fn malformed(&self, problem: &'static str) -> PickleError {
        PickleError::Malformed {
            offset: self.op,
            problem,
        }
    }

    fn beyond(&self, what: &'static str, limit: u64) -> PickleError {
        let offset = self.op;
        PickleError::Limit { offset, what, limit }
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.at..];
        let taken = rest
            .get(..count)
            .ok_or(PickleError::Truncated { offset: self.at, what })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(4096)];
        let Some(length) = window.iter().position(|&byte| byte == b'\n') else {
            return Err(match rest.len() > 4096 {
                true => self.beyond("the length of a name", 4096),
                false => PickleError::Truncated {
                    offset: self.at,
                    what: "the end of a name",
                },
            });
        };
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed("a name is not UTF-8"))
    }

    fn text(&mut self, length: usize) -> Result<(), PickleError> {
        let raw = self.take(length, "a string")?;
        let text = std::str::from_utf8(raw).map_err(|_| self.malformed("a string is not UTF-8"))?;
        self.push(Object::Str(text.into()));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        // Every opcode makes one object at most, and the limit on opcodes keeps the count far below 2^32.
        self.stack.push(Id(self.objects.len() as u32));
        self.objects.push(object);
    }

    /// Where the objects above the last mark begin.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        if self.stack.len() <= self.floor() {
            return Err(self.malformed("the stack is empty"));
        }
        self.stack.pop().ok_or_else(|| self.malformed("the stack is empty"))
    }

    fn top(&self) -> Result<Id, PickleError> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.malformed("the stack is empty")),
        }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, PickleError> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => Err(self.malformed("the stack is empty")),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let start = self.marks.pop().ok_or_else(|| self.malformed("there is no mark"))?;
        Ok(self.stack.split_off(start))
    }

    fn pop_global(&mut self) -> Result<Id, PickleError> {
        let id = self.pop()?;
        match self.objects[id.0 as usize] {
            Object::Global(_) => Ok(id),
            _ => Err(self.malformed("what is called is not a class or function")),
        }
    }

    fn append(&mut self, elements: Vec<Id>) -> Result<(), PickleError> {
        let target = self.top()?;
        match &mut self.objects[target.0 as usize] {
            Object::List(list) => list.extend(elements),
            _ => return Err(self.malformed("elements are appended to what is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, flat: Vec<Id>) -> Result<(), PickleError> {
        let target = self.top()?;
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.malformed("a key has no value"));
        }
        let items = match &mut self.objects[target.0 as usize] {
            Object::Dict(items) => items,
            Object::Reduce(reduce) => &mut reduce.items,
            _ => return Err(self.malformed("items are set on what is not a dict")),
        };
        items.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), PickleError> {
        let id = self.top()?;
        let key = key as usize;
        if key >= self.limits.memo {
            return Err(self.beyond("the memo", self.limits.memo as u64));
        }
        if key >= self.memo.len() {
            self.memo.resize(key + 1, None);
        }
        self.memo[key] = Some(id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), PickleError> {
        let id = self.memo.get(key as usize).copied().flatten();
        let id = id.ok_or_else(|| self.malformed("the memo has no such key"))?;
        self.stack.push(id);
        Ok(())
    }

    fn import(&mut self) -> Result<(), PickleError> {
        let module = self.line()?;
        let name = self.line()?;
        let (module, name) = (module.to_owned(), name.to_owned());
        if !(self.allow)(&module, &name) {
            let offset = self.op;
            return Err(PickleError::Forbidden { offset, module, name });
        }
        self.push(Object::Global(Box::new(Global { module, name })));
        Ok(())
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let target = self.top()?;
        let place = match &mut self.objects[target.0 as usize] {
            Object::Instance(instance) => &mut instance.state,
            Object::Reduce(reduce) => &mut reduce.state,
            _ => return Err(self.malformed("a state is set on what is not an object")),
        };
        if place.replace(state).is_some() {
            return Err(self.malformed("the state of an object is set twice"));
        }
        Ok(())
    }
}

/// An integer in two's complement, little-endian.
fn long(digits: &[u8]) -> Object {
    let negative = digits.last().is_some_and(|&high| high & 0x80 != 0);
    if digits.len() > 8 {
        return Object::Long(digits.into());
    }
    let mut full = if negative { [0xff; 8] } else { [0; 8] };
    full[..digits.len()].copy_from_slice(digits);
    Object::Int(i64::from_le_bytes(full))
}

/// Names of opcodes that other pickles use, so that a refusal says more than a number.
fn describe(opcode: u8) -> String {
    let name = match opcode {
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'P' => "PERSID",
        b'i' => "INST",
        b'o' => "OBJ",
        b'p' => "PUT",
        b'g' => "GET",
        b'l' => "LIST",
        b'd' => "DICT",
        b'2' => "DUP",
        b'B' => "BINBYTES",
        b'C' => "SHORT_BINBYTES",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8b => "LONG4",
        0x8c => "SHORT_BINUNICODE",
        0x8d => "BINUNICODE8",
        0x8e => "BINBYTES8",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x93 => "STACK_GLOBAL",
        0x94 => "MEMOIZE",
        0x95 => "FRAME",
        _ => return format!("0x{opcode:02x}"),
    };
    format!("{name} (0x{opcode:02x})")
}
