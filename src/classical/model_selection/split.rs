//! Ways to divide samples into those that are learned from and those that are judged.

use crate::classical::data::{Accepts, Classes, Features, checked_features};
use crate::classical::order;
use crate::classical::random;
use crate::{Error, Result};
use ndarray::Array2;
use std::fmt::Debug;

/// Which rows to learn from and which to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to judge.
    pub test: Vec<usize>,
}

/// A way to divide samples, more than once.
pub trait Splitter: Debug + Send + Sync {
    /// The folds of so many rows; `labels` are there for classification.
    ///
    /// # Errors
    /// Too few rows, or labels or groups that do not fit.
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>>;
}

/// The folds in which the rows of each number are judged.
fn folds(of_row: &[usize], n_splits: usize) -> Vec<Fold> {
    let fold = |fold: usize| {
        let (test, train) = (0..of_row.len()).partition(|&row| of_row[row] == fold);
        Fold { train, test }
    };
    (0..n_splits).map(fold).collect()
}

fn check_splits(name: &'static str, n_splits: usize, rows: usize) -> Result<()> {
    if n_splits < 2 || n_splits > rows {
        return Err(Error::op(
            name,
            format!("n_splits is {n_splits} for {rows} samples; it must be 2 to samples"),
        ));
    }
    Ok(())
}

fn order(rows: usize, seed: Option<u64>) -> Vec<usize> {
    match seed {
        None => (0..rows).collect(),
        Some(seed) => random::permutation(&mut random::stream(seed, 0), rows),
    }
}

/// Folds of equal size; each row is judged once.
#[derive(Debug, Clone)]
pub struct KFold {
    n_splits: usize,
    seed: Option<u64>,
}

/// Folds of equal size with the classes in equal shares; each row is judged once.
#[derive(Debug, Clone)]
pub struct StratifiedKFold {
    n_splits: usize,
    seed: Option<u64>,
}

macro_rules! shuffled {
    ($($split:ident),*) => {
        $(impl $split {
            /// So many folds, of rows in their order.
            pub fn new(n_splits: usize) -> $split {
                $split { n_splits, seed: None }
            }

            /// Folds of rows in a random order.
            #[must_use]
            pub fn shuffle(mut self, seed: u64) -> $split {
                self.seed = Some(seed);
                self
            }
        })*
    };
}

shuffled!(KFold, StratifiedKFold);

impl Splitter for KFold {
    fn split(&self, rows: usize, _: Option<&[i64]>) -> Result<Vec<Fold>> {
        check_splits("KFold", self.n_splits, rows)?;
        let (size, larger) = (rows / self.n_splits, rows % self.n_splits);
        let sizes = (0..self.n_splits).map(|fold| size + usize::from(fold < larger));
        let fold_of = sizes.enumerate().flat_map(|(fold, size)| std::iter::repeat_n(fold, size));
        let mut of_row = vec![0; rows];
        order(rows, self.seed).into_iter().zip(fold_of).for_each(|(row, fold)| of_row[row] = fold);
        Ok(folds(&of_row, self.n_splits))
    }
}

fn needed<'a>(name: &'static str, rows: usize, labels: Option<&'a [i64]>) -> Result<&'a [i64]> {
    match labels {
        Some(labels) if labels.len() == rows => Ok(labels),
        Some(labels) => Err(Error::op(name, format!("{rows} rows but {} labels", labels.len()))),
        None => Err(Error::op(name, "it needs class labels")),
    }
}

impl Splitter for StratifiedKFold {
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>> {
        check_splits("StratifiedKFold", self.n_splits, rows)?;
        let classes = Classes::new(needed("StratifiedKFold", rows, labels)?);
        let counts = classes.counts(None);
        if counts.iter().all(|&count| count < self.n_splits as f64) {
            let message = format!("n_splits is {}, more than the samples of any class", self.n_splits);
            return Err(Error::op("StratifiedKFold", message));
        }
        // The classes in the order of their first rows, their samples dealt to the folds in turn.
        let mut first = vec![rows; counts.len()];
        classes.codes.iter().enumerate().rev().for_each(|(row, &code)| first[code] = row);
        let mut by_first: Vec<usize> = (0..counts.len()).collect();
        order::grouped(&mut by_first, &first);
        let mut of_row = vec![0; rows];
        let mut dealt = 0;
        for class in by_first {
            let mut own: Vec<usize> = (0..rows).filter(|&row| classes.codes[row] == class).collect();
            let mut fold_of: Vec<usize> = (dealt..dealt + own.len()).map(|at| at % self.n_splits).collect();
            fold_of.sort_unstable();
            dealt += own.len();
            if let Some(seed) = self.seed {
                random::stream(seed, class).shuffle(&mut own);
            }
            own.into_iter().zip(fold_of).for_each(|(row, fold)| of_row[row] = fold);
        }
        Ok(folds(&of_row, self.n_splits))
    }
}

