//! Correlations against exact arithmetic: rolling ones over all small shapes, hard series and hostile values, matrices
//! over whole columns; and what must hold between two calls.

use acm_rs::kernels::features::correlation::matrix::{pearson, spearman};
use acm_rs::kernels::features::correlation::rolling::{Pairwise, Pass, Reduce, evaluate};
use acm_rs::kernels::features::rolling::Source;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::exact;
use crate::series::{Kind, Random};

/// Absolute, as correlations are of size 1.
const TOLERANCE: f64 = 1e-12;

/// The pairs of the window of row `t` that are present on both sides.
fn pairs(x: &[f64], y: &[f64], w: usize, lag: usize, t: usize) -> (Vec<f64>, Vec<f64>) {
    let start = (t + 1).saturating_sub(w).max(lag);
    (start..=t).map(|i| (x[i], y[i - lag])).filter(|(a, b)| a.is_finite() && b.is_finite()).unzip()
}

/// By the definition, exactly.
fn truth(x: &[f64], y: &[f64], w: usize, least: usize, lag: usize, t: usize) -> f64 {
    let (x, y) = pairs(x, y, w, lag, t);
    if x.len() < least.max(2) { f64::NAN } else { exact::correlation(&x, &y) }
}

fn fault(got: f64, expected: f64, tolerance: f64) -> Option<&'static str> {
    if got.is_infinite() || got.abs() > 1.0 {
        return Some("outside [-1, 1]");
    }
    if got.to_bits() == (-0.0f64).to_bits() {
        return Some("negative zero");
    }
    if got.is_nan() || expected.is_nan() {
        return (got.is_nan() != expected.is_nan()).then_some("missing on one side only");
    }
    ((got - expected).abs() > tolerance).then_some("outside the tolerance")
}

#[track_caller]
fn check(label: &str, x: &[f64], y: &[f64], w: usize, least: usize, lag: usize, rows: impl Iterator<Item = usize>) {
    let got = evaluate(x, y, w, least, lag);
    assert_eq!(got.len(), x.len());
    for t in rows {
        let expected = truth(x, y, w, least, lag, t);
        if let Some(fault) = fault(got[t], expected, TOLERANCE) {
            let (x, y) = pairs(x, y, w, lag, t);
            panic!(
                "{label}: w={w} min_samples={least} lag={lag} row {t}: {fault}\ngot   {:?}\nexact {expected:?}\nx = {x:?}\ny = {y:?}",
                got[t]
            );
        }
    }
}

/// A missing result equals a missing result.
fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

fn views(columns: &[Vec<f64>]) -> Vec<&(dyn Source + Sync)> {
    columns.iter().map(|column| column as &(dyn Source + Sync)).collect()
}

#[test]
fn numbers_worked_out_by_hand() {
    // deviations -2 -1 0 1 2 and -1 -2 1 0 2 (times 5): 10 squared, products 2 + 2 + 0 + 0 + 4 = 8
    let (x, y) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]);
    assert!((exact::correlation(&x, &y) - 0.8).abs() < 1e-15);
    let nan = f64::NAN;
    let x = [1.0, 2.0, nan, 3.0, 5.0, 5.0];
    let y = [2.0, 1.0, 7.0, 4.0, f64::INFINITY, 3.0];
    // the last window of 4 holds (3, 4) and (5, 3)
    let got = evaluate(&x, &y, 4, 2, 0);
    assert!(got[0].is_nan());
    assert!((got[1] + 1.0).abs() < 1e-15 && (got[5] + 1.0).abs() < 1e-15);
    // with lag 1 the last window holds (3, 7) and (5, 4)
    assert!((evaluate(&x, &y, 4, 2, 1)[5] + 1.0).abs() < 1e-15);
    assert!(evaluate(&x, &y, 4, 3, 0)[5].is_nan(), "three pairs are asked for");
}

#[test]
fn all_small_shapes_are_exact() {
    for missing in [0, 20, 100] {
        for n in [0, 1, 2, 3, 7, 8, 9, 17, 40] {
            let random = &mut Random::new(7 + n as u64 + missing as u64);
            let mut draw = |level: f64| -> Vec<f64> {
                (0..n).map(|_| if random.below(100) < missing { f64::NAN } else { level + random.normal() }).collect()
            };
            let (x, y) = (draw(20.0), draw(-3.0));
            for w in [1, 2, 3, 4, 7, 8, 16, 39, 40, 41, 100] {
                for least in [1, 2, 3, w].into_iter().filter(|least| *least <= w) {
                    for lag in [0, 1, 2, 8, 39, 40, 1000] {
                        check("small", &x, &y, w, least, lag, 0..n);
                    }
                }
            }
        }
    }
}

