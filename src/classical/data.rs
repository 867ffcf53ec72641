//! What estimators are given: feature matrices, class labels, regression targets, sample weights.
//!
//! Everything is checked here, once, so that an algorithm sees only finite numbers of fitting lengths.

use crate::{Error, Result};
use ndarray::{Array2, ArrayBase, ArrayView2, CowArray, Data, Ix1, Ix2};
use sprs::{CsMat, CsMatView};
use std::borrow::Cow;

/// Features of `rows` samples in `columns` columns: dense, row after row, or sparse (CSR).
#[derive(Debug, Clone)]
pub enum Matrix<'a> {
    /// Row-major and contiguous.
    Dense(CowArray<'a, f64, Ix2>),
    /// Compressed rows; what is not stored is 0.
    Sparse(CsMatView<'a, f64>),
}

/// Values that are checked together.
const BLOCK: usize = 1024;

impl<'a> Matrix<'a> {
    /// How many samples.
    pub fn rows(&self) -> usize {
        match self {
            Matrix::Dense(array) => array.nrows(),
            Matrix::Sparse(matrix) => matrix.rows(),
        }
    }

    /// How many features.
    pub fn columns(&self) -> usize {
        match self {
            Matrix::Dense(array) => array.ncols(),
            Matrix::Sparse(matrix) => matrix.cols(),
        }
    }

    /// The dense array, row-major and contiguous; a sparse matrix is expanded.
    pub fn dense(&self) -> CowArray<'_, f64, Ix2> {
        match self {
            Matrix::Dense(array) => array.view().into(),
            Matrix::Sparse(matrix) => matrix.to_dense().into(),
        }
    }

    /// The row and column of the first value for which `bad` holds.
    fn find(&self, bad: impl Fn(f64) -> bool) -> Option<(usize, usize, f64)> {
        match self {
            Matrix::Dense(array) => {
                let columns = array.ncols();
                let values = array.as_slice()?;
                // Whole blocks without a branch, which compiles to vector instructions.
                let block = values
                    .chunks(BLOCK)
                    .position(|block| block.iter().fold(false, |found, &value| found | bad(value)))?;
                let position = values[block * BLOCK..].iter().position(|&value| bad(value))? + block * BLOCK;
                let (row, column) = (position / columns, position % columns);
                Some((row, column, array[[row, column]]))
            }
            Matrix::Sparse(matrix) => matrix
                .iter()
                .find(|(value, _)| bad(**value))
                .map(|(value, (row, column))| (row, column, *value)),
        }
    }

    /// The rows of these indices, in their order; the caller keeps them below [`Matrix::rows`].
    pub fn select(&self, indices: &[usize]) -> Matrix<'static> {
        let dense = self.dense();
        let mut rows = Array2::zeros((indices.len(), dense.ncols()));
        for (mut to, &from) in rows.rows_mut().into_iter().zip(indices) {
            to.assign(&dense.row(from));
        }
        Matrix::Dense(rows.into())
    }
}

/// What can be read as a feature matrix: two-dimensional `ndarray` arrays and views of `f64` or `f32`,
/// and sparse `sprs` matrices. `f64` in row-major order is borrowed, everything else is copied.
pub trait Features {
    /// The matrix, not yet checked.
    fn matrix(&self) -> Matrix<'_>;
}

/// A number that features and targets are given in.
pub trait Real: Copy + 'static {
    /// The value in double precision.
    fn to_f64(self) -> f64;
    /// The array in double precision, borrowed if it is that already.
    fn standard(array: ArrayView2<'_, Self>) -> CowArray<'_, f64, Ix2>;
}

impl Real for f64 {
    fn to_f64(self) -> f64 {
        self
    }

    fn standard(array: ArrayView2<'_, f64>) -> CowArray<'_, f64, Ix2> {
        if array.is_standard_layout() { array.into() } else { array.as_standard_layout().into_owned().into() }
    }
}

impl Real for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn standard(array: ArrayView2<'_, f32>) -> CowArray<'_, f64, Ix2> {
        let values = array.iter().map(|&value| f64::from(value)).collect();
        // The vector has an element for each of the array's.
        Array2::from_shape_vec(array.raw_dim(), values).unwrap_or_default().into()
    }
}

impl<S: Data<Elem: Real>> Features for ArrayBase<S, Ix2> {
    fn matrix(&self) -> Matrix<'_> {
        Matrix::Dense(Real::standard(self.view()))
    }
}

impl Features for CsMat<f64> {
    fn matrix(&self) -> Matrix<'_> {
        if self.is_csr() { Matrix::Sparse(self.view()) } else { Matrix::Dense(self.to_dense().into()) }
    }
}

impl Features for Matrix<'_> {
    fn matrix(&self) -> Matrix<'_> {
        match self {
            Matrix::Dense(array) => Matrix::Dense(Real::standard(array.view())),
            Matrix::Sparse(matrix) => Matrix::Sparse(*matrix),
        }
    }
}

