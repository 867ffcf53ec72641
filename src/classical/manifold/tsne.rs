//! t-distributed stochastic neighbour embedding.

use super::start::{Start, start};
use super::tree::{Tree, squared};
use crate::Result;
use crate::classical::data::{Accepts, Features, Training};
use crate::classical::estimator::Parameters;
use crate::classical::neighbors::{Metric, NearestNeighbors};
use crate::classical::params::{model, params};
use crate::parallel;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// How the repulsion between all pairs is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TsneMethod {
    /// Far points count as groups, and only near ones attract each other: `n log n`.
    #[default]
    BarnesHut,
    /// All pairs.
    Exact,
}

/// An embedding of the rows it was fitted on; it has no place for others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tsne {
    n_features: usize,
    embedding: Array2<f64>,
    kl_divergence: f64,
    n_iter: usize,
    learning_rate: f64,
}

params! {
    /// Parameters of [`Tsne`]: rows near each other in many dimensions are near each other in few (van der
    /// Maaten and Hinton, 2008; van der Maaten, 2014).
    ///
    /// ```
    /// use kiln::classical::manifold::Tsne;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 5), |(i, j)| (i % 3 * 10) as f64 + ((i * (j + 2)) % 7) as f64 / 7.0);
    /// let map = Tsne::params().perplexity(10.0).max_iter(300).fit(&x)?;
    /// assert_eq!(map.embedding().dim(), (60, 2));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    TsneParams for Tsne = "TSNE" {
        /// Dimensions of the embedding: 1, 2 or 3.
        n_components: usize = 2,
        /// How many neighbours each row has, roughly; below the number of rows.
        perplexity: f64 = 30.0,
        /// How much stronger the attraction is in the first 250 steps.
        early_exaggeration: f64 = 12.0,
        /// Length of the steps; none means `max(rows / early_exaggeration / 4, 50)`.
        learning_rate: Option<f64> = None,
        /// Steps, those of the early exaggeration included: at least 250.
        max_iter: usize = 1000,
        /// Steps without progress after which to stop.
        n_iter_without_progress: usize = 300,
        /// The norm of the gradient at which to stop.
        min_grad_norm: f64 = 1e-7,
        /// Where to start.
        init: Start = Start::Pca,
        /// How the repulsion is summed.
        method: TsneMethod = TsneMethod::BarnesHut,
        /// How wide a group may be for its distance; smaller is nearer to exact and slower.
        angle: f64 = 0.5,
        /// Seed of a random start.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 3, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if !(1..=3).contains(&self.n_components) {
            return Err(Self::error(format!("n_components is {}; it must be 1, 2 or 3", self.n_components)));
        }
        if self.max_iter < EARLY {
            return Err(Self::error(format!("max_iter is {}; it must be {EARLY} or more", self.max_iter)));
        }
        let positive = [
            ("perplexity", self.perplexity),
            ("early_exaggeration", self.early_exaggeration),
            ("learning_rate", self.learning_rate.unwrap_or(1.0)),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())) {
            return Err(Self::error(format!("{name} is {value}; it must be above 0")));
        }
        if !(0.0..=1.0).contains(&self.angle) {
            return Err(Self::error(format!("angle is {}; it must be between 0 and 1", self.angle)));
        }
        Ok(())
    }
}

/// Steps with early exaggeration.
const EARLY: usize = 250;
/// Steps between two looks at the progress.
const CHECK: usize = 50;
/// Deviation of the first coordinates.
const START_SCALE: f64 = 1e-4;

impl TsneParams {
    /// Embeds rows.
    ///
    /// # Errors
    /// Wrong parameters, data that [`Training::checked`] refuses, a perplexity not below the number of rows,
    /// and values so large that distances overflow.
    pub fn fit(&self, x: &dyn Features) -> Result<Tsne> {
        self.check()?;
        let data = Training::checked(Self::NAME, self.accepts(), x, (), None, None)?;
        let x = data.x.dense();
        let rows = x.nrows();
        if self.perplexity >= rows as f64 {
            let perplexity = self.perplexity;
            return Err(Self::error(format!(
                "perplexity is {perplexity}; it must be below the number of rows, {rows}"
            )));
        }
        let attraction = self.attraction(x.view())?;
        let positions = start(self.init, x.view(), self.n_components, START_SCALE, self.seed)?;
        let learning_rate =
            self.learning_rate.unwrap_or((rows as f64 / self.early_exaggeration / 4.0).max(50.0));
        let (embedding, kl_divergence, n_iter) = match self.n_components {
            1 => self.descend::<1>(&attraction, positions.view(), learning_rate)?,
            2 => self.descend::<2>(&attraction, positions.view(), learning_rate)?,
            _ => self.descend::<3>(&attraction, positions.view(), learning_rate)?,
        };
        Ok(Tsne { n_features: x.ncols(), embedding, kl_divergence, n_iter, learning_rate })
    }

