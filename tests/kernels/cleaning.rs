//! Filling, standstills, rates, directions and robust scaling: tables worked out by hand, twins straight from the
//! definitions over random small series, and hostile values.

use acm_rs::kernels::features::directions::{circular_mean, resultant_length, unit_vector};
use acm_rs::kernels::features::filling::{Method, fill};
use acm_rs::kernels::features::quality::{self, Stuck, out_of_range, rate_of_change};
use acm_rs::kernels::features::scaling::{self, NORMAL_SCALE, fit};
use acm_rs::kernels::params::Span;
use acm_rs::kernels::selection::median;

const NAN: f64 = f64::NAN;

/// A small generator of its own (Steele, Lea and Flood 2014, SplitMix64): a failing series is known by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Few values, so that runs and ties are frequent, and many gaps.
    fn series(&mut self, n: usize) -> Vec<f64> {
        let levels = [0.0, 0.5, 1.0, 1.5, 2.0, 7.25];
        let (share, values) = (self.below(4), 1 + self.below(levels.len()));
        (0..n).map(|_| if self.below(4) < share { NAN } else { levels[self.below(values)] }).collect()
    }

    fn times(&mut self, n: usize) -> Vec<i64> {
        let mut time = self.below(50) as i64 - 25;
        (0..n)
            .map(|_| {
                time += self.below(4) as i64;
                time
            })
            .collect()
    }
}

fn same(ours: &[f64], expected: &[f64]) -> bool {
    ours.len() == expected.len() && ours.iter().zip(expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
}

fn filled(x: &[f64], times: Option<&[i64]>, method: Method, max_gap: Option<Span>) -> Vec<f64> {
    let mut x = x.to_vec();
    fill(&mut x, times, method, max_gap);
    x
}

#[test]
fn fill_by_hand() {
    let x = [NAN, 1.0, NAN, 3.0, NAN, NAN, 9.0, NAN];
    let times = [0, 10, 11, 20, 30, 50, 60, 70];
    type Row<'a> = (Method, Option<&'a [i64]>, Option<Span>, [f64; 8]);
    let table: [Row; 10] = [
        (Method::Value(5.0), None, None, [5.0, 1.0, 5.0, 3.0, 5.0, 5.0, 9.0, 5.0]),
        (Method::Median, None, None, [3.0, 1.0, 3.0, 3.0, 3.0, 3.0, 9.0, 3.0]),
        (Method::Forward, None, None, [NAN, 1.0, 1.0, 3.0, 3.0, 3.0, 9.0, 9.0]),
        (Method::Backward, None, None, [1.0, 1.0, 3.0, 3.0, 9.0, 9.0, 9.0, NAN]),
        (Method::Interpolate, None, None, [NAN, 1.0, 2.0, 3.0, 5.0, 7.0, 9.0, NAN]),
        (Method::Interpolate, Some(&times), None, [NAN, 1.0, 1.2, 3.0, 4.5, 7.5, 9.0, NAN]),
        (Method::Forward, None, Some(Span::Rows(1)), [NAN, 1.0, 1.0, 3.0, NAN, NAN, 9.0, 9.0]),
        (Method::Value(0.0), None, Some(Span::Rows(1)), [0.0, 1.0, 0.0, 3.0, NAN, NAN, 9.0, 0.0]),
        // the gaps last 10, 10, 40 and 10
        (Method::Value(0.0), Some(&times), Some(Span::Duration(10)), [0.0, 1.0, 0.0, 3.0, NAN, NAN, 9.0, 0.0]),
        (Method::Value(0.0), Some(&times), Some(Span::Duration(9)), x),
    ];
    for (method, times, max_gap, expected) in table {
        let ours = filled(&x, times, method, max_gap);
        assert!(same(&ours, &expected), "{method:?} {max_gap:?}: {ours:?}");
    }
    // longer than a signed number holds
    let ages = [-(1 << 62), 0, 3 << 61];
    assert_eq!(filled(&[0.0, NAN, 10.0], Some(&ages), Method::Interpolate, None), [0.0, 4.0, 10.0]);
}

