//! CUSUM, exponentially weighted mean, trend and volatility: numbers worked out by hand, twins straight from the definition,
//! hostile values, and series in pieces.

use acm_rs::kernels::detectors::cusum::{self, Rule, State, Subject, drift_trend, ewma, regime_volatility};

use crate::series::{Kind, Random};

const NAN: f64 = f64::NAN;

/// A path with its alarms as numbers: 1, 0 and NaN.
#[derive(Clone, Debug, Default)]
struct Path {
    high: Vec<f64>,
    low: Vec<f64>,
    high_since: Vec<u32>,
    low_since: Vec<u32>,
    alarm: Vec<f64>,
}

fn cusum(subjects: &[Subject<'_>], rule: &Rule) -> Vec<Path> {
    let path = |path: cusum::Path| {
        let rows = path.high.len();
        let bit = |bits: &[u8], row: usize| bits[row / 8] >> (row % 8) & 1 == 1;
        let alarm = |row| if bit(&path.present, row) { f64::from(u8::from(bit(&path.alarm, row))) } else { NAN };
        assert!((0..rows).all(|row| bit(&path.present, row) || !bit(&path.alarm, row)));
        assert_eq!((path.alarm.len(), path.present.len()), (rows.div_ceil(8), rows.div_ceil(8)));
        Path {
            alarm: (0..rows).map(alarm).collect(),
            high: path.high,
            low: path.low,
            high_since: path.high_since,
            low_since: path.low_since,
        }
    };
    cusum::cusum(subjects, rule).into_iter().map(path).collect()
}

fn subject(x: &[f64]) -> Subject<'_> {
    Subject { x, center: 0.0, scale: 1.0, state: State::default() }
}

fn rule(k: f64, h: f64, reset: bool) -> Rule {
    Rule::new(k, h, reset).expect("a rule")
}

fn loaded(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|v| if v.is_finite() { v } else { NAN }).collect()
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn same(a: &Path, b: &Path) -> bool {
    same_bits(&a.high, &b.high)
        && same_bits(&a.low, &b.low)
        && same_bits(&a.alarm, &b.alarm)
        && a.high_since == b.high_since
        && a.low_since == b.low_since
}

fn last(path: &Path, before: State) -> State {
    match path.high.len() {
        0 => before,
        n => State {
            high: path.high[n - 1],
            low: path.low[n - 1],
            high_since: path.high_since[n - 1],
            low_since: path.low_since[n - 1],
        },
    }
}

#[test]
fn numbers_worked_out_by_hand() {
    let x = [0.0, 2.0, NAN, 2.5, 4.0, -3.0, -9.0];
    let path = &cusum(&[subject(&x)], &rule(0.5, 5.0, false))[0];
    assert_eq!(path.high, [0.0, 1.5, 1.5, 3.5, 7.0, 3.5, 0.0]);
    assert_eq!(path.low, [0.0, 0.0, 0.0, 0.0, 0.0, 2.5, 11.0]);
    assert!(same_bits(&path.alarm, &[0.0, 0.0, NAN, 0.0, 1.0, 0.0, 1.0]));
    // row 4 has its alarm four rows after the last zero, in row 0; row 6 two rows after row 4
    assert_eq!(path.high_since, [0, 1, 2, 3, 4, 5, 0]);
    assert_eq!(path.low_since, [0, 0, 0, 0, 0, 1, 2]);
    let path = &cusum(&[subject(&x)], &rule(0.5, 5.0, true))[0];
    assert_eq!(path.high, [0.0, 1.5, 1.5, 3.5, 7.0, 0.0, 0.0]);
    assert_eq!(path.low, [0.0, 0.0, 0.0, 0.0, 0.0, 2.5, 11.0]);
    // after an alarm the count starts anew, though the statistic does not show its zero
    let path = &cusum(&[subject(&[6.0, 7.0, NAN, 8.0, 1.0])], &rule(0.5, 5.0, true))[0];
    assert_eq!(path.high, [5.5, 6.5, 6.5, 7.5, 0.5]);
    assert_eq!(path.high_since, [1, 1, 2, 1, 1]);
    // ACM's example: fitted on twenty zeros and twenty ones, five rows of 3
    let acm = Subject { center: 0.5, scale: 0.7413, ..subject(&[3.0; 5]) };
    let path = &cusum(&[acm], &rule(0.1, 5.0, false))[0];
    for (got, expected) in path.high.iter().zip([3.27245, 6.54491, 9.81736, 13.08982, 16.36227]) {
        assert!((got - expected).abs() < 5e-6, "{path:?}");
    }
}

