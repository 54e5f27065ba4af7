//! Tensors that share memory, and writes in place made functional.
//!
//! Owns the cells: every tensor of the code is a cell whose value changes when it is written. A view knows its base; a
//! write to it becomes a scatter into the base, and a view read after its base changed is taken again. Where an
//! operator may or may not copy (`reshape`, `contiguous`), reading the other side after a write is refused. Deliberately
//! knows nothing of the code.

use super::value::{CellId, View};
use crate::graph::{Arg, ValueId};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Adds nodes on behalf of this module.
pub trait Emit {
    /// Adds one node with one result.
    fn node(&mut self, op: &str, args: Vec<Arg>, keywords: Vec<(String, Arg)>) -> Result<ValueId, String>;
}

#[derive(Clone)]
struct Cell {
    value: ValueId,
    /// Another at each change.
    version: u64,
    base: Option<Base>,
    /// Tensors that may be this one, depending on a branch, and their versions when it was taken.
    perhaps: Vec<(CellId, u64)>,
    /// Why it must not be read any more.
    poisoned: Option<String>,
}

#[derive(Clone)]
struct Base {
    cell: CellId,
    view: Rc<View>,
    /// The version of the base that the value shows.
    seen: u64,
}

/// All tensors of the code.
#[derive(Default)]
pub struct Cells {
    cells: Vec<Cell>,
    /// The last version that was given.
    clock: u64,
    /// Tensors whose shape is remembered as theirs: by lists of their pieces, and by sizes that are not asked for yet.
    held: BTreeSet<usize>,
}

/// All tensors as they were at one moment.
pub struct Saved(Vec<Cell>);

/// A tensor with memory of its own that changed since a moment.
pub struct Written {
    pub cell: CellId,
    pub before: ValueId,
    pub now: ValueId,
}

impl Cells {
    /// A tensor with memory of its own.
    pub fn fresh(&mut self, value: ValueId) -> CellId {
        self.push(value, None)
    }

    /// A view of `base` as it is now.
    pub fn view(&mut self, value: ValueId, base: CellId, view: Rc<View>) -> CellId {
        let seen = self.cells[base.0].version;
        self.push(value, Some(Base { cell: base, view, seen }))
    }

