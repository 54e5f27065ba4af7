//! The module tree, and the root's `forward` as a graph.
//!
//! Owns the names of parameters and modules in registration order, the model's inputs, and the call of the root.
//! Deliberately leaves all code to `inline`.

use super::alias::Cells;
use super::ast::Expr;
use super::build::Builder;
use super::inline::Inliner;
use super::library::{Library, Named};
use super::value::{CellId, Object, ObjectId, Val};
use super::{ReadError, finish};
use crate::graph::{Def, Graph, Issue, Module, Param, ParamId, Sizes, Type};
use crate::tensor::{DType, Tensor, Weight};
use std::collections::BTreeMap;

/// An archive whose pickles are read.
pub struct Loaded<'a> {
    pub library: Library<'a>,
    pub root: Val,
    pub constants: Val,
    pub objects: Vec<Object>,
    pub tensors: Vec<Weight>,
    pub version: u64,
    /// What the inputs are declared to be.
    pub declared: &'a mut dyn Sizes,
}

/// Inlines the `forward` of the root.
pub fn inline_root(loaded: Loaded) -> Result<Graph, ReadError> {
    let Loaded {
        mut library,
        root,
        constants,
        mut objects,
        tensors,
        version,
        declared,
    } = loaded;
    let Val::Object(root) = root else {
        return Err(ReadError::Archive("data.pkl holds no module".into()));
    };
    let constants = match constants {
        Val::Tuple(tuple) => tuple.items.clone(),
        _ => return Err(ReadError::Archive("constants.pkl holds no tuple".into())),
    };
    let mut builder = Builder::default();
    let names = name_tree(&mut objects, root, &mut builder.graph)?;
    if names.is_empty() && constants.iter().any(|value| is_array(value, &tensors)) {
        return Err(ReadError::Frozen);
    }

    let Some((Named::Class(class), file)) = library.find(&objects[root.0].qualified)? else {
        return Err(ReadError::Archive("the root module has no code".into()));
    };
    let Some(forward) = class.methods.iter().find(|method| &*method.name == "forward") else {
        return Err(ReadError::Archive(format!(
            "the root module, of class {}, has no method forward",
            class.name
        )));
    };

    // Inputs take their names first, then parameters; a tensor's cell has the tensor's own index.
    let inputs = inputs(forward, &mut builder)?;
    let cells = tensor_cells(&tensors, &names, &mut builder)?;
    let mut inliner = Inliner::new(&mut library, declared, objects, constants, builder, cells);
    inliner.rank_inputs();
    let mut args = vec![Val::Object(root)];
    for value in inputs {
        args.push(inliner.wrap(value));
    }
    let code = file.clone();
    let result = inliner.call(forward, file, Some("".into()), args, Vec::new())?;
    // What is wrong with an output is wrong where it is returned.
    inliner.stand(code, forward.body.last().map_or(forward.line, |last| last.line));
    let outputs = inliner.output(&result)?;
    let mut graph = inliner.builder.graph;
    graph.outputs = vec![outputs];
    let mut graph = finish::finish(graph);
    note_old_division(&mut graph, version);
    Ok(graph)
}

/// Below version 4, `div` of integers rounded towards zero.
fn note_old_division(graph: &mut Graph, version: u64) {
    if version >= 4 {
        return;
    }
    let issues: Vec<Issue> = graph
        .nodes
        .iter()
        .filter(|node| node.op == "aten::div" && node.overload.starts_with("Tensor"))
        .map(|node| Issue {
            node: graph.value(node.outputs[0]).name.clone(),
            scope: node.scope.clone(),
            op: node.op.clone(),
            message: format!("file version {version}: div of integer tensors rounded then, and does not now"),
        })
        .collect();
    graph.issues.extend(issues);
}

fn is_array(value: &Val, tensors: &[Weight]) -> bool {
    match value {
        Val::Tensor(cell) => tensors.get(cell.0).is_some_and(|tensor| tensor.numel() > 1),
        Val::Tuple(tuple) => tuple.items.iter().any(|item| is_array(item, tensors)),
        _ => false,
    }
}

/// The state-dict names of one tensor.
struct Names {
    names: Vec<String>,
    buffer: bool,
}

