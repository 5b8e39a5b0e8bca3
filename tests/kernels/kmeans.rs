//! k-means: small cases by hand and by trying all partitions, a twin straight from the definition, linfa as a second opinion,
//! hostile readings.

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::scaling::{Scale, Scaling};
use acm_rs::kernels::matrix::{Matrix, Tile};
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::kmeans::{Error, KMeans, Nearest, Output, Params, fit, fit_scaled};
use linfa::DatasetBase;
use linfa::traits::{Fit as _, Predict as _};
use linfa_clustering::KMeansInit;
use ndarray::Array2;

pub fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// Normally distributed (Box and Muller 1958).
pub fn normal(random: &mut Stream) -> f64 {
    (-2.0 * (1.0 - random.uniform()).ln()).sqrt() * (std::f64::consts::TAU * random.uniform()).cos()
}

/// Rows about k centres that lie `apart` times a normal number from 0; column by column.
pub fn clusters(seed: u64, rows: usize, columns: usize, k: usize, apart: f64) -> Vec<f64> {
    let mut random = Stream::new(seed, 0);
    let centers: Vec<f64> = (0..k * columns).map(|_| apart * normal(&mut random)).collect();
    let of: Vec<usize> = (0..rows).map(|_| random.below(k)).collect();
    (0..columns)
        .flat_map(|j| of.iter().map(move |c| c * columns + j))
        .map(|at| centers[at] + normal(&mut random))
        .collect()
}

pub fn row(data: &[f64], rows: usize, i: usize) -> Vec<f64> {
    data.iter().skip(i).step_by(rows).copied().collect()
}

/// As linfa takes them.
pub fn records(data: &[f64], rows: usize) -> DatasetBase<Array2<f64>, ndarray::Array1<()>> {
    DatasetBase::from(Array2::from_shape_fn((rows, data.len() / rows), |(i, j)| data[j * rows + i]))
}

pub fn tile(data: &[f64], rows: usize, taken: std::ops::Range<usize>) -> Tile {
    let mut tile = Tile::default();
    tile.resize(taken.len(), data.len() / rows);
    for j in 0..data.len() / rows {
        tile.column_mut(j).copy_from_slice(&data[j * rows..(j + 1) * rows][taken.clone()]);
    }
    tile.pad();
    tile
}

fn params(k: usize, n_init: usize) -> Params {
    Params::new(k, n_init, 300, 1e-4, 42).expect("valid parameters")
}

fn fitted(data: &[f64], rows: usize, params: &Params, init: Option<&[f64]>) -> KMeans {
    fit(Matrix::new(data, rows, data.len() / rows), params, init, &pool(2)).expect("a fit")
}

