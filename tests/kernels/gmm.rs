//! Gaussian mixtures: small cases by hand, a twin straight from the definition, linfa as a second opinion, exact exponentials,
//! hostile readings.

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::gmm::{Covariance, Error, Mixture, Output, Parameters, Params, Scorer, fit};
use acm_rs::kernels::detectors::scaling::{Scale, Scaling};
use acm_rs::kernels::elementary::{exp, inverse_sqrt, power_of_two_below};
use acm_rs::kernels::matrix::Matrix;
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::simd::{Kernel, LANES, Simd, dispatch};
use linfa::traits::{Fit as _, Predict as _};
use linfa_clustering::GaussianMixtureModel;
use num_bigint::BigInt;

use crate::kmeans::{clusters, normal, pool, records, row, tile};

fn params(k: (usize, usize), covariance: Covariance, scaling: Scaling) -> Params {
    Params::new(k, covariance, scaling, 3, 100, 1e-3, 1e-3, 42).expect("valid parameters")
}

fn scores(model: &Mixture, data: &[f64], rows: usize, output: Output) -> Vec<f64> {
    let scorer = Scorer::new(model, output).expect("a sound model");
    let (mut all, mut scratch, mut out) = (Vec::new(), vec![f64::NAN; 3], Vec::new());
    for from in (0..rows).step_by(100) {
        let tile = tile(data, rows, from..rows.min(from + 100));
        out.resize(tile.stride(), 7.0);
        scorer.score(&tile, &mut scratch, &mut out);
        all.extend_from_slice(&out[..tile.rows()]);
    }
    all
}

type Table = Vec<Vec<f64>>;

/// Determinant and inverse by elimination with pivots.
fn invert(matrix: &Table) -> (f64, Table) {
    let n = matrix.len();
    let mut a: Table = (0..n)
        .map(|i| matrix[i].iter().copied().chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect())
        .collect();
    let mut determinant = 1.0;
    for c in 0..n {
        let pivot = (c..n).max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs())).expect("a row");
        if pivot != c {
            a.swap(pivot, c);
            determinant = -determinant;
        }
        determinant *= a[c][c];
        let of: Vec<f64> = a[c].iter().map(|v| v / a[c][c]).collect();
        for (i, row) in a.iter_mut().enumerate() {
            let factor = row[c];
            if i == c {
                row.clone_from(&of);
            } else {
                row.iter_mut().zip(&of).for_each(|(v, of)| *v -= factor * of);
            }
        }
    }
    (determinant, a.into_iter().map(|row| row[n..].to_vec()).collect())
}

/// The covariance of component c as a table.
fn table(parameters: &Parameters, covariance: Covariance, c: usize) -> Table {
    let d = parameters.means.len() / parameters.weights.len();
    let cell = |i: usize, j: usize| match covariance {
        Covariance::Full => parameters.covariances[(c * d + i) * d + j],
        Covariance::Diagonal if i == j => parameters.covariances[c * d + i],
        Covariance::Diagonal => 0.0,
    };
    (0..d).map(|i| (0..d).map(|j| cell(i, j)).collect()).collect()
}

/// log w_c N(x; m_c, S_c) for each c.
fn logs(parameters: &Parameters, covariance: Covariance, x: &[f64]) -> Vec<f64> {
    let d = x.len();
    let one = |c: usize| {
        let (determinant, inverse) = invert(&table(parameters, covariance, c));
        let z: Vec<f64> = x.iter().zip(&parameters.means[c * d..]).map(|(x, m)| x - m).collect();
        let square: f64 = (0..d).map(|i| (0..d).map(|j| z[i] * inverse[i][j] * z[j]).sum::<f64>()).sum();
        parameters.weights[c].ln() - 0.5 * (d as f64 * std::f64::consts::TAU.ln() + determinant.ln() + square)
    };
    (0..parameters.weights.len()).map(one).collect()
}

fn log_sum(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logs.iter().map(|l| (l - largest).exp()).sum::<f64>().ln()
}