/// [`KFold`] or [`StratifiedKFold`] several times, each time in another order.
#[derive(Debug, Clone)]
pub struct RepeatedKFold {
    /// Folds of one repetition.
    pub n_splits: usize,
    /// Repetitions.
    pub n_repeats: usize,
    /// Whether the classes have equal shares.
    pub stratified: bool,
    /// Seed of the orders.
    pub seed: u64,
}

impl Splitter for RepeatedKFold {
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>> {
        let repetition = |repeat: usize| {
            let seed = random::stream(self.seed, repeat).u64(..);
            if self.stratified {
                StratifiedKFold::new(self.n_splits).shuffle(seed).split(rows, labels)
            } else {
                KFold::new(self.n_splits).shuffle(seed).split(rows, labels)
            }
        };
        let repetitions: Result<Vec<_>> = (0..self.n_repeats).map(repetition).collect();
        Ok(repetitions?.concat())
    }
}

/// Each row is judged alone.
#[derive(Debug, Clone, Copy)]
pub struct LeaveOneOut;

impl Splitter for LeaveOneOut {
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>> {
        KFold::new(rows).split(rows, labels)
    }
}

/// Folds of nearly equal size, none of which shares a group with another.
#[derive(Debug, Clone)]
pub struct GroupKFold {
    n_splits: usize,
    groups: Classes,
}

/// As [`GroupKFold`], with the classes in shares as equal as the groups allow.
#[derive(Debug, Clone)]
pub struct StratifiedGroupKFold {
    n_splits: usize,
    groups: Classes,
}

macro_rules! grouped {
    ($($split:ident),*) => {
        $(impl $split {
            /// So many folds of rows that belong to these groups.
            pub fn new(n_splits: usize, groups: &[i64]) -> $split {
                $split { n_splits, groups: Classes::new(groups) }
            }

            fn check(&self, rows: usize) -> Result<()> {
                let (groups, given) = (self.groups.values.len(), self.groups.codes.len());
                if given != rows {
                    return Err(Error::op(stringify!($split), format!("{rows} rows but {given} groups")));
                }
                if self.n_splits < 2 || self.n_splits > groups {
                    let message = format!("n_splits is {} for {groups} groups; it must be 2 to groups", self.n_splits);
                    return Err(Error::op(stringify!($split), message));
                }
                Ok(())
            }

            fn folds(&self, of_group: &[usize]) -> Vec<Fold> {
                let of_row: Vec<usize> = self.groups.codes.iter().map(|&group| of_group[group]).collect();
                folds(&of_row, self.n_splits)
            }
        })*
    };
}

grouped!(GroupKFold, StratifiedGroupKFold);

impl Splitter for GroupKFold {
    fn split(&self, rows: usize, _: Option<&[i64]>) -> Result<Vec<Fold>> {
        self.check(rows)?;
        // The largest group left goes to the smallest fold.
        let counts = self.groups.counts(None);
        let mut by_size: Vec<usize> = (0..counts.len()).rev().collect();
        order::descending(&mut by_size, &counts);
        let mut sizes = vec![0.0; self.n_splits];
        let mut of_group = vec![0; counts.len()];
        for group in by_size {
            let smallest =
                (0..self.n_splits).fold(0, |best, fold| if sizes[fold] < sizes[best] { fold } else { best });
            sizes[smallest] += counts[group];
            of_group[group] = smallest;
        }
        Ok(self.folds(&of_group))
    }
}

fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

