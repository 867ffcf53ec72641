//! Non-negative matrix factorisation.

mod coordinate_descent;
mod multiplicative;
mod start;

use super::{check_columns, check_count, finite, numbered};
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::linalg::matmul;
use crate::classical::params::{model, params};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// Where the factorisation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NmfInit {
    /// Random numbers of the data's scale.
    Random,
    /// Positive parts of the singular vectors (Boutsidis and Gallopoulos, 2008): for sparse factors.
    Nndsvd,
    /// The same, zeros filled with the mean of the data.
    Nndsvda,
}

/// How the factors are improved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NmfSolver {
    /// Coordinate descent (Cichocki and Phan, 2009), of the squared error.
    #[default]
    Cd,
    /// Multiplicative updates (Lee and Seung, 2001).
    Mu,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaLoss {
    /// Half the squared error.
    #[default]
    Frobenius,
    /// The generalised Kullback-Leibler divergence; only by [`NmfSolver::Mu`].
    KullbackLeibler,
}

/// A fitted non-negative matrix factorisation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Nmf {
    n_features: usize,
    params: NmfParams,
    components: Array2<f64>,
    reconstruction_err: f64,
    n_iter: usize,
}

params! {
    /// Parameters of [`Nmf`]: non-negative data as a product `w @ components` of non-negative factors
    /// (Lee and Seung, 1999).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]];
    /// let nmf = Nmf::params().n_components(2).fit(&x)?;
    /// assert!(nmf.reconstruction_err() < 0.01);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NmfParams for Nmf = "NMF" {
        /// How many components; none means as many as features.
        n_components: Option<usize> = None,
        /// Where to start; none means `Nndsvda`, or `Random` for more components than the data's sides.
        init: Option<NmfInit> = None,
        /// How to improve the factors.
        solver: NmfSolver = NmfSolver::Cd,
        /// What to minimise.
        beta_loss: BetaLoss = BetaLoss::Frobenius,
        /// The change, relative to the first one's, at which to stop.
        tol: f64 = 1e-4,
        /// Most iterations.
        max_iter: usize = 200,
        /// Seed of a random start.
        seed: u64 = 0,
        /// Strength of the penalty on `w`, multiplied by the number of features.
        alpha_w: f64 = 0.0,
        /// Strength of the penalty on the components, multiplied by the number of samples; none means
        /// that of `w`.
        alpha_h: Option<f64> = None,
        /// The L1 part of the penalty, between 0 and 1; the rest is L2.
        l1_ratio: f64 = 0.0,
    }

    fn check(&self) -> Result<()> {
        let fault = |name: &str, value: f64, what: &str| Err(Self::error(format!("{name} is {value}; it must be {what}")));
        let finite_positive = |value: f64| value >= 0.0 && value.is_finite();
        match self {
            _ if !finite_positive(self.tol) => fault("tol", self.tol, "0 or more"),
            _ if !finite_positive(self.alpha_w) => fault("alpha_w", self.alpha_w, "0 or more"),
            _ if !self.alpha_h.is_none_or(finite_positive) => fault("alpha_h", self.alpha_h.unwrap_or(0.0), "0 or more"),
            _ if !(0.0..=1.0).contains(&self.l1_ratio) => fault("l1_ratio", self.l1_ratio, "between 0 and 1"),
            _ if self.max_iter == 0 => fault("max_iter", 0.0, "1 or more"),
            _ if self.solver == NmfSolver::Cd && self.beta_loss != BetaLoss::Frobenius => {
                Err(Self::error("solver cd minimises the frobenius loss only; use solver mu"))
            }
            _ => Ok(()),
        }
    }
}

/// L1 and L2 penalties of a factor.
#[derive(Debug, Clone, Copy)]
struct Penalty {
    l1: f64,
    l2: f64,
}

/// A start or the end of a factorisation: `w [samples, components]` and `h [components, features]`.
struct Factors {
    w: Array2<f64>,
    h: Array2<f64>,
}