/// EM as it is written down: covariances about the new means.
fn twin(data: &[f64], rows: usize, mut p: Parameters, covariance: Covariance) -> (Parameters, f64, usize) {
    let d = data.len() / rows;
    let k = p.weights.len();
    let mean_log = |p: &Parameters| {
        (0..rows).map(|i| log_sum(&logs(p, covariance, &row(data, rows, i)))).sum::<f64>() / rows as f64
    };
    let mut before = f64::NEG_INFINITY;
    for iteration in 1..=100 {
        let now = mean_log(&p);
        let shares: Table = (0..rows)
            .map(|i| {
                let logs = logs(&p, covariance, &row(data, rows, i));
                let sum = log_sum(&logs);
                logs.iter().map(|l| (l - sum).exp()).collect()
            })
            .collect();
        for c in 0..k {
            let count: f64 = shares.iter().map(|s| s[c]).sum::<f64>() + 10.0 * f64::EPSILON;
            p.weights[c] = count / rows as f64;
            for j in 0..d {
                p.means[c * d + j] = (0..rows).map(|i| shares[i][c] * data[j * rows + i]).sum::<f64>() / count;
            }
            let mean = p.means[c * d..(c + 1) * d].to_vec();
            let product = |i: usize, j: usize| {
                let sum: f64 = (0..rows)
                    .map(|r| shares[r][c] * (data[i * rows + r] - mean[i]) * (data[j * rows + r] - mean[j]))
                    .sum();
                sum / count + if i == j { 1e-3 } else { 0.0 }
            };
            for i in 0..d {
                match covariance {
                    Covariance::Diagonal => p.covariances[c * d + i] = product(i, i),
                    Covariance::Full => (0..d).for_each(|j| p.covariances[(c * d + i) * d + j] = product(i, j)),
                }
            }
        }
        if (now - before).abs() < 1e-3 {
            return (p.clone(), mean_log(&p), iteration);
        }
        before = now;
    }
    let last = mean_log(&p);
    (p, last, 100)
}

/// Rows as means, the variances of all rows, equal weights.
fn start(data: &[f64], rows: usize, k: usize, covariance: Covariance) -> Parameters {
    let d = data.len() / rows;
    let variance = |j: usize| {
        let x = &data[j * rows..(j + 1) * rows];
        let mean = x.iter().sum::<f64>() / rows as f64;
        x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / rows as f64 + 1e-3
    };
    let cells: Vec<f64> = match covariance {
        Covariance::Diagonal => (0..d).map(variance).collect(),
        Covariance::Full => (0..d * d).map(|at| if at / d == at % d { variance(at / d) } else { 0.0 }).collect(),
    };
    Parameters {
        weights: vec![1.0 / k as f64; k],
        means: (0..k).flat_map(|c| row(data, rows, c * rows / k)).collect(),
        covariances: cells.repeat(k),
    }
}

#[test]
fn by_hand() {
    // one component: mean 2, variance 2 + reg_covar
    let data = [0.0, 2.0, 2.0, 4.0];
    let matrix = Matrix::new(&data, 4, 1);
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        let model = fit(matrix, &params((1, 1), covariance, Scaling::None), None, &pool(1)).expect("a fit");
        assert_eq!(model.parameters.weights, vec![1.0]);
        assert!((model.parameters.means[0] - 2.0).abs() < 1e-15);
        assert!((model.parameters.covariances[0] - 2.001).abs() < 1e-12);
        let peak = -0.5 * (std::f64::consts::TAU * 2.001).ln();
        let expected = peak - 0.5 * 2.0 / 2.001;
        assert!((model.log_likelihood - expected).abs() < 1e-12);
        // two free parameters
        assert!((model.bic - (-8.0 * expected + 2.0 * 4.0_f64.ln())).abs() < 1e-11);
        assert_eq!(model.tried, vec![(1, model.bic)]);
        assert!(model.converged);
        let score = scores(&model, &data, 4, Output::Score);
        assert!((score[0] - (0.5 * 4.0 / 2.001 - peak)).abs() < 1e-12 && (score[1] + peak).abs() < 1e-12);
    }
    // robust scaling: median 2, quartiles 1.5 and 2.5
    let scale = Scale::fit(matrix, Scaling::Robust, &pool(1));
    assert_eq!(scale, Scale { center: vec![2.0], scale: vec![1.0] });
    let standard = Scale::fit(matrix, Scaling::Standard, &pool(1));
    assert!(standard.center == [2.0] && (standard.scale[0] - 2.0_f64.sqrt()).abs() < 1e-15);
    // equal quartiles: the standard deviation; no change at all: 1
    let still = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 13.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0];
    let scale = Scale::fit(Matrix::new(&still, 8, 2), Scaling::Robust, &pool(1));
    assert!((scale.scale[0] - 7.0_f64.sqrt()).abs() < 1e-15 && scale.scale[1] == 1.0, "{scale:?}");
}

