//! Recommenders against their formulas written out, and against each other.

use kiln::Result;
use kiln::classical::recommend::*;
use ndarray::{Array1, Array2, Axis};
use std::collections::BTreeSet;

/// Ratings of 40 users and 30 items that follow from two tastes, a few of them missing.
fn triples() -> Vec<Triple> {
    let taste = |id: i64, shift: f64| [(id as f64 * 1.3 + shift).sin(), (id as f64 * 0.7 - shift).cos()];
    let rating = |user: i64, item: i64| {
        let (a, b) = (taste(user, 0.3), taste(item, 1.1));
        3.0 + 1.2 * (a[0] * b[0] + a[1] * b[1]) + 0.3 * (item as f64).cos()
    };
    let pairs = (0..40).flat_map(|user| (0..30).map(move |item| (user, item)));
    let kept = pairs.filter(|(user, item)| (user * 7 + item * 11) % 5 != 0);
    kept.map(|(user, item)| (1000 + user, item * 10, rating(user, item))).collect()
}

fn holdout() -> Result<(Ratings, Vec<Triple>)> {
    Ratings::new(&triples())?.split(0.2, 1)
}

/// The error of always predicting the mean.
fn spread(test: &[Triple]) -> f64 {
    let mean = test.iter().map(|triple| triple.2).sum::<f64>() / test.len() as f64;
    (test.iter().map(|triple| (triple.2 - mean).powi(2)).sum::<f64>() / test.len() as f64).sqrt()
}

#[test]
fn held_out_ratings_are_predicted() -> Result<()> {
    let (train, test) = holdout()?;
    assert_eq!((train.len() + test.len(), test.len()), (960, 192));
    let spread = spread(&test);
    let als = rmse(&Als::params().factors(4).regularization(0.01).fit(&train)?, &test)?;
    assert!(als < 0.15 * spread, "{als} of {spread}");
    let sgd = BiasedFactorization::params().n_factors(8).n_epochs(300).learning_rate(0.02).fit(&train)?;
    assert!(rmse(&sgd, &test)? < 0.3 * spread, "{} of {spread}", rmse(&sgd, &test)?);
    assert!(sgd.training_errors().last() < sgd.training_errors().first());
    for basis in [Basis::Items, Basis::Users] {
        for similarity in [Similarity::Cosine, Similarity::Pearson, Similarity::AdjustedCosine] {
            let model =
                Neighborhood::params().basis(basis).similarity(similarity).n_neighbors(5).fit(&train)?;
            let limit = if similarity == Similarity::Cosine { 0.9 } else { 0.6 };
            assert!(
                rmse(&model, &test)? < limit * spread,
                "{basis:?} {similarity:?} {}",
                rmse(&model, &test)?
            );
        }
    }
    Ok(())
}

/// The loss of explicit ALS has no gradient at the items' vectors, which are solved for last.
#[test]
fn explicit_als_is_at_the_minimum_of_the_items() -> Result<()> {
    let ratings = Ratings::new(&triples())?;
    let model = Als::params().factors(3).iterations(4).regularization(0.2).fit(&ratings)?;
    // A model without vectors predicts the baseline alone.
    let baseline = Als::params().factors(1).iterations(1).regularization(1e12).fit(&ratings)?;
    let catalogue = ratings.catalogue();
    for (position, &item) in catalogue.items().iter().enumerate() {
        let vector = model.item_factors().row(position).to_owned();
        let mut gradient = Array1::<f64>::zeros(3);
        let mut count = 0.0;
        for (user, _, value) in ratings.triples().into_iter().filter(|triple| triple.1 == item) {
            let own = model.user_factors().row(catalogue.user(user).expect("a user")).to_owned();
            let error = value - baseline.predict(user, item) - own.dot(&vector);
            gradient.scaled_add(-error, &own);
            count += 1.0;
        }
        gradient.scaled_add(0.2 * count, &vector);
        assert!(gradient.iter().all(|value| value.abs() < 1e-6), "{gradient}");
    }
    Ok(())
}

/// The same of implicit ALS: every pair counts, with confidence `1 + alpha * count`.
#[test]
fn implicit_als_is_at_the_minimum_of_the_items() -> Result<()> {
    let counts: Vec<_> = triples().into_iter().filter(|triple| triple.2 > 3.0).collect();
    let ratings = Ratings::new(&counts)?;
    let params = Als::params().feedback(Feedback::Implicit).alpha(5.0).factors(4).iterations(6);
    let model = params.fit(&ratings)?;
    let (users, items) = (model.user_factors().to_owned(), model.item_factors().to_owned());
    let catalogue = ratings.catalogue();
    let mut seen = Array2::<f64>::zeros((users.nrows(), items.nrows()));
    for (user, item, value) in &counts {
        seen[[catalogue.user(*user).expect("a user"), catalogue.item(*item).expect("an item")]] = *value;
    }
    for (item, vector) in items.axis_iter(Axis(0)).enumerate() {
        let mut gradient = &vector * 0.1;
        for (user, own) in users.axis_iter(Axis(0)).enumerate() {
            let count = seen[[user, item]];
            let preference = f64::from(u8::from(count > 0.0));
            gradient.scaled_add((1.0 + 5.0 * count) * (own.dot(&vector) - preference), &own);
        }
        assert!(gradient.iter().all(|value| value.abs() < 1e-6), "{gradient}");
    }
    Ok(())
}