/// Each missing reading on its own: looks to both sides and asks what the definition says.
fn fill_by_definition(x: &[f64], times: Option<&[i64]>, method: Method, max_gap: Option<Span>) -> Vec<f64> {
    let n = x.len();
    let mut sorted: Vec<f64> = x.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let m = sorted.len();
    let middle = if m == 0 { NAN } else { (sorted[(m - 1) / 2] + sorted[m / 2]) / 2.0 };
    let one = |row: usize| {
        if !x[row].is_nan() {
            return x[row];
        }
        let before = (0..row).rev().find(|&i| !x[i].is_nan());
        let after = (row + 1..n).find(|&i| !x[i].is_nan());
        let length = match max_gap {
            Some(Span::Duration(_)) => {
                let t = times.unwrap();
                t[after.unwrap_or(n - 1)] - t[before.unwrap_or(0)]
            }
            _ => (after.unwrap_or(n) - before.map_or(0, |b| b + 1)) as i64,
        };
        let most = match max_gap {
            None => i64::MAX,
            Some(Span::Rows(rows)) => rows as i64,
            Some(Span::Duration(time)) => time,
        };
        if length > most {
            return NAN;
        }
        match (method, before, after) {
            (Method::Value(v), ..) => v,
            (Method::Median, ..) => middle,
            (Method::Forward, Some(b), _) => x[b],
            (Method::Backward, _, Some(a)) => x[a],
            (Method::Interpolate, Some(b), Some(a)) => {
                let at = |i: usize| times.map_or(i as f64, |t| t[i] as f64);
                if at(a) == at(b) { x[b] } else { x[b] + (x[a] - x[b]) * ((at(row) - at(b)) / (at(a) - at(b))) }
            }
            _ => NAN,
        }
    };
    (0..n).map(one).collect()
}

#[test]
fn fill_by_its_definition() {
    let methods = [Method::Value(-3.0), Method::Median, Method::Forward, Method::Backward, Method::Interpolate];
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let n = random.below(24);
        let (x, times) = (random.series(n), random.times(n));
        let limits = [None, Some(Span::Rows(1 + random.below(5))), Some(Span::Duration(1 + random.below(12) as i64))];
        for (method, limit) in methods.iter().flat_map(|m| limits.iter().map(move |l| (*m, *l))) {
            for given in [None, Some(times.as_slice())] {
                if given.is_none() && matches!(limit, Some(Span::Duration(_))) {
                    continue;
                }
                let (ours, theirs) = (filled(&x, given, method, limit), fill_by_definition(&x, given, method, limit));
                assert!(same(&ours, &theirs), "seed {seed} {method:?} {limit:?} {x:?} {given:?}: {ours:?} {theirs:?}");
            }
        }
    }
}

#[test]
fn interpolation_does_not_overflow_and_stays_between() {
    let ours = filled(&[-1.7e308, NAN, NAN, NAN, 1.7e308], None, Method::Interpolate, None);
    assert!(ours.iter().all(|v| v.is_finite()) && ours.windows(2).all(|w| w[0] < w[1]), "{ours:?}");
    assert_eq!(ours[2], 0.0);
    assert_eq!(median(&[1.7e308, 1.5e308], &mut Vec::new()), 1.6e308);
}

/// The marks as 1 and 0, NaN where the reading is missing.
fn stuck(x: &[f64], times: Option<&[i64]>, rule: &Stuck) -> Vec<f64> {
    let marks = quality::stuck(x, times, rule);
    assert_eq!(marks.len(), x.len().div_ceil(64));
    let beyond = (x.len()..marks.len() * 64).any(|row| marks[row / 64] >> (row % 64) & 1 == 1);
    assert!(!beyond, "no mark behind the last row");
    let mark = |row: usize| (marks[row / 64] >> (row % 64) & 1) as f64;
    x.iter().enumerate().map(|(row, v)| if v.is_nan() { NAN } else { mark(row) }).collect()
}