#[test]
fn as_the_twin_from_given_parameters() {
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        for (rows, columns, k) in [
            (2, 1, 1),
            (9, 1, 2),
            (60, 2, 3),
            (127, 3, 1),
            (129, 4, 2),
            (300, 5, 4),
            (257, 6, 5),
            (1100, 3, 3),
            (150, 9, 2),
        ] {
            let data = clusters(rows as u64, rows, columns, k, 2.0);
            let init = start(&data, rows, k, covariance);
            let (expected, log_likelihood, iterations) = twin(&data, rows, init.clone(), covariance);
            let model = fit(
                Matrix::new(&data, rows, columns),
                &params((k, k), covariance, Scaling::None),
                Some(&init),
                &pool(2),
            )
            .expect("a fit");
            let input = format!("{covariance:?}, rows {rows}, columns {columns}, k {k}");
            assert_eq!(model.iterations, iterations, "{input}");
            assert!((model.log_likelihood - log_likelihood).abs() < 1e-10, "{input}");
            let got = [&model.parameters.weights, &model.parameters.means, &model.parameters.covariances];
            let expected = [&expected.weights, &expected.means, &expected.covariances];
            for (got, expected) in got.into_iter().zip(expected) {
                assert_eq!(got.len(), expected.len());
                for (got, expected) in got.iter().zip(expected) {
                    assert!((got - expected).abs() < 1e-9, "{got} {expected}: {input}");
                }
            }
            // scores and labels of the model that was found
            let score = scores(&model, &data, rows, Output::Score);
            let label = scores(&model, &data, rows, Output::Label);
            for i in 0..rows {
                let logs = logs(&model.parameters, covariance, &row(&data, rows, i));
                assert!((score[i] + log_sum(&logs)).abs() < 1e-9, "row {i}: {} {input}", score[i]);
                let most = (0..k).fold(0, |best, c| if logs[c] > logs[best] { c } else { best });
                assert_eq!(label[i], most as f64, "row {i}: {input}");
            }
        }
    }
}

/// linfa starts from the moments of its own k-means clusters, which its k-means gives again from the same seed.
fn start_of_linfa(data: &[f64], rows: usize, k: usize) -> Parameters {
    let d = data.len() / rows;
    let records = records(data, rows);
    let kmeans = linfa_clustering::KMeans::params(k).fit(&records).expect("a fit");
    let labels = kmeans.predict(&records);
    let mut p = Parameters { weights: Vec::new(), means: Vec::new(), covariances: Vec::new() };
    for c in 0..k {
        let members: Table = (0..rows).filter(|&i| labels[i] == c).map(|i| row(data, rows, i)).collect();
        let count = members.len() as f64;
        let mean: Vec<f64> = (0..d).map(|j| members.iter().map(|x| x[j]).sum::<f64>() / count).collect();
        for i in 0..d {
            for j in 0..d {
                let sum: f64 = members.iter().map(|x| (x[i] - mean[i]) * (x[j] - mean[j])).sum();
                p.covariances.push(sum / count + if i == j { 1e-3 } else { 0.0 });
            }
        }
        p.weights.push(count / rows as f64);
        p.means.extend(mean);
    }
    p
}

