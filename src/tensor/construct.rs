//! Tensors from values.

use super::Tensor;
use crate::expr::Scalar;
use crate::ops::constant::Constant;
use crate::{DType, Element, Engine, Error, IntoShape, Op, Result, Spec};
use std::sync::Arc;

/// The op of tensors whose values came from the host.
#[derive(Debug)]
struct Data(Spec);

impl Op for Data {
    fn name(&self) -> &'static str {
        "data"
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        Ok(self.0)
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(Vec::new())
    }
}

impl Tensor {
    /// A tensor of these values, row-major. An error unless there is one value per element.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Engine::cpu())?;
    /// assert_eq!(x.dims(), [2, 3]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn from_slice<T: Element>(values: &[T], shape: impl IntoShape, engine: &Engine) -> Result<Tensor> {
        let spec = Spec::new(T::DTYPE, shape.into_shape()?);
        if values.len() != spec.elements() {
            let message = format!("{} values do not fill the shape {}", values.len(), spec.shape());
            return Err(Error::op("from_slice", message));
        }
        let mut bytes = Vec::with_capacity(spec.bytes());
        T::store(values, &mut bytes)?;
        Tensor::from_bytes(&bytes, spec.dtype, spec.layout.shape, engine)
    }

    /// As [`from_slice`](Tensor::from_slice), for a `Vec`.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl IntoShape, engine: &Engine) -> Result<Tensor> {
        Tensor::from_slice(&values, shape, engine)
    }

    /// A tensor from the stored form of its elements (native byte order, [`DType`] says which words).
    pub fn from_bytes(bytes: &[u8], dtype: DType, shape: impl IntoShape, engine: &Engine) -> Result<Tensor> {
        let spec = Spec::new(dtype, shape.into_shape()?);
        if bytes.len() != spec.bytes() {
            let message = format!("{} bytes do not fill {} {dtype}", bytes.len(), spec.shape());
            return Err(Error::op("from_bytes", message));
        }
        let range = (dtype == DType::I32).then(|| {
            let words = bytes.chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            words.fold((i32::MAX, i32::MIN), |(low, high), v| (low.min(v), high.max(v)))
        });
        let buffer = engine.upload(bytes)?;
        Ok(Tensor::leaf(Arc::new(Data(spec)), spec, engine, Some(buffer), range))
    }

    /// Every element `value`. Takes one element of memory, however large the shape.
    pub fn full(shape: impl IntoShape, value: f64, dtype: DType, engine: &Engine) -> Result<Tensor> {
        Tensor::generate(Constant(Scalar::new(value, dtype)), engine)?.broadcast_to(shape)
    }

    /// Zeros, `f32`.
    pub fn zeros(shape: impl IntoShape, engine: &Engine) -> Result<Tensor> {
        Tensor::full(shape, 0.0, DType::F32, engine)
    }

    /// Ones, `f32`.
    pub fn ones(shape: impl IntoShape, engine: &Engine) -> Result<Tensor> {
        Tensor::full(shape, 1.0, DType::F32, engine)
    }

    /// Zeros of this tensor's shape and dtype.
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::full(self.shape(), 0.0, self.dtype(), self.engine())
    }

    /// Ones of this tensor's shape and dtype.
    pub fn ones_like(&self) -> Result<Tensor> {
        Tensor::full(self.shape(), 1.0, self.dtype(), self.engine())
    }

    /// `start, start + step, ...` up to but without `end`: `f32`, of length
    /// `ceil((end - start) / step)`.
    pub fn arange(start: f64, end: f64, step: f64, engine: &Engine) -> Result<Tensor> {
        let count = ((end - start) / step).ceil();
        if !(0.0..=i32::MAX as f64).contains(&count) {
            let message = format!("{start} to {end} in steps of {step} is not a range");
            return Err(Error::op("arange", message));
        }
        let values: Vec<f32> = (0..count as usize).map(|i| (start + i as f64 * step) as f32).collect();
        Tensor::from_slice(&values, values.len(), engine)
    }

    /// The identity matrix `[n, n]`, `f32`.
    pub fn eye(n: usize, engine: &Engine) -> Result<Tensor> {
        let shape = [n, n].into_shape()?;
        let mut values = vec![0.0f32; shape.elements()];
        values.iter_mut().step_by(n + 1).for_each(|value| *value = 1.0);
        Tensor::from_slice(&values, shape, engine)
    }

    /// A copy of an `ndarray` array of any layout.
    pub fn from_ndarray<T, D>(array: &ndarray::ArrayRef<T, D>, engine: &Engine) -> Result<Tensor>
    where
        T: Element,
        D: ndarray::Dimension,
    {
        let values: Vec<T> = array.iter().copied().collect();
        Tensor::from_slice(&values, array.shape(), engine)
    }
}
