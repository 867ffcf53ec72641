//! Values from tensors.

use super::Tensor;
use crate::graph::execute;
use crate::layout::Layout;
use crate::{DType, Element, Error, Result};

impl Tensor {
    /// Computes this tensor (and what it depends on) now, unless that has been done.
    pub fn eval(&self) -> Result<&Tensor> {
        execute::evaluate(std::slice::from_ref(self), &|_| false, false)?;
        Ok(self)
    }

    /// The elements, row-major. Waits for the device. An error unless `T` is the dtype's type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        pollster::block_on(self.to_vec_async())
    }

    /// As [`to_vec`](Tensor::to_vec), without blocking the thread while the device works.
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            let message = format!("the tensor is {}, not {}", self.dtype(), std::any::type_name::<T>());
            return Err(Error::op("to_vec", message));
        }
        Ok(T::load(&self.to_bytes_async().await?))
    }

    /// The stored form of the elements, row-major.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        pollster::block_on(self.to_bytes_async())
    }

    /// As [`to_bytes`](Tensor::to_bytes), without blocking the thread while the device works.
    pub async fn to_bytes_async(&self) -> Result<Vec<u8>> {
        execute::evaluate(std::slice::from_ref(self), &|_| false, true)?;
        let value = self.inner().state().value.clone();
        let Some(buffer) = value else {
            return Err(Error::op("to_vec", "the tensor has no value after its evaluation"));
        };
        let (layout, size) = (self.layout(), self.dtype().size());
        let extent = layout.extent();
        let device = self.engine().holder(buffer.kind());
        let bytes = device.download(&buffer, extent.start * size..extent.end * size).await?;
        Ok(if layout.is_contiguous() { bytes } else { gather(&bytes, layout, extent.start, size) })
    }

    /// The one value of a tensor of one element, widened: `f32` and `f16` to `f64`, a truth value
    /// to 0 or 1. Waits for the device.
    pub fn item(&self) -> Result<f64> {
        if self.elements() != 1 {
            return Err(Error::op("item", format!("the tensor has shape {}, not one element", self.shape())));
        }
        Ok(match self.dtype() {
            DType::F32 => f64::from(self.to_vec::<f32>()?[0]),
            DType::F16 => self.to_vec::<half::f16>()?[0].to_f64(),
            DType::I32 => f64::from(self.to_vec::<i32>()?[0]),
            DType::Bool => f64::from(u8::from(self.to_vec::<bool>()?[0])),
        })
    }

    /// A copy as an `ndarray` array of the same shape.
    pub fn to_ndarray<T: Element>(&self) -> Result<ndarray::ArrayD<T>> {
        ndarray::ArrayD::from_shape_vec(self.dims(), self.to_vec()?)
            .map_err(|error| Error::op("to_ndarray", error.to_string()))
    }
}

/// The elements of a strided layout in row-major order; `bytes` starts at buffer place `start`.
fn gather(bytes: &[u8], layout: &Layout, start: usize, size: usize) -> Vec<u8> {
    let (shape, strides) = (layout.shape, layout.strides());
    let mut result = Vec::with_capacity(shape.elements() * size);
    let mut index = vec![0usize; shape.rank()];
    for _ in 0..shape.elements() {
        let place = index.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum::<isize>();
        let at = ((layout.offset as isize + place) as usize - start) * size;
        result.extend_from_slice(&bytes[at..at + size]);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    result
}
