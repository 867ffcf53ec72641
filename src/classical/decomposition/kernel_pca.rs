//! Principal components in the space of a kernel.

use super::{check_columns, check_count, finite, flip_sign, numbered};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::linalg::{eigh, eigsh, matmul, solve_positive};
use crate::classical::params::{model, params};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// How alike two rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PcaKernel {
    /// `x y`: plain principal components.
    #[default]
    Linear,
    /// `(gamma x y + coef0)^degree`.
    Poly,
    /// `exp(-gamma |x - y|^2)`.
    Rbf,
    /// `tanh(gamma x y + coef0)`.
    Sigmoid,
    /// `x y / (|x| |y|)`.
    Cosine,
}

/// The leading eigenvectors of a centred symmetric matrix of similarities, and how new rows of
/// similarities are projected on them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KernelSpace {
    column_means: Array1<f64>,
    mean: f64,
    pub(crate) eigenvalues: Array1<f64>,
    /// `[rows, components]`.
    eigenvectors: Array2<f64>,
}

/// Rows above which a few eigenvalues are found by Lanczos' method.
const DENSE: usize = 200;

impl KernelSpace {
    /// The space of the similarities of all pairs. Eigenvalues that are 0 up to rounding are left out if
    /// `drop_zero`.
    pub(crate) fn new(
        name: &'static str,
        mut kernel: Array2<f64>,
        components: usize,
        drop_zero: bool,
    ) -> Result<KernelSpace> {
        let column_means = kernel.mean_axis(Axis(0)).unwrap_or_default();
        let mean = column_means.mean().unwrap_or(0.0);
        kernel -= &column_means;
        kernel -= &column_means.view().insert_axis(Axis(1));
        kernel += mean;
        let kernel = finite(name, kernel)?;
        let rows = kernel.nrows();
        let (values, vectors) = if rows > DENSE && components < 10 {
            eigsh(rows, components, 1e-12, |vector| kernel.dot(&vector))?
        } else {
            let (values, vectors) = eigh(kernel.view())?;
            (values.slice(s![..;-1]).to_owned(), vectors.slice(s![.., ..;-1]).to_owned())
        };
        let largest = values.iter().copied().fold(0.0, f64::max);
        let mut eigenvalues =
            values.slice(s![..components]).mapv(|value| if value > 1e-12 * largest { value } else { 0.0 });
        let mut kept = components;
        if drop_zero {
            kept = eigenvalues.iter().filter(|value| **value > 0.0).count();
            eigenvalues = eigenvalues.slice(s![..kept]).to_owned();
        }
        let mut eigenvectors = finite(name, vectors.slice(s![.., ..kept]).as_standard_layout().into_owned())?;
        eigenvectors.columns_mut().into_iter().for_each(flip_sign);
        Ok(KernelSpace { column_means, mean, eigenvalues, eigenvectors })
    }

    /// Whether it was made of so many rows.
    pub(crate) fn fits(&self, rows: usize) -> bool {
        self.column_means.len() == rows && self.eigenvectors.dim() == (rows, self.eigenvalues.len())
    }

    /// The coordinates of the rows it was made of, `[rows, components]`.
    pub(crate) fn embedding(&self) -> Array2<f64> {
        &self.eigenvectors * &self.eigenvalues.mapv(f64::sqrt)
    }

    /// The coordinates of rows from their similarities to those it was made of.
    pub(crate) fn project(&self, name: &'static str, mut kernel: Array2<f64>) -> Result<Array2<f64>> {
        let row_means = kernel.mean_axis(Axis(1)).unwrap_or_default();
        kernel -= &self.column_means;
        kernel -= &row_means.insert_axis(Axis(1));
        kernel += self.mean;
        let inverse = self.eigenvalues.mapv(|value| if value > 0.0 { value.sqrt().recip() } else { 0.0 });
        finite(name, matmul(kernel.view(), (&self.eigenvectors * &inverse).view()))
    }
}

/// A fitted kernel principal component analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelPca {
    n_features: usize,
    params: KernelPcaParams,
    gamma: f64,
    space: KernelSpace,
    rows: Array2<f64>,
    /// The embedding of the rows, and what turns similarities to it back into rows.
    inverse: Option<(Array2<f64>, Array2<f64>)>,
}