/// A row is stuck if some stretch of readings that holds it is long enough and within the tolerance.
fn stuck_by_definition(x: &[f64], times: Option<&[i64]>, rule: &Stuck) -> Vec<f64> {
    let present: Vec<usize> = (0..x.len()).filter(|&i| !x[i].is_nan()).collect();
    let mut out: Vec<f64> = x.iter().map(|v| if v.is_nan() { NAN } else { 0.0 }).collect();
    let silent = |a: usize, b: usize| match rule.min_length {
        Span::Rows(rows) => b - a > rows,
        Span::Duration(time) => times.unwrap()[b] - times.unwrap()[a] >= time,
    };
    for first in 0..present.len() {
        for last in first..present.len() {
            let run = &present[first..=last];
            let most = run.iter().map(|&i| x[i]).fold(f64::MIN, f64::max);
            let least = run.iter().map(|&i| x[i]).fold(f64::MAX, f64::min);
            let long = match rule.min_length {
                Span::Rows(rows) => run.len() >= rows,
                Span::Duration(time) => times.unwrap()[run[run.len() - 1]] - times.unwrap()[run[0]] >= time,
            };
            if long && most - least <= rule.tolerance && !run.windows(2).any(|w| silent(w[0], w[1])) {
                let marked = if rule.look_ahead { run } else { &run[run.len() - 1..] };
                marked.iter().for_each(|&i| out[i] = 1.0);
            }
        }
    }
    out
}

#[test]
fn standstills_by_hand() {
    let x = [1.0, 2.0, 2.0, NAN, 2.0, 3.0, 3.5, 3.0];
    let rule = |rows, tolerance, look_ahead| Stuck { min_length: Span::Rows(rows), tolerance, look_ahead };
    for (rule, expected) in [
        (rule(3, 0.0, true), [0.0, 1.0, 1.0, NAN, 1.0, 0.0, 0.0, 0.0]),
        (rule(3, 0.0, false), [0.0, 0.0, 0.0, NAN, 1.0, 0.0, 0.0, 0.0]),
        (rule(4, 1.0, true), [1.0, 1.0, 1.0, NAN, 1.0, 1.0, 0.0, 0.0]),
        (rule(4, 1.0, false), [0.0, 0.0, 0.0, NAN, 1.0, 1.0, 0.0, 0.0]),
    ] {
        let out = stuck(&x, None, &rule);
        assert!(same(&out, &expected), "{rule:?}: {out:?}");
    }
    // equal before and after a silence of the length asked for: nothing is known
    let rule = Stuck { min_length: Span::Duration(60), tolerance: 0.0, look_ahead: true };
    assert_eq!(stuck(&[5.0, 5.0, 5.0], Some(&[0, 10, 70]), &rule), [0.0, 0.0, 0.0]);
    assert_eq!(stuck(&[5.0, 5.0, 5.0], Some(&[0, 10, 69]), &rule), [1.0, 1.0, 1.0]);
}

#[test]
fn standstills_by_their_definition() {
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let n = random.below(30);
        let (x, times) = (random.series(n), random.times(n));
        for min_length in [Span::Rows(2 + random.below(5)), Span::Duration(1 + random.below(9) as i64)] {
            for (tolerance, look_ahead) in [(0.0, true), (0.0, false), (0.5, true), (0.5, false), (1.0, true)] {
                let rule = Stuck { min_length, tolerance, look_ahead };
                let out = stuck(&x, Some(&times), &rule);
                let theirs = stuck_by_definition(&x, Some(&times), &rule);
                assert!(same(&out, &theirs), "seed {seed} {rule:?} {x:?} {times:?}: {out:?} {theirs:?}");
            }
        }
    }
}

/// Runs of equal readings over many words of marks, none missing.
#[test]
fn long_standstills() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut x: Vec<f64> = Vec::new();
        for run in 0..random.below(12) {
            x.extend(std::iter::repeat_n(run as f64, 1 + random.below(150)));
        }
        for rows in [1, 2, 3, 4, 63, 64, 65, 66, 100, 129, 150, 2_000, usize::MAX] {
            for look_ahead in [true, false] {
                let rule = Stuck { min_length: Span::Rows(rows), tolerance: 0.0, look_ahead };
                let theirs: Vec<f64> = x
                    .chunk_by(|a, b| a == b)
                    .flat_map(|run| {
                        let from = if look_ahead { 0 } else { rows - 1 };
                        (0..run.len()).map(move |i| f64::from(u8::from(run.len() >= rows && i >= from)))
                    })
                    .collect();
                assert_eq!(stuck(&x, None, &rule), theirs, "seed {seed} {rule:?}");
            }
        }
    }
}

