//! Clusterings against scikit-learn's.

use crate::fixtures::{Fixture, assert_close};
use kiln::Result;
use kiln::classical::prelude::*;
use ndarray::{Array2, s};
use serde_json::Value;

/// Whether two clusterings differ in nothing but the numbers of their clusters; noise is noise.
fn same_clusters(a: &[i64], b: &[i64]) -> bool {
    a.len() == b.len()
        && (0..a.len())
            .all(|i| (a[i] == -1) == (b[i] == -1) && (0..i).all(|j| (a[i] == a[j]) == (b[i] == b[j])))
}

fn params<P: Parameters>(value: &Value) -> P {
    serde_json::from_value(value.clone()).expect("scikit-learn's names and values")
}

#[test]
fn k_means_takes_scikit_learns_steps() -> Result<()> {
    let all = Fixture::read("cluster");
    let (x, weights) = (all.at("data").matrix("blobs"), all.vector("weights"));
    for case in all.cases("kmeans") {
        let clusters = case.number("clusters") as usize;
        let begin = x.rows().into_iter().take(clusters).map(|row| row.to_vec()).collect();
        let params = KMeans::params().n_clusters(clusters).init(Init::Centers(begin)).tol(1e-8);
        let model =
            if case.flag("weighted") { params.fit_weighted(&x, &weights)? } else { params.fit(&x)? };
        assert_close("centres", model.cluster_centers().clone(), case.matrix("centers"), 1e-9);
        assert_eq!(model.labels(), case.labels("labels"));
        assert_close("inertia", [model.inertia()], [case.number("inertia")], 1e-9);
        assert_eq!(model.n_iter() as f64, case.number("n_iter"));
        assert_close("transform", model.transform(&x.slice(s![..5, ..]))?, case.matrix("transform"), 1e-9);
        assert_eq!(model.predict(&x)?.to_vec(), model.labels());
    }
    Ok(())
}

/// Blobs far from each other are found from every beginning that spreads over them.
#[test]
fn k_means_finds_blobs() -> Result<()> {
    let x = Array2::from_shape_fn((3000, 2), |(row, column)| {
        (row % 6) as f64 * [10.0, 0.0][column] + (row * (37 + column) % 101) as f64 / 101.0
    });
    let truth: Vec<i64> = (0..3000).map(|row| (row % 6) as i64).collect();
    for seed in 0..5 {
        let model = KMeans::params().n_clusters(6).seed(seed).fit(&x)?;
        assert!(same_clusters(model.labels(), &truth), "seed {seed}");
        let again = KMeans::params().n_clusters(6).seed(seed).fit(&x)?;
        assert_eq!(model.cluster_centers(), again.cluster_centers());
        let batches = MiniBatchKMeans::params().n_clusters(6).batch_size(200).seed(seed).fit(&x)?;
        assert!(same_clusters(batches.labels(), &truth), "batches, seed {seed}");
        assert!(batches.inertia() < 1.1 * model.inertia());
    }
    Ok(())
}

#[test]
fn empty_clusters_are_given_rows() -> Result<()> {
    let x = ndarray::array![[0.0], [1.0], [2.0], [10.0]];
    let begin = Init::Centers(vec![vec![0.0], vec![100.0], vec![200.0]]);
    let model = KMeans::params().n_clusters(3).init(begin).fit(&x)?;
    let used: std::collections::BTreeSet<i64> = model.labels().iter().copied().collect();
    assert_eq!(used.len(), 3);
    let wrong = Init::Centers(vec![vec![0.0, 1.0]]);
    assert!(KMeans::params().n_clusters(1).init(wrong).fit(&x).is_err());
    Ok(())
}

#[test]
fn dbscan_has_scikit_learns_labels() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("dbscan") {
        let x = all.at("data").matrix(case.text("data"));
        let mut params: DbscanParams = params(&case.0["params"]);
        for algorithm in ["brute", "kd_tree", "ball_tree"] {
            params.algorithm = serde_json::from_value(algorithm.into()).expect("an algorithm");
            let model = match case.flag("weighted") {
                true => params.fit_weighted(&x, &all.vector("weights")[..x.nrows()])?,
                false => params.fit(&x)?,
            };
            assert_eq!(model.labels(), case.labels("labels"), "{params:?}");
            let core: Vec<i64> = model.core_sample_indices().iter().map(|&row| row as i64).collect();
            assert_eq!(core, case.labels("core"), "{params:?}");
        }
    }
    Ok(())
}

