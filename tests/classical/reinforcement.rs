//! Environments against the equations they follow, planners against Bellman's, learners against planners.

use kiln::Result;
use kiln::classical::linalg;
use kiln::classical::reinforcement::*;
use ndarray::{Array1, Array2};

/// The exact values of a policy, from the linear system it satisfies.
fn evaluate(mdp: &FiniteMdp, policy: &[usize], gamma: f64) -> Array1<f64> {
    let states = mdp.states();
    let (mut system, mut rewards) = (Array2::<f64>::eye(states), Array1::<f64>::zeros(states));
    for (state, &action) in policy.iter().enumerate() {
        for outcome in mdp.outcomes(state, action) {
            rewards[state] += outcome.probability * outcome.reward;
            if !outcome.terminated {
                system[[state, outcome.state]] -= gamma * outcome.probability;
            }
        }
    }
    // The system is not symmetric; its normal equations are.
    let (normal, right) = (system.t().dot(&system), system.t().dot(&rewards));
    linalg::solve_positive(normal.view(), right.view()).expect("the system has a solution")
}

#[test]
fn planners_find_the_best_values() -> Result<()> {
    for mdp in
        [FiniteMdp::frozen_lake_4x4(true)?, FiniteMdp::frozen_lake_8x8(true)?, FiniteMdp::cliff_walking()?]
    {
        for plan in [value_iteration(&mdp, 0.99, 1e-13)?, policy_iteration(&mdp, 0.99, 1e-13)?] {
            let exact = evaluate(&mdp, &plan.policy, 0.99);
            for state in 0..mdp.states() {
                assert!(
                    (plan.values[state] - exact[state]).abs() < 1e-9,
                    "{} {}",
                    plan.values[state],
                    exact[state]
                );
                // No single other action is better: that makes the policy the best one.
                for action in 0..mdp.actions() {
                    let worth: f64 = mdp
                        .outcomes(state, action)
                        .iter()
                        .map(|o| {
                            o.probability
                                * (o.reward + if o.terminated { 0.0 } else { 0.99 * exact[o.state] })
                        })
                        .sum();
                    assert!(worth <= exact[state] + 1e-9);
                }
            }
        }
    }
    // The chance to reach the goal of the slippery 4x4 lake is 14 in 17 with the best policy.
    let lake = value_iteration(&FiniteMdp::frozen_lake_4x4(true)?, 1.0, 1e-14)?;
    assert!((lake.values[0] - 14.0 / 17.0).abs() < 1e-9, "{}", lake.values[0]);
    // Along the cliff's edge it is 13 steps.
    assert_eq!(value_iteration(&FiniteMdp::cliff_walking()?, 1.0, 1e-12)?.values[36], -13.0);
    assert!(value_iteration(&FiniteMdp::cliff_walking()?, 1.5, 1e-9).is_err());
    Ok(())
}

#[test]
fn slippery_ice_goes_three_ways() -> Result<()> {
    let lake = FiniteMdp::frozen_lake_4x4(true)?;
    // From the cell above the goal (14 is left of it): down leads to 14's neighbours below, left and right.
    let states = |state: usize, action: usize| -> Vec<usize> {
        lake.outcomes(state, action).iter().map(|outcome| outcome.state).collect()
    };
    assert_eq!(states(14, 2), [14, 15, 10]);
    assert_eq!(states(0, 0), [0, 0, 4]);
    let goal = lake.outcomes(14, 2)[1];
    assert_eq!((goal.reward, goal.terminated), (1.0, true));
    assert_eq!(
        lake.outcomes(5, 1),
        [Transition { probability: 1.0, state: 5, reward: 0.0, terminated: true }]
    );

    let mut lake = lake;
    let mut visits = [0.0_f64; 16];
    for episode in 0..3000 {
        lake.reset((episode == 0).then_some(4));
        visits[lake.step(2)?.observation] += 1.0 / 3000.0;
    }
    // Right from the start: down, right, or up against the wall.
    for state in [0, 1, 4] {
        assert!((visits[state] - 1.0 / 3.0).abs() < 0.03, "{visits:?}");
    }
    Ok(())
}

#[test]
fn episodes_end_and_refuse_more() -> Result<()> {
    let mut lake = FiniteMdp::frozen_lake_4x4(false)?;
    assert!(lake.step(0).is_err(), "no episode has begun");
    lake.reset(None);
    assert!(lake.step(4).is_err(), "there are four actions");
    for _ in 0..99 {
        assert!(!lake.step(0)?.truncated);
    }
    assert!(lake.step(0)?.truncated, "Gymnasium cuts off after 100 steps");
    assert!(lake.step(0).is_err());
    lake.reset(None);
    let mut last = lake.step(1)?;
    for action in [1, 2, 2, 1, 2] {
        last = lake.step(action)?;
    }
    assert_eq!(last, Step { observation: 15, reward: 1.0, terminated: true, truncated: false });
    for map in [vec!["SF", "G"], vec!["FF", "FG"], vec!["SX", "FG"], vec![]] {
        assert!(FiniteMdp::frozen_lake(&map, true).is_err(), "{map:?}");
    }
    let walls = FiniteMdp::grid_world(&["S#", ".G"])?;
    assert_eq!(
        walls.outcomes(0, 1)[0],
        Transition { probability: 1.0, state: 0, reward: -1.0, terminated: false }
    );
    let one = Transition { probability: 0.5, state: 0, reward: 0.0, terminated: false };
    assert!(FiniteMdp::new(vec![vec![vec![one]]], 0, None).is_err(), "the probabilities sum to one half");
    Ok(())
}

