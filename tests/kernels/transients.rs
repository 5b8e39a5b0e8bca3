//! Transient states: by hand, a twin straight from the definition, hostile readings.

use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::MISSING;
use acm_rs::kernels::regimes::transients::{Rule, State, states};

use crate::kmeans::{normal, pool};

const NAN: f64 = f64::NAN;

fn rule(window: usize, high: f64, trip: f64, lag: usize, weights: &[f64]) -> Rule {
    Rule::new(window, high, trip, lag, weights.to_vec()).expect("a rule")
}

/// One letter a row: steady, transient, up, down, trip; a dot where there is none.
fn word(states: &[Option<State>]) -> String {
    let letter = |state: &Option<State>| match state {
        Some(State::Steady) => 's',
        Some(State::Transient) => 't',
        Some(State::Startup) => 'U',
        Some(State::Shutdown) => 'D',
        Some(State::Trip) => 'T',
        None => '.',
    };
    states.iter().map(letter).collect()
}

fn found(columns: &[&[f64]], labels: Option<&[u32]>, rule: &Rule) -> String {
    word(&states(columns, labels, rule, &pool(1)))
}

#[test]
fn by_hand() {
    // changes of 1 but for one of 10: the median is 1, so that r is 1 / 1.4826 and 10 / 1.4826 = 6.7
    let x = [0.0, 1.0, 0.0, 1.0, 11.0, 10.0, 11.0, 10.0];
    assert_eq!(found(&[&x], None, &rule(1, 3.0, 7.0, 0, &[1.0])), "ssssUsss");
    assert_eq!(found(&[&x], None, &rule(1, 3.0, 7.0, 1, &[1.0])), "sssUUUss");
    assert_eq!(found(&[&x], None, &rule(1, 3.0, 6.0, 1, &[1.0])), "sssTTTss");
    assert_eq!(found(&[&x], None, &rule(1, 3.0, 7.0, 1, &[-1.0])), "sssDDDss");
    // a mean of two rows: (10 + 1) / 2 / 1.4826 = 3.7
    assert_eq!(found(&[&x], None, &rule(2, 3.7, 7.0, 0, &[1.0])), "ssssUUss");
    // the first row has no change and is left out of the mean
    let falls = [5.0, 4.0, 3.0];
    assert_eq!(found(&[&falls], None, &rule(3, 0.6, 7.0, 0, &[1.0])), "sDD");
    // labels that change; a missing one is skipped
    let labels = [0, 0, 0, 0, 0, 0, MISSING, 1];
    assert_eq!(found(&[&x], Some(&labels), &rule(1, 50.0, 70.0, 1, &[1.0])), "sssssstt");
    assert_eq!(found(&[&x], Some(&labels), &rule(1, 3.0, 7.0, 1, &[1.0])), "sssUUUtt");
    // no reading, no state; what lies between two readings is divided by the rows
    let gap = [0.0, 1.0, NAN, NAN, 4.0, 5.0];
    assert_eq!(found(&[&gap], None, &rule(1, 0.67, 7.0, 0, &[1.0])), "sU..UU");
    assert_eq!(found(&[&gap, &[NAN, NAN, 1.0, NAN, NAN, NAN]], None, &rule(1, 0.67, 7.0, 0, &[1.0, 1.0])), "sUs.UU");
    // a sensor that never moves has its share in the mean, one that mostly stands still the mean of its changes as scale
    let still = [3.0; 8];
    assert_eq!(found(&[&still], None, &rule(1, 0.1, 1.0, 0, &[1.0])), "ssssssss");
    assert_eq!(found(&[&x, &still], None, &rule(1, 3.0, 7.0, 0, &[1.0, 1.0])), "ssssUsss");
    assert_eq!(found(&[&x, &still], None, &rule(1, 3.4, 7.0, 0, &[1.0, 1.0])), "ssssssss");
    assert_eq!(found(&[&x, &still], None, &rule(1, 6.7, 7.0, 0, &[1.0, 0.0])), "ssssUsss");
    let mut jump = [10.0; 60];
    jump[30..].fill(100.0);
    // r = 59 in the row of the jump
    assert_eq!(
        found(&[&jump], None, &rule(5, 3.0, 5.0, 3, &[1.0])),
        format!("{}{}{}", "s".repeat(27), "T".repeat(11), "s".repeat(22))
    );
    // any number of rows
    for n in 0..9 {
        assert_eq!(found(&[&x[..n.min(8)]], None, &rule(5, 30.0, 50.0, 3, &[1.0])), "s".repeat(n.min(8)));
    }
}

#[test]
fn refused() {
    let error = |window, high, trip, weights: &[f64]| {
        Rule::new(window, high, trip, 3, weights.to_vec()).expect_err("an error").to_string()
    };
    assert_eq!(error(0, 3.0, 5.0, &[1.0]), "`window_size` must be >= 1, got 0");
    assert_eq!(error(5, 0.0, 5.0, &[1.0]), "`high` must be a finite number > 0, got 0");
    assert_eq!(error(5, 3.0, NAN, &[1.0]), "`trip` must be a finite number > 0, got NaN");
    assert_eq!(error(5, 3.0, 2.0, &[1.0]), "`trip` must be at least `high` (3), got 2");
    for weights in [&[0.0, 0.0][..], &[], &[1.0, NAN]] {
        assert!(error(5, 3.0, 5.0, weights).starts_with("`weights` must be finite numbers, one of them not 0, got"));
    }
}

