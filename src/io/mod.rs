//! Reading and writing files.

mod atomic;
mod safetensors;

pub use self::safetensors::{HostTensor, StateDict};
pub(crate) use atomic::write_atomic;
