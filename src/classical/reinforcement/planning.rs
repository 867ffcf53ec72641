//! The best policy where every transition is known.

use super::environment::{Environment, FiniteEnvironment};
use super::mdp::{FiniteMdp, Transition};
use crate::{Error, Result};

/// What each state is worth, and what to do in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The discounted reward to expect from each state on.
    pub values: Vec<f64>,
    /// The best action in each state; the first of equally good ones.
    pub policy: Vec<usize>,
    /// How many sweeps over the states (of value iteration), or improvements of the policy, it took.
    pub iterations: usize,
}

/// Sweeps after which planning is given up.
const MAX_SWEEPS: usize = 1_000_000;

fn check(op: &'static str, gamma: f64, tolerance: f64) -> Result<()> {
    if (0.0..=1.0).contains(&gamma) && tolerance > 0.0 {
        return Ok(());
    }
    Err(Error::op(op, format!("gamma is {gamma} (0 to 1) and tolerance {tolerance} (above 0)")))
}

/// What an action in a state earns, with what follows.
fn action_value(mdp: &FiniteMdp, values: &[f64], gamma: f64, state: usize, action: usize) -> f64 {
    let worth = |outcome: &Transition| {
        let next = if outcome.terminated { 0.0 } else { values[outcome.state] };
        outcome.probability * (outcome.reward + gamma * next)
    };
    mdp.outcomes(state, action).iter().map(worth).sum()
}

fn best(mdp: &FiniteMdp, values: &[f64], gamma: f64, state: usize) -> (usize, f64) {
    let mut best = (0, action_value(mdp, values, gamma, state, 0));
    for action in 1..mdp.actions() {
        let value = action_value(mdp, values, gamma, state, action);
        // Rounding must not decide between equally good actions.
        if value > best.1 + 1e-12 * best.1.abs() {
            best = (action, value);
        }
    }
    best
}

/// Sweeps over the states until no value changes by more than the tolerance; returns the sweeps.
fn sweep(
    op: &'static str,
    values: &mut [f64],
    tolerance: f64,
    value: impl Fn(&[f64], usize) -> f64,
) -> Result<usize> {
    for iteration in 1..=MAX_SWEEPS {
        let mut change = 0.0_f64;
        for state in 0..values.len() {
            let new = value(values, state);
            change = change.max((new - values[state]).abs());
            values[state] = new;
        }
        if change <= tolerance {
            return Ok(iteration);
        }
    }
    Err(Error::op(op, "the values do not converge; use a gamma below 1, or a larger tolerance"))
}

/// The best policy by value iteration (Bellman, 1957), until no value changes by more than `tolerance`.
///
/// ```
/// use kiln::classical::reinforcement::{FiniteMdp, value_iteration};
///
/// let plan = value_iteration(&FiniteMdp::cliff_walking()?, 1.0, 1e-9)?;
/// assert_eq!(plan.values[36], -13.0);
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// # Errors
/// A `gamma` outside 0 to 1, a tolerance that is not above 0, and values that grow without end.
pub fn value_iteration(mdp: &FiniteMdp, gamma: f64, tolerance: f64) -> Result<Plan> {
    check("value_iteration", gamma, tolerance)?;
    let mut values = vec![0.0; mdp.states()];
    let iterations =
        sweep("value_iteration", &mut values, tolerance, |values, state| best(mdp, values, gamma, state).1)?;
    let policy = (0..mdp.states()).map(|state| best(mdp, &values, gamma, state).0).collect();
    Ok(Plan { values, policy, iterations })
}

/// The best policy by policy iteration (Howard, 1960): each policy is evaluated to within `tolerance`, then
/// improved, until it stays.
///
/// # Errors
/// As [`value_iteration`]; with `gamma` 1, a policy that never ends has no value.
pub fn policy_iteration(mdp: &FiniteMdp, gamma: f64, tolerance: f64) -> Result<Plan> {
    const NAME: &str = "policy_iteration";
    check(NAME, gamma, tolerance)?;
    let mut values = vec![0.0; mdp.states()];
    let mut policy = vec![0; mdp.states()];
    for iterations in 1..=MAX_SWEEPS {
        sweep(NAME, &mut values, tolerance, |values, state| {
            action_value(mdp, values, gamma, state, policy[state])
        })?;
        let improve = |state: usize| {
            let (action, value) = best(mdp, &values, gamma, state);
            let kept = action_value(mdp, &values, gamma, state, policy[state]);
            if value > kept + 10.0 * tolerance { action } else { policy[state] }
        };
        let improved: Vec<usize> = (0..mdp.states()).map(improve).collect();
        if improved == policy {
            return Ok(Plan { values, policy, iterations });
        }
        policy = improved;
    }
    Err(Error::op(NAME, "the policy does not settle; use a smaller tolerance"))
}