/// The definition, row by row.
fn naive(
    columns: &[Vec<f64>],
    labels: &[u32],
    window: usize,
    high: f64,
    trip: f64,
    lag: usize,
    weights: &[f64],
) -> String {
    let n = labels.len();
    let rates: Vec<Vec<f64>> = columns
        .iter()
        .map(|x| {
            let last = |t: usize| (0..t).rev().find(|&s| !x[s].is_nan());
            let rates: Vec<f64> = (0..n).map(|t| last(t).map_or(NAN, |s| (x[t] - x[s]) / (t - s) as f64)).collect();
            let mut sizes: Vec<f64> = rates.iter().map(|r| r.abs()).filter(|r| !r.is_nan()).collect();
            sizes.sort_by(f64::total_cmp);
            let (m, mean) = (sizes.len(), sizes.iter().sum::<f64>() / sizes.len() as f64);
            let median = if m == 0 { 0.0 } else { (sizes[(m - 1) / 2] + sizes[m / 2]) / 2.0 };
            let scale = if median > 0.0 { 1.4826 * median } else { mean };
            rates.iter().map(|r| if scale > 0.0 { r / scale } else { *r }).collect()
        })
        .collect();
    let value = |t: usize, f: &dyn Fn(f64, f64) -> f64| -> Option<f64> {
        let known: Vec<usize> = (0..columns.len()).filter(|&c| !rates[c][t].is_nan()).collect();
        let total: f64 = known.iter().map(|&c| weights[c].abs()).sum();
        (total > 0.0).then(|| known.iter().map(|&c| f(weights[c], rates[c][t])).sum::<f64>() / total)
    };
    let over_window = |t: usize, f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let values: Vec<f64> = ((t + 1).saturating_sub(window)..=t).filter_map(|t| value(t, f)).collect();
        if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
    };
    let r: Vec<f64> = (0..n).map(|t| over_window(t, &|w, r| (w * r).abs())).collect();
    let d: Vec<f64> = (0..n).map(|t| over_window(t, &|w, r| w * r)).collect();
    let changed = |t: usize| {
        labels[t] != MISSING && (0..t).rev().find(|&s| labels[s] != MISSING).is_some_and(|s| labels[s] != labels[t])
    };
    let nearest = |t: usize, chosen: &dyn Fn(usize) -> bool| {
        (t.saturating_sub(lag)..(t + lag + 1).min(n)).filter(|&s| chosen(s)).min_by_key(|s| s.abs_diff(t))
    };
    let state = |t: usize| {
        if columns.iter().all(|x| x[t].is_nan()) {
            '.'
        } else if nearest(t, &|s| r[s] >= trip).is_some() {
            'T'
        } else if let Some(s) = nearest(t, &|s| r[s] >= high && r[s] < trip) {
            if d[s] >= 0.0 { 'U' } else { 'D' }
        } else if nearest(t, &changed).is_some() {
            't'
        } else {
            's'
        }
    };
    (0..n).map(state).collect()
}

#[test]
fn as_the_twin() {
    let mut random = Stream::new(6, 0);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..1500 {
        let (n, count) = (random.below(50), 1 + random.below(3));
        let columns: Vec<Vec<f64>> = (0..count)
            .map(|_| {
                let mut level = 0.0;
                (0..n)
                    .map(|_| {
                        level += normal(&mut random) * if random.below(9) == 0 { 10.0 } else { 1.0 };
                        if random.below(6) == 0 { NAN } else { level }
                    })
                    .collect()
            })
            .collect();
        let labels: Vec<u32> = (0..n).map(|t| if random.below(5) == 0 { MISSING } else { (t / 13) as u32 }).collect();
        let mut weights: Vec<f64> = (0..count).map(|_| [1.0, -1.0, 0.5, 0.0][random.below(4)]).collect();
        weights[0] = 1.0;
        let (window, lag) = (1 + random.below(8), random.below(5));
        let (high, trip) = (1.0 + random.uniform(), 2.0 + 2.0 * random.uniform());
        let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let rule = rule(window, high, trip, lag, &weights);
        let got = found(&views, Some(&labels), &rule);
        let expected = naive(&columns, &labels, window, high, trip, lag, &weights);
        assert_eq!(got, expected, "round {round}: {rule:?}\n{columns:?}\n{labels:?}");
        seen.extend(got.chars());
    }
    assert_eq!(seen.into_iter().collect::<String>(), ".DTUst");
}

#[test]
fn threads_and_hostile_readings() {
    let (rows, count) = (3000, 8);
    let mut random = Stream::new(8, 0);
    let columns: Vec<Vec<f64>> = (0..count).map(|_| (0..rows).map(|_| normal(&mut random)).collect()).collect();
    let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let rule = rule(1, 1.0, 1.3, 0, &[1.0; 8]);
    let one = states(&views, None, &rule, &pool(1));
    assert!(one.contains(&Some(State::Trip)) && one.contains(&Some(State::Steady)));
    assert_eq!(one, states(&views, None, &rule, &pool(3)));
    // readings whose differences do not fit a number, or are next to nothing
    let huge = [f64::MAX, -f64::MAX, f64::MAX, 0.0, f64::MAX, 5e-324, 0.0, 1.0];
    assert!(!found(&[&huge], None, &self::rule(2, 1.0, 3.0, 0, &[1e-300])).contains('.'));
    // of two rises by 1e-300 each and one of 1 the last is 1e300 times the usual change
    let tiny = [0.0, 1e-300, 2e-300, 3e-300, 1.0];
    assert_eq!(found(&[&tiny], None, &self::rule(1, 3.0, 5.0, 0, &[1.0])), "ssssT");
}
