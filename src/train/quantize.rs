//! Weights in fewer bits.

use crate::io::{HostTensor, StateDict};
use crate::{DType, Error, Result};
use half::f16;
use std::collections::BTreeMap;
use std::path::Path;

/// How the weights of a model file are stored. The network computes in `f32` whatever this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats: half the size. Numbers beyond 65,504 become infinite, so a model that has such is
    /// refused.
    F16,
    /// 8-bit integers with a scale for each output channel, for parameters of two dimensions and more:
    /// about a quarter of the size.
    Int8,
}

/// The metadata key with the shapes of the tensors that hold 8-bit integers, JSON by name.
const INT8: &str = "int8";
const SCALE: &str = ".scale";

/// The weights at this precision. 8-bit integers lie four to an `I32`, the first in the lowest byte, with
/// their scales in a tensor called `NAME.scale`.
pub(super) fn quantize(mut state: StateDict, precision: Precision) -> Result<StateDict> {
    if precision == Precision::F32 {
        return Ok(state);
    }
    let mut shapes = BTreeMap::new();
    for (name, tensor) in std::mem::take(&mut state.tensors) {
        let packed = match (tensor.dtype, precision) {
            (DType::F32, Precision::F16) => {
                let halves: Vec<_> = tensor.to_vec::<f32>()?.into_iter().map(f16::from_f32).collect();
                if !halves.iter().all(|half| half.is_finite()) {
                    return Err(Error::op("quantize", format!("{name} has values beyond those of f16")));
                }
                HostTensor { dtype: DType::F16, bytes: bytemuck::cast_slice(&halves).to_vec(), ..tensor }
            }
            (DType::F32, Precision::Int8) if tensor.shape.len() > 1 => {
                let (packed, scales) = to_int8(&name, &tensor)?;
                state.tensors.insert(format!("{name}{SCALE}"), scales);
                shapes.insert(name.clone(), tensor.shape);
                packed
            }
            _ => tensor,
        };
        state.tensors.insert(name, packed);
    }
    if precision == Precision::Int8 {
        let shapes =
            serde_json::to_string(&shapes).map_err(|error| Error::op("quantize", error.to_string()))?;
        state.metadata.insert(INT8.into(), shapes);
    }
    Ok(state)
}

/// The packed integers, and the scale of each part along the first dimension.
fn to_int8(name: &str, tensor: &HostTensor) -> Result<(HostTensor, HostTensor)> {
    let values = tensor.to_vec::<f32>()?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(Error::op("quantize", format!("{name} has values that are not finite")));
    }
    let rows = tensor.shape[0].max(1);
    let (mut bytes, mut scales) = (Vec::new(), Vec::new());
    for row in values.chunks((values.len() / rows).max(1)) {
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        bytes.extend(row.iter().map(|value| (value / scale).round() as i8 as u8));
        scales.push(scale);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let packed = HostTensor { dtype: DType::I32, shape: vec![bytes.len() / 4], bytes };
    Ok((packed, HostTensor::from_slice(&[scales.len()], &scales)?))
}