impl NmfParams {
    /// The penalties of `w` and of the components.
    fn penalties(&self, x: ArrayView2<'_, f64>) -> (Penalty, Penalty) {
        let of = |alpha: f64, count: usize| {
            let strength = alpha * count as f64;
            Penalty { l1: strength * self.l1_ratio, l2: strength * (1.0 - self.l1_ratio) }
        };
        (of(self.alpha_w, x.ncols()), of(self.alpha_h.unwrap_or(self.alpha_w), x.nrows()))
    }

    /// Improves the factors, `h` only if `learn_h`; returns the number of iterations.
    fn improve(&self, x: ArrayView2<'_, f64>, factors: &mut Factors, learn_h: bool) -> usize {
        match self.solver {
            NmfSolver::Cd => coordinate_descent::improve(self, x, factors, learn_h),
            NmfSolver::Mu => multiplicative::improve(self, x, factors, learn_h),
        }
    }

    /// The model, and the factor `w` of the training rows.
    fn factorize(&self, x: ArrayView2<'_, f64>) -> Result<(Nmf, Array2<f64>)> {
        refuse_negative(x)?;
        let n_features = x.ncols();
        let most = usize::MAX / x.nrows().max(n_features);
        let count =
            check_count(Self::NAME, self.n_components.unwrap_or(n_features), most, "what memory allows")?;
        let mut factors = start::start(self, x, count)?;
        let n_iter = self.improve(x, &mut factors, true);
        let w = finite(Self::NAME, factors.w)?;
        let components = finite(Self::NAME, factors.h)?;
        let loss = multiplicative::divergence(self.beta_loss, x, &w, &components);
        let model = Nmf {
            n_features,
            params: self.clone(),
            components,
            reconstruction_err: (2.0 * loss).max(0.0).sqrt(),
            n_iter,
        };
        Ok((model, w))
    }
}

fn refuse_negative(x: ArrayView2<'_, f64>) -> Result<()> {
    match x.indexed_iter().find(|(_, value)| **value < 0.0) {
        None => Ok(()),
        Some(((row, column), value)) => Err(Error::op(
            "NMF",
            format!("x holds {value} at row {row}, column {column}; it must be 0 or more"),
        )),
    }
}

impl FitTransformer for NmfParams {
    type Model = Nmf;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Nmf> {
        Ok(self.factorize(data.x.dense().view())?.0)
    }

    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(Nmf, Matrix<'static>)> {
        let (model, w) = self.factorize(data.x.dense().view())?;
        Ok((model, Matrix::Dense(w.into())))
    }
}

impl Nmf {
    /// The factor of the features, `[components, features]`.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.components.view()
    }

    /// The root of twice the loss at the end of the fit: for Frobenius, the norm of what is left over.
    pub fn reconstruction_err(&self) -> f64 {
        self.reconstruction_err
    }

    /// How many iterations the fit took; as many as `max_iter` means that it did not converge.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }
}

impl Transformer for Nmf {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        refuse_negative(x.view())?;
        let components = self.components.nrows();
        let start = match self.params.solver {
            NmfSolver::Cd => 0.0,
            NmfSolver::Mu => start::scale(x.view(), components),
        };
        let w = Array2::from_elem((x.nrows(), components), start);
        let mut factors = Factors { w, h: self.components.clone() };
        self.params.improve(x.view(), &mut factors, false);
        Ok(Matrix::Dense(finite("NMF", factors.w)?.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        check_columns(self.name(), x.columns(), self.components.nrows())?;
        finite(self.name(), matmul(x.dense().view(), self.components.view())).map(Some)
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        numbered("nmf", self.components.nrows())
    }
}

model!(
    Nmf = "NMF",
    fn is_consistent(&self) -> bool {
        self.components.ncols() == self.n_features && self.params.check().is_ok()
    }
);
