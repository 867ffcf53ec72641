//! Choosing among arms of unknown worth.

use crate::classical::random::{beta, stream};
use crate::{Error, Result};
use fastrand::Rng;

/// How an arm that may be better is found without losing too much on others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exploration {
    /// A random arm with this probability, else the best so far.
    EpsilonGreedy(f64),
    /// The arm whose mean plus `sqrt(c * ln(pulls) / own pulls)` is highest; UCB1 has c = 2 (Auer,
    /// Cesa-Bianchi and Fischer, 2002).
    Ucb1(f64),
    /// The arm that is best in a draw from what is believed of each (Thompson, 1933): beta densities, for
    /// rewards from 0 to 1 (Agrawal and Goyal, 2012).
    Thompson,
}

/// What has been learned about each arm.
///
/// ```
/// use kiln::classical::reinforcement::{Bandit, Exploration};
///
/// let mut bandit = Bandit::new(3, Exploration::Ucb1(2.0), 0)?;
/// for _ in 0..200 {
///     let arm = bandit.select();
///     bandit.update(arm, if arm == 1 { 0.9 } else { 0.2 })?;
/// }
/// assert_eq!(bandit.best(), 1);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bandit {
    exploration: Exploration,
    counts: Vec<u64>,
    sums: Vec<f64>,
    /// Of Thompson's beta densities: wins and losses, both with 1 before the first.
    beliefs: Vec<(f64, f64)>,
    rng: Rng,
}

impl Bandit {
    /// Arms that nothing is known of.
    ///
    /// # Errors
    /// No arms, an epsilon outside 0 to 1, or a negative `c`.
    pub fn new(arms: usize, exploration: Exploration, seed: u64) -> Result<Bandit> {
        let sound = match exploration {
            Exploration::EpsilonGreedy(epsilon) => (0.0..=1.0).contains(&epsilon),
            Exploration::Ucb1(c) => c >= 0.0 && c.is_finite(),
            Exploration::Thompson => true,
        };
        if arms == 0 || !sound {
            return Err(Error::op("Bandit", format!("{arms} arms with {exploration:?} make no bandit")));
        }
        Ok(Bandit {
            exploration,
            counts: vec![0; arms],
            sums: vec![0.0; arms],
            beliefs: vec![(1.0, 1.0); arms],
            rng: stream(seed, 0),
        })
    }

    /// The arm to pull next.
    pub fn select(&mut self) -> usize {
        let arms = self.counts.len();
        match self.exploration {
            Exploration::EpsilonGreedy(epsilon) => {
                if self.rng.f64() < epsilon {
                    self.rng.usize(..arms)
                } else {
                    self.best()
                }
            }
            Exploration::Ucb1(c) => {
                let pulls = self.counts.iter().sum::<u64>() as f64;
                let bound = |arm: usize| {
                    let own = self.counts[arm] as f64;
                    // An arm never pulled goes first.
                    if own == 0.0 { f64::INFINITY } else { self.mean(arm) + (c * pulls.ln() / own).sqrt() }
                };
                first_highest((0..arms).map(bound))
            }
            Exploration::Thompson => {
                let draws: Vec<f64> =
                    self.beliefs.iter().map(|&(wins, losses)| beta(&mut self.rng, wins, losses)).collect();
                first_highest(draws.into_iter())
            }
        }
    }

    /// Learns what an arm gave.
    ///
    /// # Errors
    /// An arm that does not exist, a reward that is not finite, or for Thompson's not between 0 and 1.
    pub fn update(&mut self, arm: usize, reward: f64) -> Result<()> {
        let thompson = self.exploration == Exploration::Thompson;
        if arm >= self.counts.len() || !reward.is_finite() || thompson && !(0.0..=1.0).contains(&reward) {
            let arms = self.counts.len();
            return Err(Error::op(
                "Bandit",
                format!(
                    "reward {reward} of arm {arm}: there are {arms} arms, and rewards are finite (for Thompson between 0 and 1)"
                ),
            ));
        }
        self.counts[arm] += 1;
        self.sums[arm] += reward;
        if thompson {
            // A reward between 0 and 1 counts as a win with that probability.
            let won = self.rng.f64() < reward;
            let (wins, losses) = &mut self.beliefs[arm];
            *(if won { wins } else { losses }) += 1.0;
        }
        Ok(())
    }

    /// The arm of the highest mean so far.
    pub fn best(&self) -> usize {
        first_highest((0..self.counts.len()).map(|arm| self.mean(arm)))
    }

    /// How often each arm was pulled.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The mean reward of an arm, 0 before the first pull.
    fn mean(&self, arm: usize) -> f64 {
        self.sums[arm] / self.counts[arm].max(1) as f64
    }
}

fn first_highest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}