#[test]
fn item_neighbors_follow_the_formula() -> Result<()> {
    // Users 1 to 4 rate item 1 and 2 alike; user 5 has rated item 2 only.
    let values = [
        (1, 1, 5.0),
        (1, 2, 4.0),
        (2, 1, 1.0),
        (2, 2, 2.0),
        (3, 1, 4.0),
        (3, 2, 5.0),
        (4, 1, 2.0),
        (4, 2, 1.0),
        (5, 2, 5.0),
    ];
    let ratings = Ratings::new(&values)?;
    let mean = 29.0 / 9.0;
    let item = |sum: f64, count: f64| (sum - count * mean) / (25.0 + count);
    let (one, two) = (item(12.0, 4.0), item(17.0, 5.0));
    let user = (5.0 - mean - two) / 11.0;
    // The only neighbour's weight cancels: its deviation is added whole.
    let expected = mean + one + user + (5.0 - (mean + two + user));
    for similarity in [Similarity::Pearson, Similarity::Cosine] {
        let model = Neighborhood::params().similarity(similarity).fit(&ratings)?;
        assert!((model.predict(5, 1) - expected).abs() < 1e-12);
        assert_eq!(model.recommend(5, 9)?, [Recommendation { item: 1, score: model.predict(5, 1) }]);
    }
    Ok(())
}

#[test]
fn lists_leave_out_what_was_seen_and_survive_a_file() -> Result<()> {
    let (train, _) = holdout()?;
    let folder = std::env::temp_dir().join(format!("kiln-recommend-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the models");
    fn examine<R: Recommender>(model: &R, train: &Ratings, folder: &std::path::Path) -> Result<()> {
        let path = folder.join(R::NAME);
        model.save(&path)?;
        let read = R::load(&path)?;
        let rated: BTreeSet<i64> =
            train.triples().iter().filter(|triple| triple.0 == 1003).map(|triple| triple.1).collect();
        let list = model.recommend(1003, 100)?;
        assert_eq!(list.len(), 30 - rated.len());
        assert!(list.iter().all(|entry| !rated.contains(&entry.item)));
        assert!(list.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert!(list.iter().all(|entry| (entry.score - model.predict(1003, entry.item)).abs() < 1e-12));
        assert_eq!(list, read.recommend(1003, 100)?);
        assert!(model.predict(-1, -1).is_finite());
        let error = model.recommend(-1, 3).expect_err("there is no such user");
        assert!(error.to_string().contains("user -1"), "{error}");
        std::fs::write(&path, b"KILNMODL").expect("the file can be written");
        assert!(R::load(&path).is_err());
        Ok(())
    }
    examine(&Als::params().fit(&train)?, &train, &folder)?;
    examine(&BiasedFactorization::params().fit(&train)?, &train, &folder)?;
    examine(&Neighborhood::params().fit(&train)?, &train, &folder)?;
    examine(&Neighborhood::params().basis(Basis::Users).fit(&train)?, &train, &folder)?;
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    Ok(())
}

#[test]
fn measures_of_lists() {
    let (list, relevant) = ([1, 2, 3, 4, 5], BTreeSet::from([2, 5, 9]));
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
    close(precision(&list, &relevant, 5), 2.0 / 5.0);
    close(precision(&list, &relevant, 10), 2.0 / 10.0);
    close(recall(&list, &relevant, 2), 1.0 / 3.0);
    close(average_precision(&list, &relevant, 5), (1.0 / 2.0 + 2.0 / 5.0) / 3.0);
    let (second, fifth) = (1.0 / 3.0_f64.log2(), 1.0 / 6.0_f64.log2());
    close(ndcg(&list, &relevant, 5), (second + fifth) / (1.0 + second + 0.5));
    close(ndcg(&list, &BTreeSet::new(), 5), 0.0);
}

#[test]
fn rankings_of_a_model_that_knows_the_test() -> Result<()> {
    // Users like even or odd items; each is tested with the one it has not rated.
    let liked = |user: i64, item: i64| if (user + item) % 2 == 0 { 5.0 } else { 1.0 };
    let pairs = (0..12).flat_map(|user| (0..8).map(move |item| (user, item)));
    let (test, train): (Vec<_>, Vec<_>) = pairs
        .map(|(user, item)| (user, item, liked(user, item)))
        .partition(|(user, item, _)| (user + item) % 4 < 2);
    let model = Als::params().factors(2).regularization(0.01).fit(&Ratings::new(&train)?)?;
    let scores = ranking_scores(&model, &test, 4, 4.0)?;
    assert!(scores.ndcg > 0.99 && scores.map > 0.99 && scores.recall > 0.99, "{scores:?}");
    assert!(ranking_scores(&model, &test, 4, 6.0).is_err());
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    assert!(Ratings::new(&[]).is_err());
    for (triples, what) in
        [(vec![(1, 2, f64::NAN)], "is NaN"), (vec![(1, 2, 3.0), (1, 2, 4.0)], "user 1 rates item 2 twice")]
    {
        let error = Ratings::new(&triples).expect_err("it is refused");
        assert!(error.to_string().contains(what), "{error}");
    }
    let ratings = Ratings::new(&[(1, 1, 1.0), (1, 2, -1.0)])?;
    assert!(ratings.split(0.0, 0).is_err() && ratings.split(f64::NAN, 0).is_err());
    assert!(Als::params().feedback(Feedback::Implicit).fit(&ratings).is_err());
    assert!(Als::params().regularization(0.0).fit(&ratings).is_err());
    assert!(BiasedFactorization::params().learning_rate(1e6).fit(&ratings).is_err());
    assert!(Neighborhood::params().n_neighbors(0).fit(&ratings).is_err());
    let huge = Ratings::new(&[(1, 1, 1e308), (1, 2, -1e308), (2, 1, 1e308)])?;
    assert!(Als::params().fit(&huge).map_or(true, |model| model.predict(1, 1).is_finite()));
    Ok(())
}
