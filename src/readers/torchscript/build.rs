//! Nodes added to the graph under construction.
//!
//! Owns names of values, the choice of overloads, and what an operator's arguments may not be: training mode. Knows
//! nothing of the code, of cells and of containers.

use super::alias::Emit;
use super::dtypes::dtype;
use super::ranks::rank;
use super::value::Val;
use crate::graph::{Arg, Def, Graph, Node, NodeId, Resolved, Type, ValueId, resolve};
use crate::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Nodes of one graph, before those that nothing reads are dropped; the largest of 100 networks has 6,000.
const MAX_NODES: usize = 100_000;

/// Elements of the lists that operators are given, in all.
const MAX_LISTED: usize = 2_000_000;

/// Bytes of a value's name that are taken over from the code.
const MAX_NAME: usize = 200;

/// A graph under construction.
#[derive(Default)]
pub struct Builder {
    pub graph: Graph,
    /// By value: whether it depends on the model's input.
    pub depends: Vec<bool>,
    /// What 0-dim tensors are worth as numbers, where that is known: a literal or another value.
    pub numbers: BTreeMap<ValueId, Val>,
    /// Dotted path of the module whose code is inlined.
    pub scope: Rc<str>,
    /// What the result is called in the code.
    pub hint: Option<Rc<str>>,
    names: BTreeMap<String, u32>,
    /// Elements of lists so far.
    listed: usize,
    /// Dimensions of results, of a list's elements for a list.
    ranks: BTreeMap<ValueId, usize>,
    /// Element types of results, likewise.
    dtypes: BTreeMap<ValueId, DType>,
    /// Whether there may be complex numbers: a tensor of the archive holds some, or an operator made them.
    pub complex: bool,
    /// The types of numbers with fractions that there may be: float32, which inputs have, and what the archive's tensors
    /// have or operators are asked for. A tensor of no axes changes no other's type.
    pub fractions: BTreeSet<DType>,
}

/// Elements of the lists within an argument.
fn listed(arg: &Arg) -> usize {
    match arg {
        Arg::List(items) => items.len() + items.iter().map(listed).sum::<usize>(),
        _ => 0,
    }
}

/// The type with fractions that an operator is asked for.
fn asked_type(args: &[(String, Arg)]) -> Option<DType> {
    let (_, code) = args.iter().find(|(name, _)| name == "dtype")?;
    DType::from_code(code.as_int()?).filter(|dtype| dtype.is_float())
}

/// Whether an operator may give complex numbers where it is given none.
fn makes_complex(op: &str, args: &[(String, Arg)]) -> bool {
    let real = |dtype: &Arg| match dtype {
        Arg::None => true,
        Arg::Int(code) => DType::from_code(*code).is_some_and(|dtype| !dtype.is_complex()),
        _ => false,
    };
    let named = ["fft", "stft", "complex", "polar"];
    named.iter().any(|name| op.contains(name)) || args.iter().any(|(name, arg)| name == "dtype" && !real(arg))
}

/// Words that printed code cannot use as names.
const RESERVED: [&str; 42] = [
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "torch",
    "ops",
    "CONSTANTS",
    "self",
    "None",
    "True",
    "False",
    "inf",
    "nan",
    "print",
];

impl Builder {
    /// Adds a value under the nearest free name.
    pub fn value(&mut self, wanted: &str, ty: Type, def: Def, depends: bool) -> ValueId {
        let name = self.unique(wanted);
        self.depends.push(depends);
        self.graph.add_value(name, ty, def)
    }

    fn unique(&mut self, wanted: &str) -> String {
        let mut base: String = wanted
            .chars()
            .take(MAX_NAME)
            .map(|char| if char.is_ascii_alphanumeric() { char } else { '_' })
            .collect();
        if base.is_empty() || base.starts_with(|char: char| char.is_ascii_digit()) || RESERVED.contains(&base.as_str())
        {
            base.insert(0, '_');
        }
        loop {
            let count = self.names.entry(base.clone()).or_insert(0);
            *count += 1;
            if *count == 1 {
                return base;
            }
            let name = format!("{base}_{count}");
            if !self.names.contains_key(&name) {
                self.names.insert(name.clone(), 1);
                return name;
            }
        }
    }

