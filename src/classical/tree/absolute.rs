//! The absolute distance from the median as a criterion, with running medians in logarithmic time.

use super::criterion::Criterion;

/// Sums over the samples below a place in the order of targets, kept as a Fenwick tree (Fenwick, 1994)
/// of weight and weighted target.
#[derive(Clone, Default)]
struct Prefix {
    sums: Vec<[f64; 2]>,
    total: [f64; 2],
}

impl Prefix {
    fn clear(&mut self, places: usize) {
        self.sums.clear();
        self.sums.resize(places + 1, [0.0; 2]);
        self.total = [0.0; 2];
    }

    fn add(&mut self, place: usize, [weight, sum]: [f64; 2]) {
        self.total = [self.total[0] + weight, self.total[1] + sum];
        let mut at = place + 1;
        while at < self.sums.len() {
            self.sums[at][0] += weight;
            self.sums[at][1] += sum;
            at += at & at.wrapping_neg();
        }
    }

    /// The summed distance from the median.
    fn distance(&self, targets: &[f64]) -> f64 {
        let half = self.total[0] / 2.0;
        let (mut place, mut below) = (0, [0.0; 2]);
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            if place + step < self.sums.len() && below[0] + self.sums[place + step][0] < half {
                place += step;
                below[0] += self.sums[place][0];
                below[1] += self.sums[place][1];
            }
            step /= 2;
        }
        // The median is the target at `place`; what it adds to both sides cancels.
        let median = targets[place.min(targets.len() - 1)];
        (median * below[0] - below[1]) + (self.total[1] - below[1] - median * (self.total[0] - below[0]))
    }
}

/// The weighted median of (target, weight) pairs sorted by target: where the weight on both sides is
/// equal, halfway between the two middle targets.
pub(crate) fn weighted_median(sorted: &[(f64, f64)]) -> f64 {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    for (place, &(target, weight)) in sorted.iter().enumerate() {
        below += weight;
        if below * 2.0 == total && place + 1 < sorted.len() {
            return target / 2.0 + sorted[place + 1].0 / 2.0;
        }
        if below * 2.0 >= total {
            return target;
        }
    }
    sorted.last().map_or(0.0, |&(target, _)| target)
}

/// The first target of (target, weight) pairs sorted by target with which this share of the weight is
/// reached.
pub(crate) fn weighted_quantile(sorted: &[(f64, f64)], share: f64) -> f64 {
    let wanted = share * sorted.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let reached = sorted.iter().find(|(_, weight)| {
        sum += weight;
        sum >= wanted
    });
    reached.or(sorted.last()).map_or(0.0, |&(target, _)| target)
}

/// The absolute distance from the median.
#[derive(Clone)]
pub(super) struct AbsoluteCriterion<'a> {
    targets: &'a [f64],
    weights: &'a [f64],
    /// For each loaded sample its place in `sorted`.
    places: Vec<u32>,
    /// The loaded targets, ascending, with their weights.
    sorted: Vec<(f64, f64)>,
    ascending: Vec<f64>,
    left: Prefix,
    right: Prefix,
    parent: f64,
}

impl<'a> AbsoluteCriterion<'a> {
    /// For samples of these targets and weights.
    pub fn new(targets: &'a [f64], weights: &'a [f64]) -> Self {
        AbsoluteCriterion {
            targets,
            weights,
            places: Vec::new(),
            sorted: Vec::new(),
            ascending: Vec::new(),
            left: Prefix::default(),
            right: Prefix::default(),
            parent: 0.0,
        }
    }
}

impl Criterion for AbsoluteCriterion<'_> {
    fn load(&mut self, samples: &[u32]) {
        let target = |position: u32| self.targets[samples[position as usize] as usize];
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        order.sort_by(|&a, &b| target(a).total_cmp(&target(b)));
        self.ascending = order.iter().map(|&position| target(position)).collect();
        let weight = |position: u32| self.weights[samples[position as usize] as usize];
        self.sorted = order.iter().map(|&position| (target(position), weight(position))).collect();
        self.places.resize(samples.len(), 0);
        for (place, &position) in order.iter().enumerate() {
            self.places[position as usize] = place as u32;
        }
        self.reset();
        self.parent = -self.right.distance(&self.ascending);
    }

    fn reset(&mut self) {
        self.left.clear(self.sorted.len());
        self.right.clear(self.sorted.len());
        for (place, &(target, weight)) in self.sorted.iter().enumerate() {
            self.right.add(place, [weight, weight * target]);
        }
    }

    fn move_left(&mut self, position: usize) {
        let place = self.places[position] as usize;
        let (target, weight) = self.sorted[place];
        self.left.add(place, [weight, weight * target]);
        self.right.add(place, [-weight, -weight * target]);
    }

    fn score(&self) -> f64 {
        -(self.left.distance(&self.ascending) + self.right.distance(&self.ascending))
    }

    fn parent_score(&self) -> f64 {
        self.parent
    }

    fn weights(&self) -> (f64, f64) {
        (self.left.total[0], self.right.total[0])
    }

    fn pure(&self) -> bool {
        self.ascending.first() == self.ascending.last()
    }

    fn outputs(&self) -> usize {
        1
    }

    fn push_value(&self, values: &mut Vec<f64>) {
        values.push(weighted_median(&self.sorted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_follow_the_definition() {
        let targets = [4.0, -1.0, 3.0, 3.0, 10.0, 0.5, 7.0];
        let weights = [1.0, 2.0, 0.5, 1.5, 1.0, 3.0, 1.0];
        let mut criterion = AbsoluteCriterion::new(&targets, &weights);
        criterion.load(&[0, 1, 2, 3, 4, 5, 6]);
        let distance = |rows: &[usize]| -> f64 {
            let distance =
                |median: f64| rows.iter().map(|&row| weights[row] * (targets[row] - median).abs()).sum();
            rows.iter().map(|&row| distance(targets[row])).fold(f64::INFINITY, f64::min)
        };
        for moved in 1..7 {
            criterion.move_left(moved - 1);
            let rows: Vec<usize> = (0..7).collect();
            let expected = distance(&rows[..moved]) + distance(&rows[moved..]);
            assert!(
                (criterion.score() + expected).abs() < 1e-12,
                "{moved}: {} {expected}",
                criterion.score()
            );
        }
    }

    #[test]
    fn median_halves_the_weight() {
        assert_eq!(weighted_median(&[(1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (9.0, 1.0)]), 3.0);
        assert_eq!(weighted_median(&[(1.0, 3.0), (2.0, 1.0), (4.0, 1.0)]), 1.0);
        assert_eq!(weighted_median(&[(5.0, 0.25)]), 5.0);
        assert_eq!(weighted_quantile(&[(1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (9.0, 1.0)], 0.5), 2.0);
        assert_eq!(weighted_quantile(&[(1.0, 3.0), (2.0, 1.0), (4.0, 1.0)], 0.9), 4.0);
    }
}
