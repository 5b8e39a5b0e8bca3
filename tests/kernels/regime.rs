//! Regimes: data whose regimes are known, the choice between methods in words, and a predictor against its definition.

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::scaling::Scaling;
use acm_rs::kernels::matrix::Matrix;
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::regime::{Method, Output, Params, Regimes, Scorer, fit};

use crate::kmeans::{normal, pool, row, tile};

fn params(method: Method) -> Params {
    let params = Params {
        method,
        k_range: (2, 6),
        min_cluster_size: None,
        min_samples: None,
        max_fit_rows: 8_000,
        n_components: None,
        distance_percentile: 99.0,
        reg_covar: 1e-4,
        scaling: Scaling::Standard,
        seed: 42,
    };
    params.check().expect("valid parameters")
}

/// Power, speed and pitch of a machine that stands, runs at part load and at full load: 20, 50 and 30 % of the rows, in spells.
fn machine(rows: usize, seed: u64) -> (Vec<f64>, Vec<usize>) {
    let random = &mut Stream::new(seed, 0);
    let states: Vec<usize> = (0..rows).map(|i| [1, 1, 0, 2, 1, 2, 1, 0, 2, 1][i / 10 % 10]).collect();
    let levels = [[0.0, 2.0, 90.0], [800.0, 12.0, 1.0], [2000.0, 16.0, 10.0]];
    let spread = [30.0, 0.5, 1.0];
    let data = (0..3)
        .flat_map(|j| states.iter().map(move |&state| (j, state)))
        .map(|(j, state)| levels[state][j] + spread[j] * normal(random))
        .collect();
    (data, states)
}

fn fitted(data: &[f64], rows: usize, params: &Params) -> Regimes {
    fit(Matrix::new(data, rows, data.len() / rows), params, &pool(2)).expect("regimes")
}

/// Label, confidence and the third result of each row.
fn scores(model: &Regimes, data: &[f64], rows: usize, output: Output) -> Vec<[f64; 3]> {
    let tile = tile(data, rows, 0..rows);
    let mut out = vec![0.0; 3 * tile.stride()];
    Scorer::new(model, output).expect("a scorer").score(&tile, &mut vec![9.0; 7], &mut out);
    (0..rows).map(|i| [0, 1, 2].map(|r| out[r * tile.stride() + i])).collect()
}

#[test]
fn every_method_finds_the_states_of_a_machine() {
    let (data, states) = machine(3_000, 1);
    // the largest first: part load, full load, standstill
    let numbers = [2.0, 0.0, 1.0];
    for method in [Method::Auto, Method::Hdbscan, Method::Gmm, Method::KMeans] {
        let model = fitted(&data, 3_000, &params(method));
        assert_eq!(model.choice.method, if method == Method::Auto { Method::Hdbscan } else { method });
        assert_eq!(model.sizes, [1_500, 900, 600], "{:?}", model.choice);
        for (score, &state) in scores(&model, &data, 3_000, Output::Novelty).iter().zip(&states) {
            assert!(score[0] == numbers[state] && score[1] > 0.999, "{score:?} {state}");
        }
        for (center, wanted) in model.centers.iter().zip([800.0, 12.0, 1.0, 2000.0, 16.0, 10.0, 0.0, 2.0, 90.0]) {
            assert!((center - wanted).abs() < 5.0, "{:?}", model.centers);
        }
    }
}

#[test]
fn scores_are_those_of_the_definition() {
    let (data, _) = machine(600, 2);
    let plain = fitted(&data, 600, &params(Method::Gmm));
    let reduced = fitted(&data, 600, &Params { n_components: Some(2), ..params(Method::KMeans) });
    assert_eq!((plain.components.len(), reduced.components.len()), (0, 6));
    for model in [plain, reduced] {
        let (k, p) = (model.sizes.len(), 3);
        let d = model.parameters.means.len() / k;
        for (i, score) in scores(&model, &data, 600, Output::Distance).iter().enumerate() {
            let z: Vec<f64> =
                (0..p).map(|j| (row(&data, 600, i)[j] - model.scale.center[j]) / model.scale.scale[j]).collect();
            let y: Vec<f64> = if model.components.is_empty() {
                z
            } else {
                model.components.chunks_exact(p).map(|v| v.iter().zip(&z).map(|(v, z)| v * z).sum()).collect()
            };
            let mut logs = Vec::new();
            for c in 0..k {
                let covariance = &model.parameters.covariances[c * d * d..(c + 1) * d * d];
                let matrix = nalgebra::DMatrix::from_row_slice(d, d, covariance);
                let mean = &model.parameters.means[c * d..(c + 1) * d];
                let r = nalgebra::DVector::from_iterator(d, y.iter().zip(mean).map(|(y, m)| y - m));
                let distance = (r.transpose() * matrix.clone().try_inverse().expect("an inverse") * r)[(0, 0)];
                let log = model.parameters.weights[c].ln() - 0.5 * (matrix.determinant().ln() + distance);
                logs.push((log, distance));
            }
            let best = (0..k).fold(0, |best, c| if logs[c].0 > logs[best].0 { c } else { best });
            let confidence = 1.0 / logs.iter().map(|(log, _)| (log - logs[best].0).exp()).sum::<f64>();
            let wanted = [best as f64, confidence, logs[best].1];
            for (got, wanted) in score.iter().zip(wanted) {
                assert!((got - wanted).abs() <= 1e-9 * (1.0 + wanted.abs()), "{score:?} {wanted:?}");
            }
        }
    }
}