/// Undoes [`quantize`] for 8-bit integers; halves are widened where they are loaded. An error where the
/// file `path` does not hold what its metadata says.
pub(super) fn dequantize(mut state: StateDict, path: &Path) -> Result<StateDict> {
    let Some(shapes) = state.metadata.remove(INT8) else { return Ok(state) };
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(&shapes)
        .map_err(|error| Error::file(path, format!("its list of 8-bit tensors cannot be read: {error}")))?;
    for (name, shape) in shapes {
        let scales = state.tensors.remove(&format!("{name}{SCALE}"));
        let tensor = state.tensors.get_mut(&name).zip(scales).and_then(|(packed, scales)| {
            let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
            let scales = scales.to_vec::<f32>().ok()?;
            let fits = packed.dtype == DType::I32
                && packed.bytes.len() == elements.checked_next_multiple_of(4)?
                && shape.first() == Some(&scales.len());
            let row = elements.checked_div(scales.len()).filter(|_| fits)?.max(1);
            let whole = packed.bytes[..elements].iter().enumerate();
            let values: Vec<f32> =
                whole.map(|(index, &byte)| f32::from(byte as i8) * scales[index / row]).collect();
            *packed = HostTensor::from_slice(&shape, &values).ok()?;
            Some(())
        });
        if tensor.is_none() {
            return Err(Error::file(
                path,
                format!("its 8-bit tensor {name:?} of shape {shape:?} is not whole"),
            ));
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> StateDict {
        let weight: Vec<f32> =
            (0..21).map(|i| (i as f32 * 0.7).sin() * if i < 7 { 0.01 } else { 3.0 }).collect();
        let mut state = StateDict::default();
        state.tensors.insert("fc.weight".into(), HostTensor::from_slice(&[3, 7], &weight).unwrap());
        state.tensors.insert("fc.bias".into(), HostTensor::from_slice(&[3], &[0.123f32, -7.5, 0.0]).unwrap());
        state.tensors.insert("zero".into(), HostTensor::from_slice(&[2, 1], &[0f32; 2]).unwrap());
        state.tensors.insert("count".into(), HostTensor::from_slice(&[], &[5i32]).unwrap());
        state
    }

    fn values(state: &StateDict, name: &str) -> Vec<f32> {
        state.tensors[name].to_vec().unwrap()
    }

    #[test]
    fn integers_are_within_half_a_step_of_each_row() {
        let packed = quantize(state(), Precision::Int8).unwrap();
        assert_eq!(packed.tensors["fc.weight"].bytes.len(), 24);
        let back = dequantize(packed, Path::new("model")).unwrap();
        let (old, new) = (values(&state(), "fc.weight"), values(&back, "fc.weight"));
        for (old, new) in old.chunks(7).zip(new.chunks(7)) {
            let largest = old.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (old, new) in old.iter().zip(new) {
                assert!((old - new).abs() <= 0.501 * largest / 127.0, "{old} {new}");
            }
        }
        for name in ["fc.bias", "zero", "count"] {
            assert_eq!(back.tensors[name], state().tensors[name]);
        }
        assert!(back.metadata.is_empty());
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        let halves = quantize(state(), Precision::F16).unwrap();
        assert_eq!(
            (halves.tensors["fc.weight"].dtype, halves.tensors["count"].dtype),
            (DType::F16, DType::I32)
        );
        let mut large = state();
        large.tensors.insert("large".into(), HostTensor::from_slice(&[1], &[1e6f32]).unwrap());
        assert!(quantize(large, Precision::F16).unwrap_err().to_string().contains("large"));
        for value in [f32::NAN, f32::INFINITY] {
            let mut odd = state();
            odd.tensors.insert("odd".into(), HostTensor::from_slice(&[1, 1], &[value]).unwrap());
            assert!(quantize(odd, Precision::Int8).unwrap_err().to_string().contains("odd"));
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let packed = quantize(state(), Precision::Int8).unwrap();
        for damage in [
            |state: &mut StateDict| drop(state.tensors.remove("fc.weight.scale")),
            |state: &mut StateDict| drop(state.tensors.remove("fc.weight")),
            |state: &mut StateDict| state.tensors.get_mut("fc.weight").unwrap().bytes.truncate(20),
            |state: &mut StateDict| {
                drop(state.metadata.insert("int8".into(), "{\"fc.weight\":[0,7]}".into()))
            },
            |state: &mut StateDict| {
                drop(state.metadata.insert("int8".into(), "{\"zero\":[99999999999,9999999999]}".into()))
            },
            |state: &mut StateDict| drop(state.metadata.insert("int8".into(), "[]".into())),
        ] {
            let mut damaged = packed.clone();
            damage(&mut damaged);
            let error = dequantize(damaged, Path::new("model.safetensors")).unwrap_err();
            assert!(error.to_string().contains("model.safetensors"));
        }
    }
}