#[test]
fn as_linfa_from_its_start() {
    for (seed, (rows, columns, k, apart)) in
        [(200, 1, 2, 1.5), (300, 2, 3, 1.5), (500, 3, 4, 1.5), (400, 5, 2, 1.0), (900, 4, 5, 1.5), (250, 8, 3, 1.0)]
            .into_iter()
            .enumerate()
    {
        let data = clusters(100 + seed as u64, rows, columns, k, apart);
        let linfa = GaussianMixtureModel::params(k)
            .reg_covariance(1e-3)
            .tolerance(1e-6)
            .max_n_iterations(1000)
            .fit(&records(&data, rows))
            .expect("a fit");
        let init = start_of_linfa(&data, rows, k);
        let matrix = Matrix::new(&data, rows, columns);
        let params =
            Params::new((k, k), Covariance::Full, Scaling::None, 10, 1000, 1e-6, 1e-3, 42).expect("valid parameters");
        let ours = fit(matrix, &params, Some(&init), &pool(2)).expect("a fit");
        let input = format!("rows {rows}, columns {columns}, k {k}");
        assert!(ours.iterations > 2 && ours.converged, "{input}: {} rounds", ours.iterations);
        let theirs = Parameters {
            weights: linfa.weights().to_vec(),
            means: linfa.means().iter().copied().collect(),
            covariances: linfa.covariances().iter().copied().collect(),
        };
        let p = &ours.parameters;
        for (got, expected) in
            [(&p.weights, &theirs.weights), (&p.means, &theirs.means), (&p.covariances, &theirs.covariances)]
        {
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-9, "{got} {expected}: {input}");
            }
        }
        let label = scores(&ours, &data, rows, Output::Label);
        let expected = linfa.predict(&records(&data, rows));
        assert!(label.iter().zip(&expected).all(|(&got, &expected)| got == expected as f64), "{input}");
        // from our own starts the likelihood is no worse
        let log_likelihood =
            (0..rows).map(|i| log_sum(&logs(&theirs, Covariance::Full, &row(&data, rows, i)))).sum::<f64>()
                / rows as f64;
        let own = fit(matrix, &params, None, &pool(2)).expect("a fit").log_likelihood;
        assert!(own >= log_likelihood, "{own} {log_likelihood}: {input}");
    }
}

#[test]
fn finds_separate_states_and_their_number() {
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        let (rows, columns, k) = (2000, 3, 3);
        let data = clusters(21, rows, columns, k, 10.0);
        let matrix = Matrix::new(&data, rows, columns);
        let model = fit(matrix, &params((1, 5), covariance, Scaling::Robust), None, &pool(2)).expect("a fit");
        assert_eq!(model.parameters.weights.len(), k, "{:?}", model.tried);
        assert_eq!(model.tried.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(model.tried.iter().all(|t| t.1 >= model.bic) && model.converged);
        let free = match covariance {
            Covariance::Diagonal => 9 + 2 + 9,
            Covariance::Full => 9 + 2 + 18,
        };
        let expected = -2.0 * model.log_likelihood * rows as f64 + f64::from(free) * (rows as f64).ln();
        assert!((model.bic - expected).abs() < 1e-8);
        let mean = -scores(&model, &data, rows, Output::Score).iter().sum::<f64>() / rows as f64;
        assert!((mean - model.log_likelihood).abs() < 1e-10);
        // a row far from all states scores high
        let far = scores(&model, &[1e3, 1e3, 1e3], 1, Output::Score);
        assert!(far[0] > 1e4);
    }
}

#[test]
fn threads_change_no_bit() {
    let (rows, columns, k) = (5000, 5, 3);
    let data = clusters(3, rows, columns, k, 1.0);
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        let fit = |threads| {
            let params = params((2, k), covariance, Scaling::Robust);
            fit(Matrix::new(&data, rows, columns), &params, None, &pool(threads)).expect("a fit")
        };
        let one = fit(1);
        assert!([2, 3, 5].into_iter().all(|threads| fit(threads) == one));
    }
}