#[test]
fn hard_series_are_exact() {
    for (k, kind) in Kind::ALL.into_iter().enumerate() {
        for other in [kind, Kind::ALL[(k + 5) % Kind::ALL.len()], Kind::WhiteNoise] {
            for (w, n, step) in [(2, 300, 1), (4, 300, 1), (5, 300, 1), (16, 700, 1), (64, 700, 3), (300, 1500, 17)] {
                let (x, y) = (kind.series(n, w as u64), other.series(n, 1000 + w as u64));
                for lag in [0, 3] {
                    check(&format!("{kind:?}, {other:?}"), &x, &y, w, 2, lag, (0..n).step_by(step));
                }
            }
        }
    }
}

#[test]
fn a_series_with_itself_and_with_its_opposite() {
    for kind in Kind::ALL {
        let x = kind.series(400, 3);
        let opposite: Vec<f64> = x.iter().map(|v| 3.0 - v).collect();
        for w in [2, 16, 100] {
            for (t, r) in evaluate(&x, &x, w, 2, 0).into_iter().enumerate() {
                assert!(r.is_nan() || (1.0 - 1e-12..=1.0).contains(&r), "{kind:?} {t}: {r}");
            }
            if matches!(kind, Kind::WhiteNoise | Kind::MissingRuns) {
                for (t, r) in evaluate(&x, &opposite, w, 2, 0).into_iter().enumerate() {
                    assert!(r.is_nan() || (-1.0..=-1.0 + 1e-12).contains(&r), "{kind:?} {t}: {r}");
                }
            }
        }
    }
}

#[test]
fn a_prefix_gives_the_prefix_to_the_bit() {
    for kind in Kind::ALL {
        let (x, y) = (kind.series(900, 1), kind.series(900, 2));
        for w in [2, 5, 16, 100, 500] {
            let whole = evaluate(&x, &y, w, 2, 2);
            for n in [1, 2, 99, 257, 512, 899] {
                for (a, b) in evaluate(&x[..n], &y[..n], w, 2, 2).iter().zip(&whole) {
                    assert_eq!(a.to_bits(), b.to_bits(), "{kind:?} w={w} n={n}");
                }
            }
        }
    }
}

#[test]
fn a_missing_reading_elsewhere_changes_no_bit() {
    let (x, y) = (Kind::RandomWalk.series(500, 1), Kind::RandomWalk.series(500, 2));
    for w in [4, 16, 60] {
        let clean = evaluate(&x, &y, w, 2, 0);
        for hole in [100, 255, 256, 333] {
            let mut holed = x.clone();
            holed[hole] = f64::NAN;
            for (t, (a, b)) in evaluate(&holed, &y, w, 2, 0).iter().zip(&clean).enumerate() {
                // the anchor of the block behind the hole may be another one
                if t < hole || t >= hole + 3 * w {
                    assert_eq!(a.to_bits(), b.to_bits(), "w={w} hole={hole} row {t}");
                }
            }
        }
    }
}

#[test]
fn many_columns_are_the_single_ones_to_the_bit() {
    let kinds = [Kind::RandomWalk, Kind::MissingAtRandom, Kind::Steps, Kind::Stuck, Kind::WhiteNoise];
    let columns: Vec<Vec<f64>> = (0..13).map(|k| kinds[k % 5].series(600, k as u64)).collect();
    for w in [3, 16, 300] {
        for (xs, ys) in [(0..1, 5..13), (0..2, 5..9), (0..3, 4..5), (3..11, 0..8)] {
            let x: Vec<&Vec<f64>> = columns[xs].iter().collect();
            let y: Vec<&Vec<f64>> = columns[ys].iter().collect();
            let lags = [0, 1, 5];
            let mut out = vec![Some(Vec::new()); x.len() * y.len() * lags.len()];
            Pass::new(w, 2, 600).write((&x, 1), (&y, &lags), &mut out);
            for (k, got) in out.iter().flatten().enumerate() {
                let (i, j, l) = (k / lags.len() / y.len(), k / lags.len() % y.len(), k % lags.len());
                // both lagged by 1, so the rows in common begin one later
                let lagged: Vec<f64> = [f64::NAN].into_iter().chain(x[i].iter().copied()).take(600).collect();
                let alone = evaluate(&lagged, y[j], w, 2, lags[l]);
                assert_eq!(got.len(), 600);
                assert!(same_bits(got, &alone), "w={w} {i} {j} lag {l}");
            }
        }
    }
}