#[test]
fn a_prefix_gives_the_prefix_of_what_can_be_known_live() {
    for seed in 0..500 {
        let mut random = Random(seed);
        let x = random.series(40);
        let rule = Stuck { min_length: Span::Rows(3), tolerance: 0.5, look_ahead: false };
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        let cut = random.below(40);
        assert!(same(&stuck(&x[..cut], None, &rule), &stuck(&x, None, &rule)[..cut]), "seed {seed}");
        rate_of_change(&x, None, &mut whole);
        rate_of_change(&x[..cut], None, &mut part);
        assert!(same(&part, &whole[..cut]), "seed {seed}");
    }
}

#[test]
fn ranges_and_rates_by_hand() {
    let mut out = Vec::new();
    out_of_range(&[-41.0, -40.0, NAN, 60.0, 60.5], -40.0, 60.0, &mut out);
    assert!(same(&out, &[1.0, 0.0, NAN, 0.0, 1.0]));
    out_of_range(&[-1e300, 1.0], f64::NEG_INFINITY, 0.0, &mut out);
    assert_eq!(out, [0.0, 1.0]);
    let x = [NAN, 1.0, 4.0, NAN, 10.0, 8.0];
    rate_of_change(&x, None, &mut out);
    assert!(same(&out, &[NAN, NAN, 3.0, NAN, 3.0, -2.0]), "{out:?}");
    let seconds = [0, 1, 3, 4, 5, 5].map(|s| s * 1_000_000_000);
    rate_of_change(&x, Some(&seconds), &mut out);
    assert!(same(&out, &[NAN, NAN, 1.5, NAN, 3.0, NAN]), "{out:?}");
    rate_of_change(&[-1.5e308, NAN, NAN, 1.5e308], None, &mut out);
    assert!((out[3] / 1e308 - 1.0).abs() < 1e-15, "{out:?}");
    // longer than a signed number holds
    rate_of_change(&[0.0, 2f64.powi(63)], Some(&[i64::MIN, i64::MAX]), &mut out);
    assert!((out[1] / 0.5e9 - 1.0).abs() < 1e-15, "{out:?}");
}

#[test]
fn directions_by_hand() {
    for (degrees, x, y) in [
        (0.0, 1.0, 0.0),
        (90.0, 0.0, 1.0),
        (180.0, -1.0, 0.0),
        (270.0, 0.0, -1.0),
        (-90.0, 0.0, -1.0),
        (3690.0, 0.0, 1.0),
    ] {
        assert_eq!(unit_vector(degrees, 360.0), (x, y), "{degrees}");
    }
    let half = 0.5f64.sqrt();
    for (hour, x, y) in [(3.0, half, half), (9.0, -half, half), (15.0, -half, -half), (21.0, half, -half)] {
        let ours = unit_vector(hour, 24.0);
        assert!((ours.0 - x).abs() < 1e-15 && (ours.1 - y).abs() < 1e-15, "{hour}: {ours:?}");
    }
    let near = |ours: f64, expected: f64| assert!((ours - expected).abs() < 1e-12, "{ours} {expected}");
    near(circular_mean(&[350.0, 10.0, NAN, 0.0], 360.0), 0.0);
    near(circular_mean(&[350.0, 0.0, 10.0, 20.0], 360.0), 5.0);
    near(circular_mean(&[-179.0, 179.0], 360.0), 180.0);
    near(circular_mean(&[23.0, 1.0, 3.0], 24.0), 1.0);
    assert!(circular_mean(&[0.0, 180.0], 360.0).is_nan());
    assert!(circular_mean(&[0.0, 120.0, 240.0], 360.0).is_nan());
    assert!(circular_mean(&[NAN], 360.0).is_nan() && circular_mean(&[], 360.0).is_nan());
    assert_eq!(resultant_length(&[10.0; 7], 360.0), 1.0);
    assert_eq!(resultant_length(&[0.0, 180.0], 360.0), 0.0);
    near(resultant_length(&[0.0, 90.0], 360.0), half);
    // just below north: in the circle, not at its end
    let mean = circular_mean(&[-1e-18], 360.0);
    assert!((0.0..360.0).contains(&mean), "{mean}");
}

