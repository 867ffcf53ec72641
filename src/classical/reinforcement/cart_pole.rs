//! A pole balanced on a cart, and how its numbers become states of a table.

use super::environment::{Environment, FiniteEnvironment, Step};
use super::mdp::check_step;
use crate::classical::random::stream;
use crate::{Error, Result};
use fastrand::Rng;

const GRAVITY: f64 = 9.8;
const CART: f64 = 1.0;
const POLE: f64 = 0.1;
const HALF_LENGTH: f64 = 0.5;
const FORCE: f64 = 10.0;
const SECONDS: f64 = 0.02;
const MOST_POSITION: f64 = 2.4;
const MOST_ANGLE: f64 = 12.0 * std::f64::consts::PI / 180.0;
const MOST_STEPS: usize = 500;

/// Gymnasium's CartPole-v1 (Barto, Sutton and Anderson, 1983): position and velocity of the cart, angle and
/// angular velocity of the pole, in metres, radians and seconds. Action 0 pushes to the left, 1 to the right;
/// each step earns 1 until the pole falls, the cart leaves the track or 500 steps are over.
#[derive(Debug, Clone)]
pub struct CartPole {
    state: [f64; 4],
    steps: usize,
    over: bool,
    rng: Rng,
}

impl Default for CartPole {
    fn default() -> CartPole {
        CartPole { state: [0.0; 4], steps: 0, over: true, rng: stream(0, 0) }
    }
}

impl CartPole {
    /// Begins an episode in a given state.
    pub fn reset_to(&mut self, state: [f64; 4]) {
        (self.state, self.steps, self.over) = (state, 0, false);
    }
}

impl Environment for CartPole {
    type Observation = [f64; 4];

    fn actions(&self) -> usize {
        2
    }

    fn reset(&mut self, seed: Option<u64>) -> [f64; 4] {
        if let Some(seed) = seed {
            self.rng = stream(seed, 0);
        }
        let state = std::array::from_fn(|_| 0.1 * self.rng.f64() - 0.05);
        self.reset_to(state);
        state
    }

    fn step(&mut self, action: usize) -> Result<Step<[f64; 4]>> {
        check_step("CartPole", self.over, action, 2)?;
        let [position, velocity, angle, spin] = self.state;
        let force = if action == 1 { FORCE } else { -FORCE };
        let (sin, cos) = angle.sin_cos();
        let total = CART + POLE;
        let push = (force + POLE * HALF_LENGTH * spin * spin * sin) / total;
        let spin_change =
            (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cos * cos / total));
        let velocity_change = push - POLE * HALF_LENGTH * spin_change * cos / total;
        self.state = [
            position + SECONDS * velocity,
            velocity + SECONDS * velocity_change,
            angle + SECONDS * spin,
            spin + SECONDS * spin_change,
        ];
        self.steps += 1;
        let terminated = self.state[0].abs() > MOST_POSITION || self.state[2].abs() > MOST_ANGLE;
        let truncated = self.steps >= MOST_STEPS;
        self.over = terminated || truncated;
        Ok(Step { observation: self.state, reward: 1.0, terminated, truncated })
    }
}

/// Ranges cut into equal parts, one for each number of an observation.
#[derive(Debug, Clone)]
pub struct Bins {
    ranges: Vec<(f64, f64, usize)>,
}

impl Bins {
    /// A lowest and highest value and a number of parts for each dimension; what lies outside belongs to the
    /// part at the edge.
    ///
    /// # Errors
    /// No dimension, no parts, or a range that is empty or not finite.
    pub fn new(ranges: Vec<(f64, f64, usize)>) -> Result<Bins> {
        let sound =
            |(low, high, parts): &(f64, f64, usize)| low < high && (high - low).is_finite() && *parts > 0;
        let states = ranges.iter().try_fold(1_usize, |product, range| product.checked_mul(range.2));
        if ranges.is_empty() || states.is_none() || !ranges.iter().all(sound) {
            return Err(Error::op(
                "Bins",
                format!("each range needs low < high and at least 1 part: {ranges:?}"),
            ));
        }
        Ok(Bins { ranges })
    }

    /// Parts that suit [`CartPole`]: few for where the cart is, more for how the pole falls.
    ///
    /// # Errors
    /// None: the ranges are good ones.
    pub fn cart_pole() -> Result<Bins> {
        Bins::new(vec![(-2.4, 2.4, 3), (-1.5, 1.5, 3), (-MOST_ANGLE, MOST_ANGLE, 8), (-1.8, 1.8, 9)])
    }

    /// How many states there are.
    pub fn states(&self) -> usize {
        self.ranges.iter().map(|range| range.2).product()
    }

    /// The state of an observation; numbers beyond the dimensions are left out.
    pub fn state(&self, observation: &[f64]) -> usize {
        self.ranges.iter().zip(observation).fold(0, |state, (&(low, high, parts), &value)| {
            let part = ((value - low) / (high - low) * parts as f64) as usize;
            state * parts + part.min(parts - 1)
        })
    }
}

/// An environment seen through [`Bins`].
#[derive(Debug, Clone)]
pub struct Discretized<E> {
    /// The environment itself.
    pub environment: E,
    /// What its observations become.
    pub bins: Bins,
}

impl<E: Environment<Observation: AsRef<[f64]>>> Environment for Discretized<E> {
    type Observation = usize;

    fn actions(&self) -> usize {
        self.environment.actions()
    }

    fn reset(&mut self, seed: Option<u64>) -> usize {
        self.bins.state(self.environment.reset(seed).as_ref())
    }

    fn step(&mut self, action: usize) -> Result<Step<usize>> {
        let Step { observation, reward, terminated, truncated } = self.environment.step(action)?;
        Ok(Step { observation: self.bins.state(observation.as_ref()), reward, terminated, truncated })
    }
}

impl<E: Environment<Observation: AsRef<[f64]>>> FiniteEnvironment for Discretized<E> {
    fn states(&self) -> usize {
        self.bins.states()
    }
}
