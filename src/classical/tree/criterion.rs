//! What a split is judged by. Every criterion scores a set of samples by minus its weighted impurity (up
//! to a constant), so that a split gains `score(left) + score(right) - score(both)`.

use std::marker::PhantomData;

/// A criterion with the samples of one node loaded, in the state of a split that sends some to the left.
pub(super) trait Criterion: Clone + Send {
    /// Takes the samples of a node; all are on the right.
    fn load(&mut self, samples: &[u32]);
    /// Moves all samples back to the right.
    fn reset(&mut self);
    /// Moves the sample at this position of the loaded ones to the left.
    fn move_left(&mut self, position: usize);
    /// The score of both sides together; minus infinity for a split that must not be.
    fn score(&self) -> f64;
    /// The score of the loaded samples as one.
    fn parent_score(&self) -> f64;
    /// The weight of the left and the right side.
    fn weights(&self) -> (f64, f64);
    /// Whether the loaded samples are all alike, so that no split can gain.
    fn pure(&self) -> bool;
    /// How many numbers a leaf holds.
    fn outputs(&self) -> usize;
    /// Appends what a leaf of the loaded samples predicts.
    fn push_value(&self, values: &mut Vec<f64>);
}

/// A concave measure of class weights, as a sum of a term for each class.
pub(super) trait ClassMeasure: Clone + Send {
    /// What a class of this weight adds.
    fn term(weight: f64) -> f64;
    /// The score of a side from its terms' sum and its weight, above 0.
    fn score(terms: f64, weight: f64) -> f64;
}

/// The chance that two samples are of different classes (Breiman et al., 1984).
#[derive(Clone)]
pub(super) struct Gini;

impl ClassMeasure for Gini {
    #[inline(always)]
    fn term(weight: f64) -> f64 {
        weight * weight
    }

    #[inline(always)]
    fn score(terms: f64, weight: f64) -> f64 {
        terms / weight
    }
}

/// The entropy of the class distribution in bits (Quinlan, 1986).
#[derive(Clone)]
pub(super) struct Entropy;

impl ClassMeasure for Entropy {
    #[inline(always)]
    fn term(weight: f64) -> f64 {
        if weight > 0.0 { weight * weight.log2() } else { 0.0 }
    }

    #[inline(always)]
    fn score(terms: f64, weight: f64) -> f64 {
        terms - Self::term(weight)
    }
}

/// The class weights of one side, kept up to date as samples move.
#[derive(Clone, Default)]
struct Side {
    weights: Vec<f64>,
    weight: f64,
    terms: f64,
}

impl Side {
    #[inline(always)]
    fn add<M: ClassMeasure>(&mut self, class: usize, weight: f64) {
        let before = self.weights[class];
        self.weights[class] = before + weight;
        self.weight += weight;
        self.terms += M::term(before + weight) - M::term(before);
    }

    fn score<M: ClassMeasure>(&self) -> f64 {
        if self.weight > 0.0 { M::score(self.terms, self.weight) } else { 0.0 }
    }
}

/// Gini impurity or entropy of classes.
#[derive(Clone)]
pub(super) struct ClassCriterion<'a, M> {
    codes: &'a [u32],
    weights: &'a [f64],
    /// Class and weight of the loaded samples.
    loaded: Vec<(f64, u32)>,
    total: Side,
    left: Side,
    right: Side,
    measure: PhantomData<M>,
}

impl<'a, M: ClassMeasure> ClassCriterion<'a, M> {
    /// For samples of these classes (below `classes`) and weights.
    pub fn new(codes: &'a [u32], weights: &'a [f64], classes: usize) -> Self {
        let side = Side { weights: vec![0.0; classes], ..Side::default() };
        let (left, right) = (side.clone(), side.clone());
        ClassCriterion { codes, weights, loaded: Vec::new(), total: side, left, right, measure: PhantomData }
    }
}