fn square(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn labels(data: &[f64], rows: usize, centers: &[Vec<f64>]) -> Vec<usize> {
    let nearest = |i| {
        let squares: Vec<f64> = centers.iter().map(|center| square(&row(data, rows, i), center)).collect();
        (0..squares.len()).fold(0, |best, c| if squares[c] < squares[best] { c } else { best })
    };
    (0..rows).map(nearest).collect()
}

/// Lloyd's iteration as it is written down; panics where a cluster loses all rows.
fn twin(data: &[f64], rows: usize, mut centers: Vec<Vec<f64>>, tol: f64) -> (Vec<Vec<f64>>, Vec<usize>, f64, usize) {
    let columns = data.len() / rows;
    let variance = (0..columns)
        .map(|j| {
            let x = &data[j * rows..(j + 1) * rows];
            let mean = x.iter().sum::<f64>() / rows as f64;
            x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / rows as f64
        })
        .sum::<f64>()
        / columns as f64;
    for iterations in 1.. {
        let of = labels(data, rows, &centers);
        let mut moved = 0.0;
        for (c, center) in centers.iter_mut().enumerate() {
            let members: Vec<usize> = (0..rows).filter(|&i| of[i] == c).collect();
            assert!(!members.is_empty(), "a cluster without rows");
            for j in 0..columns {
                let mean = members.iter().map(|i| data[j * rows + i]).sum::<f64>() / members.len() as f64;
                moved += (center[j] - mean) * (center[j] - mean);
                center[j] = mean;
            }
        }
        if moved <= tol * variance {
            let of = labels(data, rows, &centers);
            let inertia = (0..rows).map(|i| square(&row(data, rows, i), &centers[of[i]])).sum();
            let sizes = (0..centers.len()).map(|c| of.iter().filter(|&&l| l == c).count()).collect();
            return (centers, sizes, inertia, iterations);
        }
    }
    unreachable!("the loop has no end")
}

#[test]
fn by_hand() {
    // two pairs: centres in their middles, each row half a unit away
    let model = fitted(&[0.0, 11.0, 1.0, 10.0], 4, &params(2, 10), None);
    let mut centers = model.centers.clone();
    centers.sort_by(f64::total_cmp);
    assert_eq!((centers, model.inertia, model.sizes), (vec![0.5, 10.5], 1.0, vec![2, 2]));
    assert!(model.converged);
    // one cluster: the mean, and the sum of squares about it
    let model = fitted(&[1.0, 2.0, 6.0, 0.0, 0.0, 3.0], 3, &params(1, 3), None);
    assert_eq!((model.centers, model.sizes), (vec![3.0, 1.0], vec![3]));
    assert!((model.inertia - 20.0).abs() < 1e-14);
    // one row
    let model = fitted(&[4.0, -2.0], 1, &params(1, 2), None);
    assert_eq!((model.centers, model.sizes, model.inertia), (vec![4.0, -2.0], vec![1], 0.0));
}

#[test]
fn as_the_twin_from_given_centres() {
    let mut random = Stream::new(7, 0);
    for rows in [3, 7, 8, 9, 40, 127, 128, 129, 300, 1100, 2300] {
        for (columns, k) in [(1, 1), (1, 2), (2, 3), (5, 4), (3, 5), (7, 6), (2, 9)] {
            if k > rows {
                continue;
            }
            let data = clusters(rows as u64 + k as u64, rows, columns, k, 3.0);
            // the first rows are taken: no cluster is without rows in the first round, and none of these loses all later
            let centers: Vec<Vec<f64>> = (0..k).map(|i| row(&data, rows, (i + random.below(rows)) % rows)).collect();
            if (0..k).any(|a| (0..a).any(|b| centers[a] == centers[b])) {
                continue;
            }
            let (expected, sizes, inertia, iterations) = twin(&data, rows, centers.clone(), 1e-4);
            let model = fitted(&data, rows, &params(k, 1), Some(&centers.concat()));
            let input = format!("rows {rows}, columns {columns}, k {k}, centres {centers:?}");
            for (got, expected) in model.centers.iter().zip(expected.concat()) {
                assert!((got - expected).abs() < 1e-12, "{got} {expected}: {input}");
            }
            assert_eq!((&model.sizes, model.iterations), (&sizes, iterations), "{input}");
            assert!((model.inertia - inertia).abs() <= 1e-12 * inertia, "{} {inertia}: {input}", model.inertia);
        }
    }
}

/// linfa counts the centre of the round before among the rows of its cluster. Where it rests, that changes nothing.
#[test]
fn as_linfa_from_given_centres() {
    for seed in 0..12 {
        let (columns, k) = (2 + seed as usize % 5, 2 + seed as usize % 6);
        let rows = 400;
        let data = clusters(seed, rows, columns, k, 30.0);
        let mut random = Stream::new(seed, 3);
        // beside the row that lies farthest from those before: one in each cluster
        let mut chosen = vec![row(&data, rows, 0)];
        while chosen.len() < k {
            let away = |i: &usize| {
                let x = row(&data, rows, *i);
                chosen.iter().map(|of| square(of, &x)).fold(f64::INFINITY, f64::min)
            };
            let farthest = (0..rows).max_by(|a, b| away(a).total_cmp(&away(b))).expect("a row");
            chosen.push(row(&data, rows, farthest));
        }
        let init: Vec<f64> = chosen.concat().into_iter().map(|x| x + normal(&mut random)).collect();
        let exact = Params::new(k, 1, 1000, 0.0, 42).expect("valid parameters");
        let ours = fitted(&data, rows, &exact, Some(&init));
        let linfa = linfa_clustering::KMeans::params(k)
            .init_method(KMeansInit::Precomputed(Array2::from_shape_vec((k, columns), init).expect("k centres")))
            .n_runs(1)
            .max_n_iterations(1000)
            .tolerance(1e-13)
            .fit(&records(&data, rows))
            .expect("a fit");
        let input = format!("seed {seed}, columns {columns}, k {k}");
        for (got, expected) in ours.centers.iter().zip(linfa.centroids()) {
            assert!((got - expected).abs() < 1e-11, "{got} {expected}: {input}");
        }
        let centers: Vec<Vec<f64>> = ours.centers.chunks_exact(columns).map(<[f64]>::to_vec).collect();
        assert_eq!(labels(&data, rows, &centers), linfa.predict(&records(&data, rows)).to_vec(), "{input}");
        let inertia = linfa.inertia() * rows as f64;
        assert!((ours.inertia - inertia).abs() <= 1e-12 * inertia, "{} {inertia}: {input}", ours.inertia);
    }
}

/// Ten starts each end in some local minimum: now one and now the other finds the better, linfa more rarely and by less than 0.1 %.
#[test]
fn as_good_as_linfa_where_clusters_overlap() {
    let mut differences = Vec::new();
    for seed in 0..20 {
        let (rows, columns, k) = (600, 2 + seed as usize % 4, 3 + seed as usize % 5);
        let data = clusters(seed, rows, columns, k, 1.5);
        let exact = Params::new(k, 10, 1000, 0.0, 42).expect("valid parameters");
        let ours = fitted(&data, rows, &exact, None).inertia;
        let linfa = linfa_clustering::KMeans::params(k)
            .n_runs(10)
            .max_n_iterations(1000)
            .tolerance(1e-13)
            .fit(&records(&data, rows))
            .expect("a fit");
        let theirs = linfa.inertia() * rows as f64;
        let input = format!("seed {seed}, columns {columns}, k {k}");
        assert!(ours <= 1.001 * theirs, "{ours} {theirs}: {input}");
        differences.push(ours / theirs - 1.0);
        // where linfa ended, nothing is to be gained
        let centers: Vec<f64> = linfa.centroids().iter().copied().collect();
        let again = fitted(&data, rows, &exact, Some(&centers)).inertia;
        assert!((again - theirs).abs() <= 1e-12 * theirs, "{again} {theirs}: {input}");
    }
    assert!(differences.iter().sum::<f64>() <= 0.0, "{differences:?}");
    let worse = differences.iter().filter(|&&of| of > 1e-12).count();
    assert!(worse < differences.iter().filter(|&&of| of < -1e-12).count(), "{differences:?}");
}

/// Lloyd's iteration ends in a local minimum: of few rows nearly always the least of all.
#[test]
fn the_least_of_all_partitions() {
    let mut found = 0;
    for seed in 0..30 {
        let (rows, columns, k) = (8, 2, 3);
        let data = clusters(seed, rows, columns, k, 1.0);
        let mut least = f64::INFINITY;
        for code in 0..k.pow(rows as u32) {
            let of: Vec<usize> = (0..rows).map(|i| code / k.pow(i as u32) % k).collect();
            let inertia: f64 = (0..k)
                .map(|c| {
                    let members: Vec<Vec<f64>> =
                        (0..rows).filter(|&i| of[i] == c).map(|i| row(&data, rows, i)).collect();
                    let mean: Vec<f64> = (0..columns)
                        .map(|j| members.iter().map(|m| m[j]).sum::<f64>() / members.len() as f64)
                        .collect();
                    members.iter().map(|m| square(m, &mean)).sum::<f64>()
                })
                .sum();
            least = least.min(inertia);
        }
        let model = fitted(&data, rows, &params(k, 50), None);
        assert!(model.inertia >= least - 1e-12, "seed {seed}: {} {least}\n{data:?}", model.inertia);
        assert!(model.inertia <= 1.25 * least, "seed {seed}: {} {least}\n{data:?}", model.inertia);
        found += usize::from(model.inertia < least + 1e-12);
    }
    assert!(found >= 25, "{found} of 30");
}

#[test]
fn finds_separate_clusters_from_one_start() {
    for seed in 0..20 {
        let (rows, columns, k) = (3000, 4, 6);
        let data = clusters(seed, rows, columns, k, 200.0);
        let model = fit(
            Matrix::new(&data, rows, columns),
            &Params::new(k, 1, 300, 1e-4, seed).expect("valid parameters"),
            None,
            &pool(1),
        )
        .expect("a fit");
        // every row adds about one unit per column, a cluster cut in two or joined thousands
        assert!(model.inertia < 1.2 * (rows * columns) as f64, "seed {seed}: {}", model.inertia);
        assert!(model.converged);
    }
}

#[test]
fn threads_change_no_bit() {
    let (rows, columns, k) = (5000, 7, 5);
    let data = clusters(3, rows, columns, k, 1.0);
    let matrix = Matrix::new(&data, rows, columns);
    for n_init in [1, 7] {
        let one = fit(matrix, &params(k, n_init), None, &pool(1)).expect("a fit");
        for threads in [2, 3, 5] {
            assert_eq!(one, fit(matrix, &params(k, n_init), None, &pool(threads)).expect("a fit"));
        }
    }
    let other = fit(matrix, &Params::new(k, 1, 300, 1e-4, 43).expect("valid parameters"), None, &pool(1));
    assert_ne!(other.expect("a fit"), fit(matrix, &params(k, 1), None, &pool(1)).expect("a fit"), "another seed");
}

#[test]
fn clusters_without_rows_move() {
    let (rows, columns, k) = (500, 2, 4);
    let data = clusters(5, rows, columns, k, 20.0);
    let centers = row(&data, rows, 0).repeat(k);
    let model = fitted(&data, rows, &params(k, 1), Some(&centers));
    assert!(model.sizes.iter().all(|&size| size > 0), "{:?}", model.sizes);
    assert!(model.inertia < 1.5 * (rows * columns) as f64, "{}", model.inertia);
    // as many different rows as clusters
    let data = [1.0, 2.0, 1.0, 5.0, 2.0, 1.0];
    let model = fitted(&data, 6, &params(3, 4), None);
    let mut centers = model.centers.clone();
    centers.sort_by(f64::total_cmp);
    assert_eq!((centers, model.inertia), (vec![1.0, 2.0, 5.0], 0.0));
    let model = fitted(&data, 6, &params(3, 1), Some(&[1.0, 1.0, 1.0]));
    assert_eq!(model.inertia, 0.0);
}

#[test]
fn powers_of_two_scale_the_result() {
    let (rows, columns, k) = (300, 3, 4);
    let data = clusters(9, rows, columns, k, 3.0);
    let one = fitted(&data, rows, &params(k, 3), None);
    for exponent in [-1000, -500, 500, 1000] {
        let power = 2.0_f64.powi(exponent);
        let scaled: Vec<f64> = data.iter().map(|v| v * power).collect();
        let model = fitted(&scaled, rows, &params(k, 3), None);
        assert_eq!(model.centers, one.centers.iter().map(|v| v * power).collect::<Vec<_>>(), "2^{exponent}");
        let inertia = one.inertia * power * power;
        assert!(if inertia.is_finite() { model.inertia == inertia } else { model.inertia.is_nan() }, "2^{exponent}");
    }
}

#[test]
fn far_from_zero() {
    let (rows, columns, k) = (2000, 3, 4);
    let data: Vec<f64> = clusters(11, rows, columns, k, 8.0).iter().map(|v| (v * 1024.0).round() / 1024.0).collect();
    let near = fitted(&data, rows, &params(k, 5), None);
    let moved: Vec<f64> = data.iter().map(|v| v + 1e8).collect();
    let far = fitted(&moved, rows, &params(k, 5), None);
    assert_eq!(near.sizes, far.sizes);
    assert!((near.inertia - far.inertia).abs() < 1e-9 * near.inertia, "{} {}", near.inertia, far.inertia);
    // a unit in the last place of 1e8
    assert!(near.centers.iter().zip(&far.centers).all(|(a, b)| (a + 1e8 - b).abs() < 3e-8));
}

#[test]
fn hostile_readings() {
    let huge = [f64::MAX, -f64::MAX, f64::MAX, -f64::MAX, 0.0, 1.0];
    let model = fitted(&huge, 6, &params(3, 3), None);
    let mut centers = model.centers.clone();
    centers.sort_by(f64::total_cmp);
    assert_eq!((centers[0], centers[2]), (-f64::MAX, f64::MAX));
    let tiny = [0.0, 5e-324, 1e-310, 1e-310];
    assert_eq!(fitted(&tiny, 4, &params(2, 3), None).sizes.iter().sum::<usize>(), 4);
    // constant columns beside one that varies
    let data = [3.0, 3.0, 3.0, 3.0, 0.0, 1.0, 10.0, 11.0];
    assert_eq!(fitted(&data, 4, &params(2, 5), None).inertia, 1.0);
}

#[test]
fn refused() {
    let matrix = |data: &'static [f64], rows| Matrix::new(data, rows, data.len().checked_div(rows).unwrap_or(0));
    let refusal = |m, k, init: Option<&[f64]>| fit(m, &params(k, 2), init, &pool(1)).expect_err("an error");
    assert_eq!(refusal(Matrix::new(&[], 0, 2), 1, None), Error::NoRows);
    assert_eq!(refusal(Matrix::new(&[], 3, 0), 1, None), Error::NoColumns);
    let few = refusal(matrix(&[1.0, 2.0, 1.0, 2.0], 4), 3, None);
    assert_eq!(few, Error::FewRows { k: 3, distinct: 2 });
    assert_eq!(few.to_string(), "3 clusters need 3 different rows, but there are only 2; ask for a smaller `k`");
    assert_eq!(refusal(matrix(&[1.0, 1.0], 2), 2, Some(&[0.0, 5.0])), Error::FewRows { k: 2, distinct: 1 });
    assert_eq!(refusal(matrix(&[7.0], 1), 2, None), Error::FewRows { k: 2, distinct: 1 });
    for init in [&[1.0][..], &[1.0, f64::NAN]] {
        let error = refusal(matrix(&[1.0, 2.0], 2), 2, Some(init));
        assert!(error.to_string().starts_with("`init` must hold 2 centres of 1 columns"), "{error}");
    }
    let error = Params::new(0, 1, 1, 0.0, 1).expect_err("no cluster");
    assert_eq!(error.to_string(), "`k` must be >= 1, got 0");
    assert!(Params::new(1, 0, 1, 0.0, 1).is_err() && Params::new(1, 1, 0, 0.0, 1).is_err());
    assert!(Params::new(1, 1, 1, -1.0, 1).is_err() && Params::new(1, 1, 1, f64::NAN, 1).is_err());
}

fn unscaled(columns: usize) -> Scale {
    Scale { center: vec![0.0; columns], scale: vec![1.0; columns] }
}

#[test]
fn label_and_distance_are_of_the_nearest_centre() {
    let (rows, columns, k) = (300, 4, 6);
    let data = clusters(13, rows, columns, k, 1.0);
    let centers: Vec<Vec<f64>> = (0..k).map(|i| row(&data, rows, i * 7)).collect();
    let expected = labels(&data, rows, &centers);
    let scale = Scale { center: vec![1.0, -2.0, 0.0, 1e3], scale: vec![1.0; columns] };
    let mut scratch = vec![f64::NAN; 3];
    for from in (0..rows).step_by(100) {
        let tile = tile(&data, rows, from..from + 100);
        for scale in [&unscaled(columns), &scale] {
            let mut out = [Output::Label, Output::Distance].map(|output| {
                let mut out = vec![f64::NAN; tile.stride()];
                Nearest::new(scale, &centers.concat(), output).score(&tile, &mut scratch, &mut out);
                out.into_iter()
            });
            for i in 0..100 {
                let [label, distance] = [0, 1].map(|o: usize| out[o].next().expect("a row"));
                assert_eq!(label, expected[from + i] as f64, "row {}", from + i);
                let square = square(&row(&data, rows, from + i), &centers[expected[from + i]]);
                assert!((distance - square.sqrt()).abs() < 1e-12, "row {}: {distance} {square}", from + i);
            }
        }
    }
}

#[test]
fn label_of_hostile_rows() {
    // equal distances, distances whose squares do not fit a number, or are too small for one
    let nearest = |centers: &[f64], x: f64| {
        [Output::Label, Output::Distance].map(|output| {
            let mut out = vec![f64::NAN; 8];
            Nearest::new(&unscaled(1), centers, output).score(&tile(&[x], 1, 0..1), &mut Vec::new(), &mut out);
            out[0]
        })
    };
    let close = |got: [f64; 2], expected: [f64; 2]| {
        got[0] == expected[0] && (got[1] - expected[1]).abs() <= 1e-12 * expected[1]
    };
    for (centers, x, expected) in [
        (&[1.0, -1.0][..], 0.0, [0.0, 1.0]),
        (&[-1e290, 1e290], 1e300, [1.0, 1e300 - 1e290]),
        (&[-f64::MAX, f64::MAX], f64::MAX, [1.0, 0.0]),
        (&[0.0, 1e307, f64::MAX], 4e307, [1.0, 3e307]),
        (&[0.0, 1e-300, 1e-290], 2e-300, [1.0, 1e-300]),
    ] {
        assert!(close(nearest(centers, x), expected), "{centers:?} {x}: {:?} {expected:?}", nearest(centers, x));
    }
    assert_eq!(nearest(&[-f64::MAX], f64::MAX), [0.0, f64::INFINITY]);
}

/// A column counts by its scale, not by its unit; the centres come back in the units of the readings.
#[test]
fn scaled() {
    let (rows, columns, k) = (400, 3, 3);
    let data = clusters(17, rows, columns, k, 5.0);
    let matrix = Matrix::new(&data, rows, columns);
    let plain = fitted(&data, rows, &params(k, 3), None);
    let model = fit_scaled(matrix, Scaling::None, &params(k, 3), None, &pool(2)).expect("a fit");
    assert_eq!((model.kmeans, model.scale), (plain, unscaled(columns)));
    let units = [1e-3, 1.0, 1e6];
    let other: Vec<f64> = (0..columns)
        .flat_map(|j| (0..rows).map(move |i| (i, j)))
        .map(|(i, j)| data[j * rows + i] * units[j] + 7.0 * units[j])
        .collect();
    for scaling in [Scaling::Standard, Scaling::Robust] {
        let one = fit_scaled(matrix, scaling, &params(k, 3), None, &pool(2)).expect("a fit");
        let two =
            fit_scaled(Matrix::new(&other, rows, columns), scaling, &params(k, 3), None, &pool(1)).expect("a fit");
        assert_eq!(one.kmeans.sizes, two.kmeans.sizes);
        assert!((one.kmeans.inertia / two.kmeans.inertia - 1.0).abs() < 1e-9);
        for (at, (a, b)) in one.kmeans.centers.iter().zip(&two.kmeans.centers).enumerate() {
            let b = b / units[at % columns] - 7.0;
            assert!((a - b).abs() < 1e-9, "{scaling:?} {at}: {a} {b}");
        }
        // means of the rows that are nearest
        let nearest = Nearest::new(&one.scale, &one.kmeans.centers, Output::Label);
        let (mut sums, mut counts) = (vec![0.0; k * columns], vec![0; k]);
        for from in (0..rows).step_by(100) {
            let mut out = vec![f64::NAN; 104];
            nearest.score(&tile(&data, rows, from..from + 100), &mut Vec::new(), &mut out);
            for (i, label) in out.iter().enumerate().take(100) {
                counts[*label as usize] += 1;
                (0..columns).for_each(|j| sums[*label as usize * columns + j] += data[j * rows + from + i]);
            }
        }
        assert_eq!(counts, one.kmeans.sizes);
        for (at, sum) in sums.iter().enumerate() {
            let mean = sum / counts[at / columns] as f64;
            assert!((mean - one.kmeans.centers[at]).abs() < 0.05, "{scaling:?} {at}: {mean}");
        }
        // its own centres are a start that is the end
        let again = fit_scaled(matrix, scaling, &params(k, 1), Some(&one.kmeans.centers), &pool(1)).expect("a fit");
        assert!(again.kmeans.inertia <= one.kmeans.inertia * (1.0 + 1e-12));
    }
    let huge = [f64::MAX, -f64::MAX, -f64::MAX, -f64::MAX];
    let model = fit_scaled(Matrix::new(&huge, 4, 1), Scaling::Standard, &params(2, 3), None, &pool(1)).expect("a fit");
    let mut centers = model.kmeans.centers;
    centers.sort_by(f64::total_cmp);
    assert!(centers[0] < -1.79e308 && centers[1] > 1.79e308, "{centers:?}");
    let none = fit_scaled(Matrix::new(&[], 0, 2), Scaling::Standard, &params(1, 1), None, &pool(1));
    assert_eq!(none, Err(Error::NoRows));
}