#[test]
fn all_pairs_are_the_single_ones_to_the_bit() {
    let kinds = [Kind::RandomWalk, Kind::MissingAtRandom, Kind::Steps, Kind::Stuck, Kind::WhiteNoise];
    for p in [2, 8, 13, 16, 17, 37, 70] {
        let columns: Vec<Vec<f64>> = (0..p).map(|k| kinds[k % 5].series(600, k as u64)).collect();
        for (window_size, max_lag, unique) in [(3, 0, true), (16, 2, true), (300, 1, false)] {
            let all = Pairwise { columns: &columns, window_size, min_samples: 2, max_lag, unique };
            let pairs: Vec<(usize, usize)> = all.pairs().collect();
            assert_eq!(pairs.len(), if unique { p * (p - 1) / 2 } else { p * (p - 1) });
            let written = all.write(&pool(2), |_, _| Vec::new());
            let farthest = all.reduce(&pool(3), Reduce::Farthest);
            let last = all.reduce(&pool(1), Reduce::Last);
            assert_eq!(
                (written.len(), farthest.len(), last.len()),
                (pairs.len() * (max_lag + 1), written.len(), written.len())
            );
            for (k, (got, strongest)) in written.iter().enumerate() {
                let ((a, b), lag) = (pairs[k / (max_lag + 1)], k % (max_lag + 1));
                let alone = evaluate(&columns[a], &columns[b], window_size, 2, lag);
                assert_eq!(got.len(), 600);
                assert!(same_bits(got, &alone), "p={p} ({a}, {b}) lag {lag}");
                assert!(same_bits(&last[k..=k], &alone[599..]));
                let present = || alone.iter().copied().filter(|r| !r.is_nan());
                let expected = present().map(f64::abs).fold(f64::NAN, f64::max);
                for farthest in [farthest[k], *strongest] {
                    assert!(same_bits(&[farthest.abs()], &[expected]));
                    assert!(farthest.is_nan() || present().any(|r| r == farthest));
                }
            }
        }
    }
}

/// Any bits at all, and what breaks sums: the same readings as the other hostile series have.
fn reading(random: &mut Random, mood: usize) -> f64 {
    let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
    match (mood, random.below(8)) {
        (0, 0) => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        (0, _) => 20.0 + random.normal(),
        (1, 0) => f64::NAN,
        (1, 1 | 2) => random.pick(&[0.0, -0.0]),
        (1, _) => random.below(3) as f64 - 1.0,
        (2, _) => sign * random.pick(&[1e308, f64::MAX, 1.7e308, f64::MAX / 2.0, 9e307]),
        (3, _) => sign * random.pick(&[5e-324, f64::MIN_POSITIVE, 1e-310, 3e-308, 0.0]),
        (4, _) => f64::from_bits(random.next()),
        (5, 0) => f64::NAN,
        (5, _) => 1e8 + 1e-3 * random.normal(),
        (_, 0) => f64::NAN,
        (_, 1) => sign * 1e15,
        (_, 2) => sign * 1e-160,
        (_, 3) => sign * 1e160,
        (_, 4) => sign * f64::MAX,
        _ => random.normal(),
    }
}

