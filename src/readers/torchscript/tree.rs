//! The module tree, and the root's `forward` as a graph.
//!
//! Owns the names of parameters and modules in registration order, the model's inputs, and the call of the root.
//! Deliberately leaves all code to `inline`.

use super::alias::Cells;
use super::ast::{Expr, Function};
use super::build::Builder;
use super::inline::Inliner;
use super::library::{Library, Named};
use super::traced::Given;
use super::value::{CellId, Object, ObjectId, Val};
use super::{Place, ReadError, finish, notes};
use crate::graph::{Def, Graph, Module, Param, ParamId, Sizes, Type, ValueId};
use crate::tensor::{DType, Tensor, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// An archive whose pickles are read.
pub struct Loaded<'a> {
    pub library: Library<'a>,
    pub root: Val,
    pub constants: Val,
    pub objects: Vec<Object>,
    pub tensors: Vec<Weight>,
    pub version: u64,
    /// What `forward` was traced with.
    pub traced: Option<Vec<Given>>,
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
        traced,
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
    let given = given(forward, traced, &mut builder).map_err(|message| ReadError::Code {
        place: Place {
            file: file.name.clone(),
            line: forward.line,
            scope: String::new(),
        },
        message,
    })?;
    let cells = tensor_cells(&tensors, &names, &mut builder)?;
    let mut inliner = Inliner::new(&mut library, declared, objects, constants, builder, cells);
    inliner.rank_inputs();
    let mut args = vec![Val::Object(root)];
    for value in &given {
        args.push(argument(value, &mut inliner));
    }
    let code = file.clone();
    let result = inliner.call(forward, file, Some("".into()), args, Vec::new())?;
    // What is wrong with an output is wrong where it is returned.
    inliner.stand(code, forward.body.last().map_or(forward.line, |last| last.line));
    let outputs = inliner.output(&result)?;
    let mut graph = inliner.builder.graph;
    graph.outputs = vec![outputs];
    let mut graph = finish::finish(graph);
    notes::note(&mut graph, version);
    Ok(graph)
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
        // Names are bounded, so that this bounds them all.
        visits += 1 + objects[id.0].attributes().len() / 64;
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
            let list: BTreeSet<&Rc<str>> = list.iter().collect();
            for (name, value) in objects[id.0].attributes() {
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
            .attributes()
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

/// One argument of `forward`, made of inputs of the graph.
enum Made {
    Input(ValueId),
    Tuple(Vec<Made>),
    Dict(Vec<(String, Made)>),
}

/// The value that an argument is in the code.
fn argument(made: &Made, inliner: &mut Inliner) -> Val {
    match made {
        Made::Input(value) => inliner.wrap(*value),
        Made::Tuple(items) => Val::tuple(items.iter().map(|item| argument(item, inliner)).collect()),
        Made::Dict(items) => {
            let items = items.iter().map(|(key, item)| (Val::str(key), argument(item, inliner)));
            Val::Dict(Rc::new(items.collect::<Vec<_>>().into()))
        }
    }
}

/// The model's inputs: what `forward` takes and gives no default for. A tuple's are called `x_0`, `x_1`, a dict's after
/// their keys, which a trace tells.
fn given(forward: &Function, traced: Option<Vec<Given>>, builder: &mut Builder) -> Result<Vec<Made>, String> {
    let parameters = forward.parameters.iter().skip(1);
    let mut found = Vec::new();
    for (at, parameter) in parameters.filter(|parameter| parameter.default.is_none()).enumerate() {
        let traced = traced.as_ref().and_then(|traced| traced.get(at));
        let made = match &parameter.ty {
            Some(ty) => make(&parameter.name, ty, traced, builder),
            None => Some(Made::Input(input(&parameter.name, Type::Tensor, builder))),
        };
        found.push(made.ok_or_else(|| {
            format!(
                "the model's input {:?} is {}, which is not read; wrap the model in a module whose forward takes tensors \
                 only, and trace that",
                parameter.name,
                parameter.ty.as_ref().map_or("unknown", kind)
            )
        })?);
    }
    Ok(found)
}

fn input(name: &str, ty: Type, builder: &mut Builder) -> ValueId {
    let def = Def::Input(builder.graph.inputs.len() as u32);
    let value = builder.value(name, ty, def, true);
    builder.graph.inputs.push(value);
    value
}

fn make(name: &str, ty: &Expr, traced: Option<&Given>, builder: &mut Builder) -> Option<Made> {
    match (ty, traced) {
        (Expr::Index(outer, inner), _) if matches!(&**outer, Expr::Name(name) if &**name == "Tuple") => {
            let types = match &**inner {
                Expr::Tuple(types) => &types[..],
                one => std::slice::from_ref(one),
            };
            let traced = |at: usize| match traced {
                Some(Given::Tuple(items)) => items.get(at),
                _ => None,
            };
            let items = types.iter().enumerate();
            let items = items.map(|(at, ty)| make(&format!("{name}_{at}"), ty, traced(at), builder));
            items.collect::<Option<_>>().map(Made::Tuple)
        }
        (Expr::Index(outer, inner), Some(Given::Dict(items))) if matches!(&**outer, Expr::Name(name) if &**name == "Dict") =>
        {
            let Expr::Tuple(types) = &**inner else { return None };
            let [Expr::Name(key), ty] = &types[..] else { return None };
            let items = (&**key == "str").then_some(items)?.iter();
            let items =
                items.map(|(key, item)| Some((key.clone(), make(&format!("{name}_{key}"), ty, Some(item), builder)?)));
            items.collect::<Option<_>>().map(Made::Dict)
        }
        _ => Some(Made::Input(input(name, input_type(ty)?, builder))),
    }
}

/// What an input is, in words.
fn kind(ty: &Expr) -> &'static str {
    match ty {
        Expr::Index(outer, _) if matches!(&**outer, Expr::Name(name) if &**name == "Dict") => {
            "a dict whose keys only a trace tells"
        }
        _ => "neither a tensor, a number nor a tuple of them",
    }
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