    fn push(&mut self, value: ValueId, base: Option<Base>) -> CellId {
        self.cells.push(Cell {
            value,
            version: 0,
            base,
            perhaps: Vec::new(),
            poisoned: None,
        });
        CellId(self.cells.len() - 1)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// A moment to come back to.
    pub fn save(&self) -> Saved {
        Saved(self.cells.clone())
    }

    /// Goes back to a moment; tensors made since stay, and what they show of changed ones is taken again.
    pub fn restore(&mut self, saved: &Saved) {
        self.cells[..saved.0.len()].clone_from_slice(&saved.0);
    }

    /// What changed since a moment; `None` where a tensor must not be read any more that could be.
    pub fn written_since(&self, saved: &Saved) -> Option<Vec<Written>> {
        let mut written = Vec::new();
        for (at, (before, now)) in saved.0.iter().zip(&self.cells).enumerate() {
            if before.poisoned != now.poisoned || !same_base(before, now) {
                return None;
            }
            if now.base.is_none() && before.version != now.version {
                written.push(Written {
                    cell: CellId(at),
                    before: before.value,
                    now: now.value,
                });
            }
        }
        Some(written)
    }

    /// Notes that the shape of a tensor is remembered.
    pub fn hold(&mut self, cell: CellId) {
        self.held.insert(cell.0);
    }

    /// A value of the shape that a tensor has, though it may not be read any more: writes in place change no shape.
    pub fn shaped(&self, cell: CellId) -> ValueId {
        self.cells[cell.0].value
    }

    /// Gives a tensor another shape in place: from now on it is a view of what it was, which keeps its memory.
    ///
    /// False where its shape is remembered.
    pub fn reshape(&mut self, cell: CellId, value: ValueId, view: Rc<View>) -> bool {
        if self.held.contains(&cell.0) {
            return false;
        }
        let under = CellId(self.cells.len());
        for other in &mut self.cells {
            if let Some(base) = other.base.as_mut().filter(|base| base.cell == cell) {
                base.cell = under;
            }
            let perhaps = other.perhaps.iter_mut().filter(|(other, _)| *other == cell);
            perhaps.for_each(|(other, _)| *other = under);
        }
        let seen = self.cells[cell.0].version;
        let now = Cell {
            value,
            version: self.tick(),
            base: Some(Base {
                cell: under,
                view,
                seen,
            }),
            perhaps: Vec::new(),
            poisoned: None,
        };
        let before = std::mem::replace(&mut self.cells[cell.0], now);
        self.cells.push(before);
        true
    }

    /// Gives a tensor with memory of its own another value.
    pub fn replace(&mut self, cell: CellId, value: ValueId) {
        self.cells[cell.0].value = value;
        self.cells[cell.0].version = self.tick();
    }

    /// Notes that a tensor may be one of others, so that after a write to one of them the other side is not read.
    pub fn perhaps(&mut self, cell: CellId, others: &[CellId]) {
        for &other in others {
            let root = self.root(other);
            let version = self.cells[root.0].version;
            self.cells[cell.0].perhaps.push((root, version));
        }
    }

    fn root(&self, mut cell: CellId) -> CellId {
        while let Some(base) = &self.cells[cell.0].base {
            cell = base.cell;
        }
        cell
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Counts the changes of a tensor; call [`Cells::read`] first.
    pub fn version(&self, cell: CellId) -> u64 {
        self.cells[cell.0].version
    }

    /// The value that a tensor has now.
    pub fn read(&mut self, cell: CellId, emit: &mut dyn Emit) -> Result<ValueId, String> {
        // No tensor is a view of itself, so the chain is finite; it is walked from the root.
        let mut chain = vec![cell];
        while let Some(base) = self.cells[chain[chain.len() - 1].0].base.as_ref() {
            chain.push(base.cell);
        }
        for &cell in chain.iter().rev() {
            if let Some(reason) = &self.cells[cell.0].poisoned {
                return Err(reason.clone());
            }
            let mut perhaps = self.cells[cell.0].perhaps.iter();
            if perhaps.any(|&(other, version)| self.cells[other.0].version != version) {
                return Err(BRANCHED.into());
            }
            let Some(base) = self.cells[cell.0].base.clone() else {
                continue;
            };
            let version = self.cells[base.cell.0].version;
            if base.seen == version {
                continue;
            }
            if !base.view.certain {
                return Err(unclear(&base.view.op));
            }
            let value = take(self.cells[base.cell.0].value, &base.view, emit)?;
            let tick = self.tick();
            let found = &mut self.cells[cell.0];
            found.value = value;
            found.version = tick;
            if let Some(base) = &mut found.base {
                base.seen = version;
            }
        }
        Ok(self.cells[cell.0].value)
    }

    /// Gives a tensor a new value, and every tensor that shares its memory with it.
    pub fn write(&mut self, cell: CellId, value: ValueId, emit: &mut dyn Emit) -> Result<(), String> {
        self.read(cell, emit)?;
        self.replace(cell, value);
        for (other, _) in std::mem::take(&mut self.cells[cell.0].perhaps) {
            self.cells[other.0].poisoned = Some(BRANCHED.into());
        }
        let Some(base) = self.cells[cell.0].base.clone() else {
            return Ok(());
        };
        if !base.view.certain {
            self.cells[cell.0].base = None;
            let mut above = Some(base.cell);
            while let Some(cell) = above {
                self.cells[cell.0].poisoned = Some(unclear(&base.view.op));
                above = self.cells[cell.0].base.as_ref().map(|base| base.cell);
            }
            return Ok(());
        }
        let whole = self.read(base.cell, emit)?;
        let scattered = scatter(whole, value, &base.view, emit)?;
        self.write(base.cell, scattered, emit)?;
        let seen = self.cells[base.cell.0].version;
        if let Some(base) = &mut self.cells[cell.0].base {
            base.seen = seen;
        }
        Ok(())
    }
}

fn same_base(a: &Cell, b: &Cell) -> bool {
    match (&a.base, &b.base) {
        (Some(a), Some(b)) => a.cell == b.cell && Rc::ptr_eq(&a.view, &b.view),
        (a, b) => a.is_none() && b.is_none(),
    }
}

const BRANCHED: &str = "a tensor is read after a write in place to one that it is or is not, depending on a branch; write \
                        out of place instead";

fn unclear(op: &str) -> String {
    format!(
        "a tensor is read after a write in place through {op}, which shares memory or copies depending on strides; \
         write out of place instead"
    )
}

/// The view of a new base.
fn take(base: ValueId, view: &View, emit: &mut dyn Emit) -> Result<ValueId, String> {
    let mut args = vec![Arg::Value(base)];
    args.extend(view.args.iter().cloned());
    let found = emit.node(&view.op, args, view.keywords.clone())?;
    match view.element {
        None => Ok(found),
        Some(index) => emit.node(
            "aten::__getitem__",
            vec![Arg::Value(found), Arg::Int(index)],
            Vec::new(),
        ),
    }
}

/// The base after `part` was written where the view lies.
fn scatter(whole: ValueId, part: ValueId, view: &View, emit: &mut dyn Emit) -> Result<ValueId, String> {
    let (base, new) = (Arg::Value(whole), Arg::Value(part));
    let arg = |index: usize| view.args.get(index).cloned();
    let with = |first: Vec<Arg>| first.into_iter().chain(view.args.iter().cloned()).collect::<Vec<Arg>>();
    let refuse = || {
        Err(format!(
            "a write in place through {} is not read; write out of place instead",
            view.op
        ))
    };
    match view.op.as_str() {
        "aten::select" | "aten::slice" | "aten::diagonal" | "aten::as_strided" => emit.node(
            &format!("{}_scatter", view.op),
            with(vec![base, new]),
            view.keywords.clone(),
        ),
        "aten::narrow" => match (arg(0), arg(1), arg(2)) {
            (Some(dim), Some(Arg::Int(start)), Some(Arg::Int(length))) if start >= 0 => {
                let end = Arg::Int(start.saturating_add(length));
                let args = vec![base, new, dim, Arg::Int(start), end];
                emit.node("aten::slice_scatter", args, Vec::new())
            }
            _ => refuse(),
        },
        "aten::detach"
        | "aten::alias"
        | "aten::positive"
        | "aten::dropout"
        | "aten::feature_dropout"
        | "aten::alpha_dropout"
        | "aten::feature_alpha_dropout" => Ok(part),
        "aten::transpose" | "aten::swapaxes" | "aten::swapdims" => emit.node(&view.op, with(vec![new]), Vec::new()),
        "aten::t" | "aten::numpy_T" | "aten::mT" => emit.node(&view.op, vec![new], Vec::new()),
        "aten::permute" => {
            let dims = arg(0).and_then(|dims| dims.as_ints()).unwrap_or_default();
            let rank = dims.len() as i64;
            let mut inverse = vec![Arg::Int(0); dims.len()];
            for (to, dim) in dims.iter().enumerate() {
                let from = if *dim < 0 { dim + rank } else { *dim };
                match usize::try_from(from).ok().and_then(|from| inverse.get_mut(from)) {
                    Some(slot) => *slot = Arg::Int(to as i64),
                    None => return refuse(),
                }
            }
            emit.node("aten::permute", vec![new, Arg::List(inverse)], Vec::new())
        }
        "aten::movedim" | "aten::moveaxis" => match (arg(0), arg(1)) {
            (Some(from), Some(to)) => emit.node(&view.op, vec![new, to, from], Vec::new()),
            _ => refuse(),
        },
        "aten::view" if !matches!(arg(0), Some(Arg::List(_) | Arg::Value(_))) => refuse(),
        "aten::view" | "aten::view_as" | "aten::unsqueeze" | "aten::squeeze" | "aten::unflatten" => {
            emit.node("aten::reshape_as", vec![new, base], Vec::new())
        }
        "aten::unbind" => {
            let dim = arg(0).unwrap_or(Arg::Int(0));
            let index = Arg::Int(view.element.unwrap_or(0));
            emit.node("aten::select_scatter", vec![base, new, dim, index], Vec::new())
        }
        "aten::chunk" | "aten::split" | "aten::split_with_sizes" => {
            // The list is put together again with one element replaced.
            let (Some(count), Some(index)) = (view.count, view.element) else {
                return refuse();
            };
            let mut args = vec![base];
            args.extend(view.args.iter().cloned());
            let list = emit.node(&view.op, args, view.keywords.clone())?;
            let mut parts = Vec::with_capacity(count);
            for at in 0..count as i64 {
                parts.push(match at == index {
                    true => new.clone(),
                    false => {
                        Arg::Value(emit.node("aten::__getitem__", vec![Arg::Value(list), Arg::Int(at)], Vec::new())?)
                    }
                });
            }
            let dim = arg(1).unwrap_or(Arg::Int(0));
            emit.node("aten::cat", vec![Arg::List(parts), dim], Vec::new())
        }
        _ => refuse(),
    }
}

/// How the result of an operator lies in memory relative to its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Memory of its own.
    None,
    Certain,
    /// Depending on strides and types.
    Possible,
}

/// Whether the results of an operator share memory with its first argument.
pub fn sharing(op: &str) -> Sharing {
    match op.strip_prefix("aten::").unwrap_or(op) {
        // In evaluation mode dropout hands back its argument.
        "dropout" | "feature_dropout" | "alpha_dropout" | "feature_alpha_dropout" => Sharing::Certain,
        "alias" | "as_strided" | "chunk" | "detach" | "diagonal" | "linalg_diagonal" | "dsplit" | "hsplit"
        | "vsplit" | "expand" | "expand_as" | "broadcast_to" | "adjoint" | "mH" | "mT" | "matrix_H" | "moveaxis"
        | "movedim" | "narrow" | "numpy_T" | "permute" | "positive" | "select" | "slice" | "split"
        | "split_with_sizes" | "squeeze" | "swapaxes" | "swapdims" | "t" | "tensor_split" | "transpose" | "unbind"
        | "unflatten" | "unfold" | "unsqueeze" | "view" | "view_as" | "view_as_real" | "view_as_complex" | "real"
        | "imag" | "conj" | "_conj" => Sharing::Certain,
        "as_tensor" | "contiguous" | "cpu" | "flatten" | "ravel" | "reshape" | "reshape_as" | "resolve_neg"
        | "resolve_conj" | "conj_physical" | "to" | "type_as" | "_reshape_alias" | "slice_inverse" | "_unsafe_view"
        | "atleast_1d" | "atleast_2d" | "atleast_3d" | "sum_to_size" | "broadcast_tensors" | "meshgrid" => {
            Sharing::Possible
        }
        _ => Sharing::None,
    }
}
