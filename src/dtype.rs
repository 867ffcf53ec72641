//! Element types.

use crate::{Error, Result};
use std::fmt;

/// The type of a tensor's elements.
///
/// Every type but `F16` takes one 32-bit word per element on every device, so WGSL binds it as it
/// is and a transfer is a plain copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float: storage only, arithmetic widens to `F32`.
    F16,
    /// 32-bit signed integer: indices and labels.
    I32,
    /// Truth value, stored as a word of 0 or 1.
    Bool,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F16 => 2,
            _ => 4,
        }
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::I32 => "i32",
            DType::Bool => "bool",
        })
    }
}

/// A Rust type that tensors are made from and read into: `f32`, `f16`, `i32`, `i64` and `bool`.
///
/// `i64` is a convenience for labels and indices: its tensors are `I32`, and a value outside the
/// range of `i32` is an error.
pub trait Element: Copy + Send + Sync + fmt::Debug + 'static {
    /// The element type of a tensor made from this type.
    const DTYPE: DType;
    /// Appends the stored form of `values` to `bytes`.
    fn store(values: &[Self], bytes: &mut Vec<u8>) -> Result<()>;
    /// Reads values back from their stored form.
    fn load(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! plain_element {
    ($type:ty, $dtype:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn store(values: &[Self], bytes: &mut Vec<u8>) -> Result<()> {
                bytes.extend_from_slice(bytemuck::cast_slice(values));
                Ok(())
            }
            fn load(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    };
}

plain_element!(f32, F32);
plain_element!(half::f16, F16);
plain_element!(i32, I32);

impl Element for i64 {
    const DTYPE: DType = DType::I32;
    fn store(values: &[Self], bytes: &mut Vec<u8>) -> Result<()> {
        for &value in values {
            let word = i32::try_from(value)
                .map_err(|_| Error::op("from_slice", format!("{value} does not fit an i32 index")))?;
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        Ok(())
    }
    fn load(bytes: &[u8]) -> Vec<Self> {
        bytemuck::pod_collect_to_vec::<u8, i32>(bytes).into_iter().map(i64::from).collect()
    }
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn store(values: &[Self], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.extend(values.iter().flat_map(|&value| u32::from(value).to_ne_bytes()));
        Ok(())
    }
    fn load(bytes: &[u8]) -> Vec<Self> {
        bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(|word| word != 0).collect()
    }
}
