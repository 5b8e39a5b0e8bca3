//! Gram matrices, eigenpairs, principal components and model residuals. The oracle is exact: columns of Hadamard matrices times powers of
//! two give data whose every component is known. A one-sided Jacobi iteration, straight from the definition, judges the rest.

use std::cell::Cell;

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::complete::{Complete, Reason};
use acm_rs::kernels::detectors::omr::{self, Method, Omr, Reconstruction, TAU_FLOOR, VARIANCE_FLOOR};
use acm_rs::kernels::detectors::pca::{Error, Pca, Scale, Scorer, Statistic};
use acm_rs::kernels::features::rolling::Source;
use acm_rs::kernels::linalg::eigen;
use acm_rs::kernels::linalg::gram::Gram;
use acm_rs::kernels::matrix::{Matrix, Tile};
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::selection::{median, quantile};
use rayon::{ThreadPool, ThreadPoolBuilder};

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// Rows of a few factors and noise.
fn sensors(n: usize, p: usize, factors: usize, noise: f64, seed: u64) -> Vec<f64> {
    let mut random = Stream::new(seed, p);
    let mut normal = || (0..6).map(|_| random.uniform() - 0.5).sum::<f64>();
    let scores: Vec<f64> = (0..n * factors).map(|_| normal()).collect();
    let loadings: Vec<f64> = (0..p * factors).map(|_| normal()).collect();
    let mut data = Vec::with_capacity(n * p);
    for j in 0..p {
        for i in 0..n {
            let signal: f64 = (0..factors).map(|a| scores[i * factors + a] * loadings[j * factors + a]).sum();
            data.push(signal + noise * normal());
        }
    }
    data
}

