//! Code run on values that stand for results: functions and modules become one straight list of nodes.
//!
//! Owns statements, frames and control flow. An `if` is folded when its condition is known; where it is not and one
//! branch only raises, the other is taken (raises are checks, and dropped); for any other see `branch`. Loops of known
//! length are unrolled. Everything is bounded. Deliberately knows no operator (see `operators`).

use super::alias::Cells;
use super::ast::{Expr, Function, Stmt, StmtKind};
use super::branch::always_raises;
use super::build::Builder;
use super::library::{File, Library};
use super::value::{Keywords, Object, Val};
use super::{Place, ReadError};
use crate::graph::{Sizes, range_length};
use std::collections::HashMap;
use std::rc::Rc;

/// Statements, expressions and calls within one another.
const MAX_DEPTH: usize = 4_000;
/// Calls within one another; beyond it is recursion without an end.
const MAX_CALLS: usize = 200;
/// Statements that are run in all; loops are unrolled.
const MAX_STEPS: usize = 500_000;
/// Elements of containers that are made in all, and what walking over them costs.
const MAX_ELEMENTS: usize = 3_000_000;

/// The state of inlining.
pub struct Inliner<'a, 'l> {
    pub library: &'l mut Library<'a>,
    pub objects: Vec<Object>,
    pub constants: Vec<Val>,
    pub builder: Builder,
    pub cells: Cells,
    pub(super) declared: &'l mut dyn Sizes,
    pub(super) file: Rc<File>,
    pub(super) line: u32,
    depth: usize,
    calls: usize,
    steps: usize,
    elements: usize,
    /// How often an attribute was set.
    pub(super) attributes_set: usize,
}

/// The local names of one call.
#[derive(Default)]
pub struct Frame {
    pub locals: HashMap<Rc<str>, Val>,
}

/// How a block ended.
pub enum Flow {
    Next,
    Return(Val),
}

impl<'a, 'l> Inliner<'a, 'l> {
    pub fn new(
        library: &'l mut Library<'a>,
        declared: &'l mut dyn Sizes,
        objects: Vec<Object>,
        constants: Vec<Val>,
        builder: Builder,
        cells: Cells,
    ) -> Self {
        Inliner {
            library,
            objects,
            constants,
            builder,
            cells,
            declared,
            file: Rc::new(File::none()),
            line: 0,
            depth: 0,
            calls: 0,
            steps: 0,
            elements: 0,
            attributes_set: 0,
        }
    }

    /// Says where errors are from now on.
    pub fn stand(&mut self, file: Rc<File>, line: u32) {
        (self.file, self.line) = (file, line);
    }

    /// An error at the statement that is run.
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, ReadError> {
        Err(self.fault(message.into()))
    }

    pub fn fault(&self, message: String) -> ReadError {
        ReadError::Code {
            place: self.place_of(&self.file, self.line),
            message,
        }
    }

    /// A line of the module that is run.
    pub(super) fn place_of(&self, file: &File, line: u32) -> Place {
        Place {
            file: file.name.clone(),
            line,
            scope: self.builder.scope.to_string(),
        }
    }