#[test]
fn robust_scale_by_hand() {
    let model = fit(&[NAN, 1.0, 8.0, 2.0, NAN, 4.0]);
    assert_eq!((model.center, model.scale, model.readings), (3.0, NORMAL_SCALE * 1.5, 4));
    assert!((model.p05 - 1.15).abs() < 1e-15 && (model.p95 - 7.4).abs() < 1e-14, "{model:?}");
    let nothing = fit(&[NAN, NAN]);
    assert!(nothing.center.is_nan() && nothing.scale.is_nan() && nothing.p05.is_nan() && nothing.readings == 0);
    assert_eq!(fit(&[5.0, 5.0, 5.0, 9.0]).scale, 0.0);
    let score = |x: f64, center, scale, floor| {
        let mut x = [x];
        scaling::score(&mut x, center, scale, floor);
        x[0]
    };
    assert_eq!(score(5.0, 3.0, 4.0, 0.0), 0.5);
    assert_eq!(score(5.0, 3.0, 0.0, 1.0), 2.0);
    assert!(score(5.0, 3.0, 0.0, 0.0).is_nan() && score(NAN, 3.0, 1.0, 0.0).is_nan());
    assert!(score(5.0, NAN, 1.0, 0.0).is_nan() && score(5.0, 3.0, NAN, 0.0).is_nan());
    assert_eq!(score(1.5e308, -1.5e308, 2.0, 0.0), 1.5e308);
}

#[test]
fn quantiles_by_sorting() {
    for seed in 0..500 {
        let mut random = Random(seed);
        let n = 1 + random.below(200);
        let x: Vec<f64> = (0..n).map(|_| random.next() as f64 / 1e18 - 9.0).collect();
        let mut sorted = x.clone();
        sorted.sort_by(f64::total_cmp);
        let model = fit(&x);
        for (p, ours) in [(0.05, model.p05), (0.95, model.p95)] {
            let h = (n - 1) as f64 * p;
            let (low, high) = (sorted[h.floor() as usize], sorted[h.ceil() as usize]);
            assert_eq!(ours, low + (high - low) * h.fract(), "seed {seed}");
        }
        assert_eq!(model.center, (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0, "seed {seed}");
    }
}

#[test]
fn hostile_values() {
    let hostile = [NAN, 0.0, -0.0, 1.0, 5e-324, -2.3e-308, 1e160, 1.7e308, -1.7e308, 360.0, 1e17];
    let methods = [Method::Value(1.0), Method::Median, Method::Forward, Method::Backward, Method::Interpolate];
    for seed in 0..5_000 {
        let mut random = Random(seed);
        let n = random.below(40);
        let x: Vec<f64> = (0..n).map(|_| hostile[random.below(hostile.len())]).collect();
        for method in methods {
            let ours = filled(&x, None, method, None);
            assert!(ours.iter().all(|v| !v.is_infinite()), "seed {seed} {method:?}: {ours:?}");
        }
        for tolerance in [0.0, 1.0, 1e308] {
            let rule = Stuck { min_length: Span::Rows(2), tolerance, look_ahead: true };
            let out = stuck(&x, None, &rule);
            assert!(same(&out, &stuck_by_definition(&x, None, &rule)), "seed {seed} {tolerance} {x:?}: {out:?}");
        }
        let present = x.iter().filter(|v| !v.is_nan()).count();
        let length = resultant_length(&x, 360.0);
        assert!(length.is_nan() == (present == 0) && (present == 0 || (0.0..=1.0).contains(&length)), "{x:?}");
        let mean = circular_mean(&x, 360.0);
        assert!(mean.is_nan() || (0.0..360.0).contains(&mean), "{x:?}: {mean}");
        for &v in x.iter().filter(|v| !v.is_nan()) {
            let (cos, sin) = unit_vector(v, 360.0);
            assert!((cos.hypot(sin) - 1.0).abs() < 1e-15, "{v}");
        }
        assert_eq!(fit(&x).readings, present);
    }
}

#[test]
fn lengths() {
    assert_eq!(Span::new("max_gap", 3, false), Ok(Span::Rows(3)));
    assert_eq!(Span::new("max_gap", 3, true), Ok(Span::Duration(3)));
    assert!(Span::new("max_gap", 0, true).unwrap_err().to_string().contains("`max_gap` must be >= 1, got 0"));
}