#[test]
fn hostile_pairs() {
    let count: usize = match std::env::var("ACM_RS_HOSTILE") {
        Ok(text) => text.parse().expect("ACM_RS_HOSTILE is a whole number"),
        Err(_) => 20_000,
    };
    let of = |number: usize| {
        let random = &mut Random::new(0xc0ff_ee00 ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let n = random.below(49);
        let moods = [random.below(7), random.below(7)];
        let [x, y] = moods.map(|mood| (0..n).map(|_| reading(random, mood)).collect::<Vec<f64>>());
        let w = 1 + random.below(24);
        let least = 1 + random.below(w.min(5));
        let lag = random.pick(&[0, 0, 1, 2, 7, 60]);
        (x, y, w, least, lag)
    };
    for number in 0..count {
        let (x, y, w, least, lag) = of(number);
        let got = evaluate(&x, &y, w, least, lag);
        // exact arithmetic on numbers of such different size is slow: some rows of each series
        for t in (number % 7..x.len()).step_by(7) {
            let expected = truth(&x, &y, w, least, lag, t);
            // readings near 5e-324 and results of differences of 1e308 have few bits themselves
            if let Some(fault) = fault(got[t], expected, 1e-9) {
                panic!(
                    "hostile pair {number}: {fault}: row {t} w={w} min_samples={least} lag={lag}\ngot {:?} exact {expected:?}\nx = {x:?}\ny = {y:?}",
                    got[t]
                );
            }
        }
        assert!(got.iter().all(|r| r.is_nan() || r.abs() <= 1.0), "hostile pair {number}");
        if number % 16 == 0 {
            let r = pearson(&pool(1), &views(&[x.clone(), y.clone()]));
            let (a, b) = pairs(&x, &y, x.len(), 0, x.len().max(1) - 1);
            let expected = if x.is_empty() || a.len() < 2 { f64::NAN } else { exact::correlation(&a, &b) };
            if let Some(fault) = fault(r[1], expected, 1e-9) {
                panic!("hostile matrix {number}: {fault}: got {:?} exact {expected:?}\nx = {x:?}\ny = {y:?}", r[1]);
            }
        }
    }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |v: f64| values.iter().filter(|other| **other < v).count() as f64;
    let equal = |v: f64| values.iter().filter(|other| **other == v).count() as f64;
    values.iter().map(|&v| below(v) + (equal(v) + 1.0) / 2.0).collect()
}

#[test]
fn matrices_are_exact() {
    let with_gaps = [Kind::WhiteNoise, Kind::MissingAtRandom, Kind::MissingRuns, Kind::Infinite, Kind::Stuck];
    let clean = [Kind::LargeOffset, Kind::RandomWalk, Kind::Ramp, Kind::Spike, Kind::Steps, Kind::ConstantRuns];
    let all: Vec<Kind> = clean.iter().chain(&with_gaps).chain(&[Kind::Quantised, Kind::LastDigits]).copied().collect();
    for kinds in [&clean[..], &with_gaps[..], &all[..], &clean[..1], &[]] {
        for n in [0, 1, 2, 3, 127, 128, 129, 700] {
            let mut columns: Vec<Vec<f64>> =
                kinds.iter().enumerate().map(|(k, kind)| kind.series(n, k as u64)).collect();
            if kinds.len() > 5 {
                columns.push(vec![7.5; n]);
                columns.push(vec![f64::NAN; n]);
                columns.extend((0..9).map(|k| clean[k % 6].series(n, 50 + k as u64)));
            }
            let p = columns.len();
            let got = pearson(&pool(1), &views(&columns));
            let rank = spearman(&pool(1), &views(&columns));
            assert_eq!((got.len(), rank.len()), (p * p, p * p));
            for i in 0..p {
                for j in 0..p {
                    let (x, y) = if n == 0 { (vec![], vec![]) } else { pairs(&columns[i], &columns[j], n, 0, n - 1) };
                    let enough = x.len() >= 2;
                    let expected = if enough { exact::correlation(&x, &y) } else { f64::NAN };
                    if let Some(fault) = fault(got[i * p + j], expected, TOLERANCE) {
                        panic!("{kinds:?} n={n} ({i}, {j}): {fault}: got {:?} exact {expected:?}", got[i * p + j]);
                    }
                    let expected = if enough { exact::correlation(&ranks(&x), &ranks(&y)) } else { f64::NAN };
                    if let Some(fault) = fault(rank[i * p + j], expected, TOLERANCE) {
                        panic!(
                            "ranks, {kinds:?} n={n} ({i}, {j}): {fault}: got {:?} exact {expected:?}",
                            rank[i * p + j]
                        );
                    }
                    assert_eq!(got[i * p + j].to_bits(), got[j * p + i].to_bits());
                    assert!(i != j || got[i * p + j].is_nan() || got[i * p + j] == 1.0);
                }
            }
        }
    }
}

#[test]
fn matrices_do_not_depend_on_threads() {
    for gaps in [false, true] {
        let columns: Vec<Vec<f64>> = (0..37)
            .map(|k| if gaps && k % 3 == 0 { Kind::MissingAtRandom } else { Kind::RandomWalk }.series(5000, k))
            .collect();
        for of in [pearson, spearman] {
            let one = of(&pool(1), &views(&columns));
            for threads in [2, 3, 7] {
                let more = of(&pool(threads), &views(&columns));
                assert!(one.iter().zip(&more).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
            }
        }
    }
}