    /// Embeds rows and returns their positions, `[rows, n_components]`.
    ///
    /// # Errors
    /// As [`TsneParams::fit`].
    pub fn fit_transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
        Ok(self.fit(x)?.embedding)
    }

    /// The joint probabilities of pairs: for each row the others and how likely each is its neighbour.
    fn attraction(&self, x: ArrayView2<'_, f64>) -> Result<Vec<Vec<(usize, f64)>>> {
        let most = x.nrows() - 1;
        let count = match self.method {
            TsneMethod::Exact => most,
            TsneMethod::BarnesHut => most.min((3.0 * self.perplexity) as usize + 1),
        };
        let near = NearestNeighbors::params().n_neighbors(count).metric(Metric::Euclidean).fit(&x)?;
        let near = near.kneighbors_of_fitted()?;
        let conditional: Vec<Vec<f64>> = parallel::map(1, near.distances.rows(), |row| {
            probabilities(
                &row.iter().map(|distance| distance * distance).collect::<Vec<_>>(),
                self.perplexity,
            )
        });
        let mut joint: Vec<Vec<(usize, f64)>> = vec![Vec::new(); x.nrows()];
        let scale = 0.5 / x.nrows() as f64;
        for (row, probabilities) in conditional.iter().enumerate() {
            for (&other, &probability) in near.indices.row(row).iter().zip(probabilities) {
                joint[row].push((other, scale * probability));
                joint[other].push((row, scale * probability));
            }
        }
        for list in &mut joint {
            list.sort_unstable_by_key(|(other, _)| *other);
            list.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    kept.1 += later.1;
                }
                same
            });
        }
        Ok(joint)
    }

    /// Gradient descent with momentum and a gain for each coordinate (Jacobs, 1988): positions, divergence
    /// and steps.
    fn descend<const D: usize>(
        &self,
        attraction: &[Vec<(usize, f64)>],
        start: ArrayView2<'_, f64>,
        learning_rate: f64,
    ) -> Result<(Array2<f64>, f64, usize)> {
        let position = |row: ndarray::ArrayView1<'_, f64>| std::array::from_fn(|d| row[d]);
        let mut points: Vec<[f64; D]> = start.rows().into_iter().map(position).collect();
        let mut updates = vec![[0.0; D]; points.len()];
        let mut gains = vec![[1.0_f64; D]; points.len()];
        let (mut best, mut best_at, mut divergence, mut done) = (f64::INFINITY, 0, f64::INFINITY, 0);
        for step in 0..self.max_iter {
            let early = step < EARLY;
            let (exaggeration, momentum) = if early { (self.early_exaggeration, 0.5) } else { (1.0, 0.8) };
            let looks = (step + 1) % CHECK == 0 || step + 1 == self.max_iter;
            let (gradients, now) = self.gradients(attraction, &points, exaggeration, looks);
            let mut square = 0.0;
            for (((point, update), gain), gradient) in
                points.iter_mut().zip(&mut updates).zip(&mut gains).zip(&gradients)
            {
                for d in 0..D {
                    gain[d] =
                        if update[d] * gradient[d] < 0.0 { gain[d] + 0.2 } else { (gain[d] * 0.8).max(0.01) };
                    let slope = gain[d] * gradient[d];
                    square += slope * slope;
                    update[d] = momentum * update[d] - learning_rate * slope;
                    point[d] += update[d];
                }
            }
            done = step + 1;
            if step + 1 == EARLY {
                best = f64::INFINITY;
            }
            if looks {
                divergence = now;
                if !divergence.is_finite() {
                    return Err(Self::error("the positions grew without end; lower the learning_rate"));
                }
                if divergence < best {
                    (best, best_at) = (divergence, step);
                }
                let stuck =
                    step - best_at > self.n_iter_without_progress || square.sqrt() <= self.min_grad_norm;
                if stuck && !early {
                    break;
                }
            }
        }
        let embedding = Array2::from_shape_fn((points.len(), D), |(row, d)| points[row][d]);
        Ok((embedding, divergence, done))
    }

    /// The gradient at each point and, if asked for, the Kullback-Leibler divergence.
    fn gradients<const D: usize>(
        &self,
        attraction: &[Vec<(usize, f64)>],
        points: &[[f64; D]],
        exaggeration: f64,
        divergence: bool,
    ) -> (Vec<[f64; D]>, f64) {
        let repulsions = match self.method {
            TsneMethod::BarnesHut => {
                let tree = Tree::new(points);
                let mut sums = vec![(0.0, [0.0; D]); points.len()];
                parallel::chunks(&mut sums, 64, 1, |piece, sums| {
                    let mut stack = Vec::new();
                    for (place, sum) in (piece * 64..).zip(sums) {
                        *sum = tree.repulsion(place, self.angle, &mut stack);
                    }
                });
                let mut placed = vec![(0.0, [0.0; D]); points.len()];
                tree.order().iter().zip(sums).for_each(|(&index, sum)| placed[index] = sum);
                placed
            }
            TsneMethod::Exact => parallel::map(64, points, |point| all_pairs(point, points)),
        };
        let total = repulsions.iter().map(|(sum, _)| sum).sum::<f64>().max(f64::MIN_POSITIVE);
        let parts: Vec<([f64; D], f64)> = parallel::map(64, 0..points.len(), |row| {
            let (mut pull, mut loss) = ([0.0; D], 0.0);
            for &(other, p) in &attraction[row] {
                let q = 1.0 / (1.0 + squared(&points[row], &points[other]));
                for d in 0..D {
                    pull[d] += exaggeration * p * q * (points[row][d] - points[other][d]);
                }
                if divergence && p > 0.0 {
                    let p = exaggeration * p;
                    loss += p * (p * total / q).ln();
                }
            }
            let push = &repulsions[row].1;
            (std::array::from_fn(|d| 4.0 * (pull[d] - push[d] / total)), loss)
        });
        let loss = parts.iter().map(|(_, loss)| loss).sum();
        (parts.into_iter().map(|(gradient, _)| gradient).collect(), loss)
    }
}