/// Gives every module its path, and every parameter its names, in registration order.
fn name_tree(
    objects: &mut [Object],
    root: ObjectId,
    graph: &mut Graph,
) -> Result<Vec<(usize, Vec<String>, bool)>, ReadError> {
    let mut order = Vec::new();
    let mut named: BTreeMap<usize, Names> = BTreeMap::new();
    let mut stack: Vec<(ObjectId, String)> = vec![(root, String::new())];
    let mut visits = 0;
    while let Some((id, path)) = stack.pop() {
        visits += 1;
        if visits > 100_000 {
            return Err(ReadError::Limit {
                what: "modules, counted along every path,",
                limit: 100_000,
            });
        }
        let class = objects[id.0].class.clone();
        let join = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        if objects[id.0].path.is_none() {
            objects[id.0].path = Some(path.as_str().into());
            graph.modules.push(Module {
                path: path.clone(),
                class: class.name.to_string(),
            });
        }
        for (list, buffer) in [(&class.parameters, false), (&class.buffers, true)] {
            for (name, value) in &objects[id.0].attributes {
                if let (Val::Tensor(cell), true) = (value, list.contains(name)) {
                    let entry = named.entry(cell.0).or_insert_with(|| {
                        order.push(cell.0);
                        Names {
                            names: Vec::new(),
                            buffer,
                        }
                    });
                    entry.names.push(join(name));
                }
            }
        }
        let children = objects[id.0]
            .attributes
            .iter()
            .rev()
            .filter_map(|(name, value)| match value {
                Val::Object(child) if objects[child.0].is_module() => Some((*child, join(name))),
                _ => None,
            });
        stack.extend(children.collect::<Vec<_>>());
    }
    let take = |tensor: usize| named.remove(&tensor).map(|entry| (tensor, entry.names, entry.buffer));
    Ok(order.into_iter().filter_map(take).collect())
}

/// One cell a tensor: a parameter, a buffer or a constant. Constants are read, since their values decide what is built.
fn tensor_cells(
    tensors: &[Weight],
    names: &[(usize, Vec<String>, bool)],
    builder: &mut Builder,
) -> Result<Cells, ReadError> {
    let mut values = BTreeMap::new();
    for (tensor, names, buffer) in names {
        let id = ParamId(builder.graph.params.len() as u32);
        builder.graph.params.push(Param {
            names: names.clone(),
            tensor: tensors[*tensor].clone(),
            buffer: *buffer,
        });
        values.insert(*tensor, builder.value(&names[0], Type::Tensor, Def::Param(id), false));
    }
    let stretched = tensors.iter().filter(|tensor| !tensor.shape().is_empty());
    let types = stretched.map(|tensor| tensor.dtype()).chain([DType::F32]);
    builder.fractions = types.filter(|dtype| dtype.is_inexact()).collect();
    builder.complex = tensors.iter().any(|tensor| tensor.dtype().is_complex());
    let mut cells = Cells::default();
    for (index, tensor) in tensors.iter().enumerate() {
        let value = match values.get(&index) {
            Some(&value) => value,
            None => {
                let tensor = tensor.read().map_err(|fault| ReadError::Archive(fault.message))?;
                let id = builder.graph.constants.len() as u32;
                builder.graph.constants.push(tensor.clone());
                let value = builder.value("constant", Type::Tensor, Def::Constant(id), false);
                if let Some(number) = number(tensor) {
                    builder.numbers.insert(value, number);
                }
                value
            }
        };
        // Cells are numbered as they are made, and so as the tensors are.
        let cell = cells.fresh(value);
        debug_assert_eq!(cell, CellId(index));
    }
    Ok(cells)
}

/// What a 0-dim tensor is worth as a number.
fn number(tensor: &Tensor) -> Option<Val> {
    if !tensor.shape().is_empty() || tensor.dtype().is_complex() {
        return None;
    }
    Some(match tensor.dtype() {
        DType::Bool => Val::Bool(tensor.to_i64()[0] != 0),
        dtype if dtype.is_float() => Val::Float(tensor.to_f64()[0]),
        _ => Val::Int(tensor.to_i64()[0]),
    })
}

/// The model's inputs: what `forward` takes and gives no default for.
fn inputs(forward: &super::ast::Function, builder: &mut Builder) -> Result<Vec<crate::graph::ValueId>, ReadError> {
    let mut found = Vec::new();
    for parameter in forward.parameters.iter().skip(1) {
        if parameter.default.is_some() {
            continue;
        }
        let Some(ty) = parameter.ty.as_ref().map_or(Some(Type::Tensor), input_type) else {
            return Err(ReadError::Unsupported(format!(
                "the model's input {:?} is neither a tensor, a number nor a list of them, which is not read",
                parameter.name
            )));
        };
        let def = Def::Input(found.len() as u32);
        let value = builder.value(&parameter.name, ty, def, true);
        builder.graph.inputs.push(value);
        found.push(value);
    }
    Ok(found)
}

fn input_type(ty: &Expr) -> Option<Type> {
    match ty {
        Expr::Name(name) => match &**name {
            "Tensor" => Some(Type::Tensor),
            "int" => Some(Type::Int),
            "float" => Some(Type::Float),
            "bool" => Some(Type::Bool),
            _ => None,
        },
        Expr::Index(outer, inner) => match &**outer {
            Expr::Name(name) if &**name == "Optional" => input_type(inner),
            Expr::Name(name) if &**name == "List" => Some(Type::List(Box::new(input_type(inner)?))),
            _ => None,
        },
        _ => None,
    }
}