impl Splitter for StratifiedGroupKFold {
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>> {
        self.check(rows)?;
        let classes = Classes::new(needed("StratifiedGroupKFold", rows, labels)?);
        let totals = classes.counts(None);
        let mut of_groups = Array2::<f64>::zeros((self.groups.values.len(), totals.len()));
        for (&group, &class) in self.groups.codes.iter().zip(&classes.codes) {
            of_groups[[group, class]] += 1.0;
        }
        let uneven: Vec<f64> =
            of_groups.rows().into_iter().map(|row| deviation(row.iter().copied())).collect();
        let mut by_unevenness: Vec<usize> = (0..of_groups.nrows()).collect();
        order::descending(&mut by_unevenness, &uneven);
        let mut of_folds = Array2::<f64>::zeros((self.n_splits, totals.len()));
        let mut of_group = vec![0; of_groups.nrows()];
        for group in by_unevenness {
            // The fold whose classes then have the most equal shares; of equal ones the smallest.
            let mut best = (0, f64::INFINITY, f64::INFINITY);
            for fold in 0..self.n_splits {
                let mut trial = of_folds.clone();
                let mut row = trial.row_mut(fold);
                row += &of_groups.row(group);
                let samples = trial.row(fold).sum();
                let share = |class: usize| deviation(trial.column(class).iter().copied());
                let spread = (0..totals.len()).map(|class| share(class) / totals[class]).sum::<f64>()
                    / totals.len() as f64;
                let equal = (spread - best.1).abs() <= 1e-8 + 1e-5 * best.1.abs();
                if spread < best.1 && !equal || equal && samples < best.2 || best.1.is_infinite() {
                    best = (fold, spread, samples);
                }
            }
            let mut row = of_folds.row_mut(best.0);
            row += &of_groups.row(group);
            of_group[group] = best.0;
        }
        Ok(self.folds(&of_group))
    }
}

/// Each fold judges the rows that follow those it learns from.
#[derive(Debug, Clone)]
pub struct TimeSeriesSplit {
    /// How many folds.
    pub n_splits: usize,
    /// Rows left out between the two.
    pub gap: usize,
    /// Rows of a test set; without it, as many as make the sets equal.
    pub test_size: Option<usize>,
    /// The most rows to learn from, the latest.
    pub max_train_size: Option<usize>,
}

impl TimeSeriesSplit {
    /// So many folds without a gap.
    pub fn new(n_splits: usize) -> TimeSeriesSplit {
        TimeSeriesSplit { n_splits, gap: 0, test_size: None, max_train_size: None }
    }
}

impl Splitter for TimeSeriesSplit {
    fn split(&self, rows: usize, _: Option<&[i64]>) -> Result<Vec<Fold>> {
        let size = self.test_size.unwrap_or(rows / self.n_splits.saturating_add(1));
        let tested = size.saturating_mul(self.n_splits);
        if self.n_splits < 2 || size == 0 || tested.saturating_add(self.gap) >= rows {
            let message = format!(
                "{} folds of {size} rows with a gap of {} do not fit {rows} rows",
                self.n_splits, self.gap
            );
            return Err(Error::op("TimeSeriesSplit", message));
        }
        let fold = |fold: usize| {
            let start = rows - tested + fold * size;
            let end = start - self.gap;
            let from = self.max_train_size.map_or(0, |most| end.saturating_sub(most));
            Fold { train: (from..end).collect(), test: (start..start + size).collect() }
        };
        Ok((0..self.n_splits).map(fold).collect())
    }
}

/// Independent random divisions.
#[derive(Debug, Clone)]
pub struct ShuffleSplit {
    /// How many.
    pub n_splits: usize,
    /// The share of rows to judge, between 0 and 1.
    pub test_size: f64,
    /// Whether the classes have equal shares.
    pub stratified: bool,
    /// Seed of the divisions.
    pub seed: u64,
}

impl Splitter for ShuffleSplit {
    fn split(&self, rows: usize, labels: Option<&[i64]>) -> Result<Vec<Fold>> {
        let labels = if self.stratified { Some(needed("ShuffleSplit", rows, labels)?) } else { None };
        let seeds = (0..self.n_splits).map(|split| random::stream(self.seed, split).u64(..));
        seeds.map(|seed| train_test_indices(rows, self.test_size, Some(seed), labels)).collect()
    }
}