#[test]
fn agglomerative_clustering_has_scikit_learns_tree() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("trees") {
        let x = all.at("data").matrix(case.text("data"));
        let what = format!("{} {} {}", case.text("data"), case.text("linkage"), case.text("metric"));
        let mut params = AgglomerativeClustering::params().n_clusters(4);
        params.linkage = serde_json::from_value(case.0["linkage"].clone()).expect("a linkage");
        params.metric = serde_json::from_value(case.0["metric"].clone()).expect("a metric");
        let model = params.fit(&x)?;
        assert_close(&what, model.distances().to_vec(), case.vector("distances"), 1e-8);
        let children = model.children().iter().flatten().map(|&child| child as f64);
        assert_close(&what, children, case.matrix("children"), 0.0);
        assert!(same_clusters(model.labels(), &case.labels("labels")), "{what}");
        let threshold = (model.distances()[x.nrows() - 4] + model.distances()[x.nrows() - 5]) / 2.0;
        let by_distance = params.distance_threshold(threshold).fit(&x)?;
        assert_eq!((by_distance.n_clusters(), by_distance.labels()), (4, model.labels()), "{what}");
    }
    Ok(())
}

#[test]
fn hdbscan_has_scikit_learns_labels() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("hdbscan") {
        let x = all.at("data").matrix(case.text("data"));
        let model = params::<HdbscanParams>(&case.0["params"]).fit(&x)?;
        let what = format!("{} {}", case.text("data"), case.0["params"]);
        assert!(same_clusters(model.labels(), &case.labels("labels")), "{what}: {:?}", model.labels());
        assert_close(&what, model.probabilities().to_vec(), case.vector("probabilities"), 1e-8);
    }
    Ok(())
}

#[test]
fn spectral_clustering_has_scikit_learns_labels() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("spectral") {
        let x = all.at("data").matrix(case.text("data"));
        let model = params::<SpectralClusteringParams>(&case.0["params"]).fit(&x)?;
        assert!(same_clusters(model.labels(), &case.labels("labels")), "{}", case.0["params"]);
    }
    Ok(())
}

#[test]
fn mean_shift_has_scikit_learns_centres() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("mean_shift") {
        let x = all.at("data").matrix(case.text("data"));
        let model = params::<MeanShiftParams>(&case.0["params"]).fit(&x)?;
        let what = format!("{} {}", case.text("data"), case.0["params"]);
        assert_close(&what, model.cluster_centers().clone(), case.matrix("centers"), 1e-9);
        assert_eq!(model.labels(), case.labels("labels"), "{what}");
        assert_eq!(model.predict(&x)?.to_vec(), model.labels(), "{what}");
    }
    Ok(())
}

#[test]
fn optics_has_scikit_learns_order_and_labels() -> Result<()> {
    let all = Fixture::read("cluster");
    for case in all.cases("optics") {
        let x = all.at("data").matrix(case.text("data"));
        let model = params::<OpticsParams>(&case.0["params"]).fit(&x)?;
        let what = format!("{} {}", case.text("data"), case.0["params"]);
        let ordering: Vec<i64> = model.ordering().iter().map(|&row| row as i64).collect();
        assert_eq!(ordering, case.labels("ordering"), "{what}");
        let reached = model.reachability().iter().map(|&value| if value.is_finite() { value } else { -1.0 });
        assert_close(&what, reached, case.vector("reachability"), 1e-9);
        assert_eq!(model.labels(), case.labels("labels"), "{what}");
    }
    Ok(())
}

#[test]
fn pairs_of_more_rows_than_memory_holds_are_refused() {
    let x = ndarray::Array2::<f64>::zeros((3_000_000, 1));
    let error = AgglomerativeClustering::params().fit(&x).unwrap_err().to_string();
    assert!(error.contains("all pairs of 3000000 rows") && error.contains("GiB"), "{error}");
}
