//! Kiln: a deep-learning engine whose GPU kernels are WGSL compute shaders dispatched through
//! wgpu, with a CPU backend that is fast in its own right.
#![warn(missing_docs)]

mod cache;
mod ceilings;
#[cfg(feature = "classical")]
pub mod classical;
pub mod data;
pub mod device;
mod dtype;
mod engine;
mod error;
#[cfg(feature = "train")]
pub mod explain;
pub mod expr;
mod gemm;
mod graph;
pub mod io;
mod layout;
pub mod models;
pub mod nn;
mod op;
pub mod ops;
pub mod optim;
mod parallel;
#[cfg(feature = "proof")]
pub mod proof;
mod tensor;
#[cfg(feature = "train")]
pub mod train;
mod vectors;

pub use ceilings::Ceilings;
pub use dtype::{DType, Element};
pub use engine::Engine;
pub use error::{Error, Result};
pub use graph::{Gradients, eval};
pub use layout::{INFER, IntoAxes, IntoShape, Layout, MAX_RANK, Shape, Spec};
pub use op::{Elements, Finish, Identity, Op, Output, View, Word};
pub use tensor::{Operand, Tensor, autocast, no_grad};

/// The README's code is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