#[test]
fn a_row_scores_alone() {
    let (rows, columns, k) = (400, 3, 3);
    let mut data = clusters(31, rows, columns, k, 4.0);
    data[17] = 1e300;
    data[rows + 200] = -f64::MAX;
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        let train = clusters(31, rows, columns, k, 4.0);
        let params = params((k, k), covariance, Scaling::Robust);
        let model = fit(Matrix::new(&train, rows, columns), &params, None, &pool(1)).expect("a fit");
        for output in [Output::Score, Output::Label] {
            let all = scores(&model, &data, rows, output);
            for (i, among) in all.iter().enumerate() {
                let alone = scores(&model, &row(&data, rows, i), 1, output)[0];
                assert!(alone.to_bits() == among.to_bits() || (alone.is_nan() && among.is_nan()), "row {i}");
                assert_eq!(alone.is_nan(), i == 17 || i == 200, "row {i}: {alone}");
            }
        }
    }
}

#[test]
fn far_from_zero() {
    let (rows, columns, k) = (1500, 3, 3);
    let data: Vec<f64> = clusters(41, rows, columns, k, 6.0).iter().map(|v| (v * 1024.0).round() / 1024.0).collect();
    let moved: Vec<f64> = data.iter().map(|v| v + 1e8).collect();
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        for scaling in [Scaling::None, Scaling::Robust, Scaling::Standard] {
            let params = params((k, k), covariance, scaling);
            let near = fit(Matrix::new(&data, rows, columns), &params, None, &pool(2)).expect("a fit");
            let far = fit(Matrix::new(&moved, rows, columns), &params, None, &pool(2)).expect("a fit");
            assert!((near.log_likelihood - far.log_likelihood).abs() < 1e-7, "{covariance:?} {scaling:?}");
            let pairs = near.parameters.covariances.iter().zip(&far.parameters.covariances);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{covariance:?} {scaling:?}");
        }
    }
}

#[test]
fn hostile_readings() {
    // more columns than rows, equal rows, equal columns: reg_covar keeps every covariance positive definite
    let mut random = Stream::new(5, 0);
    let wide: Vec<f64> = (0..5 * 20).map(|_| normal(&mut random)).collect();
    let equal: Vec<f64> = (0..60).map(|i| f64::from(i % 3)).collect();
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        for scaling in [Scaling::None, Scaling::Robust, Scaling::Standard] {
            let params = params((2, 2), covariance, scaling);
            for (data, rows) in [(&wide, 5), (&equal, 30), (&equal, 60)] {
                let model = fit(Matrix::new(data, rows, data.len() / rows), &params, None, &pool(1)).expect("a fit");
                assert!(scores(&model, data, rows, Output::Score).iter().all(|s| s.is_finite()));
                assert!(model.parameters.covariances.iter().all(|v| v.is_finite()));
            }
        }
        // the scale takes care of the unit, be it huge or tiny
        for power in [1e-300, 1e300] {
            let data: Vec<f64> = clusters(51, 200, 2, 2, 5.0).iter().map(|v| v * power).collect();
            let params = params((2, 2), covariance, Scaling::Robust);
            let model = fit(Matrix::new(&data, 200, 2), &params, None, &pool(1)).expect("a fit");
            assert!(model.log_likelihood.is_finite());
        }
    }
    let model = fit(
        Matrix::new(&[-f64::MAX, f64::MAX, -1e308, 1e308], 4, 1),
        &params((2, 2), Covariance::Diagonal, Scaling::Robust),
        None,
        &pool(1),
    );
    assert!(model.expect("a fit").log_likelihood.is_finite());
}