/// Class labels: vectors, arrays and slices of integers or booleans (`false` is 0, `true` is 1).
pub trait Labels {
    /// The labels as integers.
    fn labels(&self) -> Vec<i64>;

    /// The weight of each sample, if [`weighted`] gave one.
    fn weights(&self) -> Option<&[f64]> {
        None
    }
}

/// Regression targets: vectors, arrays and slices of `f64` or `f32`.
pub trait Targets {
    /// The targets in double precision.
    fn targets(&self) -> Vec<f64>;

    /// The weight of each sample, if [`weighted`] gave one.
    fn weights(&self) -> Option<&[f64]> {
        None
    }
}

/// Labels or targets with a weight for each sample; see [`weighted`].
#[derive(Debug, Clone, Copy)]
pub struct Weighted<'a, Y> {
    y: &'a Y,
    sample_weight: &'a [f64],
}

/// Labels or targets of which each sample counts by its weight: what scikit-learn calls
/// `sample_weight`, for fits and for metrics alike.
///
/// ```
/// use kiln::classical::{metrics::accuracy_score, weighted};
///
/// let (truth, predicted) = (vec![0, 1, 1], [0, 1, 0]);
/// assert_eq!(accuracy_score(&weighted(&truth, &[1.0, 1.0, 2.0]), &predicted)?, 0.5);
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn weighted<'a, Y>(y: &'a Y, sample_weight: &'a [f64]) -> Weighted<'a, Y> {
    Weighted { y, sample_weight }
}

impl<Y: Labels> Labels for Weighted<'_, Y> {
    fn labels(&self) -> Vec<i64> {
        self.y.labels()
    }

    fn weights(&self) -> Option<&[f64]> {
        Some(self.sample_weight)
    }
}

impl<Y: Targets> Targets for Weighted<'_, Y> {
    fn targets(&self) -> Vec<f64> {
        self.y.targets()
    }

    fn weights(&self) -> Option<&[f64]> {
        Some(self.sample_weight)
    }
}

macro_rules! one_dimensional {
    ($trait:ident, $method:ident, $item:ident, $convert:ident, $out:ty) => {
        impl<T: $item> $trait for Vec<T> {
            fn $method(&self) -> Vec<$out> {
                self.iter().map(|&value| value.$convert()).collect()
            }
        }
        impl<T: $item> $trait for &[T] {
            fn $method(&self) -> Vec<$out> {
                self.iter().map(|&value| value.$convert()).collect()
            }
        }
        impl<T: $item, const N: usize> $trait for [T; N] {
            fn $method(&self) -> Vec<$out> {
                self.iter().map(|&value| value.$convert()).collect()
            }
        }
        impl<S: Data<Elem: $item>> $trait for ArrayBase<S, Ix1> {
            fn $method(&self) -> Vec<$out> {
                self.iter().map(|&value| value.$convert()).collect()
            }
        }
    };
}

/// An integer or boolean that names a class.
pub trait Label: Copy + 'static {
    /// The label as an integer.
    fn to_i64(self) -> i64;
}

macro_rules! label {
    ($($type:ty),*) => {
        $(impl Label for $type {
            fn to_i64(self) -> i64 {
                self as i64
            }
        })*
    };
}

label!(bool, u8, u16, u32, usize, i8, i16, i32, i64);
one_dimensional!(Labels, labels, Label, to_i64, i64);
one_dimensional!(Targets, targets, Real, to_f64, f64);

/// Labels as positions in the sorted list of classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// The distinct labels, ascending.
    pub values: Vec<i64>,
    /// The position of each sample's label in `values`.
    pub codes: Vec<usize>,
}

impl Classes {
    /// Sorts out which classes there are.
    pub fn new(labels: &[i64]) -> Classes {
        let mut values = labels.to_vec();
        values.sort_unstable();
        values.dedup();
        // Every label was put into the list just searched.
        let codes = labels.iter().map(|label| values.binary_search(label).unwrap_or_default()).collect();
        Classes { values, codes }
    }

    /// How many samples each class has, or their weight.
    pub fn counts(&self, weights: Option<&[f64]>) -> Vec<f64> {
        let mut counts = vec![0.0; self.values.len()];
        for (row, &code) in self.codes.iter().enumerate() {
            counts[code] += weights.map_or(1.0, |weights| weights[row]);
        }
        counts
    }
}

/// What an estimator can take beyond finite, dense numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// NaN means missing.
    pub missing: bool,
    /// Sparse matrices are used as they are; otherwise they are expanded.
    pub sparse: bool,
    /// The fewest samples that can be fitted.
    pub rows: usize,
    /// The fewest classes that can be fitted (classifiers).
    pub classes: usize,
}

impl Accepts {
    /// Finite dense numbers, at least one sample, at least two classes.
    pub const PLAIN: Accepts = Accepts { missing: false, sparse: false, rows: 1, classes: 2 };
}

