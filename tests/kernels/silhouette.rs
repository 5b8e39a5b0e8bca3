//! Silhouettes: small cases by hand, a twin straight from the definition, offsets, and rows without one.

use acm_rs::kernels::detectors::scaling::Scaling;
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::silhouette::{Metric, Params, mean, samples};

use crate::kmeans::{clusters, normal, pool, row};

fn params(metric: Metric) -> Params {
    Params::new(metric, Scaling::None, 1.0, None).expect("valid parameters")
}

fn all(labels: &[u32]) -> Vec<Option<u32>> {
    labels.iter().copied().map(Some).collect()
}

/// Each pair by itself.
fn twin(data: &[f64], labels: &[u32], metric: Metric) -> Vec<f64> {
    let rows = labels.len();
    let distance = |i: usize, k: usize| {
        let square: f64 = row(data, rows, i).iter().zip(row(data, rows, k)).map(|(a, b)| (a - b) * (a - b)).sum();
        if metric == Metric::Euclidean { square.sqrt() } else { square }
    };
    let mut names: Vec<u32> = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let of = |i: usize| {
        let mean = |name: u32| {
            let others: Vec<usize> = (0..rows).filter(|&k| k != i && labels[k] == name).collect();
            others.iter().map(|&k| distance(i, k)).sum::<f64>() / others.len() as f64
        };
        let a = mean(labels[i]);
        let b = names.iter().filter(|&&name| name != labels[i]).map(|&name| mean(name)).fold(f64::INFINITY, f64::min);
        // the only row of its cluster
        if a.is_nan() || a.max(b) == 0.0 { 0.0 } else { (b - a) / a.max(b) }
    };
    (0..rows).map(of).collect()
}

fn close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let equal = (got - expected).abs() <= tolerance || (got.is_nan() && expected.is_nan());
        assert!(equal, "{what}: row {i} has {got}, expected {expected}");
    }
}

#[test]
fn by_hand() {
    // two pairs 1 apart, their ends 9 to 11 apart; and a row alone
    let labels = all(&[7, 3, 7, 3, 9]);
    let x = vec![0.0, 10.0, 1.0, 11.0, 100.0];
    let expected = [9.5 / 10.5, 8.5 / 9.5, 8.5 / 9.5, 9.5 / 10.5, 0.0];
    close(&samples(x.clone(), &labels, &params(Metric::Euclidean), &pool(1)), &expected, 1e-15, "distances");
    let got = mean(x.clone(), &labels, &params(Metric::Euclidean), &pool(1));
    assert!((got - expected.iter().sum::<f64>() / 5.0).abs() < 1e-15);
    // (100 + 121) / 2 = 110.5, (81 + 100) / 2 = 90.5
    let expected = [109.5 / 110.5, 89.5 / 90.5, 89.5 / 90.5, 109.5 / 110.5, 0.0];
    close(&samples(x, &labels, &params(Metric::Squared), &pool(1)), &expected, 1e-15, "squares");
    // two columns: sides of 3 and 4
    let x = vec![0.0, 0.0, 3.0, 0.0, 0.0, 4.0];
    let expected = [4.0 / 5.0 - 1.0 / 5.0, 1.0, 0.0];
    let got = samples(x, &all(&[0, 0, 1]), &params(Metric::Euclidean), &pool(1));
    close(&got[..1], &[1.0], 1e-15, "equal rows");
    close(&got[1..], &expected[1..], 1e-15, "equal rows");
}

#[test]
fn as_the_twin() {
    for metric in [Metric::Euclidean, Metric::Squared] {
        for (rows, columns, k) in
            [(2, 1, 2), (5, 3, 4), (8, 2, 2), (9, 1, 3), (40, 10, 3), (130, 5, 129), (300, 2, 2), (700, 7, 5)]
        {
            let data = clusters(rows as u64, rows, columns, k, 2.0);
            let mut random = Stream::new(3, rows);
            for skewed in [false, true] {
                let mut labels: Vec<u32> = (0..rows).map(|i| (if skewed { 0 } else { i % k }) as u32).collect();
                if skewed {
                    // one large cluster and some small ones
                    (0..k).for_each(|c| labels[random.below(rows)] = c as u32);
                    labels[0] = 1;
                    labels[1] = 0;
                }
                let expected = twin(&data, &labels, metric);
                let what = format!("{metric:?} of {rows} x {columns} in {k}, skewed: {skewed}");
                let got = samples(data.clone(), &all(&labels), &params(metric), &pool(2));
                close(&got, &expected, 2e-13, &what);
                let one = samples(data.clone(), &all(&labels), &params(metric), &pool(1));
                assert_eq!(one, got, "{what}: threads");
            }
        }
    }
}