/// One division: the share `test_size` (rounded up) of the rows to judge, drawn at random with a seed, or
/// the last rows without one. With `stratify` each class has the same share in both.
///
/// # Errors
/// A share that leaves a side empty, labels of another number, stratifying without a seed, or a class with
/// a single sample.
pub fn train_test_indices(
    rows: usize,
    test_size: f64,
    seed: Option<u64>,
    stratify: Option<&[i64]>,
) -> Result<Fold> {
    let name = "train_test_split";
    // Less a hair, so that 0.3 of 10 is 3 whatever the last digit says.
    let tested = (rows as f64 * test_size - 1e-9).ceil();
    if !(test_size > 0.0 && test_size < 1.0) || tested < 1.0 || tested >= rows as f64 {
        return Err(Error::op(
            name,
            format!("a test_size of {test_size} does not divide {rows} rows in two"),
        ));
    }
    let tested = tested as usize;
    let Some(labels) = stratify else {
        let order = match seed {
            // The test rows come first, so that they are those of the permutation.
            Some(_) => order(rows, seed),
            None => (rows - tested..rows).chain(0..rows - tested).collect(),
        };
        return Ok(Fold { train: order[tested..].to_vec(), test: order[..tested].to_vec() });
    };
    let classes = Classes::new(needed(name, rows, Some(labels))?);
    let counts = classes.counts(None);
    let Some(seed) = seed else {
        return Err(Error::op(name, "stratifying needs a seed: it draws at random"));
    };
    if let Some(class) = counts.iter().position(|&count| count < 2.0) {
        let label = classes.values[class];
        return Err(Error::op(
            name,
            format!("class {label} has a single sample; stratifying needs 2 of each"),
        ));
    }
    if tested < counts.len() || rows - tested < counts.len() {
        return Err(Error::op(
            name,
            format!("a side of {tested} and {} rows cannot hold all {} classes", rows - tested, counts.len()),
        ));
    }
    // Whole samples by the largest remainders.
    let exact = |class: usize| counts[class] * tested as f64 / rows as f64;
    let mut quotas: Vec<usize> = (0..counts.len()).map(|class| exact(class).floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    let remainders: Vec<f64> = (0..counts.len()).map(|class| exact(class).fract()).collect();
    order::descending(&mut by_remainder, &remainders);
    let left = tested - quotas.iter().sum::<usize>();
    by_remainder.iter().take(left).for_each(|&class| quotas[class] += 1);
    let mut fold = Fold { train: Vec::new(), test: Vec::new() };
    for row in order(rows, Some(seed)) {
        let quota = &mut quotas[classes.codes[row]];
        let side = if *quota > 0 { &mut fold.test } else { &mut fold.train };
        side.push(row);
        *quota = quota.saturating_sub(1);
    }
    Ok(fold)
}

/// Features to learn from and to judge, then what belongs to them: `(x_train, x_test, y_train, y_test)`.
pub type TrainTest<Y> = (Array2<f64>, Array2<f64>, Vec<Y>, Vec<Y>);

/// Features and what belongs to them, divided at random: `(x_train, x_test, y_train, y_test)`.
/// [`train_test_indices`] can also stratify, or keep the order.
///
/// # Errors
/// As [`train_test_indices`], and a `y` of another length. Missing values are kept.
pub fn train_test_split<Y: Clone>(
    x: &dyn Features,
    y: &[Y],
    test_size: f64,
    seed: u64,
) -> Result<TrainTest<Y>> {
    let name = "train_test_split";
    let x = checked_features(name, Accepts { missing: true, ..Accepts::PLAIN }, x)?;
    if y.len() != x.rows() {
        return Err(Error::op(name, format!("x has {} rows but y has {}", x.rows(), y.len())));
    }
    let fold = train_test_indices(x.rows(), test_size, Some(seed), None)?;
    let rows = |rows: &[usize]| x.select(rows).dense().into_owned();
    let values = |rows: &[usize]| rows.iter().map(|&row| y[row].clone()).collect();
    Ok((rows(&fold.train), rows(&fold.test), values(&fold.train), values(&fold.test)))
}
