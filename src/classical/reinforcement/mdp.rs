//! Finite Markov decision processes: every transition is known.

use super::environment::{Environment, FiniteEnvironment, Step};
use crate::classical::random::{stream, weighted};
use crate::{Error, Result};
use fastrand::Rng;

/// One of the things that an action can lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// How likely it is.
    pub probability: f64,
    /// The state it leads to.
    pub state: usize,
    /// What it earns.
    pub reward: f64,
    /// Whether the episode ends there.
    pub terminated: bool,
}

/// States, actions, and what they lead to; an environment to learn in and a model to plan with.
#[derive(Debug, Clone)]
pub struct FiniteMdp {
    /// By state and action.
    transitions: Vec<Vec<Vec<Transition>>>,
    start: usize,
    /// Steps after which an episode is cut off.
    limit: Option<usize>,
    rng: Rng,
    state: usize,
    steps: usize,
    over: bool,
}

/// The neighbour of a cell in each of four directions.
fn neighbor(rows: usize, columns: usize, cell: usize, (down, right): (isize, isize)) -> usize {
    let moved = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count - 1);
    moved(cell / columns, down, rows) * columns + moved(cell % columns, right, columns)
}

const UP: (isize, isize) = (-1, 0);
const DOWN: (isize, isize) = (1, 0);
const LEFT: (isize, isize) = (0, -1);
const RIGHT: (isize, isize) = (0, 1);

/// The 4x4 map of Gymnasium's FrozenLake-v1.
const LAKE_4X4: [&str; 4] = ["SFFF", "FHFH", "FFFH", "HFFG"];
/// The 8x8 map of Gymnasium's FrozenLake8x8-v1.
const LAKE_8X8: [&str; 8] =
    ["SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"];

impl FiniteMdp {
    /// A process from its transitions by state and action.
    ///
    /// # Errors
    /// No states or actions, states of different numbers of actions, probabilities that do not sum to 1,
    /// rewards that are not finite, or states that do not exist.
    pub fn new(
        transitions: Vec<Vec<Vec<Transition>>>,
        start: usize,
        limit: Option<usize>,
    ) -> Result<FiniteMdp> {
        let refuse = |message: String| Err(Error::op("FiniteMdp", message));
        let states = transitions.len();
        let actions = transitions.first().map_or(0, Vec::len);
        if actions == 0 || start >= states || limit == Some(0) {
            return refuse(format!(
                "{states} states, {actions} actions, start {start} and limit {limit:?} make no process"
            ));
        }
        for (state, of_state) in transitions.iter().enumerate() {
            if of_state.len() != actions {
                return refuse(format!(
                    "state {state} has {} actions, state 0 has {actions}",
                    of_state.len()
                ));
            }
            for (action, outcomes) in of_state.iter().enumerate() {
                let sum: f64 = outcomes.iter().map(|outcome| outcome.probability).sum();
                let sound = |outcome: &Transition| {
                    outcome.probability >= 0.0 && outcome.reward.is_finite() && outcome.state < states
                };
                if !((sum - 1.0).abs() < 1e-9 && outcomes.iter().all(sound)) {
                    return refuse(format!(
                        "action {action} in state {state} needs probabilities that sum to 1, finite rewards and \
                         states below {states}; it has {outcomes:?}"
                    ));
                }
            }
        }
        Ok(FiniteMdp { transitions, start, limit, rng: stream(0, 0), state: start, steps: 0, over: true })
    }

    /// Gymnasium's FrozenLake-v1 on a map of `S` (start), `F` (frozen), `H` (hole) and `G` (goal): actions
    /// left, down, right, up; reward 1 at the goal. On slippery ice, each of the three directions that are
    /// not backwards is as likely.
    ///
    /// # Errors
    /// A map whose rows differ in length, without one start, or of other letters.
    pub fn frozen_lake(map: &[&str], slippery: bool) -> Result<FiniteMdp> {
        let directions = [LEFT, DOWN, RIGHT, UP];
        let lake = Map::new(map, "SFHG")?;
        let over = |cell: usize| matches!(lake.cells[cell], b'H' | b'G');
        let transition = |cell: usize, action: usize, probability: f64| {
            let state = neighbor(lake.rows, lake.columns, cell, directions[action]);
            let reward = if lake.cells[state] == b'G' { 1.0 } else { 0.0 };
            Transition { probability, state, reward, terminated: over(state) }
        };
        let outcomes = |cell: usize, action: usize| match (over(cell), slippery) {
            (true, _) => vec![Transition { probability: 1.0, state: cell, reward: 0.0, terminated: true }],
            (false, false) => vec![transition(cell, action, 1.0)],
            (false, true) => [(action + 3) % 4, action, (action + 1) % 4]
                .map(|action| transition(cell, action, 1.0 / 3.0))
                .to_vec(),
        };
        // The limits that Gymnasium registers.
        let limit = if lake.cells.len() > 16 { 200 } else { 100 };
        FiniteMdp::new(lake.transitions(outcomes), lake.start, Some(limit))
    }

    /// [`FiniteMdp::frozen_lake`] on Gymnasium's 4x4 map.
    ///
    /// # Errors
    /// None: the map is a good one.
    pub fn frozen_lake_4x4(slippery: bool) -> Result<FiniteMdp> {
        FiniteMdp::frozen_lake(&LAKE_4X4, slippery)
    }