    /// Notes how many dimensions a tensor has.
    pub fn set_rank(&mut self, value: ValueId, rank: usize) {
        self.ranks.insert(value, rank);
    }

    /// How many dimensions a tensor has, if that is known.
    pub fn rank(&self, value: ValueId) -> Option<usize> {
        match self.graph.value(value).def {
            Def::Param(param) => Some(self.graph.param(param).tensor.shape().len()),
            Def::Constant(constant) => Some(self.graph.constants[constant as usize].shape().len()),
            Def::Input(_) | Def::Node { .. } => match self.type_of(value) {
                Type::Int | Type::Float | Type::Bool => Some(0),
                _ => self.ranks.get(&value).copied(),
            },
        }
    }

    /// The element type of a tensor, if that is known.
    fn dtype(&self, value: ValueId) -> Option<DType> {
        match self.graph.value(value).def {
            Def::Input(_) => None,
            Def::Param(param) => Some(self.graph.param(param).tensor.dtype()),
            Def::Constant(constant) => Some(self.graph.constants[constant as usize].dtype()),
            Def::Node { .. } => self.dtypes.get(&value).copied(),
        }
    }

    /// Whether a tensor's numbers are complex, where that is known: they are nowhere as long as nothing made any.
    pub fn is_complex(&self, value: ValueId) -> Option<bool> {
        if let Some(dtype) = self.dtype(value) {
            return Some(dtype.is_complex());
        }
        let input = self.graph.inputs.contains(&value);
        (!self.complex || input).then_some(false)
    }

    /// Whether two values are the element types (`prim::dtype`) of tensors of one type, where that is known.
    pub fn same_dtype(&self, left: ValueId, right: ValueId) -> Option<bool> {
        let dtype = |value: ValueId| match self.graph.value(value).def {
            Def::Node { node, .. } if self.graph.node(node).op == "prim::dtype" => {
                self.dtype(self.graph.node(node).args.first()?.1.as_value()?)
            }
            _ => None,
        };
        Some(dtype(left)? == dtype(right)?)
    }

    /// Whether a write of `value` over `before` may have to change its element type: that of a tensor stays.
    pub fn keeps_type(&self, before: &Arg, value: ValueId) -> bool {
        match (
            before.as_value().and_then(|before| self.dtype(before)),
            self.dtype(value),
        ) {
            (Some(before), Some(value)) => before == value,
            _ => self.fractions.len() < 2,
        }
    }

    pub fn type_of(&self, value: ValueId) -> &Type {
        &self.graph.value(value).ty
    }

    /// Adds a call of an operator; one value a result.
    pub fn call(&mut self, op: &str, args: &[Arg], keywords: &[(String, Arg)]) -> Result<Vec<ValueId>, String> {
        let graph = &self.graph;
        let type_of = |value: ValueId| &graph.value(value).ty;
        let resolved = resolve(op, args, keywords, &type_of).map_err(|error| error.to_string())?;
        self.refuse_training(&resolved)?;
        let mut returns = resolved.returns;
        let ty = match returns.len() {
            0 => return Err(format!("operator {op} cannot be called by name")),
            1 => returns.remove(0),
            _ => Type::Tuple(returns.clone()),
        };
        let schema = resolved.schema;
        let result = self.add(&schema.op, &schema.overload, resolved.args, vec![ty])?;
        if returns.is_empty() {
            return Ok(result);
        }
        let args = vec![("tup".to_owned(), Arg::Value(result[0]))];
        self.add("prim::TupleUnpack", "", args, returns)
    }

    /// Unpacks a runtime list of known length.
    pub fn unpack(&mut self, list: ValueId, count: usize) -> Result<Vec<ValueId>, String> {
        let Type::List(item) = self.type_of(list).clone() else {
            return Err("only a list can be unpacked".into());
        };
        let args = vec![("list".to_owned(), Arg::Value(list))];
        self.add("prim::ListUnpack", "", args, vec![*item; count])
    }