impl<M: ClassMeasure> Criterion for ClassCriterion<'_, M> {
    fn load(&mut self, samples: &[u32]) {
        self.loaded.clear();
        let (codes, weights) = (self.codes, self.weights);
        self.loaded.extend(samples.iter().map(|&row| (weights[row as usize], codes[row as usize])));
        self.total.weights.fill(0.0);
        for &(weight, code) in &self.loaded {
            self.total.weights[code as usize] += weight;
        }
        self.total.weight = self.total.weights.iter().sum();
        self.total.terms = self.total.weights.iter().map(|&weight| M::term(weight)).sum();
        self.reset();
    }

    fn reset(&mut self) {
        self.left.weights.fill(0.0);
        (self.left.weight, self.left.terms) = (0.0, 0.0);
        self.right.weights.copy_from_slice(&self.total.weights);
        (self.right.weight, self.right.terms) = (self.total.weight, self.total.terms);
    }

    #[inline(always)]
    fn move_left(&mut self, position: usize) {
        let (weight, code) = self.loaded[position];
        self.left.add::<M>(code as usize, weight);
        self.right.add::<M>(code as usize, -weight);
    }

    #[inline(always)]
    fn score(&self) -> f64 {
        self.left.score::<M>() + self.right.score::<M>()
    }

    fn parent_score(&self) -> f64 {
        self.total.score::<M>()
    }

    #[inline(always)]
    fn weights(&self) -> (f64, f64) {
        (self.left.weight, self.right.weight)
    }

    fn pure(&self) -> bool {
        self.total.weights.iter().filter(|&&weight| weight > 0.0).count() < 2
    }

    fn outputs(&self) -> usize {
        self.total.weights.len()
    }

    fn push_value(&self, values: &mut Vec<f64>) {
        values.extend(self.total.weights.iter().map(|weight| weight / self.total.weight));
    }
}

/// How the sums of targets are scored.
pub(super) trait SumMeasure: Clone + Send {
    /// The score of samples from the weighted sum of their targets and their weight, above 0.
    fn score(sum: f64, weight: f64) -> f64;
}

/// The squared distance from the mean.
#[derive(Clone)]
pub(super) struct Squared;

impl SumMeasure for Squared {
    #[inline(always)]
    fn score(sum: f64, weight: f64) -> f64 {
        sum * sum / weight
    }
}

/// Half the Poisson deviance from the mean; no side may have the mean 0.
#[derive(Clone)]
pub(super) struct Poisson;

impl SumMeasure for Poisson {
    #[inline(always)]
    fn score(sum: f64, weight: f64) -> f64 {
        // A sum of zeros is what rounding has left of a difference.
        if sum > 1e-12 * weight { sum * (sum / weight).ln() } else { f64::NEG_INFINITY }
    }
}

/// Criteria of regression that need only sums of targets.
#[derive(Clone)]
pub(super) struct SumCriterion<'a, M> {
    targets: &'a [f64],
    weights: &'a [f64],
    /// Weight and weighted target of the loaded samples.
    loaded: Vec<[f64; 2]>,
    total: [f64; 2],
    left: [f64; 2],
    /// Whether the loaded targets are all the same.
    pure: bool,
    measure: PhantomData<M>,
}

impl<'a, M: SumMeasure> SumCriterion<'a, M> {
    /// For samples of these targets and weights.
    pub fn new(targets: &'a [f64], weights: &'a [f64]) -> Self {
        let (total, left) = ([0.0; 2], [0.0; 2]);
        SumCriterion { targets, weights, loaded: Vec::new(), total, left, pure: true, measure: PhantomData }
    }
}

impl<M: SumMeasure> Criterion for SumCriterion<'_, M> {
    fn load(&mut self, samples: &[u32]) {
        self.loaded.clear();
        let (targets, weights) = (self.targets, self.weights);
        self.loaded.extend(samples.iter().map(|&row| {
            let weight = weights[row as usize];
            [weight, weight * targets[row as usize]]
        }));
        self.total = self.loaded.iter().fold([0.0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        let mut loaded = samples.iter().map(|&row| targets[row as usize]);
        let first = loaded.next();
        self.pure = loaded.all(|target| Some(target) == first);
        self.reset();
    }

    fn reset(&mut self) {
        self.left = [0.0; 2];
    }

    #[inline(always)]
    fn move_left(&mut self, position: usize) {
        let [weight, target] = self.loaded[position];
        self.left[0] += weight;
        self.left[1] += target;
    }

    #[inline(always)]
    fn score(&self) -> f64 {
        let [weight, sum] = self.left;
        M::score(sum, weight) + M::score(self.total[1] - sum, self.total[0] - weight)
    }

    fn parent_score(&self) -> f64 {
        M::score(self.total[1], self.total[0])
    }

    #[inline(always)]
    fn weights(&self) -> (f64, f64) {
        (self.left[0], self.total[0] - self.left[0])
    }

    fn pure(&self) -> bool {
        self.pure
    }

    fn outputs(&self) -> usize {
        1
    }

    fn push_value(&self, values: &mut Vec<f64>) {
        values.push(self.total[1] / self.total[0]);
    }
}