    /// [`FiniteMdp::frozen_lake`] on Gymnasium's 8x8 map.
    ///
    /// # Errors
    /// None: the map is a good one.
    pub fn frozen_lake_8x8(slippery: bool) -> Result<FiniteMdp> {
        FiniteMdp::frozen_lake(&LAKE_8X8, slippery)
    }

    /// A grid world on a map of `S` (start), `.` (free), `#` (wall), `C` (cliff) and `G` (goal): actions up,
    /// right, down, left. Each step costs 1; a step off the cliff costs 100 and leads back to the start.
    ///
    /// # Errors
    /// As [`FiniteMdp::frozen_lake`].
    pub fn grid_world(map: &[&str]) -> Result<FiniteMdp> {
        let directions = [UP, RIGHT, DOWN, LEFT];
        let grid = Map::new(map, "S.#CG")?;
        let outcomes = |cell: usize, action: usize| {
            let goal = Transition { probability: 1.0, state: cell, reward: 0.0, terminated: true };
            let to = neighbor(grid.rows, grid.columns, cell, directions[action]);
            let step = Transition { state: to, reward: -1.0, terminated: grid.cells[to] == b'G', ..goal };
            vec![match (grid.cells[cell], grid.cells[to]) {
                (b'G', _) => goal,
                (_, b'#') => Transition { state: cell, terminated: false, ..step },
                (_, b'C') => Transition { state: grid.start, reward: -100.0, ..step },
                _ => step,
            }]
        };
        FiniteMdp::new(grid.transitions(outcomes), grid.start, None)
    }

    /// Gymnasium's CliffWalking-v1 (Sutton and Barto, 2018, example 6.6).
    ///
    /// # Errors
    /// None: the map is a good one.
    pub fn cliff_walking() -> Result<FiniteMdp> {
        FiniteMdp::grid_world(&["............", "............", "............", "SCCCCCCCCCCG"])
    }

    /// What an action in a state can lead to; nothing if there is no such state or action.
    pub fn outcomes(&self, state: usize, action: usize) -> &[Transition] {
        self.transitions.get(state).and_then(|of_state| of_state.get(action)).map_or(&[], Vec::as_slice)
    }
}

impl Environment for FiniteMdp {
    type Observation = usize;

    fn actions(&self) -> usize {
        self.transitions[0].len()
    }

    fn reset(&mut self, seed: Option<u64>) -> usize {
        if let Some(seed) = seed {
            self.rng = stream(seed, 0);
        }
        (self.state, self.steps, self.over) = (self.start, 0, false);
        self.state
    }

    fn step(&mut self, action: usize) -> Result<Step<usize>> {
        check_step("FiniteMdp", self.over, action, self.actions())?;
        let outcomes = &self.transitions[self.state][action];
        let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.probability).collect();
        let Transition { state, reward, terminated, .. } = outcomes[weighted(&mut self.rng, &probabilities)];
        self.state = state;
        self.steps += 1;
        let truncated = self.limit.is_some_and(|limit| self.steps >= limit);
        self.over = terminated || truncated;
        Ok(Step { observation: state, reward, terminated, truncated })
    }
}

/// Refuses actions that do not exist, and those after the end.
pub(super) fn check_step(name: &'static str, over: bool, action: usize, actions: usize) -> Result<()> {
    if over {
        return Err(Error::op(name, "the episode is over, or none has begun; call reset first"));
    }
    if action >= actions {
        return Err(Error::op(name, format!("action {action} does not exist; there are {actions}")));
    }
    Ok(())
}

impl FiniteEnvironment for FiniteMdp {
    fn states(&self) -> usize {
        self.transitions.len()
    }
}

/// A map read from its rows of letters.
struct Map {
    rows: usize,
    columns: usize,
    cells: Vec<u8>,
    start: usize,
}

impl Map {
    fn new(rows: &[&str], letters: &str) -> Result<Map> {
        let refuse = |message: String| Err(Error::op("FiniteMdp", message));
        let columns = rows.first().map_or(0, |row| row.len());
        if let Some(row) = rows.iter().find(|row| row.len() != columns) {
            return refuse(format!("the map's row {row:?} has {} cells, the first one {columns}", row.len()));
        }
        let cells = rows.concat().into_bytes();
        if let Some(cell) = cells.iter().find(|cell| !letters.as_bytes().contains(cell)) {
            return refuse(format!("the map holds {:?}; its letters are {letters}", char::from(*cell)));
        }
        let starts: Vec<usize> = (0..cells.len()).filter(|&cell| cells[cell] == b'S').collect();
        match starts[..] {
            [start] => Ok(Map { rows: rows.len(), columns, cells, start }),
            _ => refuse(format!("the map has {} starts; it needs one", starts.len())),
        }
    }

    fn transitions(&self, outcomes: impl Fn(usize, usize) -> Vec<Transition>) -> Vec<Vec<Vec<Transition>>> {
        let of_cell = |cell| (0..4).map(|action| outcomes(cell, action)).collect();
        (0..self.cells.len()).map(of_cell).collect()
    }
}