    fn add(
        &mut self,
        op: &str,
        overload: &str,
        args: Vec<(String, Arg)>,
        types: Vec<Type>,
    ) -> Result<Vec<ValueId>, String> {
        if self.graph.nodes.len() >= MAX_NODES {
            return Err(format!("the model has more than {MAX_NODES} operators"));
        }
        self.listed += args.iter().map(|(_, arg)| listed(arg)).sum::<usize>();
        if self.listed > MAX_LISTED {
            return Err(format!(
                "operators are given lists of more than {MAX_LISTED} elements in all"
            ));
        }
        let mut depends = false;
        args.iter().for_each(|(_, arg)| {
            arg.for_each_value(&mut |value| depends |= self.depends[value.0 as usize]);
        });
        let short = op.rsplit("::").next().unwrap_or(op).to_owned();
        let hint = self.hint.take().filter(|hint| !hint.starts_with('_'));
        let hint = hint.as_deref().unwrap_or(&short).to_owned();
        let node = NodeId(self.graph.nodes.len() as u32);
        let outputs = types
            .into_iter()
            .enumerate()
            .map(|(output, ty)| {
                let output = output as u32;
                self.value(&hint, ty, Def::Node { node, output }, depends)
            })
            .collect::<Vec<ValueId>>();
        if let Some(rank) = rank(op, &args, &|value| self.rank(value)) {
            self.ranks.extend(outputs.iter().map(|output| (*output, rank)));
        }
        self.complex |= makes_complex(op, &args);
        if self.complex {
            self.fractions.insert(DType::C64);
        }
        self.fractions.extend(asked_type(&args));
        if let Some(dtype) = dtype(op, &args, &|value| self.dtype(value)) {
            self.dtypes.extend(outputs.iter().map(|output| (*output, dtype)));
        }
        self.graph.nodes.push(Node {
            op: op.into(),
            overload: overload.into(),
            args,
            outputs: outputs.clone(),
            scope: self.scope.to_string(),
        });
        Ok(outputs)
    }

    /// Refuses what is random, or updates statistics, in training mode.
    fn refuse_training(&self, call: &Resolved) -> Result<(), String> {
        let op = call.schema.op.as_str();
        let arg = |name: &str| call.args.iter().find(|(known, _)| known == name).map(|(_, arg)| arg);
        let is = |name: &str| arg(name).is_some_and(|arg| !matches!(arg, Arg::Bool(false) | Arg::None));
        let positive = |name: &str| !matches!(arg(name), None | Some(Arg::Int(0)) | Some(Arg::Float(0.0)));
        let short = op.strip_prefix("aten::").unwrap_or(op);
        match short {
            "dropout" | "alpha_dropout" | "feature_dropout" | "feature_alpha_dropout" | "native_dropout" | "rrelu"
                if is("train") || is("training") =>
            {
                Err(format!(
                    "{op} is in training mode, so its result is random; call model.eval() before saving"
                ))
            }
            "lstm" | "gru" | "rnn_tanh" | "rnn_relu" if is("train") && positive("dropout") => Err(format!(
                "{op} drops values at random in training mode; call model.eval() before saving"
            )),
            "scaled_dot_product_attention" | "_scaled_dot_product_attention_math" if positive("dropout_p") => Err(
                format!("{op} drops values at random (dropout_p is not 0); call model.eval() before saving"),
            ),
            "batch_norm"
            | "native_batch_norm"
            | "_native_batch_norm_legit"
            | "instance_norm"
            | "_batch_norm_with_update" => {
                let flag = if short == "instance_norm" {
                    "use_input_stats"
                } else {
                    "training"
                };
                let updates = arg("running_mean").is_some_and(|arg| *arg != Arg::None);
                let mut depends = false;
                if let Some(arg) = arg("input") {
                    arg.for_each_value(&mut |value| depends |= self.depends[value.0 as usize]);
                }
                // Weight standardisation normalises a weight by its own statistics: that is arithmetic on constants.
                let batch = short != "instance_norm" && depends;
                if is(flag) && (updates || batch) {
                    return Err(format!(
                        "{op} is in training mode, so a sample's result depends on its neighbours in the batch; call \
                         model.eval() before saving, and give the layer running statistics (track_running_stats=True): \
                         without them it stays in training mode"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Emit for Builder {
    fn node(&mut self, op: &str, args: Vec<Arg>, keywords: Vec<(String, Arg)>) -> Result<ValueId, String> {
        match self.call(op, &args, &keywords)?.as_slice() {
            [value] => Ok(*value),
            values => Err(format!(
                "operator {op} gives {} results where one is wanted",
                values.len()
            )),
        }
    }
}