/// The definition, one row after the other.
fn naive(subject: &Subject<'_>, k: f64, h: f64, reset: bool) -> Path {
    let mut path = Path::default();
    let State { mut high, mut low, mut high_since, mut low_since } = subject.state;
    for &x in subject.x {
        let u = (x - subject.center) / subject.scale;
        if !u.is_nan() {
            if reset && (high > h || low > h) {
                (high, low, high_since, low_since) = (0.0, 0.0, 0, 0);
            }
            high = (high + (u - k)).clamp(0.0, f64::MAX);
            low = (low + (-u - k)).clamp(0.0, f64::MAX);
        }
        high_since = if high == 0.0 { 0 } else { high_since + 1 };
        low_since = if low == 0.0 { 0 } else { low_since + 1 };
        path.high.push(high + 0.0);
        path.low.push(low + 0.0);
        path.high_since.push(high_since);
        path.low_since.push(low_since);
        path.alarm.push(if u.is_nan() { NAN } else { f64::from(u8::from(high > h || low > h)) });
    }
    path
}

#[test]
fn twin_pieces_and_lanes() {
    let random = &mut Random::new(3);
    for n in (0..20).chain([127, 128, 129, 300]) {
        for round in 0..6 {
            let columns: Vec<Vec<f64>> =
                (0..8).map(|_| loaded(random.pick(&Kind::ALL).series(n, random.next()))).collect();
            let (k, h, reset) = (random.pick(&[0.0, 0.5, 2.0]), random.pick(&[0.1, 5.0, 100.0]), round % 2 == 0);
            let rule = rule(k, h, reset);
            let start = State { high: 3.0, low: 0.0, high_since: 7, low_since: 0 };
            let subjects: Vec<Subject> = columns
                .iter()
                .map(|x| Subject {
                    x,
                    center: random.pick(&[0.0, 1.0, 20.0, 1e8]),
                    scale: random.pick(&[1.0, 0.3]),
                    state: random.pick(&[State::default(), start]),
                })
                .collect();
            let paths = cusum(&subjects, &rule);
            for (subject, path) in subjects.iter().zip(&paths) {
                let expected = naive(subject, k, h, reset);
                assert!(same(path, &expected), "{rule:?}\n{subject:?}\n{path:?}\n{expected:?}");
                assert!(same(&cusum(&[*subject], &rule)[0], path));
            }
            for cut in [0, n / 3, n / 2, n] {
                let first: Vec<Subject> = subjects.iter().map(|s| Subject { x: &s.x[..cut], ..*s }).collect();
                let before = cusum(&first, &rule);
                let second: Vec<Subject> = subjects
                    .iter()
                    .zip(&before)
                    .map(|(s, path)| Subject { x: &s.x[cut..], state: last(path, s.state), ..*s })
                    .collect();
                for ((mut joined, rest), whole) in before.into_iter().zip(cusum(&second, &rule)).zip(&paths) {
                    joined.high.extend(rest.high);
                    joined.low.extend(rest.low);
                    joined.alarm.extend(rest.alarm);
                    joined.high_since.extend(rest.high_since);
                    joined.low_since.extend(rest.low_since);
                    assert!(same(&joined, whole), "cut at {cut} of {n}");
                }
            }
        }
    }
    assert!(cusum(&[], &rule(0.5, 5.0, false)).is_empty());
}

#[test]
fn the_whole_range_of_numbers() {
    let values = [0.0, -0.0, 1.0, -3.5, 5e-324, 1e-200, 1e150, -1e200, f64::MAX, f64::MIN, NAN];
    let random = &mut Random::new(4);
    for _ in 0..5_000 {
        let x: Vec<f64> = (0..1 + random.below(20)).map(|_| random.pick(&values)).collect();
        let subject = Subject {
            center: random.pick(&[0.0, f64::MAX, f64::MIN, 1e-300]),
            scale: random.pick(&[1.0, 5e-324, f64::MAX]),
            ..subject(&x)
        };
        let path = &cusum(&[subject], &rule(0.5, 5.0, false))[0];
        assert!(
            path.high.iter().chain(&path.low).all(|s| s.is_finite() && s.is_sign_positive()),
            "{subject:?}\n{path:?}"
        );
        assert!(same(path, &naive(&subject, 0.5, 5.0, false)), "{subject:?}\n{path:?}");
    }
    // without a scale or a center no reading says anything
    for (center, scale) in [(0.0, 0.0), (0.0, NAN), (NAN, 1.0), (0.0, -1.0)] {
        let path = &cusum(&[Subject { center, scale, ..subject(&[5.0, 0.0, -9.0]) }], &rule(0.5, 5.0, true))[0];
        assert!(path.alarm.iter().all(|v| v.is_nan()) && path.high == [0.0; 3] && path.low == [0.0; 3], "{path:?}");
    }
    for (rule, name) in
        [(Rule::new(-1.0, 5.0, false), "`k`"), (Rule::new(NAN, 5.0, false), "`k`"), (Rule::new(0.5, 0.0, false), "`h`")]
    {
        assert!(rule.unwrap_err().0.contains(name));
    }
}