#[test]
fn refused() {
    let two = [1.0, 2.0, 1.0, 2.0];
    let refusal = |data: &[f64], rows, params: &Params, init: Option<&Parameters>| {
        let columns = data.len().checked_div(rows).unwrap_or(1);
        fit(Matrix::new(data, rows, columns), params, init, &pool(1)).expect_err("an error").to_string()
    };
    let usual = |k| params((k, k), Covariance::Diagonal, Scaling::None);
    assert_eq!(refusal(&[], 0, &usual(1), None), "a Gaussian mixture needs at least 2 rows to learn from, got 0");
    assert_eq!(refusal(&[1.0], 1, &usual(1), None), "a Gaussian mixture needs at least 2 rows to learn from, got 1");
    assert_eq!(
        refusal(&two, 4, &usual(3), None),
        "3 clusters need 3 different rows, but there are only 2; lower `k` or `k_range`"
    );
    let no_columns = fit(Matrix::new(&[], 3, 0), &usual(1), None, &pool(1));
    assert_eq!(no_columns.expect_err("an error"), Error::NoColumns);
    for covariance in [Covariance::Diagonal, Covariance::Full] {
        let bare = Params::new((2, 2), covariance, Scaling::None, 1, 100, 1e-3, 0.0, 42).expect("valid parameters");
        let text = refusal(&two, 4, &bare, None);
        assert!(text.contains("is not positive definite") && text.contains("`reg_covar` above 0"), "{text}");
    }
    let text = refusal(&[1e200, 0.0, -1e200], 3, &usual(2), None);
    assert!(text.contains("another `scale`"), "{text}");
    let init = |weights: &[f64], means: &[f64], covariances: &[f64]| Parameters {
        weights: weights.to_vec(),
        means: means.to_vec(),
        covariances: covariances.to_vec(),
    };
    for (init, text) in [
        (init(&[1.0], &[1.0], &[1.0]), "`init` holds 1 weights, `k` is 2"),
        (
            init(&[0.5, 0.5], &[1.0], &[1.0, 1.0]),
            "`init` must hold 2 numbers as means of 2 components and 1 columns, got 1",
        ),
        (init(&[0.5, 0.5], &[1.0, 2.0], &[1.0]), "`init` must hold 2 numbers as covariances"),
        (init(&[0.5, 0.5], &[1.0, f64::NAN], &[1.0, 1.0]), "`init` must hold finite means"),
        (init(&[0.5, 0.6], &[1.0, 2.0], &[1.0, 1.0]), "the weights of `init` must be above 0 and add up to 1"),
        (init(&[0.0, 1.0], &[1.0, 2.0], &[1.0, 1.0]), "the weights of `init` must be above 0 and add up to 1"),
        (init(&[0.5, 0.5], &[1.0, 2.0], &[1.0, -1.0]), "the covariance of component 1 is not positive definite"),
    ] {
        let got = refusal(&two, 4, &usual(2), Some(&init));
        assert!(got.starts_with(text), "{got}");
    }
    let new = |k, n_init, max_iter, tol, reg| {
        Params::new(k, Covariance::Full, Scaling::None, n_init, max_iter, tol, reg, 1)
            .expect_err("an error")
            .to_string()
    };
    assert_eq!(new((0, 2), 1, 1, 0.0, 0.0), "`k` must be >= 1, got 0");
    assert_eq!(new((3, 2), 1, 1, 0.0, 0.0), "`k_range` must be ascending, got (3, 2)");
    assert_eq!(new((1, 1), 0, 1, 0.0, 0.0), "`n_init` must be >= 1, got 0");
    assert_eq!(new((1, 1), 1, 0, 0.0, 0.0), "`max_iter` must be >= 1, got 0");
    assert!(new((1, 1), 1, 1, -1.0, 0.0).contains("`tol`") && new((1, 1), 1, 1, 0.0, f64::NAN).contains("`reg_covar`"));
}

struct Exp([f64; LANES]);

impl Kernel for Exp {
    type Output = [f64; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; LANES] {
        s.to_array(exp(s, s.load(&self.0)))
    }
}

/// Bits behind the point of exact exponentials.
const BITS: i64 = 1300;

/// As a whole number of 2^-1300.
fn fixed(x: f64) -> BigInt {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i64;
    let mantissa = (x.to_bits() & ((1 << 52) - 1)) | (u64::from(exponent > 0) << 52);
    let shift = exponent.max(1) - 1075 + BITS;
    let size = BigInt::from(mantissa) << usize::try_from(shift).expect("2^-1300 is small enough");
    if x < 0.0 { -size } else { size }
}