#[test]
fn as_many_train_rows_are_novel_as_the_percentile_leaves() {
    let (data, _) = machine(4_000, 3);
    for percentile in [90.0, 99.0, 100.0] {
        let model = fitted(&data, 4_000, &Params { distance_percentile: percentile, ..params(Method::Auto) });
        let flagged = scores(&model, &data, 4_000, Output::Novelty);
        let novel = flagged.iter().filter(|s| s[2] == 1.0).count();
        assert!((novel as f64 - 4_000.0 * (1.0 - percentile / 100.0)).abs() <= 3.0, "{percentile}: {novel}");
        let unknown = scores(&model, &data, 4_000, Output::Unknown);
        for (flagged, unknown) in flagged.iter().zip(&unknown) {
            let label = if flagged[2] == 1.0 { -1.0 } else { flagged[0] };
            assert_eq!(*unknown, [label, flagged[1], flagged[2]]);
        }
        let far = scores(&model, &[-500.0, 30.0, 45.0], 1, Output::Novelty)[0];
        assert!(far[0] >= 0.0 && far[2] == 1.0, "{far:?}");
        let mut other = model.clone();
        other.reorder(&[2, 0, 1], vec![7, 8, 9]);
        for (flagged, other) in flagged.iter().zip(scores(&other, &data, 4_000, Output::Novelty)) {
            assert_eq!(other[0], [8.0, 9.0, 7.0][flagged[0] as usize]);
            assert!((other[1] - flagged[1]).abs() < 1e-12 && other[2] == flagged[2]);
        }
    }
}

#[test]
fn the_choice_is_told_in_words() {
    let random = &mut Stream::new(5, 0);
    // two normal heaps that touch: one dense region for HDBSCAN, two components for the mixture
    let heaps: Vec<f64> = (0..4_000).map(|i| f64::from(i % 2) * 2.6 + normal(random)).collect();
    let settings = Params { k_range: (2, 3), ..params(Method::Auto) };
    let one = fitted(&heaps, 4_000, &settings);
    assert_eq!((one.choice.method, one.sizes.len()), (Method::Hdbscan, 1), "{:?}", one.choice);
    assert!(one.choice.reason.starts_with("hdbscan found 1 cluster, "), "{}", one.choice.reason);
    // more clusters than are allowed, and a mixture that must take two
    let many: Vec<f64> = (0..1_000).map(|i| f64::from(i % 10) * 100.0 + normal(random)).collect();
    let model = fitted(&many, 1_000, &Params { k_range: (2, 4), ..params(Method::Auto) });
    assert_eq!(model.choice.method, Method::Gmm);
    let reason = "not hdbscan: it found 10 clusters, `k_range` allows 4; gmm has its least BIC at";
    assert!(model.choice.reason.starts_with(reason), "{}", model.choice.reason);
    // a method that was asked for stays, with what speaks against it
    let model = fitted(&many, 1_000, &Params { k_range: (2, 4), ..params(Method::Hdbscan) });
    assert_eq!(model.sizes.len(), 10);
    assert!(model.choice.reason.contains("; low quality: it found 10 clusters"), "{}", model.choice.reason);
}

#[test]
fn the_result_depends_on_neither_threads_nor_units() {
    let (data, _) = machine(2_000, 7);
    for method in [Method::Auto, Method::Gmm, Method::KMeans] {
        let settings = Params { max_fit_rows: 700, ..params(method) };
        let model = fitted(&data, 2_000, &settings);
        assert_eq!(model.choice.rows, 700);
        assert_eq!(fit(Matrix::new(&data, 2_000, 3), &settings, &pool(1)).expect("regimes"), model);
        let doubled: Vec<f64> = data.iter().map(|v| v * 1024.0).collect();
        assert_eq!(fitted(&doubled, 2_000, &settings).sizes, model.sizes);
    }
}

#[test]
fn few_equal_and_huge_rows_say_what_is_wrong() {
    let of = |data: &[f64], rows, method| fit(Matrix::new(data, rows, 1), &params(method), &pool(1));
    for method in [Method::Auto, Method::Hdbscan, Method::Gmm, Method::KMeans] {
        let error = of(&[3.0], 1, method).unwrap_err().to_string();
        assert!(error.contains("at least 2 rows"), "{error}");
        // an error or regimes whose numbers are numbers
        if let Ok(model) = of(&[f64::MAX, f64::MIN, 1e300, -1e300], 4, method) {
            let parameters = model.parameters.means.iter().chain(&model.parameters.covariances).chain(&model.limits);
            assert!(parameters.chain(&model.centers).all(|v| v.is_finite()), "{model:?}");
        }
    }
    let error = of(&[1.0, 2.0, 3.0], 3, Method::Hdbscan).unwrap_err().to_string();
    assert!(error.starts_with("no regimes were found (not hdbscan: "), "{error}");
    let error = of(&[1.0, 1.0, 1.0], 3, Method::KMeans).unwrap_err().to_string();
    assert!(error.contains("different rows"), "{error}");
    for (params, name) in [
        (Params { k_range: (3, 2), ..params(Method::Auto) }, "`k_range`"),
        (Params { k_range: (0, 2), ..params(Method::Auto) }, "`k_range`"),
        (Params { min_cluster_size: Some(1), ..params(Method::Auto) }, "`min_cluster_size`"),
        (Params { min_samples: Some(0), ..params(Method::Auto) }, "`min_samples`"),
        (Params { max_fit_rows: 9, ..params(Method::Auto) }, "`max_fit_rows`"),
        (Params { n_components: Some(0), ..params(Method::Auto) }, "`n_components`"),
        (Params { distance_percentile: 0.0, ..params(Method::Auto) }, "`distance_percentile`"),
        (Params { reg_covar: 0.0, ..params(Method::Auto) }, "`reg_covar`"),
    ] {
        assert!(params.check().unwrap_err().0.contains(name), "{name}");
    }
}