#[test]
fn where_data_lie_does_not_matter() {
    for metric in [Metric::Euclidean, Metric::Squared] {
        let mut random = Stream::new(5, 0);
        let rows = 400;
        let labels: Vec<u32> = (0..rows).map(|i| (i % 3) as u32).collect();
        // multiples of 2^-12, so that adding 1e8 rounds nothing
        let mut data: Vec<f64> = (0..3 * rows).map(|_| (normal(&mut random) * 4096.0).round() / 4096.0).collect();
        data.iter_mut().enumerate().for_each(|(at, x)| *x += f64::from(labels[at % rows]));
        let near = samples(data.clone(), &all(&labels), &params(metric), &pool(2));
        let far: Vec<f64> = data.iter().map(|x| x + 1e8).collect();
        close(&samples(far, &all(&labels), &params(metric), &pool(2)), &near, 1e-12, "far from 0");
        // clusters 1e8 from each other: nothing of their own spread may cancel
        let apart: Vec<f64> = data.iter().enumerate().map(|(at, x)| x + 1e8 * f64::from(labels[at % rows])).collect();
        let expected = twin(&apart, &labels, metric);
        let got = samples(apart, &all(&labels), &params(metric), &pool(2));
        for (got, expected) in got.iter().zip(&expected) {
            let (got, expected) = (1.0 - got, 1.0 - expected);
            assert!((got - expected).abs() <= 1e-12_f64.max(1e-6 * expected), "{got} instead of {expected}");
        }
        for unit in [1e-200, 1e200] {
            let other: Vec<f64> = data.iter().map(|x| x * unit).collect();
            close(&samples(other, &all(&labels), &params(metric), &pool(2)), &near, 1e-13, "units");
        }
    }
}

#[test]
fn rows_without_a_silhouette() {
    let nan = f64::NAN;
    let x = vec![0.0, 5.0, 1.0, nan, 6.0, 50.0];
    let labels = [Some(0), Some(1), Some(0), Some(1), Some(1), None];
    for metric in [Metric::Euclidean, Metric::Squared] {
        let got = samples(x.clone(), &labels, &params(metric), &pool(1));
        let expected = samples(vec![0.0, 5.0, 1.0, 6.0], &all(&[0, 1, 0, 1]), &params(metric), &pool(1));
        close(&got, &[expected[0], expected[1], expected[2], nan, expected[3], nan], 0.0, "missing");
        // one cluster, no rows, no columns
        assert!(samples(x.clone(), &[Some(4); 6], &params(metric), &pool(1)).iter().all(|v| v.is_nan()));
        assert!(samples(x.clone(), &[None; 6], &params(metric), &pool(1)).iter().all(|v| v.is_nan()));
        assert!(samples(vec![], &labels, &params(metric), &pool(1)).iter().all(|v| v.is_nan()));
        assert!(mean(vec![], &[], &params(metric), &pool(1)).is_nan());
        assert!(mean(x.clone(), &[Some(4); 6], &params(metric), &pool(1)).is_nan());
        // rows that are all alike
        let alike = samples(vec![3.0; 4], &all(&[0, 0, 1, 1]), &params(metric), &pool(1));
        close(&alike, &[0.0; 4], 0.0, "alike");
    }
    // half of the columns are enough: the median stands in; a column that is never present does not count
    let some = Params::new(Metric::Euclidean, Scaling::None, 0.3, None).expect("valid parameters");
    let x = vec![0.0, 1.0, 10.0, nan, 3.0, 4.0, 3.0, 3.0, nan, nan, nan, nan];
    let got = samples(x, &all(&[0, 0, 1, 1]), &some, &pool(1));
    let filled = vec![0.0, 1.0, 10.0, 1.0, 3.0, 4.0, 3.0, 3.0];
    close(&got, &twin(&filled, &[0, 0, 1, 1], Metric::Euclidean), 1e-14, "filled");
}

#[test]
fn scales_and_samples() {
    let rows = 500;
    let data = clusters(1, rows, 3, 3, 3.0);
    let labels = all(&(0..rows).map(|i| (i % 4) as u32).collect::<Vec<_>>());
    let of = |data: &[f64], scaling, sample| {
        let params = Params::new(Metric::Euclidean, scaling, 1.0, sample).expect("valid parameters");
        samples(data.to_vec(), &labels, &params, &pool(2))
    };
    let units: Vec<f64> = data.iter().enumerate().map(|(at, x)| x * [1.0, 1024.0, 0.125][at / rows]).collect();
    for scaling in [Scaling::Standard, Scaling::Robust] {
        close(&of(&units, scaling, None), &of(&data, scaling, None), 1e-12, "units of scaled columns");
    }
    // a sample: the silhouettes of its rows among themselves
    let some = of(&data, Scaling::None, Some((120, 9)));
    let drawn: Vec<usize> = (0..rows).filter(|&i| !some[i].is_nan()).collect();
    assert_eq!(drawn.len(), 120);
    let part: Vec<f64> = (0..3).flat_map(|j| drawn.iter().map(move |&i| j * rows + i)).map(|at| data[at]).collect();
    let of_part: Vec<u32> = drawn.iter().map(|&i| (i % 4) as u32).collect();
    close(
        &drawn.iter().map(|&i| some[i]).collect::<Vec<_>>(),
        &twin(&part, &of_part, Metric::Euclidean),
        1e-13,
        "sample",
    );
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    assert!(same(&some, &of(&data, Scaling::None, Some((120, 9)))), "the same seed draws the same rows");
    assert!(!same(&some, &of(&data, Scaling::None, Some((120, 10)))), "another seed draws others");
    assert!(same(&of(&data, Scaling::None, Some((rows, 9))), &of(&data, Scaling::None, None)), "all rows");
    assert!(Params::new(Metric::Euclidean, Scaling::None, 1.0, Some((1, 0))).is_err());
    assert!(Params::new(Metric::Euclidean, Scaling::None, 0.0, None).is_err());
}