/// The accelerations that a step of the cart and pole implies satisfy the equations of motion, which are
/// solved for them in another form than in the environment.
#[test]
fn cart_pole_obeys_its_equations_of_motion() -> Result<()> {
    let mut cart = CartPole::default();
    for (state, action) in [([0.1, -0.4, 0.05, 0.7], 1), ([-1.0, 0.3, -0.12, -1.1], 0), ([0.0; 4], 1)] {
        cart.reset_to(state);
        let next = cart.step(action)?.observation;
        let rate = |index: usize| (next[index] - state[index]) / 0.02;
        assert!((rate(0) - state[1]).abs() < 1e-9 && (rate(2) - state[3]).abs() < 1e-9);
        let (acceleration, angular) = (rate(1), rate(3));
        let (sin, cos) = state[2].sin_cos();
        let force = if action == 1 { 10.0 } else { -10.0 };
        let (mass, length) = (0.1, 0.5);
        let horizontal = 1.1 * acceleration + mass * length * (angular * cos - state[3] * state[3] * sin);
        assert!((horizontal - force).abs() < 1e-9, "{horizontal}");
        let turning = 4.0 / 3.0 * length * angular + acceleration * cos - 9.8 * sin;
        assert!(turning.abs() < 1e-9, "{turning}");
    }
    let start = cart.reset(Some(3));
    assert!(start.iter().all(|value| value.abs() <= 0.05));
    assert_eq!(start, CartPole::default().reset(Some(3)));
    let mut steps = 1;
    while !cart.step(1)?.terminated {
        steps += 1;
    }
    assert!((5..15).contains(&steps), "pushed to one side, the pole falls in about ten steps: {steps}");
    Ok(())
}

#[test]
fn learners_come_near_the_plan() -> Result<()> {
    for update in [Update::QLearning, Update::Sarsa, Update::ExpectedSarsa] {
        let mut lake = FiniteMdp::frozen_lake_4x4(true)?;
        let params =
            QTable::params().update(update).episodes(6000).learning_rate(0.2).learning_rate_decay(0.9995);
        let table = params.epsilon_decay(0.999).epsilon_min(0.01).seed(1).fit(&mut lake)?;
        let reached = table.evaluate(&mut lake, 2000, 1000, 5)?;
        // The best policy reaches the goal in 74 % of the 100-step episodes.
        assert!(reached > 0.6, "{update:?}: {reached}");
    }
    // Q-learning learns the path along the edge; SARSA, which falls while exploring, a longer one.
    let learn = |update| -> Result<f64> {
        let mut cliff = FiniteMdp::cliff_walking()?;
        let params = QTable::params().update(update).episodes(600).learning_rate(0.5).gamma(1.0).epsilon(0.1);
        params.fit(&mut cliff)?.evaluate(&mut cliff, 1, 100, 0)
    };
    assert_eq!(learn(Update::QLearning)?, -13.0);
    assert!(learn(Update::Sarsa)? < -13.0);
    Ok(())
}

#[test]
fn the_pole_is_balanced_with_a_table() -> Result<()> {
    let mut cart = Discretized { environment: CartPole::default(), bins: Bins::cart_pole()? };
    let params = QTable::params()
        .episodes(2000)
        .learning_rate(0.3)
        .learning_rate_decay(0.999)
        .epsilon_decay(0.995)
        .epsilon_min(0.01);
    let table = params.fit(&mut cart)?;
    let steps = table.evaluate(&mut cart, 50, 500, 7)?;
    assert!(steps > 150.0, "a random policy lasts about 22 steps, this one {steps}");

    let path = std::env::temp_dir().join(format!("kiln-q-table-{}", std::process::id()));
    table.save(&path)?;
    assert_eq!(QTable::load(&path)?.values(), table.values());
    std::fs::remove_file(&path).expect("the file can be removed");
    let other = table.evaluate(&mut FiniteMdp::cliff_walking()?, 1, 1, 0).expect_err("it has other states");
    assert!(other.to_string().contains("(48, 4)"), "{other}");
    assert!(QTable::params().learning_rate(1.5).fit(&mut cart).is_err());
    Ok(())
}

#[test]
fn bins_are_equal_parts() -> Result<()> {
    let bins = Bins::new(vec![(0.0, 1.0, 4), (-1.0, 1.0, 2)])?;
    assert_eq!(bins.states(), 8);
    for (observation, state) in [([0.0, -1.0], 0), ([0.3, 0.5], 3), ([9.0, 9.0], 7), ([-9.0, 0.1], 1)] {
        assert_eq!(bins.state(&observation), state);
    }
    assert!(Bins::new(vec![(1.0, 0.0, 3)]).is_err() && Bins::new(vec![]).is_err());
    Ok(())
}

#[test]
fn bandits_find_the_best_arm() -> Result<()> {
    let chances = [0.2, 0.5, 0.75, 0.4];
    for exploration in [Exploration::EpsilonGreedy(0.1), Exploration::Ucb1(2.0), Exploration::Thompson] {
        let mut bandit = Bandit::new(4, exploration, 1)?;
        // Rewards that come as often as the arm's chance says, evenly spread.
        let mut owed = [0.0; 4];
        for _ in 0..5000 {
            let arm = bandit.select();
            owed[arm] += chances[arm];
            let reward = f64::floor(owed[arm]);
            owed[arm] -= reward;
            bandit.update(arm, reward)?;
        }
        assert_eq!(bandit.best(), 2, "{exploration:?}");
        let share = bandit.counts()[2] as f64 / 5000.0;
        assert!(share > 0.8, "{exploration:?} pulled the best arm {share} of the time");
    }
    let mut bandit = Bandit::new(2, Exploration::Thompson, 0)?;
    assert!(bandit.update(2, 0.5).is_err() && bandit.update(0, 1.5).is_err());
    assert!(Bandit::new(0, Exploration::Thompson, 0).is_err());
    Ok(())
}