params! {
    /// Parameters of [`KernelPca`]: principal components after a map into a space of many dimensions, of
    /// which only the products are ever computed (Scholkopf, Smola and Muller, 1998).
    ///
    /// ```
    /// use kiln::classical::decomposition::PcaKernel;
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// // Two rings: no line divides them, but the first component of a radial kernel does.
    /// let x = Array2::from_shape_fn((80, 2), |(i, j)| {
    ///     let (angle, radius) = (i as f64, if i % 2 == 0 { 1.0 } else { 4.0 });
    ///     radius * if j == 0 { angle.cos() } else { angle.sin() }
    /// });
    /// let kpca = KernelPca::params().kernel(PcaKernel::Rbf).gamma(0.5).n_components(1);
    /// let embedding = kpca.fit_transform(&x)?;
    /// assert!((0..80).all(|i| (embedding[[i, 0]] > 0.2) == (i % 2 == 0)));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    KernelPcaParams for KernelPca = "KernelPCA" {
        /// How many components to keep; none means all whose eigenvalue is not 0.
        n_components: Option<usize> = None,
        /// How alike two rows are.
        kernel: PcaKernel = PcaKernel::Linear,
        /// The kernel's scale; none means 1 / features.
        gamma: Option<f64> = None,
        /// The degree of the polynomial kernel.
        degree: f64 = 3.0,
        /// The constant of the polynomial and sigmoid kernels.
        coef0: f64 = 1.0,
        /// Whether to learn the way back to the features (Bakir, Weston and Scholkopf, 2004).
        fit_inverse_transform: bool = false,
        /// The ridge penalty of the way back.
        alpha: f64 = 1.0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        let numbers = [("gamma", self.gamma.unwrap_or(1.0)), ("degree", self.degree), ("alpha", self.alpha)];
        if let Some((name, value)) = numbers.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            return Err(Self::error(format!("{name} is {value}; it must be 0 or more")));
        }
        if self.coef0.is_finite() { Ok(()) } else { Err(Self::error("coef0 must be finite")) }
    }
}

impl KernelPcaParams {
    /// The similarities of the rows of `x` to those of `y`.
    fn similarities(
        &self,
        gamma: f64,
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>> {
        let mut products = matmul(x, y.t());
        let squares = |rows: ArrayView2<'_, f64>| rows.map_axis(Axis(1), |row| row.dot(&row));
        match self.kernel {
            PcaKernel::Linear => {}
            PcaKernel::Poly => {
                products.mapv_inplace(|product| (gamma * product + self.coef0).powf(self.degree))
            }
            PcaKernel::Sigmoid => products.mapv_inplace(|product| (gamma * product + self.coef0).tanh()),
            PcaKernel::Rbf => {
                products *= -2.0;
                products += &squares(x).insert_axis(Axis(1));
                products += &squares(y);
                products.mapv_inplace(|square| (-gamma * square.max(0.0)).exp());
            }
            PcaKernel::Cosine => {
                // A row of zeros has a product of 0 with any other.
                let norms =
                    |rows| squares(rows).mapv(|square: f64| if square > 0.0 { square.sqrt() } else { 1.0 });
                products /= &norms(x).insert_axis(Axis(1));
                products /= &norms(y);
            }
        }
        finite(Self::NAME, products)
    }
}

impl FitTransformer for KernelPcaParams {
    type Model = KernelPca;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<KernelPca> {
        let x = data.x.dense();
        let (rows, n_features) = x.dim();
        let count =
            check_count(Self::NAME, self.n_components.unwrap_or(rows), rows, "the number of samples")?;
        let gamma = self.gamma.unwrap_or(1.0 / n_features as f64);
        let kernel = self.similarities(gamma, x.view(), x.view())?;
        let space = KernelSpace::new(Self::NAME, kernel, count, self.n_components.is_none())?;
        let inverse = if self.fit_inverse_transform {
            let embedding = space.embedding();
            let mut kernel = self.similarities(gamma, embedding.view(), embedding.view())?;
            kernel.diag_mut().map_inplace(|value| *value += self.alpha);
            let mut weights = Array2::zeros(x.dim());
            for (mut weights, column) in weights.columns_mut().into_iter().zip(x.columns()) {
                let solution = solve_positive(kernel.view(), column)
                    .ok_or_else(|| Self::error("the way back cannot be learned; use an alpha above 0"))?;
                weights.assign(&solution);
            }
            Some((embedding, weights))
        } else {
            None
        };
        Ok(KernelPca { n_features, params: self.clone(), gamma, space, rows: x.to_owned(), inverse })
    }

    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(KernelPca, Matrix<'static>)> {
        let model = self.fit_checked(data)?;
        let embedding = model.space.embedding();
        Ok((model, Matrix::Dense(embedding.into())))
    }
}

impl KernelPca {
    /// The eigenvalues of the centred kernel matrix, descending.
    pub fn eigenvalues(&self) -> ArrayView1<'_, f64> {
        self.space.eigenvalues.view()
    }

    /// Their eigenvectors, `[samples, components]`.
    pub fn eigenvectors(&self) -> ArrayView2<'_, f64> {
        self.space.eigenvectors.view()
    }
}

impl Transformer for KernelPca {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let kernel = self.params.similarities(self.gamma, x.dense().view(), self.rows.view())?;
        Ok(Matrix::Dense(self.space.project(self.name(), kernel)?.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let Some((embedding, weights)) = &self.inverse else { return Ok(None) };
        check_columns(self.name(), x.columns(), embedding.ncols())?;
        let kernel = self.params.similarities(self.gamma, x.dense().view(), embedding.view())?;
        finite(self.name(), matmul(kernel.view(), weights.view())).map(Some)
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        numbered("kernelpca", self.space.eigenvalues.len())
    }
}

model!(
    KernelPca = "KernelPCA",
    fn is_consistent(&self) -> bool {
        let inverse = |(embedding, weights): &(Array2<f64>, Array2<f64>)| {
            weights.dim() == (embedding.nrows(), self.n_features)
        };
        self.rows.ncols() == self.n_features
            && self.space.fits(self.rows.nrows())
            && self.inverse.as_ref().is_none_or(inverse)
    }
);