fn all_pairs<const D: usize>(point: &[f64; D], points: &[[f64; D]]) -> (f64, [f64; D]) {
    // The point itself adds 1 to the sum and nothing to the force.
    let (mut sum, mut force) = (-1.0, [0.0; D]);
    for other in points {
        let q = 1.0 / (1.0 + squared(point, other));
        sum += q;
        for d in 0..D {
            force[d] += q * q * (point[d] - other[d]);
        }
    }
    (sum, force)
}

/// Probabilities that fall with squared distances like a normal density, as wide as gives the perplexity.
fn probabilities(squares: &[f64], perplexity: f64) -> Vec<f64> {
    let nearest = squares.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut low, mut high, mut precision) = (0.0_f64, f64::INFINITY, 1.0_f64);
    let mut out = vec![0.0; squares.len()];
    for _ in 0..100 {
        out.iter_mut().zip(squares).for_each(|(out, square)| *out = (-precision * (square - nearest)).exp());
        let sum: f64 = out.iter().sum();
        let mean: f64 = out.iter().zip(squares).map(|(p, square)| p * (square - nearest)).sum::<f64>() / sum;
        out.iter_mut().for_each(|p| *p /= sum);
        let difference = sum.ln() + precision * mean - perplexity.ln();
        if difference.abs() <= 1e-5 {
            break;
        }
        if difference > 0.0 {
            low = precision;
            precision = if high.is_infinite() { precision * 2.0 } else { (precision + high) / 2.0 };
        } else {
            high = precision;
            precision = (precision + low) / 2.0;
        }
        if !precision.is_finite() {
            break;
        }
    }
    out
}

impl Tsne {
    /// The positions of the rows, `[rows, n_components]`.
    pub fn embedding(&self) -> ArrayView2<'_, f64> {
        self.embedding.view()
    }

    /// The Kullback-Leibler divergence at the end; for Barnes-Hut, of near pairs.
    pub fn kl_divergence(&self) -> f64 {
        self.kl_divergence
    }

    /// How many steps it took.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }

    /// The length of the steps.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }
}

model!(Tsne = "TSNE");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_have_their_perplexity() {
        let squares: Vec<f64> = (0..90).map(|i| 1e6 + (i as f64).powi(2)).collect();
        for perplexity in [5.0, 30.0] {
            let probabilities = probabilities(&squares, perplexity);
            let entropy: f64 = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            assert!((entropy.exp() - perplexity).abs() < 1e-3, "{}", entropy.exp());
        }
    }

    /// The gradient is that of the divergence, by finite differences.
    #[test]
    fn exact_gradients_are_those_of_the_divergence() -> Result<()> {
        let x = Array2::from_shape_fn((12, 4), |(i, j)| ((i * 5 + j * 3) as f64).sin());
        let params = Tsne::params().perplexity(4.0).method(TsneMethod::Exact);
        let attraction = params.attraction(x.view())?;
        let mut points: Vec<[f64; 2]> = (0..12).map(|i| [(i as f64).cos(), (i as f64 * 2.1).sin()]).collect();
        let (gradients, _) = params.gradients(&attraction, &points, 1.0, false);
        for row in 0..12 {
            for d in 0..2 {
                let kept = points[row][d];
                let mut at = |value: f64| {
                    points[row][d] = value;
                    params.gradients(&attraction, &points, 1.0, true).1
                };
                let slope = (at(kept + 1e-5) - at(kept - 1e-5)) / 2e-5;
                points[row][d] = kept;
                assert!((slope - gradients[row][d]).abs() < 1e-7, "{slope} against {}", gradients[row][d]);
            }
        }
        Ok(())
    }
}
