//! What an agent acts in.

use crate::Result;

/// What an action led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<O> {
    /// What is seen now.
    pub observation: O,
    /// What the action earned.
    pub reward: f64,
    /// Whether the episode is over because a final state was reached: nothing is earned from here on.
    pub terminated: bool,
    /// Whether the episode is over because it took too long.
    pub truncated: bool,
}

/// A world that changes with an agent's actions, with the meaning of Gymnasium's interface.
pub trait Environment {
    /// What the agent sees.
    type Observation;

    /// How many actions there are; they are numbered from 0.
    fn actions(&self) -> usize;

    /// Begins an episode; a seed makes it, and those after it, repeatable.
    fn reset(&mut self, seed: Option<u64>) -> Self::Observation;

    /// Acts.
    ///
    /// # Errors
    /// An action that does not exist, or an episode that is over.
    fn step(&mut self, action: usize) -> Result<Step<Self::Observation>>;
}

/// An environment whose observations are numbered states.
pub trait FiniteEnvironment: Environment<Observation = usize> {
    /// How many states there are.
    fn states(&self) -> usize;
}
