//! Code as it is written: expressions, statements, functions and classes.
//!
//! Owns the shapes only; `parser` makes them and `inline` gives them a meaning.

use super::parser::SyntaxError;
use std::rc::Rc;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Name(Rc<str>),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    Bool(bool),
    None,
    /// `value.name`
    Field(Box<Expr>, Rc<str>),
    /// `value[index]`
    Index(Box<Expr>, Box<Expr>),
    Call(Box<Call>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `-value`, of something that is no literal.
    Negative(Box<Expr>),
}

/// `callee(args, name=value)`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub callee: Expr,
    pub args: Vec<Expr>,
    pub keywords: Vec<(Rc<str>, Expr)>,
}

/// A statement and its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub line: u32,
    pub kind: StmtKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `a = value` is one target that is no tuple; `a, b, = value` are two; the values of `a, b = x, y` are a tuple.
    Assign {
        targets: Vec<Expr>,
        /// Whether the target side is unpacked (`x, = t` unpacks one).
        unpack: bool,
        value: Expr,
    },
    Expr(Expr),
    Return(Option<Expr>),
    If {
        condition: Expr,
        then: Vec<Stmt>,
        otherwise: Vec<Stmt>,
    },
    /// `for name in range(count)`, or over a list.
    For {
        target: Rc<str>,
        iterable: Expr,
        body: Vec<Stmt>,
    },
    While {
        condition: Expr,
        body: Vec<Stmt>,
    },
    /// `with context:`
    With {
        context: Expr,
        body: Vec<Stmt>,
    },
    Pass,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: Rc<str>,
    pub ty: Option<Expr>,
    pub default: Option<Expr>,
}

/// A function or a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: Rc<str>,
    pub line: u32,
    pub parameters: Vec<Parameter>,
    pub body: Vec<Stmt>,
    /// Why the body could not be read; it matters only where the function is called.
    pub fault: Option<SyntaxError>,
}

/// A class: a module, an enum, a named tuple or a plain object.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: Rc<str>,
    pub line: u32,
    /// `Module`, `Enum`, `NamedTuple`, `Interface`; empty for a plain object.
    pub base: Rc<str>,
    /// Names in `__parameters__`.
    pub parameters: Vec<Rc<str>>,
    /// Names in `__buffers__`.
    pub buffers: Vec<Rc<str>>,
    /// Declared attributes in order, with the value that a constant has.
    pub attributes: Vec<Attribute>,
    pub methods: Vec<Rc<Function>>,
}

/// `name : Type` or `name : Final[Type] = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    pub name: Rc<str>,
    pub ty: Option<Expr>,
    pub value: Option<Expr>,
}

/// What stands at the top level of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Function(Rc<Function>),
    Class(Rc<Class>),
}

impl Item {
    pub fn name(&self) -> Rc<str> {
        match self {
            Item::Function(function) => function.name.clone(),
            Item::Class(class) => class.name.clone(),
        }
    }
}
