//! Learning what actions are worth from experience.

use super::environment::{FiniteEnvironment, Step};
use crate::classical::estimator::Parameters;
use crate::classical::params::params;
use crate::classical::persist;
use crate::classical::random::stream;
use crate::{Error, Result};
use fastrand::Rng;
use ndarray::{Array2, ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is taken for the worth of the next state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// That of its best action: Q-learning (Watkins, 1989).
    #[default]
    QLearning,
    /// That of the action taken next: SARSA (Rummery and Niranjan, 1994).
    Sarsa,
    /// The mean over the actions that may be taken next (van Seijen et al., 2009).
    ExpectedSarsa,
}

/// The worth of each action in each state, learned from episodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QTable {
    values: Array2<f64>,
    rewards: Vec<f64>,
}

params! {
    /// Parameters of [`QTable`]: temporal-difference learning with a table and random exploration.
    ///
    /// ```
    /// use kiln::classical::reinforcement::{FiniteMdp, QTable};
    ///
    /// let mut cliff = FiniteMdp::cliff_walking()?;
    /// let table = QTable::params().episodes(300).learning_rate(0.5).gamma(1.0).epsilon(0.1).fit(&mut cliff)?;
    /// let total = table.evaluate(&mut cliff, 1, 200, 0)?;
    /// assert_eq!(total, -13.0);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    QTableParams for QTable = "QTable" {
        /// What is taken for the worth of the next state.
        update: Update = Update::QLearning,
        /// Episodes to learn from.
        episodes: usize = 1000,
        /// Most steps of an episode, for environments that set no limit.
        max_steps: usize = 10_000,
        /// How far a value moves towards what was experienced, above 0, at most 1.
        learning_rate: f64 = 0.1,
        /// What the learning rate is multiplied with after each episode.
        learning_rate_decay: f64 = 1.0,
        /// How much a later reward counts, between 0 and 1.
        gamma: f64 = 0.99,
        /// How often a random action is taken, between 0 and 1.
        epsilon: f64 = 1.0,
        /// What `epsilon` is multiplied with after each episode.
        epsilon_decay: f64 = 1.0,
        /// The least `epsilon`.
        epsilon_min: f64 = 0.0,
        /// The values before anything is learned; high ones invite to try every action.
        initial_value: f64 = 0.0,
        /// Seed of the environment and the exploration.
        seed: u64 = 0,
    }

    fn check(&self) -> Result<()> {
        let shares = [
            ("learning_rate", self.learning_rate),
            ("learning_rate_decay", self.learning_rate_decay),
            ("gamma", self.gamma),
            ("epsilon", self.epsilon),
            ("epsilon_decay", self.epsilon_decay),
            ("epsilon_min", self.epsilon_min),
        ];
        if let Some((name, value)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(Self::error(format!("{name} is {value}; it must be between 0 and 1")));
        }
        if self.episodes == 0 || self.max_steps == 0 || !self.initial_value.is_finite() {
            return Err(Self::error("episodes and max_steps must be 1 or more, and initial_value finite"));
        }
        Ok(())
    }
}

impl QTableParams {
    /// Learns from episodes in an environment.
    ///
    /// # Errors
    /// Wrong parameters, and what the environment refuses.
    pub fn fit(&self, environment: &mut impl FiniteEnvironment) -> Result<QTable> {
        self.check()?;
        let shape = (environment.states(), environment.actions());
        let mut values = Array2::from_elem(shape, self.initial_value);
        let mut rewards = Vec::with_capacity(self.episodes);
        let mut rng = stream(self.seed, 1);
        let (mut rate, mut epsilon) = (self.learning_rate, self.epsilon);
        for episode in 0..self.episodes {
            let mut state = environment.reset((episode == 0).then_some(self.seed));
            let mut action = explore(values.row(state), epsilon, &mut rng);
            let mut total = 0.0;
            for _ in 0..self.max_steps {
                let Step { observation, reward, terminated, truncated } = environment.step(action)?;
                let next = explore(values.row(observation), epsilon, &mut rng);
                let row = values.row(observation);
                let greedy = row[greedy(row)];
                let worth = match self.update {
                    _ if terminated => 0.0,
                    Update::QLearning => greedy,
                    Update::Sarsa => row[next],
                    Update::ExpectedSarsa => epsilon * row.mean().unwrap_or(0.0) + (1.0 - epsilon) * greedy,
                };
                let value = &mut values[[state, action]];
                *value += rate * (reward + self.gamma * worth - *value);
                total += reward;
                if terminated || truncated {
                    break;
                }
                (state, action) = (observation, next);
            }
            rewards.push(total);
            rate *= self.learning_rate_decay;
            epsilon = (epsilon * self.epsilon_decay).max(self.epsilon_min);
        }
        Ok(QTable { values, rewards })
    }
}

/// The first of the best actions.
fn greedy(values: ArrayView1<'_, f64>) -> usize {
    let mut best = 0;
    for (action, &value) in values.iter().enumerate() {
        if value > values[best] {
            best = action;
        }
    }
    best
}

/// A random action with probability `epsilon`, else one of the best, drawn at random.
fn explore(values: ArrayView1<'_, f64>, epsilon: f64, rng: &mut Rng) -> usize {
    if rng.f64() < epsilon {
        return rng.usize(..values.len());
    }
    let most = values[greedy(values)];
    let best: Vec<usize> = (0..values.len()).filter(|&action| values[action] == most).collect();
    best[rng.usize(..best.len())]
}

impl QTable {
    /// The values, `[states, actions]`.
    pub fn values(&self) -> ArrayView2<'_, f64> {
        self.values.view()
    }

    /// The best action in each state.
    pub fn policy(&self) -> Vec<usize> {
        self.values.rows().into_iter().map(greedy).collect()
    }

    /// What each training episode earned.
    pub fn episode_rewards(&self) -> &[f64] {
        &self.rewards
    }

    /// The mean reward of episodes (of at most `max_steps` steps) under the best actions.
    ///
    /// # Errors
    /// No episodes, and what the environment refuses, as one of other states or actions than the table's.
    pub fn evaluate(
        &self,
        environment: &mut impl FiniteEnvironment,
        episodes: usize,
        max_steps: usize,
        seed: u64,
    ) -> Result<f64> {
        let shape = (environment.states(), environment.actions());
        if shape != self.values.dim() || episodes == 0 {
            let message = format!(
                "the table is for {:?} states and actions, not {shape:?}, or no episodes are asked for",
                self.values.dim()
            );
            return Err(Error::op(QTableParams::NAME, message));
        }
        let policy = self.policy();
        let mut total = 0.0;
        for episode in 0..episodes {
            let mut state = environment.reset((episode == 0).then_some(seed));
            for _ in 0..max_steps {
                let step = environment.step(policy[state])?;
                total += step.reward;
                state = step.observation;
                if step.terminated || step.truncated {
                    break;
                }
            }
        }
        Ok(total / episodes as f64)
    }

    /// Writes the table to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        persist::write(path, persist::to_bytes(QTableParams::NAME, self))
    }

    /// Reads a table that [`QTable::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no table.
    pub fn load(path: &Path) -> Result<QTable> {
        let bytes = persist::read(path)?;
        let has_actions = |table: &QTable| table.values.ncols() > 0;
        persist::from_bytes(QTableParams::NAME, &bytes, has_actions)
            .map_err(|error| Error::file(path, error.to_string()))
    }
}
