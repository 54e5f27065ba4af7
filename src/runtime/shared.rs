//! Tensors that several threads read.

use std::sync::{Mutex, PoisonError};
use tch::Tensor;

/// A tensor behind a lock that is held only while another handle to the same memory is made.
#[derive(Debug)]
pub struct Shared(Mutex<Tensor>);

impl Shared {
    pub fn new(tensor: Tensor) -> Shared {
        Shared(Mutex::new(tensor))
    }

    /// A handle to the same memory.
    pub fn get(&self) -> Tensor {
        // A thread that panicked here left the handle whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone()
    }
}