/// Checked training data; `y` is what the estimator learns: [`Classes`], `Vec<f64>` or `()`.
#[derive(Debug, Clone)]
pub struct Training<'a, Y> {
    /// The features.
    pub x: Matrix<'a>,
    /// What is learned.
    pub y: Y,
    /// One finite, not negative weight for each sample, not all 0.
    pub weights: Option<Cow<'a, [f64]>>,
}

impl<'a, Y> Training<'a, Y> {
    /// Checks features, length and weights for the estimator called `name`.
    ///
    /// # Errors
    /// No rows or columns, fewer rows than it needs, values that are not finite (NaN where
    /// [`Accepts::missing`] is false), another number of targets than rows, wrong weights: each named
    /// with its row and column.
    pub fn checked(
        name: &'static str,
        accepts: Accepts,
        x: &'a dyn Features,
        y: Y,
        length: Option<usize>,
        weights: Option<&'a [f64]>,
    ) -> Result<Training<'a, Y>> {
        let x = checked_features(name, accepts, x)?;
        let rows = x.rows();
        if rows < accepts.rows {
            let needed = accepts.rows;
            return Err(Error::op(name, format!("{rows} samples; at least {needed} are needed")));
        }
        if let Some(length) = length.filter(|&length| length != rows) {
            return Err(Error::op(name, format!("x has {rows} rows but y has {length}")));
        }
        if let Some(weights) = weights {
            check_weights(name, rows, weights)?;
        }
        Ok(Training { x, y, weights: weights.map(Cow::Borrowed) })
    }

    /// For an estimator that has no use for weights.
    ///
    /// # Errors
    /// If there are weights.
    pub fn refuse_weights(&self, name: &'static str) -> Result<()> {
        match self.weights {
            None => Ok(()),
            Some(_) => Err(Error::op(name, "sample_weight is given, but this estimator takes none")),
        }
    }

    /// The weight of a sample, 1 if none were given.
    pub fn weight(&self, row: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[row])
    }
}

/// Checks that a matrix has rows and columns and only values that `accepts` allows.
///
/// # Errors
/// Names the first row and column at fault.
pub fn checked_features<'a>(name: &'static str, accepts: Accepts, x: &'a dyn Features) -> Result<Matrix<'a>> {
    let x = match x.matrix() {
        Matrix::Sparse(matrix) if !accepts.sparse => Matrix::Dense(matrix.to_dense().into()),
        matrix => matrix,
    };
    let (rows, columns) = (x.rows(), x.columns());
    if rows == 0 || columns == 0 {
        return Err(Error::op(
            name,
            format!("x is {rows} rows by {columns} columns; it needs at least 1 of each"),
        ));
    }
    let found = if accepts.missing { x.find(f64::is_infinite) } else { x.find(|value| !value.is_finite()) };
    if let Some((row, column, value)) = found {
        let remedy = if value.is_nan() { "; impute missing values first" } else { "" };
        return Err(Error::op(name, format!("x holds {value} at row {row}, column {column}{remedy}")));
    }
    Ok(x)
}

/// Checks finite targets.
///
/// # Errors
/// Names the first row at fault.
pub fn checked_targets(name: &'static str, y: &dyn Targets) -> Result<Vec<f64>> {
    let y = y.targets();
    match y.iter().position(|value| !value.is_finite()) {
        Some(row) => Err(Error::op(name, format!("y holds {} at row {row}", y[row]))),
        None => Ok(y),
    }
}

/// Checks one finite, not negative weight a row, not all 0, with a finite sum.
pub(super) fn check_weights(name: &'static str, rows: usize, weights: &[f64]) -> Result<()> {
    if weights.len() != rows {
        return Err(Error::op(name, format!("x has {rows} rows but sample_weight has {}", weights.len())));
    }
    if let Some(row) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        let weight = weights[row];
        return Err(Error::op(
            name,
            format!("sample_weight holds {weight} at row {row}; it must be 0 or more"),
        ));
    }
    let total: f64 = weights.iter().sum();
    if !total.is_finite() {
        return Err(Error::op(name, "the sum of sample_weight overflows; divide it by a constant"));
    }
    if total == 0.0 {
        return Err(Error::op(name, "every sample_weight is 0"));
    }
    Ok(())
}

/// The numbers, if they are all finite: a model may be read from a file in which they are not, and sums of
/// extreme values overflow.
pub(super) fn finite<'a, N: IntoIterator<Item = &'a f64>>(name: &'static str, numbers: N) -> Result<()> {
    match numbers.into_iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(number) => {
            let message =
                format!("the prediction is {number}; x, or the model, holds values of extreme size");
            Err(Error::op(name, message))
        }
    }
}

/// The name of a column; where none was given, one by its number.
pub(super) fn column_name(names: &[String], column: usize) -> String {
    names.get(column).cloned().unwrap_or_else(|| format!("x{column}"))
}