/// `e^x` by the series of `x / 1024`, squared ten times.
fn exact_exp(x: f64) -> BigInt {
    let r: BigInt = fixed(x) >> 10;
    let one = BigInt::from(1) << BITS;
    let (mut sum, mut term) = (one.clone(), one);
    for i in 1..150 {
        term = ((term * &r) >> BITS) / i;
        sum += &term;
    }
    for _ in 0..10 {
        sum = (&sum * &sum) >> BITS;
    }
    sum
}

#[test]
fn exponentials_to_the_last_place() {
    let mut random = Stream::new(1, 0);
    let mut arguments = vec![0.0, -0.0, -1e-300, -1e-17, -0.5, -1.0, -0.346_573_59, -0.346_573_6, -707.9, -708.0];
    arguments.extend((0..600).map(|i| -random.uniform() * [1.0, 40.0, 708.0][i % 3]));
    let mut worst: f64 = 0.0;
    for chunk in arguments.chunks_exact(LANES) {
        let got = dispatch(Exp(chunk.try_into().expect("eight values")));
        for (&x, got) in chunk.iter().zip(got) {
            let unit = fixed(got.next_up()) - fixed(got);
            let error: BigInt = (fixed(got) - exact_exp(x)) * 1000 / unit;
            let error = f64::from(i32::try_from(error).expect("a few units")) / 1000.0;
            worst = worst.max(error.abs());
            assert!(error.abs() <= 1.0, "exp({x:?}) = {got:?}: {error} units in the last place");
        }
    }
    assert!(worst > 0.4, "at least the rounding: {worst}");
    let far = dispatch(Exp([-708.1, -1e10, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0, -1e-30, -709.0]));
    assert_eq!(far, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
}

struct InverseSqrt([f64; LANES]);

impl Kernel for InverseSqrt {
    type Output = [f64; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; LANES] {
        s.to_array(inverse_sqrt(s, s.load(&self.0)))
    }
}

/// `y` lies within two units of `1 / sqrt(x)` if `x y'^2` passes 1 on the way from two units below it to two above.
#[test]
fn inverse_square_roots_to_two_last_places() {
    let mut random = Stream::new(2, 0);
    let mut arguments = vec![1.0, 2.0, 3.0, 4.0, 0.25, 1e300, 1e-300, 1.0_f64.next_down()];
    arguments.extend((0..8_000).map(|i| (1.0 + random.uniform()) * 2.0_f64.powi(i % 1_900 - 950)));
    // a whole number, and the power of two that it counts in
    let whole = |v: f64| {
        let exponent = (v.to_bits() >> 52) as i64 - 1075;
        (BigInt::from(v.to_bits() & ((1 << 52) - 1) | 1 << 52), exponent)
    };
    let is_below = |x: f64, y: f64| {
        let ((x, p), (y, q)) = (whole(x), whole(y));
        (x * &y * &y) < BigInt::from(1) << usize::try_from(-p - 2 * q).expect("about 1")
    };
    for chunk in arguments.chunks_exact(LANES) {
        let got = dispatch(InverseSqrt(chunk.try_into().expect("eight values")));
        for (&x, y) in chunk.iter().zip(got) {
            let (low, high) = (y.next_down().next_down(), y.next_up().next_up());
            assert!(is_below(x, low) && !is_below(x, high), "1 / sqrt({x:e}) = {y:e}");
        }
    }
}

#[test]
fn powers_of_two_bring_below_one() {
    for x in [1.0, 0.99, 1.5, 2.0, 1e100, f64::MAX / 1e9, 1e-100, 3e-300] {
        let scaled = x * power_of_two_below(x);
        assert!((0.5..1.0).contains(&scaled), "{x}: {scaled}");
    }
    for x in [0.0, 5e-324, f64::MAX] {
        let scaled = x * power_of_two_below(x);
        assert!((0.0..1e8).contains(&scaled), "{x}: {scaled}");
    }
}