fn means(x: &[f64], alpha: f64, state: f64) -> Vec<f64> {
    let mut out = vec![7.0; 3];
    ewma(x, alpha, state, &mut out);
    out
}

#[test]
fn exponentially_weighted_means() {
    assert!(same_bits(&means(&[NAN, 8.0, NAN, 4.0, 2.0], 0.25, NAN), &[NAN, 8.0, 8.0, 7.0, 5.75]));
    assert!(same_bits(&means(&[NAN, 4.0], 0.25, 8.0), &[8.0, 7.0]));
    assert_eq!(means(&[3.0, 9.0, 1.0], 1.0, NAN), [3.0, 9.0, 1.0]);
    // a constant stays itself, and huge readings have a mean
    assert_eq!(means(&[0.1; 50], 0.3, NAN), [0.1; 50]);
    let huge = means(&[f64::MAX, f64::MIN, f64::MAX], 0.5, NAN);
    assert_eq!(huge[1], 0.0, "{huge:?}");
    for kind in Kind::ALL {
        let x = loaded(kind.series(200, 1));
        let whole = means(&x, 0.3, NAN);
        // the definition as a sum of weights, newest first
        let mut present: Vec<f64> = vec![];
        for (row, &v) in x.iter().enumerate() {
            present.extend((!v.is_nan()).then_some(v));
            let Some((first, rest)) = present.split_first() else {
                assert!(whole[row].is_nan());
                continue;
            };
            let n = rest.len() as i32;
            let terms = rest.iter().enumerate().map(|(i, v)| 0.3 * 0.7f64.powi(n - 1 - i as i32) * v);
            let expected = first * 0.7f64.powi(n) + terms.sum::<f64>();
            let size = present.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!((whole[row] - expected).abs() <= 1e-13 * size, "row {row}: {} {expected}\nx = {x:?}", whole[row]);
        }
        for cut in [0, 1, 77, 200] {
            let mut joined = means(&x[..cut], 0.3, NAN);
            let state = joined.last().copied().unwrap_or(NAN);
            joined.extend(means(&x[cut..], 0.3, state));
            assert!(same_bits(&joined, &whole));
        }
    }
}

#[test]
fn trends_and_changes_of_the_last_rows() {
    // positions -1.5 -0.5 0.5 1.5 and readings 0 2 3 7: (0 - 1 + 1.5 + 10.5) / 5
    assert!((drift_trend(&[99.0, 0.0, 2.0, 3.0, 7.0], 4) - 2.2).abs() < 1e-15);
    // places 0 2 3 of readings 1 5 6: centred -5/3 1/3 4/3, 14/3 of 8 / 14/3
    assert!((drift_trend(&[50.0, 1.0, NAN, 5.0, 6.0], 4) - 12.0 / 7.0).abs() < 1e-15);
    assert_eq!(drift_trend(&[4.0; 30], 20), 0.0);
    assert_eq!(drift_trend(&[1.0, 3.0], 20), 2.0);
    for (x, window) in [(&[][..], 20), (&[1.0], 20), (&[1.0, 2.0], 1), (&[1.0, 2.0, NAN], 2), (&[NAN, NAN], 2)] {
        assert!(drift_trend(x, window).is_nan(), "{x:?}");
    }
    let labels = [Some(9), Some(0), Some(0), None, Some(1), Some(1), Some(0)];
    assert_eq!(regime_volatility(&labels, 20), 3.0 / 5.0);
    assert_eq!(regime_volatility(&labels, 6), 2.0 / 4.0);
    assert_eq!(regime_volatility(&labels, 2), 1.0);
    assert!(regime_volatility(&labels, 1).is_nan() && regime_volatility::<i32>(&[None; 4], 3).is_nan());
}