/// +1 or -1; the rows of the matrix of order 2^m are orthogonal, and all but the first add up to 0.
fn hadamard(i: usize, j: usize) -> f64 {
    if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// `n` by `p`, powers of two, with singular values `sigma sqrt(n p)` and loadings `hadamard / sqrt(p)`.
fn known(n: usize, p: usize, sigma: &[f64]) -> Vec<f64> {
    let cell = |i, j| sigma.iter().enumerate().map(|(a, s)| s * hadamard(a + 1, i) * hadamard(a, j)).sum();
    (0..p).flat_map(|j| (0..n).map(move |i| (i, j))).map(|(i, j)| cell(i, j)).collect()
}

fn close(got: f64, wanted: f64, tolerance: f64) -> bool {
    (got - wanted).abs() <= tolerance * wanted.abs()
}

/// Results of one row each, of all results of the scorer.
fn score(scorer: &dyn Score, matrix: Matrix<'_>, rows: std::ops::Range<usize>) -> Vec<Vec<f64>> {
    let mut tile = Tile::default();
    tile.resize(rows.len(), matrix.columns());
    for j in 0..matrix.columns() {
        tile.column_mut(j).copy_from_slice(&matrix.column(j)[rows.clone()]);
    }
    tile.pad();
    // whatever is in the scratch
    let mut scratch = vec![f64::NAN; 3];
    let mut out = vec![f64::NAN; scorer.results() * tile.stride()];
    scorer.score(&tile, &mut scratch, &mut out);
    out.chunks_exact(tile.stride()).map(|result| result[..rows.len()].to_vec()).collect()
}

#[test]
fn gram_is_the_sum_of_products() {
    for (n, p) in [(0, 3), (1, 1), (5, 2), (63, 7), (64, 8), (65, 9), (300, 17), (1000, 33)] {
        let data = sensors(n, p, 2, 1.0, 1);
        let matrix = Matrix::new(&data, n, p);
        let center: Vec<f64> = (0..p).map(|j| j as f64 / 8.0).collect();
        let factor: Vec<f64> = (0..p).map(|j| 1.0 / (1.0 + j as f64)).collect();
        let gram = Gram::new(&pool(1), matrix, &center, &factor);
        let d = |i: usize, j: usize| (matrix.column(j)[i] - center[j]) * factor[j];
        for j in 0..p {
            let sum: f64 = (0..n).map(|i| d(i, j)).sum();
            assert!((gram.sums[j] - sum).abs() < 1e-11, "{n} x {p}: sum {j}: {} {sum}", gram.sums[j]);
            for l in 0..p {
                let product: f64 = (0..n).map(|i| d(i, j) * d(i, l)).sum();
                let got = gram.products[j * p + l];
                assert!((got - product).abs() < 1e-11, "{n} x {p}: ({j}, {l}): {got} {product}");
            }
        }
    }
}

#[test]
fn gram_has_the_same_bits_on_any_number_of_threads() {
    let data = sensors(5000, 40, 3, 1.0, 2);
    let matrix = Matrix::new(&data, 5000, 40);
    let gram = |threads| Gram::new(&pool(threads), matrix, &[0.25; 40], &[1.5; 40]);
    let (one, three) = (gram(1), gram(3));
    assert_eq!((&one.products, &one.sums), (&three.products, &three.sums));
}

#[test]
fn leading_eigenpairs_of_small_matrices() {
    // [2 1; 1 2]: 3 with (1, 1), 1 with (1, -1)
    let pairs = eigen::leading(&[2.0, 1.0, 1.0, 2.0], 2, 2).expect("finite");
    let root = 0.5_f64.sqrt();
    assert!(close(pairs.values[0], 3.0, 1e-15) && close(pairs.values[1], 1.0, 1e-15), "{pairs:?}");
    for (got, wanted) in pairs.vectors.iter().zip([root, root, root, -root]) {
        assert!(
            close(got.abs(), wanted.abs(), 1e-15) && (*got > 0.0 || pairs.vectors[2] * pairs.vectors[3] < 0.0),
            "{pairs:?}"
        );
    }
    let pairs = eigen::leading(&[-5.0], 1, 1).expect("finite");
    assert_eq!((pairs.values, pairs.vectors), (vec![-5.0], vec![1.0]));
    assert_eq!(eigen::leading(&[0.0; 9], 3, 2).expect("finite").values, [0.0, 0.0]);
    assert!(eigen::leading(&[], 0, 0).expect("finite").values.is_empty());
    for bad in [f64::NAN, f64::INFINITY] {
        assert_eq!(eigen::leading(&[1.0, bad, bad, 1.0], 2, 1), None);
    }
    for unit in [1e-300, 1e300] {
        let pairs = eigen::leading(&[2.0 * unit, unit, unit, 2.0 * unit], 2, 1).expect("finite");
        assert!(close(pairs.values[0], 3.0 * unit, 1e-15), "{pairs:?}");
    }
}

/// `A v = value v`, orthonormal vectors, descending values, positive largest loading.
fn check(matrix: &[f64], p: usize, pairs: &eigen::Eigenpairs) {
    let vector = |a: usize| &pairs.vectors[a * p..][..p];
    let norm = pairs.values.iter().fold(0.0_f64, |a, b| a.max(b.abs())).max(1e-300);
    for (a, value) in pairs.values.iter().enumerate() {
        for (i, row) in matrix.chunks_exact(p).enumerate() {
            let residual = row.iter().zip(vector(a)).map(|(m, v)| m * v).sum::<f64>() - value * vector(a)[i];
            assert!(residual.abs() < 1e-13 * norm, "pair {a}, row {i} of {p}: {residual:e}");
        }
        for b in 0..=a {
            let product: f64 = vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum();
            assert!((product - f64::from(u8::from(a == b))).abs() < 1e-13, "{a} {b} of {p}: {product}");
        }
        let largest = vector(a).iter().fold(0.0_f64, |x, y| if y.abs() > x.abs() { *y } else { x });
        assert!(largest > 0.0);
        assert!(a == 0 || pairs.values[a - 1] >= *value);
    }
}

#[test]
fn leading_eigenpairs_of_all_shapes() {
    for p in [1, 2, 3, 5, 8, 9, 16, 31, 40, 100] {
        let k = p.min(6);
        let random = {
            let data = sensors(2 * p, p, 0, 1.0, 3);
            Gram::new(&pool(1), Matrix::new(&data, 2 * p, p), &vec![0.0; p], &vec![1.0; p]).products
        };
        let entries = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> { (0..p * p).map(|c| f(c / p, c % p)).collect() };
        let graded = entries(&|i, j| (-(i.max(j) as f64)).exp2());
        let cases = [
            ("random", random),
            ("one value", entries(&|i, j| f64::from(u8::from(i == j)))),
            ("rank one", entries(&|_, _| 1.0)),
            ("two blocks", entries(&|i, j| f64::from(u8::from(i % 2 == j % 2)))),
            ("tridiagonal", entries(&|i, j| [2.0, -1.0].get(i.abs_diff(j)).copied().unwrap_or(0.0))),
            ("graded", graded),
            ("subnormal beside", entries(&|i, j| if i == j { 1.0 + i as f64 } else { 1e-310 })),
            ("negative", entries(&|i, j| if i == j { -1.0 - i as f64 } else { 0.0 })),
        ];
        for (name, matrix) in cases {
            let pairs = eigen::leading(&matrix, p, k).expect("finite");
            println!("{name} {p}");
            check(&matrix, p, &pairs);
            // what is taken where the first method fails
            let full = eigen::leading_within(&matrix, p, k, 0.0).expect("finite");
            check(&matrix, p, &full);
            let norm = full.values.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for (a, b) in pairs.values.iter().zip(&full.values) {
                assert!((a - b).abs() <= 1e-13 * norm, "{name} {p}: {a} {b}");
            }
        }
    }
}

/// Components whose loadings, eigenvalues and scores are known exactly.
fn against_known(n: usize, p: usize, sigma: &[f64], offset: f64, tolerance: f64) {
    let label = format!("{n} x {p}, {sigma:?}, {offset}");
    let data: Vec<f64> = known(n, p, sigma).into_iter().map(|v| v + offset).collect();
    let matrix = Matrix::new(&data, n, p);
    let model = Pca::fit(&pool(2), matrix, 5, Scale::None, 0.99).expect(&label);
    let k = sigma.len().min(5);
    assert_eq!(model.eigenvalues.len(), k, "{label}");
    for (a, sigma) in sigma.iter().take(k).enumerate() {
        let value = sigma * sigma * (n * p) as f64 / (n - 1) as f64;
        assert!(close(model.eigenvalues[a], value, tolerance), "{label}: {a}: {} {value}", model.eigenvalues[a]);
        for j in 0..p {
            let loading = hadamard(a, j) / (p as f64).sqrt();
            let got = model.components[a * p + j] * model.components[a * p].signum();
            assert!((got - loading).abs() < tolerance, "{label}: loading {a} of {j}: {got} {loading}");
        }
    }
    let left: f64 = sigma[k..].iter().map(|s| s * s * (n * p) as f64 / (n - 1) as f64).sum();
    // rounding is that of the whole variance
    let all: f64 = sigma.iter().map(|s| s * s * (n * p) as f64 / (n - 1) as f64).sum();
    let error = (model.theta[0] - left).abs();
    assert!(error <= tolerance * left + 1e-15 * all, "{label}: {:?} {left}", model.theta);
    assert_eq!(model.spe_limit.is_nan(), left == 0.0, "{label}");
    for (j, mean) in model.mean.iter().enumerate() {
        assert!((mean + model.center[j] - offset).abs() <= 1e-15 * offset, "{label}: {mean}");
    }
    // every row lies as far out as every other
    let got = score(&Scorer::new(&model, Statistic::Scores(0), true), matrix, 0..n.min(100));
    let (spe, t2) = (sigma[k..].iter().map(|s| s * s * p as f64).sum::<f64>(), (k * (n - 1)) as f64 / n as f64);
    // the residual is what is left of z, whose rounding it keeps
    let rounding = 4e-15 * (sigma.iter().map(|s| s * s).sum::<f64>() * p as f64).sqrt();
    for (got_spe, got_t2) in got[0].iter().zip(&got[1]) {
        assert!(
            (got_spe - spe).abs() <= tolerance * spe + (2.0 * spe.sqrt() + rounding) * rounding,
            "{label}: SPE {got_spe} {spe}"
        );
        assert!(close(*got_t2, t2, 10.0 * tolerance), "{label}: T2 {got_t2} {t2}");
    }
}

#[test]
fn components_that_are_known() {
    against_known(16, 8, &[4.0, 2.0, 1.0], 0.0, 1e-13);
    against_known(64, 8, &[8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125], 0.0, 1e-13);
    against_known(512, 64, &[8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25], 0.0, 1e-13);
    // an offset that is a power of two is exact with these cells
    against_known(256, 16, &[1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125], 2.0_f64.powi(27), 1e-13);
    against_known(256, 16, &[1.0, 0.5, 0.25], 1e8, 1e-13);
}

#[test]
fn more_columns_than_rows() {
    against_known(16, 64, &[4.0, 2.0, 1.0], 0.0, 1e-13);
    against_known(16, 128, &[8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.5], 0.0, 1e-12);
    against_known(8, 64, &[4.0, 2.0, 1.0], 1e8, 1e-13);
    against_known(16, 64, &[1.0, 2.0_f64.powi(-12), 2.0_f64.powi(-20)], 0.0, 1e-10);
}

#[test]
fn nearly_singular_data_keep_their_digits() {
    // eigenvalues down to 2^-60 of the largest: a covariance alone knows nothing of them
    let graded = |steps: &[i32]| -> Vec<f64> { steps.iter().map(|step| 2.0_f64.powi(-step)).collect() };
    against_known(64, 16, &graded(&[0, 10, 20, 30]), 0.0, 1e-7);
    against_known(64, 16, &graded(&[0, 6, 12, 18, 24, 26]), 0.0, 1e-9);
    // SPE of what is left, where the components hold all but 2^-40
    against_known(64, 16, &graded(&[0, 1, 2, 3, 4, 20, 21]), 0.0, 1e-10);
}

/// One-sided Jacobi (Hestenes 1958) of the centred data: singular values and right vectors, descending.
fn jacobi(data: &[f64], n: usize, p: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut z: Vec<Vec<f64>> = data.chunks_exact(n).map(<[f64]>::to_vec).collect();
    for column in &mut z {
        for _ in 0..2 {
            let mean = column.iter().sum::<f64>() / n as f64;
            column.iter_mut().for_each(|v| *v -= mean);
        }
    }
    let mut v: Vec<Vec<f64>> = (0..p).map(|j| (0..p).map(|i| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..60 {
        for a in 0..p {
            for b in a + 1..p {
                let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
                let (aa, bb, ab) = (product(&z[a], &z[a]), product(&z[b], &z[b]), product(&z[a], &z[b]));
                if ab == 0.0 || ab.abs() <= 1e-17 * (aa * bb).sqrt() {
                    continue;
                }
                let zeta = (bb - aa) / (2.0 * ab);
                let t = 1.0_f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                for m in [&mut z, &mut v] {
                    let (left, right) = m.split_at_mut(b);
                    for (x, y) in left[a].iter_mut().zip(&mut right[0]) {
                        (*x, *y) = (c * (*x - t * *y), c * (t * *x + *y));
                    }
                }
            }
        }
    }
    let norm = |x: &Vec<f64>| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut order: Vec<usize> = (0..p).collect();
    order.sort_by(|&a, &b| norm(&z[b]).total_cmp(&norm(&z[a])));
    (order.iter().map(|&a| norm(&z[a])).collect(), order.iter().map(|&a| v[a].clone()).collect())
}

#[test]
fn components_agree_with_jacobi() {
    for (n, p) in [(3, 2), (40, 6), (200, 12), (1000, 20)] {
        for offset in [0.0, 1e8] {
            let data: Vec<f64> = sensors(n, p, 3, 0.5, 4).into_iter().map(|v| v + offset).collect();
            let matrix = Matrix::new(&data, n, p);
            let model = Pca::fit(&pool(1), matrix, 5, Scale::None, 0.99).expect("a model");
            let (singular, vectors) = jacobi(&data, n, p);
            let k = model.eigenvalues.len();
            assert_eq!(k, 5.min(p).min(n - 1));
            for a in 0..k {
                let value = singular[a] * singular[a] / (n - 1) as f64;
                assert!(close(model.eigenvalues[a], value, 1e-12), "{n} x {p}: {} {value}", model.eigenvalues[a]);
                let product: f64 = vectors[a].iter().zip(&model.components[a * p..]).map(|(x, y)| x * y).sum();
                for (j, loading) in vectors[a].iter().take(p).enumerate() {
                    let (got, wanted) = (model.components[a * p + j], product.signum() * loading);
                    assert!((got - wanted).abs() < 1e-10, "{n} x {p} + {offset}: {a} {j}: {got} {wanted}");
                }
            }
            let rest = |m: i32| singular[k..].iter().map(|s| (s * s / (n - 1) as f64).powi(m)).sum::<f64>();
            for m in 0..3 {
                let wanted = rest(m as i32 + 1);
                assert!((model.theta[m] - wanted).abs() <= 1e-10 * wanted + 1e-20, "{:?} {m} {wanted}", model.theta);
            }
            assert!(close(model.total_variance(), singular.iter().map(|s| s * s).sum::<f64>() / (n - 1) as f64, 1e-12));
        }
    }
}

#[test]
fn rank_ends_the_components() {
    let (n, p) = (100, 6);
    let one = sensors(n, 2, 1, 1.0, 5);
    // three copies of two columns, exactly and up to a factor
    let data: Vec<f64> =
        (0..p).flat_map(|j| one[j % 2 * n..][..n].iter().map(move |v| v * (1 << (j / 2)) as f64)).collect();
    let model = Pca::fit(&pool(1), Matrix::new(&data, n, p), 5, Scale::None, 0.99).expect("a model");
    assert_eq!(model.eigenvalues.len(), 2);
    assert!(model.spe_limit.is_nan() && model.theta == [0.0; 3], "{:?}", model.theta);
    let spe = score(&Scorer::new(&model, Statistic::Spe, true), Matrix::new(&data, n, p), 0..n);
    assert!(spe[0].iter().all(|v| *v < 1e-26), "{:?}", spe[0]);
}

#[test]
fn scales() {
    // 0, 1, .. 9 has the quartiles 2.25, 4.5 and 6.75
    let steps: Vec<f64> = (0..10).map(f64::from).collect();
    // mostly constant: the interquartile range is 0, the standard deviation 3
    let mut rare = vec![1.0; 10];
    rare[7] = 11.0;
    let data: Vec<f64> = steps.iter().chain(&rare).copied().collect();
    let matrix = Matrix::new(&data, 10, 2);
    let fit = |scale| Pca::fit(&pool(1), matrix, 2, scale, 0.99).expect("a model");
    let robust = fit(Scale::Robust);
    assert_eq!(
        (robust.center.as_slice(), robust.scale.as_slice()),
        ([4.5, 1.0].as_slice(), [4.5, robust.scale[1]].as_slice())
    );
    assert!(close(robust.scale[1], 3.0, 1e-15), "{:?}", robust.scale);
    assert!((robust.mean[0]).abs() < 1e-16 && (robust.mean[1] - 1.0 / 3.0).abs() < 1e-16, "{:?}", robust.mean);
    let standard = fit(Scale::Standard);
    assert_eq!(standard.center, [4.5, 2.0]);
    assert!(close(standard.scale[0], 8.25_f64.sqrt(), 1e-15) && close(standard.scale[1], 3.0, 1e-15));
    assert!(close(standard.total_variance(), 2.0 * 10.0 / 9.0, 1e-15));
    let none = fit(Scale::None);
    assert_eq!((none.center, none.scale, none.mean), (vec![0.0; 2], vec![1.0; 2], vec![4.5, 2.0]));
    // jitter of rounding counts as constant
    let jitter: Vec<f64> =
        (0..100).map(|i| if i == 50 { 100.0 } else { 1.0 + f64::from(i % 3) * f64::EPSILON }).collect();
    let model = Pca::fit(&pool(1), Matrix::new(&jitter, 100, 1), 1, Scale::Robust, 0.99).expect("a model");
    assert!(model.scale[0] > 9.0, "{:?}", model.scale);
}

#[test]
fn limits_are_those_of_scipy() {
    // k, n, confidence, k (n^2 - 1) / (n (n - k)) scipy.stats.f.ppf(confidence, k, n - k)
    for (k, n, confidence, limit) in [
        (1, 10, 0.99, 11.617574152134912),
        (2, 12, 0.95, 9.778390086060785),
        (5, 100, 0.99, 16.925443869439256),
        (5, 10000, 0.99, 15.102948261678383),
        (5, 10000, 0.999, 20.543261344210478),
        (20, 60, 0.9, 48.14116772904599),
        (3, 4, 0.99, 60787.710154558496),
        (1, 2, 0.99, 6078.271043215233),
    ] {
        let p = k.max(2);
        let data = sensors(n, p, 0, 1.0, 6);
        let model = Pca::fit(&pool(1), Matrix::new(&data, n, p), k, Scale::None, confidence).expect("a model");
        assert!(close(model.t2_limit, limit, 1e-9), "{k} {n} {confidence}: {} {limit}", model.t2_limit);
    }
}

#[test]
fn spe_limit_by_hand() {
    // eigenvalues left over: 1, 1, 1, 1 (times a unit): theta = 4, 4, 4, h0 = 1 - 2/3 = 1/3
    let sigma = [8.0, 1.0, 1.0, 1.0, 1.0];
    let (n, p) = (64, 8);
    let data = known(n, p, &sigma);
    let matrix = Matrix::new(&data, n, p);
    let model = Pca::fit(&pool(1), matrix, 1, Scale::None, 0.99).expect("a model");
    let unit = (n * p) as f64 / (n - 1) as f64;
    let (z, h) = (2.3263478740408408_f64, 1.0_f64 / 3.0);
    let wanted = 4.0 * (z * (8.0 * h * h).sqrt() / 4.0 + 1.0 + 4.0 * h * (h - 1.0) / 16.0).powf(3.0);
    assert!(close(model.spe_limit, unit * wanted, 1e-12), "{} {}", model.spe_limit, unit * wanted);
    // one large and many small: h0 < 0, so g chi2(h); 1 and 48 times 1/16: theta = 4, 1.1875, 1.01171875
    let mut sigma = vec![8.0, 1.0];
    sigma.extend([0.25; 48]);
    let (n, p) = (128, 64);
    let data = known(n, p, &sigma);
    let model = Pca::fit(&pool(1), Matrix::new(&data, n, p), 1, Scale::None, 0.99).expect("a model");
    let [one, two, three] = [4.0, 1.1875, 1.01171875];
    assert!(1.0 - 2.0 * one * three / (3.0 * two * two) < 0.0);
    // scipy.stats.chi2.ppf(0.99, 16 / 1.1875)
    let wanted = two / one * 28.378_657_326_131_446;
    let unit = (n * p) as f64 / (n - 1) as f64;
    assert!(close(model.spe_limit, unit * wanted, 1e-9), "{} {}", model.spe_limit, unit * wanted);
}

#[test]
fn scores_are_those_of_the_definition() {
    for (n, p, k) in [(40, 3, 2), (129, 9, 5), (300, 20, 6), (200, 17, 7), (100, 30, 13)] {
        let data = sensors(n, p, 4, 1.0, 7);
        let matrix = Matrix::new(&data, n, p);
        let model = Pca::fit(&pool(1), matrix, k, Scale::Robust, 0.99).expect("a model");
        let rows = 3..n.min(120);
        let of = |statistic, mean_back| score(&Scorer::new(&model, statistic, mean_back), matrix, rows.clone());
        let (both, plain) = (of(Statistic::Scores(0), true), of(Statistic::Scores(0), false));
        let (scores, parts, plain_parts) =
            (of(Statistic::Scores(k), true), of(Statistic::Contributions, true), of(Statistic::Contributions, false));
        assert_eq!((&of(Statistic::Spe, true)[0], &of(Statistic::T2, true)[0]), (&both[0], &both[1]));
        for (at, i) in rows.clone().enumerate() {
            let x: Vec<f64> = (0..p).map(|j| (matrix.column(j)[i] - model.center[j]) / model.scale[j]).collect();
            let z: Vec<f64> = x.iter().zip(&model.mean).map(|(x, mean)| x - mean).collect();
            let component = |a: usize| &model.components[a * p..][..p];
            let t: Vec<f64> = (0..k).map(|a| component(a).iter().zip(&z).map(|(v, z)| v * z).sum()).collect();
            let fitted = |j: usize| (0..k).map(|a| t[a] * component(a)[j]).sum::<f64>();
            let spe: f64 = (0..p).map(|j| (z[j] - fitted(j)).powi(2)).sum();
            let acm: f64 = (0..p).map(|j| (x[j] - fitted(j)).powi(2)).sum();
            let t2: f64 = (0..k).map(|a| t[a] * t[a] / model.eigenvalues[a]).sum();
            for (got, wanted) in [(both[0][at], spe), (plain[0][at], acm), (both[1][at], t2), (plain[1][at], t2)] {
                assert!(close(got, wanted, 1e-11), "{n} x {p}, row {i}: {got} {wanted}");
            }
            for a in 0..k {
                assert!((scores[a][at] - t[a]).abs() < 1e-12 * (1.0 + t2), "score {a}: {} {}", scores[a][at], t[a]);
            }
            for (parts, columns, sum) in [(&parts, 0..p, spe), (&plain_parts, 0..p, acm), (&parts, p..2 * p, t2)] {
                let got: f64 = columns.clone().map(|c| parts[c][at]).sum();
                assert!(close(got, sum, 1e-11), "{columns:?}: {got} {sum}");
            }
            for j in 0..p {
                let weight: f64 = (0..k).map(|a| t[a] * component(a)[j] / model.eigenvalues[a]).sum();
                assert!((parts[p + j][at] - z[j] * weight).abs() < 1e-11 * (1.0 + t2));
                assert!((parts[j][at] - (z[j] - fitted(j)).powi(2)).abs() < 1e-12 * (1.0 + spe));
            }
        }
    }
}

#[test]
fn a_row_scores_the_same_in_any_company() {
    let (n, p) = (140, 11);
    let data = sensors(n, p, 3, 1.0, 8);
    let matrix = Matrix::new(&data, n, p);
    let model = Pca::fit(&pool(1), matrix, 4, Scale::Standard, 0.99).expect("a model");
    let residual = Omr::fit(&pool(1), matrix, Method::Ridge(1.0)).expect("a model");
    for statistic in [Statistic::Scores(4), Statistic::T2, Statistic::Contributions] {
        let scorer = Scorer::new(&model, statistic, true);
        let other = omr::Scorer::new(&residual, omr::Statistic::Shares);
        for scorer in [&scorer as &dyn Score, &other] {
            let all = score(scorer, matrix, 0..128);
            for rows in [0..1, 5..6, 3..20, 120..128] {
                for (all, some) in all.iter().zip(score(scorer, matrix, rows.clone())) {
                    assert_eq!(all[rows.clone()], some);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let fit = |data: &[f64], n, p, scale| Pca::fit(&pool(1), Matrix::new(data, n, p), 5, scale, 0.99).map(|_| ());
    assert_eq!(fit(&[], 5, 0, Scale::None), Err(Error::NoColumns));
    assert_eq!(fit(&[], 0, 2, Scale::None), Err(Error::TooFewRows(0)));
    assert_eq!(fit(&[1.0, 2.0], 1, 2, Scale::None), Err(Error::TooFewRows(1)));
    for scale in [Scale::None, Scale::Standard, Scale::Robust] {
        assert_eq!(fit(&[-1.7e308, 1.7e308, 0.0, 1e308], 4, 1, scale), Err(Error::OutOfRange), "{scale:?}");
        assert_eq!(fit(&[0.0, 5e-324, 0.0, 5e-324], 4, 1, scale), Err(Error::OutOfRange), "{scale:?}");
        // constant columns are no part of complete data; where they come, there is no model of NaN
        let constant = fit(&[3.0; 8], 4, 2, scale);
        assert_eq!(constant, Err(Error::OutOfRange), "{scale:?}");
    }
    assert_eq!(fit(&[1e200, -1e200, 3e200, 0.0], 4, 1, Scale::None), Err(Error::OutOfRange));
    assert_eq!(fit(&[1e200, -1e200, 3e200, 0.0], 4, 1, Scale::Robust), Ok(()));
    assert_eq!(fit(&[1e-200, -1e-200, 3e-200, 0.0], 4, 1, Scale::Standard), Ok(()));
    for error in [Error::NoColumns, Error::TooFewRows(1), Error::OutOfRange, Error::Collinear] {
        assert!(error.to_string().len() > 20);
    }
}

#[test]
fn two_rows_one_column() {
    let model = Pca::fit(&pool(1), Matrix::new(&[1.0, 3.0], 2, 1), 5, Scale::None, 0.99).expect("a model");
    assert_eq!((model.eigenvalues.as_slice(), model.components.as_slice()), ([2.0].as_slice(), [1.0].as_slice()));
    assert!(model.spe_limit.is_nan() && close(model.t2_limit, 6078.271043215233, 1e-9));
    let got = score(&Scorer::new(&model, Statistic::Scores(0), true), Matrix::new(&[1.0, 3.0], 2, 1), 0..2);
    // nothing is left over for SPE
    assert!(got[0].iter().all(|spe| spe.is_nan()));
    assert_eq!(got[1], [0.5, 0.5]);
}

#[test]
fn huge_readings_score_nan_not_infinity() {
    let (n, p) = (50, 4);
    let data = sensors(n, p, 2, 1.0, 9);
    let model = Pca::fit(&pool(1), Matrix::new(&data, n, p), 2, Scale::Robust, 0.99).expect("a model");
    let omr = Omr::fit(&pool(1), Matrix::new(&data, n, p), Method::Pca(2)).expect("a model");
    let row = [1e300, -1.7e308, 0.0, 1.7e308];
    let matrix = Matrix::new(&row, 1, p);
    for statistic in [Statistic::Scores(2), Statistic::T2, Statistic::Contributions] {
        for result in score(&Scorer::new(&model, statistic, true), matrix, 0..1) {
            assert!(!result[0].is_infinite(), "{statistic:?}");
        }
    }
    assert!(score(&Scorer::new(&model, Statistic::Spe, true), matrix, 0..1)[0][0].is_nan());
    for clip in [f64::INFINITY, 10.0] {
        assert!(score(&omr::Scorer::new(&omr, omr::Statistic::Score { clip }), matrix, 0..1)[0][0].is_nan());
    }
}

/// Ridge regression of column `j` on the others by elimination.
fn regression(z: &[Vec<f64>], j: usize, alpha: f64) -> Vec<f64> {
    let others: Vec<usize> = (0..z.len()).filter(|i| *i != j).collect();
    let m = others.len();
    let product = |a: usize, b: usize| z[a].iter().zip(&z[b]).map(|(a, b)| a * b).sum::<f64>();
    let mut system: Vec<Vec<f64>> = others
        .iter()
        .map(|&a| {
            let mut row: Vec<f64> = others.iter().map(|&b| product(a, b) + if a == b { alpha } else { 0.0 }).collect();
            row.push(product(a, j));
            row
        })
        .collect();
    for c in 0..m {
        let pivot = (c..m).max_by(|&a, &b| system[a][c].abs().total_cmp(&system[b][c].abs())).expect("rows");
        system.swap(c, pivot);
        for r in 0..m {
            if r != c {
                let factor = system[r][c] / system[c][c];
                let pivot = system[c].clone();
                for (cell, above) in system[r].iter_mut().zip(pivot).skip(c) {
                    *cell -= factor * above;
                }
            }
        }
    }
    (0..m).map(|c| system[c][m] / system[c][c]).collect()
}

#[test]
fn one_inverse_gives_all_ridge_regressions() {
    for (n, p, alpha) in [(30, 2, 1.0), (100, 7, 1.0), (100, 7, 0.0), (50, 12, 100.0), (8, 12, 0.5)] {
        let data = sensors(n, p, 3, 0.5, 10);
        let matrix = Matrix::new(&data, n, p);
        let model = Omr::fit(&pool(1), matrix, Method::Ridge(alpha)).expect("a model");
        let z: Vec<Vec<f64>> =
            (0..p).map(|j| matrix.column(j).iter().map(|v| (v - model.center[j]) / model.scale[j]).collect()).collect();
        let got = score(&omr::Scorer::new(&model, omr::Statistic::Residuals), matrix, 0..n.min(128));
        for j in 0..p {
            let coefficients = regression(&z, j, alpha);
            for i in 0..n.min(128) {
                let others = z.iter().enumerate().filter(|(l, _)| *l != j).map(|(_, z)| z[i]);
                let wanted = z[j][i] - others.zip(&coefficients).map(|(z, b)| z * b).sum::<f64>();
                assert!((got[j][i] - wanted).abs() < 1e-10, "{n} x {p}, {alpha}: {j} {i}: {} {wanted}", got[j][i]);
            }
        }
    }
}

#[test]
fn model_residuals_are_those_of_the_definition() {
    for method in [Method::Pca(3), Method::Ridge(2.0)] {
        let (n, p) = (301, 8);
        let data = sensors(n, p, 3, 1.0, 11);
        let matrix = Matrix::new(&data, n, p);
        let model = Omr::fit(&pool(2), matrix, method).expect("a model");
        let all = |statistic| -> Vec<Vec<f64>> {
            let scorer = omr::Scorer::new(&model, statistic);
            let parts: Vec<_> =
                [0..128, 128..256, 256..301].into_iter().map(|rows| score(&scorer, matrix, rows)).collect();
            (0..scorer.results()).map(|c| parts.iter().flat_map(|part| part[c].clone()).collect()).collect()
        };
        let residuals = all(omr::Statistic::Residuals);
        if let Reconstruction::Components(components) = &model.reconstruction {
            assert_eq!(components.len(), 3 * p);
            let pca = Pca::fit(&pool(1), matrix, 3, Scale::Standard, 0.99).expect("a model");
            let spe = score(&Scorer::new(&pca, Statistic::Spe, true), matrix, 0..128);
            for i in 0..128 {
                assert!(close(residuals.iter().map(|r| r[i] * r[i]).sum(), spe[0][i], 1e-10));
            }
        }
        let norms: Vec<f64> = (0..n).map(|i| residuals.iter().map(|r| r[i] * r[i]).sum::<f64>().sqrt()).collect();
        let median = |v: &[f64]| {
            let mut v = v.to_vec();
            v.sort_by(f64::total_cmp);
            v[n / 2]
        };
        let center = median(&norms);
        let mad = median(&norms.iter().map(|v| (v - center).abs()).collect::<Vec<_>>());
        assert!(close(model.tau, 1.4826 * mad, 1e-12), "{} {}", model.tau, 1.4826 * mad);
        let (scores, clipped) = (
            all(omr::Statistic::Score { clip: f64::INFINITY }),
            all(omr::Statistic::Score { clip: center / model.tau }),
        );
        let (shares, scaled) = (all(omr::Statistic::Shares), all(omr::Statistic::Scaled));
        for i in 0..n {
            assert!(close(scores[0][i], norms[i] / model.tau, 1e-12));
            assert_eq!(clipped[0][i], scores[0][i].min(center / model.tau));
            assert!((shares.iter().map(|c| c[i]).sum::<f64>() - 1.0).abs() < 1e-12);
            for j in 0..p {
                let mean = residuals[j].iter().sum::<f64>() / n as f64;
                let variance = residuals[j].iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n as f64;
                assert!(close(model.variances[j], variance, 1e-11), "{} {variance}", model.variances[j]);
                assert!(close(scaled[j][i], residuals[j][i].powi(2) / (variance + VARIANCE_FLOOR), 1e-11));
                assert!(close(shares[j][i], residuals[j][i].powi(2) / norms[i].powi(2), 1e-11));
            }
        }
    }
}

#[test]
fn model_residuals_of_the_smallest_data() {
    // one column has no others: all of it is residual
    let model = Omr::fit(&pool(1), Matrix::new(&[1.0, 3.0, 2.0], 3, 1), Method::Pca(5)).expect("a model");
    assert_eq!(model.reconstruction, Reconstruction::Components(vec![]));
    let ridge = Omr::fit(&pool(1), Matrix::new(&[1.0, 3.0, 2.0], 3, 1), Method::Ridge(1.0)).expect("a model");
    assert_eq!(ridge.reconstruction, Reconstruction::Regressions(vec![1.0]));
    // two columns that are one: nothing is left, and the scale is the floor
    let data = [1.0, 2.0, 4.0, 1.0, 2.0, 4.0];
    let model = Omr::fit(&pool(1), Matrix::new(&data, 3, 2), Method::Pca(5)).expect("a model");
    assert_eq!(model.tau, TAU_FLOOR);
    let ridge = |alpha| Omr::fit(&pool(1), Matrix::new(&data, 3, 2), Method::Ridge(alpha)).map(|_| ());
    assert_eq!(ridge(0.0), Err(Error::Collinear));
    assert_eq!(ridge(1.0), Ok(()));
    assert_eq!(Omr::fit(&pool(1), Matrix::new(&[], 3, 0), Method::Pca(5)), Err(Error::NoColumns));
    assert_eq!(Omr::fit(&pool(1), Matrix::new(&[1.0], 1, 1), Method::Ridge(1.0)), Err(Error::TooFewRows(1)));
}

#[test]
fn quantiles_are_those_of_sorted_readings() {
    let mut scratch = vec![f64::NAN; 2];
    for n in [1, 2, 3, 10, 999, 1000, 1001, 5000, 20_000] {
        let noise = sensors(n, 1, 0, 1.0, n as u64);
        let ordered = (0..n).map(|i| i as f64).collect();
        let ties = noise.iter().map(|v| (v * 2.0).round()).collect();
        let gaps = noise.iter().enumerate().map(|(i, v)| if i % 7 == 3 { f64::NAN } else { *v }).collect();
        // what the sample sees is not like the rest
        let step = n / ((n as f64).powf(2.0 / 3.0) as usize).max(1);
        let traps = noise.iter().enumerate().map(|(i, v)| if i % step.max(1) == 0 { v + 100.0 } else { *v }).collect();
        for (name, x) in
            [("noise", noise.clone()), ("ordered", ordered), ("ties", ties), ("gaps", gaps), ("traps", traps)]
        {
            let mut sorted: Vec<f64> = x.iter().copied().filter(|v| !v.is_nan()).collect();
            sorted.sort_by(f64::total_cmp);
            for p in [0.0, 0.001, 0.25, 0.5, 0.75, 0.99, 1.0] {
                let h = (sorted.len() - 1) as f64 * p;
                let (lower, upper) = (sorted[h.floor() as usize], sorted[h.ceil() as usize]);
                let (got, wanted) = (quantile(&x, p, &mut scratch), lower + (upper - lower) * h.fract());
                assert_eq!(got, wanted, "{name}, {n} rows, p = {p}");
            }
            let middle = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
            assert_eq!(median(&x, &mut scratch), middle, "{name}, {n} rows");
        }
    }
    assert!(quantile(&[], 0.5, &mut scratch).is_nan() && median(&[f64::NAN; 1500], &mut scratch).is_nan());
}

/// A column that must be loaded.
struct Elsewhere<'a>(&'a [f64]);

impl Source for Elsewhere<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, start: usize, out: &mut [f64]) -> bool {
        self.0.load(start, out)
    }
}

/// Whether columns are read where they lie or loaded makes no difference.
fn with_complete(threads: usize, columns: &[Vec<f64>], min_present: f64, check: impl Fn(&Complete)) {
    let (pool, rows) = (pool(threads), columns.first().map_or(0, Vec::len));
    let loaded: Vec<Elsewhere> = columns.iter().map(|column| Elsewhere(column)).collect();
    let there: Vec<&(dyn Source + Sync)> = columns.iter().map(|column| column as &(dyn Source + Sync)).collect();
    let loaded: Vec<&(dyn Source + Sync)> = loaded.iter().map(|column| column as &(dyn Source + Sync)).collect();
    check(&Complete::new(&pool, rows, &there, min_present));
    check(&Complete::new(&pool, rows, &loaded, min_present));
}

#[test]
fn completing_rows_drops_what_teaches_nothing() {
    const NAN: f64 = f64::NAN;
    let columns = [
        [7.0, 7.0, NAN, 7.0, 7.0],
        [1.0, NAN, NAN, 3.0, 4.0],
        [NAN, NAN, NAN, NAN, NAN],
        [5.0, 6.0, NAN, NAN, 9.0],
        // constant once the row of which nothing else is known is left out
        [2.0, 2.0, 8.0, 2.0, 2.0],
    ];
    for threads in [1, 2] {
        with_complete(threads, &columns.map(Vec::from), 0.5, |complete| {
            assert_eq!(complete.kept, [1, 3]);
            assert_eq!(complete.dropped, [(0, Reason::Constant), (2, Reason::Missing), (4, Reason::Constant)]);
            assert_eq!(complete.imputation.medians, [3.0, 6.0]);
            assert_eq!(complete.rows_left_out, 1);
            let matrix = complete.matrix();
            assert_eq!(
                (matrix.column(0), matrix.column(1)),
                ([1.0, 3.0, 3.0, 4.0].as_slice(), [5.0, 6.0, 6.0, 9.0].as_slice())
            );
        });
    }
    let whole = [vec![1.0, 2.0, 4.0], vec![3.0, 3.0, 3.0], vec![5.0, 1.0, 0.0]];
    with_complete(1, &whole, 1.0, |complete| {
        assert_eq!((complete.kept.as_slice(), complete.rows_left_out), ([0, 2].as_slice(), 0));
        assert_eq!(complete.imputation.medians, [2.0, 1.0]);
        assert_eq!((complete.matrix().columns(), complete.matrix().column(1)), (2, [5.0, 1.0, 0.0].as_slice()));
    });
    with_complete(1, &[vec![3.0, 3.0], vec![1.0, 1.0]], 0.5, |complete| {
        assert_eq!((complete.kept.len(), complete.matrix().rows(), complete.rows_left_out), (0, 0, 2));
    });
    with_complete(1, &[vec![1.0, 2.0, f64::INFINITY], vec![1.0, 4.0, 2.0]], 1.0, |complete| {
        assert_eq!((complete.matrix().rows(), complete.rows_left_out), (2, 1), "an infinite reading is missing");
        assert_eq!((complete.matrix().columns(), complete.matrix().column(1)), (2, [1.0, 4.0].as_slice()));
    });
    with_complete(1, &[vec![], vec![]], 0.5, |nothing| {
        assert_eq!((nothing.kept.len(), nothing.matrix().rows()), (0, 0));
    });
}

#[test]
fn a_row_counts_again_once_the_column_that_it_lacks_is_dropped() {
    const NAN: f64 = f64::NAN;
    let columns = [
        [1.0, 2.0, 4.0, 3.0, NAN],
        [5.0, 3.0, 1.0, NAN, NAN],
        [2.0, 9.0, 7.0, 8.0, NAN],
        // changes in the last row only, of which nothing else is known: without that row it is constant
        [6.0, 6.0, NAN, NAN, 0.0],
    ];
    // row 3 has 2 of 4 columns, too few, but 2 of the 3 that are kept
    with_complete(1, &columns.map(Vec::from), 0.6, |complete| {
        assert_eq!(complete.kept, [0, 1, 2]);
        assert_eq!(complete.dropped, [(3, Reason::Constant)]);
        assert_eq!(complete.rows_left_out, 1);
        assert_eq!(complete.matrix().column(1), [5.0, 3.0, 1.0, 3.0]);
    });
}

#[test]
fn the_rows_that_teach_are_those_that_get_a_score() {
    let mut dropped_late = 0;
    for seed in 0..3000 {
        let mut random = Stream::new(seed, 0);
        let mut below = |n: usize| (random.uniform() * n as f64) as usize;
        let (rows, width) = (1 + below(12), 1 + below(6));
        let min_present = [0.25, 0.4, 0.5, 0.6, 0.75, 1.0][below(6)];
        let gaps = below(8);
        let data: Vec<Vec<f64>> = (0..width)
            .map(|_| (0..rows).map(|_| if below(10) < gaps { f64::NAN } else { (below(5) / 4) as f64 }).collect())
            .collect();
        let late = Cell::new(0);
        with_complete(1, &data, min_present, |complete| {
            let matrix = complete.matrix();
            late.set(usize::from(complete.dropped.iter().any(|&(j, _)| {
                let mut present = data[j].iter().filter(|v| !v.is_nan());
                present.next().is_some_and(|first| present.any(|v| v != first))
            })));
            let mut tile = Tile::default();
            tile.resize(rows, complete.kept.len());
            for (k, &j) in complete.kept.iter().enumerate() {
                tile.column_mut(k).copy_from_slice(&data[j]);
            }
            let with_gaps: Vec<usize> = (0..complete.kept.len()).collect();
            let mut scored = Vec::new();
            if !complete.kept.is_empty() {
                complete.imputation.fill(&mut tile, &with_gaps, &mut scored);
            }
            let scored: Vec<usize> = (0..scored.len()).filter(|&i| scored[i]).collect();
            let case = format!("seed {seed}, min_present {min_present}, columns {data:?}, kept {:?}", complete.kept);
            assert_eq!(matrix.rows(), scored.len(), "{case}");
            assert_eq!(complete.rows_left_out, rows - scored.len(), "{case}");
            for k in 0..complete.kept.len() {
                let filled: Vec<f64> = scored.iter().map(|&i| tile.column(k)[i]).collect();
                assert_eq!(matrix.column(k), filled, "{case}");
            }
        });
        dropped_late += late.get();
    }
    assert!(dropped_late > 30, "{dropped_late} cases with a column that is constant only without the rows left out");
}

#[test]
fn components_end_at_the_rank_of_few_rows() {
    let mut least_ratio = f64::INFINITY;
    for seed in 0..2000 {
        let mut random = Stream::new(seed, 7);
        let mut below = |n: usize| (random.uniform() * n as f64) as usize;
        let rank = 1 + below(4);
        let (n, p) = (rank + 2 + below(60), rank + 1 + below(8));
        // whole numbers of sizes of their own, and columns that are sums of two of them: exact, so that the rank is known
        let causes: Vec<Vec<f64>> = (0..rank)
            .map(|_| {
                let size = 1 << (4 + below(10));
                (0..n).map(|_| below(2 * size + 1) as f64 - size as f64).collect()
            })
            .collect();
        let mut data = causes.concat();
        for _ in rank..p {
            let (a, b) = (below(rank), below(rank));
            data.extend(causes[a].iter().zip(&causes[b]).map(|(x, y)| x + y));
        }
        let model = Pca::fit(&pool(1), Matrix::new(&data, n, p), p, Scale::None, 0.99).expect("a model");
        let case = format!("seed {seed}: {n} x {p}, eigenvalues {:?}", model.eigenvalues);
        assert_eq!(model.eigenvalues.len(), rank, "{case}");
        assert!(model.spe_limit.is_nan(), "{case}");
        least_ratio = least_ratio.min(model.eigenvalues[rank - 1] / model.eigenvalues[0]);
    }
    assert!(least_ratio < 1e-5, "the smallest eigenvalue comes to {least_ratio:e} of the largest");
}
