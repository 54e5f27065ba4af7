//! What is known of a value before anything is computed.

use crate::graph::Type;
use crate::labels::Axes;
use crate::tensor::{DType, Tensor};

/// A number known from shapes and constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(int) => int as f64,
            Number::Float(float) => float,
            Number::Bool(flag) => f64::from(u8::from(flag)),
        }
    }

    /// The whole number, floats truncated as `int()` does.
    pub fn as_i64(self) -> i64 {
        match self {
            Number::Int(int) => int,
            Number::Float(float) => float as i64,
            Number::Bool(flag) => i64::from(flag),
        }
    }

    /// The number as a 0-dimensional tensor.
    pub fn tensor(self) -> Tensor {
        match self {
            Number::Int(int) => Tensor::from_i64([], &[int]),
            _ => Tensor::from_f64([], &[self.as_f64()]).cast(self.dtype()),
        }
    }

    pub fn dtype(self) -> DType {
        match self {
            Number::Int(_) => DType::I64,
            Number::Float(_) => DType::F32,
            Number::Bool(_) => DType::Bool,
        }
    }
}

/// A tensor's shape, labels and element type.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorFact {
    pub axes: Axes,
    pub dtype: DType,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Nothing: something before it could not be understood.
    Unknown,
    None,
    /// A number, also one that travels as a 0-dimensional tensor.
    Number(Number),
    Text(String),
    Tensor(TensorFact),
    List(Vec<Fact>),
}

impl Fact {
    /// A tensor none of whose axes may shrink.
    pub fn fixed(shape: Vec<usize>, dtype: DType) -> Fact {
        Fact::Tensor(TensorFact {
            axes: Axes::fixed(shape),
            dtype,
        })
    }

    pub fn tensor(axes: Axes, dtype: DType) -> Fact {
        Fact::Tensor(TensorFact { axes, dtype })
    }

    pub fn int(int: i64) -> Fact {
        Fact::Number(Number::Int(int))
    }

    pub fn as_tensor(&self) -> Option<&TensorFact> {
        match self {
            Fact::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The shape of a tensor; a number has none of its own.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            Fact::Tensor(tensor) => Some(&tensor.axes.shape),
            Fact::Number(_) => Some(&[]),
            _ => None,
        }
    }

    /// The type that a value of the graph needs to hold this.
    pub fn ty(&self) -> Type {
        match self {
            Fact::Number(Number::Int(_)) => Type::Int,
            Fact::Number(Number::Float(_)) => Type::Float,
            Fact::Number(Number::Bool(_)) => Type::Bool,
            Fact::Text(_) => Type::Str,
            Fact::List(items) => Type::List(Box::new(items.first().map_or(Type::Tensor, Fact::ty))),
            _ => Type::Tensor,
        }
    }
}
