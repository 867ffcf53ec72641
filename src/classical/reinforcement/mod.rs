//! Reinforcement learning with tables: environments, planning, learning from experience, bandits.

mod bandit;
mod cart_pole;
mod control;
mod environment;
mod mdp;
mod planning;

pub use bandit::{Bandit, Exploration};
pub use cart_pole::{Bins, CartPole, Discretized};
pub use control::{QTable, QTableParams, Update};
pub use environment::{Environment, FiniteEnvironment, Step};
pub use mdp::{FiniteMdp, Transition};
pub use planning::{Plan, policy_iteration, value_iteration};