    /// Counts elements of containers that are made or walked over.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), ReadError> {
        self.elements = self.elements.saturating_add(elements);
        match self.elements > MAX_ELEMENTS {
            true => self.error(format!("lists and strings of more than {MAX_ELEMENTS} elements in all")),
            false => Ok(()),
        }
    }

    /// Runs `run` one level deeper.
    pub(super) fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, ReadError>) -> Result<T, ReadError> {
        if self.depth >= MAX_DEPTH {
            return self.error("code is nested too deep");
        }
        self.depth += 1;
        let found = run(self);
        self.depth -= 1;
        found
    }

    /// Runs a function on bound arguments; `scope` names the module whose method it is.
    pub fn call(
        &mut self,
        function: &Function,
        file: Rc<File>,
        scope: Option<Rc<str>>,
        args: Vec<Val>,
        keywords: Keywords,
    ) -> Result<Val, ReadError> {
        if self.calls >= MAX_CALLS {
            return self.error(format!(
                "calls are nested more than {MAX_CALLS} deep: {} calls itself",
                function.name
            ));
        }
        if let Some(fault) = &function.fault {
            return Err(ReadError::Code {
                place: Place {
                    scope: scope.as_ref().unwrap_or(&self.builder.scope).to_string(),
                    ..self.place_of(&file, fault.line)
                },
                message: fault.message.clone(),
            });
        }
        let mut frame = self.bind(function, args, keywords)?;
        let outer = (self.file.clone(), self.line, self.builder.scope.clone());
        self.file = file;
        if let Some(scope) = scope {
            self.builder.scope = scope;
        }
        self.calls += 1;
        let flow = self.block(&mut frame, &function.body)?;
        self.calls -= 1;
        (self.file, self.line, self.builder.scope) = outer;
        Ok(match flow {
            Flow::Return(value) => value,
            Flow::Next => Val::None,
        })
    }

    fn bind(&mut self, function: &Function, args: Vec<Val>, keywords: Keywords) -> Result<Frame, ReadError> {
        let mut frame = Frame::default();
        if args.len() > function.parameters.len() {
            return self.error(format!(
                "{} takes {} arguments, but {} are given",
                function.name,
                function.parameters.len(),
                args.len()
            ));
        }
        let mut given = args.into_iter();
        for parameter in &function.parameters {
            let by_name = || keywords.iter().find(|(name, _)| *name == parameter.name);
            let value = match (given.next(), by_name(), &parameter.default) {
                (Some(value), ..) => value,
                (None, Some((_, value)), _) => value.clone(),
                (None, None, Some(default)) => self.eval(&Frame::default(), default)?,
                (None, None, None) => {
                    return self.error(format!(
                        "{} is called without its argument {:?}",
                        function.name, parameter.name
                    ));
                }
            };
            let value = match &parameter.ty {
                Some(ty) => coerce(value, ty),
                None => value,
            };
            frame.locals.insert(parameter.name.clone(), value);
        }
        Ok(frame)
    }

    pub(super) fn block(&mut self, frame: &mut Frame, body: &[Stmt]) -> Result<Flow, ReadError> {
        self.deeper(|this| {
            for stmt in body {
                this.line = stmt.line;
                this.steps += 1;
                if this.steps > MAX_STEPS {
                    return this.error(format!("more than {MAX_STEPS} statements are run; a loop is too long"));
                }
                if let Flow::Return(value) = this.statement(frame, &stmt.kind)? {
                    return Ok(Flow::Return(value));
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&mut self, frame: &mut Frame, stmt: &StmtKind) -> Result<Flow, ReadError> {
        match stmt {
            StmtKind::Pass => {}
            StmtKind::Expr(expr) => drop(self.eval(frame, expr)?),
            StmtKind::Return(None) => return Ok(Flow::Return(Val::None)),
            StmtKind::Return(Some(expr)) => return Ok(Flow::Return(self.eval(frame, expr)?)),
            StmtKind::Assign { targets, unpack, value } => self.assign(frame, targets, *unpack, value)?,
            StmtKind::If {
                condition,
                then,
                otherwise,
            } => {
                let condition = self.eval(frame, condition)?;
                let mut known = self.known(&condition)?;
                // Checks of sizes are dropped, like all others.
                if known.is_none() && !always_raises(then) && !always_raises(otherwise) {
                    let told = self.told(&condition);
                    known = self.known(&told)?;
                }
                let branch = match known {
                    Some(true) => then,
                    Some(false) => otherwise,
                    None if always_raises(then) => otherwise,
                    None if always_raises(otherwise) => then,
                    None => return self.both(frame, &condition, then, otherwise).map(|()| Flow::Next),
                };
                return self.block(frame, branch);
            }
            StmtKind::For { target, iterable, body } => {
                for value in self.iterate(frame, iterable)? {
                    frame.locals.insert(target.clone(), value);
                    if let Flow::Return(value) = self.block(frame, body)? {
                        return Ok(Flow::Return(value));
                    }
                }
            }
            StmtKind::With { context, body } => {
                let context = self.eval(frame, context)?;
                self.harmless(&context)?;
                return self.block(frame, body);
            }
            StmtKind::While { condition, body } => loop {
                match self.condition(frame, condition)? {
                    Some(true) => {}
                    Some(false) => break,
                    None => return self.loop_error(),
                }
                if let Flow::Return(value) = self.block(frame, body)? {
                    return Ok(Flow::Return(value));
                }
                self.steps += 1;
            },
        }
        Ok(Flow::Next)
    }

    /// Holds that what a `with` enters changes no result: whether gradients are kept.
    fn harmless(&self, context: &Val) -> Result<(), ReadError> {
        let class = match context {
            Val::Object(object) => &self.objects[object.0].qualified,
            other => return self.error(format!("a with statement enters {}", other.describe())),
        };
        match class.starts_with("__torch__.torch.autograd.grad_mode.") {
            true => Ok(()),
            false => self.error(format!(
                "a with statement enters {class}, which is not read; of its like only torch.no_grad() is"
            )),
        }
    }

    fn loop_error<T>(&self) -> Result<T, ReadError> {
        self.error(
            "how often a loop runs depends on the data, on the batch size, or on sizes of the input that are not declared; save \
             the model with torch.jit.trace(model.eval(), example) instead of torch.jit.script",
        )
    }

    fn condition(&mut self, frame: &Frame, condition: &Expr) -> Result<Option<bool>, ReadError> {
        let condition = self.eval(frame, condition)?;
        let condition = self.told(&condition);
        self.known(&condition)
    }

    fn known(&self, condition: &Val) -> Result<Option<bool>, ReadError> {
        match condition {
            Val::Bool(flag) => Ok(Some(*flag)),
            Val::Dynamic(_) | Val::Unset | Val::Unknown(_) => Ok(None),
            other => self.error(format!("a condition is {}", other.describe())),
        }
    }

    /// The values that a `for` goes over.
    fn iterate(&mut self, frame: &Frame, iterable: &Expr) -> Result<Vec<Val>, ReadError> {
        if let Expr::Call(call) = iterable
            && matches!(&call.callee, Expr::Name(name) if &**name == "range")
        {
            let mut bounds = Vec::new();
            for arg in &call.args {
                let bound = self.eval(frame, arg)?;
                match self.told(&bound) {
                    Val::Int(int) => bounds.push(int),
                    _ => return self.loop_error(),
                }
            }
            let (start, end, step) = match bounds[..] {
                [end] => (0, end, 1),
                [start, end] => (start, end, 1),
                [start, end, step] => (start, end, step),
                _ => return self.error("range() takes one to three numbers"),
            };
            let Some(count) = range_length(start, end, step) else {
                return self.error("a range in steps of zero");
            };
            if count > MAX_STEPS as u64 {
                return self.error(format!("a loop runs more than {MAX_STEPS} times"));
            }
            self.spend(count as usize)?;
            return Ok((0..count as i64).map(|at| Val::Int(start + at * step)).collect());
        }
        match self.eval(frame, iterable)?.now() {
            value @ (Val::List(_) | Val::Tuple(_) | Val::Views(_)) => self.known_items(&value),
            Val::Dict(items) => Ok(items.borrow().iter().map(|(key, _)| key.clone()).collect()),
            _ => self.loop_error(),
        }
    }

    fn assign(&mut self, frame: &mut Frame, targets: &[Expr], unpack: bool, value: &Expr) -> Result<(), ReadError> {
        if let ([Expr::Name(name)], false) = (targets, unpack) {
            self.builder.hint = Some(name.clone());
        }
        let value = self.eval(frame, value)?;
        self.builder.hint = None;
        if !unpack {
            return self.store(frame, &targets[0], value);
        }
        let names = targets.iter().map(|target| match target {
            Expr::Name(name) => name.clone(),
            _ => "".into(),
        });
        let names: Vec<Rc<str>> = names.collect();
        let items = self.unpack(value, &names)?;
        for (target, item) in targets.iter().zip(items) {
            self.store(frame, target, item)?;
        }
        Ok(())
    }

    fn store(&mut self, frame: &mut Frame, target: &Expr, value: Val) -> Result<(), ReadError> {
        match target {
            Expr::Name(name) => {
                frame.locals.insert(name.clone(), value);
                Ok(())
            }
            Expr::Field(object, name) => match self.eval(frame, object)? {
                Val::Object(id) => {
                    self.attributes_set += 1;
                    self.objects[id.0].set(name, value);
                    Ok(())
                }
                other => self.error(format!("{} has no attributes to set", other.describe())),
            },
            _ => self.error("only names and attributes are assigned"),
        }
    }
}

/// A whole float above 1e10 is printed without a point: the declared type says what it is.
pub(super) fn coerce(value: Val, ty: &Expr) -> Val {
    match (&value, ty) {
        (Val::Int(int), Expr::Name(name)) if &**name == "float" => Val::Float(*int as f64),
        (Val::Int(_), Expr::Index(outer, inner)) if matches!(&**outer, Expr::Name(name) if &**name == "Optional") => {
            coerce(value, inner)
        }
        _ => value,
    }
}
