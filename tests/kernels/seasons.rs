//! Seasonal patterns against their definition, row by row.

use std::collections::BTreeMap;

use acm_rs::kernels::features::seasonal::{Clock, Pattern, Periods, Seasons, offsets, subtract, subtract_sines};

use crate::series::{Kind, Random, irregular_times};

const HOUR: i64 = 3_600_000_000_000;
/// Monday, 1 January 2024, 00:00.
const MONDAY: i64 = 1_704_067_200 * 1_000_000_000;

fn loaded(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| if v.is_finite() { *v } else { f64::NAN }).collect()
}

fn kernel(x: &[f64], times: &[i64], periods: &Periods, min_cycles: usize) -> Vec<Pattern> {
    let x = loaded(x);
    let missing = x.iter().any(|v| v.is_nan());
    Seasons::default().fit(&x, missing, &Clock::new(periods, times), min_cycles)
}

/// Rank of a matrix by elimination.
fn rank(mut rows: Vec<Vec<f64>>) -> usize {
    let (mut rank, width) = (0, rows.first().map_or(0, Vec::len));
    for column in 0..width {
        let Some(pivot) = (rank..rows.len()).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
        else {
            break;
        };
        if rows[pivot][column].abs() < 1e-9 {
            continue;
        }
        rows.swap(rank, pivot);
        let base = rows[rank].clone();
        for row in &mut rows[rank + 1..] {
            let factor = row[column] / base[column];
            row.iter_mut().zip(&base).for_each(|(v, b)| *v -= factor * b);
        }
        rank += 1;
    }
    rank
}

/// The definition: means of the rows of each phase, one period after the other; the number of means is the rank of all
/// phases so far.
fn naive(x: &[f64], times: &[i64], lengths: &[i64], every: i64, min_cycles: i128) -> Vec<Pattern> {
    let none = Pattern { confidence: f64::NAN, amplitude: f64::NAN, peak: None, profile: vec![] };
    let bin = |time: i64| (i128::from(time) - i128::from(MONDAY)).div_euclid(i128::from(every));
    let mut rows: Vec<(i128, f64)> =
        x.iter().zip(times).filter(|(v, _)| v.is_finite()).map(|(v, t)| (bin(*t), *v)).collect();
    let Some(first) = rows.iter().map(|r| r.0).min() else { return vec![none; lengths.len()] };
    let last = rows.iter().map(|r| r.0).max().unwrap();
    let n = rows.len() as f64;
    let mean = rows.iter().map(|r| r.1).sum::<f64>() / n;
    rows.iter_mut().for_each(|r| r.1 -= mean);
    let (mut ranks, mut known) = (vec![], vec![]);
    let mut patterns: Vec<Pattern> = vec![];
    for length in lengths {
        let phases = (length / every) as usize;
        if last - first + 1 < min_cycles * phases as i128 {
            patterns.push(none.clone());
            continue;
        }
        known.push(phases);
        let design = rows.iter().map(|r| {
            let phase = |k: usize| r.0.rem_euclid(k as i128) as usize;
            known.iter().flat_map(|k| (0..*k).map(move |j| f64::from(u8::from(phase(*k) == j)))).collect::<Vec<f64>>()
        });
        let mut design: Vec<Vec<f64>> = design.collect();
        design.sort_by(|a, b| a.partial_cmp(b).unwrap());
        design.dedup();
        let of_row = |r: &(i128, f64)| r.0.rem_euclid(phases as i128) as usize;
        let means: Vec<f64> = (0..phases)
            .map(|k| {
                let of_phase: Vec<f64> = rows.iter().filter(|r| of_row(r) == k).map(|r| r.1).collect();
                of_phase.iter().sum::<f64>() / of_phase.len() as f64
            })
            .collect();
        let occupied: Vec<f64> = means.iter().copied().filter(|m| !m.is_nan()).collect();
        let centre = occupied.iter().sum::<f64>() / occupied.len() as f64;
        let high = occupied.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let low = occupied.iter().copied().fold(f64::INFINITY, f64::min);
        rows.iter_mut().for_each(|r| r.1 -= means[r.0.rem_euclid(phases as i128) as usize]);
        ranks.push(rank(design));
        patterns.push(Pattern {
            confidence: f64::NAN,
            amplitude: (high - low) / 2.0,
            peak: means.iter().position(|m| *m == high),
            profile: means.iter().map(|m| m - centre).collect(),
        });
    }
    let mut before = 1;
    let fitted = patterns.iter_mut().filter(|pattern| !pattern.profile.is_empty());
    for (pattern, (rank, phases)) in fitted.zip(ranks.iter().zip(&known)) {
        let mut cycles: BTreeMap<i128, Vec<(f64, f64)>> = BTreeMap::new();
        for (bin, residual) in &rows {
            let profile = pattern.profile[bin.rem_euclid(*phases as i128) as usize];
            cycles.entry(bin.div_euclid(*phases as i128)).or_default().push((*residual, residual + profile));
        }
        let squares = |of: fn(&(f64, f64)) -> f64| {
            let of_cycle = |cycle: &Vec<(f64, f64)>| {
                let mean = cycle.iter().map(of).sum::<f64>() / cycle.len() as f64;
                cycle.iter().map(|v| (of(v) - mean).powi(2)).sum::<f64>()
            };
            cycles.values().map(of_cycle).sum::<f64>()
        };
        let free = n - cycles.len() as f64 - (ranks[ranks.len() - 1] - 1) as f64;
        if free > 0.0 {
            let new = (rank - before) as f64;
            pattern.confidence = (1.0 - (squares(|v| v.0) / free) / (squares(|v| v.1) / (free + new))).max(0.0);
        }
        before = *rank;
    }
    patterns
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-11 * scale
}

fn assert_same(label: &str, got: &[Pattern], expected: &[Pattern], scale: f64, confidence_too: bool) {
    assert_eq!(got.len(), expected.len(), "{label}");
    for (got, expected) in got.iter().zip(expected) {
        let text = format!("{label}\ngot      {got:?}\nexpected {expected:?}");
        assert_eq!(got.profile.len(), expected.profile.len(), "{text}");
        assert!(got.profile.iter().zip(&expected.profile).all(|(a, b)| close(*a, *b, scale)), "{text}");
        assert!(close(got.amplitude, expected.amplitude, scale), "{text}");
        assert!(!confidence_too || close(got.confidence, expected.confidence, 1e2), "{text}");
        match (got.peak, expected.peak) {
            (Some(a), Some(b)) => assert!(close(expected.profile[a], expected.profile[b], scale), "{text}"),
            (a, b) => assert_eq!(a, b, "{text}"),
        }
    }
}

fn hourly(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| MONDAY + i * HOUR).collect()
}

#[test]
fn a_pattern_by_hand() {
    let x = [1.0, 3.0, 1.0, 3.0, 2.0, 4.0];
    let periods = Periods::new(&[2 * HOUR], HOUR).unwrap();
    // means 4/3 and 10/3; within the three cycles nothing is left
    let expected = Pattern { confidence: 1.0, amplitude: 1.0, peak: Some(1), profile: vec![-1.0, 1.0] };
    let times = hourly(6);
    assert_same("naive", &naive(&x, &times, &[2 * HOUR], HOUR, 3), std::slice::from_ref(&expected), 1e-4, true);
    assert_same("kernel", &kernel(&x, &times, &periods, 3), &[expected], 1e-4, true);
    assert!(kernel(&x, &times, &periods, 4)[0].profile.is_empty());
    // means 2 and 4, residuals -1 -1, 0 2, 1 -1: about the means of their cycles 0 + 2 + 2, with the pattern 2 + 8 + 0; of six
    // readings less three cycles and one mean two are free, three without the pattern
    let x = [1.0, 3.0, 2.0, 6.0, 3.0, 3.0];
    let expected = Pattern {
        confidence: 1.0 - (4.0 / 2.0) / (10.0 / 3.0),
        amplitude: 1.0,
        peak: Some(1),
        profile: vec![-1.0, 1.0],
    };
    assert_same("naive", &naive(&x, &times, &[2 * HOUR], HOUR, 3), std::slice::from_ref(&expected), 1e-4, true);
    assert_same("kernel", &kernel(&x, &times, &periods, 3), &[expected], 1e-4, true);
}

#[test]
fn patterns_are_those_of_the_definition() {
    // with the least common multiple
    let sets: [(&[i64], usize); 7] =
        [(&[2], 2), (&[3], 3), (&[24], 24), (&[2, 4], 4), (&[2, 3], 6), (&[4, 6], 12), (&[2, 6, 12], 12)];
    for (lengths, common) in sets {
        let lengths: Vec<i64> = lengths.iter().map(|hours| hours * HOUR).collect();
        let periods = Periods::new(&lengths, HOUR).unwrap();
        for n in [0, 1, 2, 3, 5, 8, 13, 30, 80, 200] {
            for kind in Kind::ALL {
                let x = kind.series(n, n as u64 + 5);
                if kind == Kind::Spike {
                    continue; // exact tests of hostile series are below
                }
                let times = hourly(n);
                let label = format!("{kind:?} {lengths:?} x = {x:?}");
                let scale = x.iter().filter(|v| v.is_finite()).fold(1.0_f64, |m, v| m.max(v.abs()));
                let expected = naive(&x, &times, &lengths, HOUR, 2);
                // Beside a large offset or a drift the definition itself is left with rounding. With cells without
                // readings the rank is no simple share, unless there is one period only.
                let steady = [
                    Kind::WhiteNoise,
                    Kind::RandomWalk,
                    Kind::Quantised,
                    Kind::MissingAtRandom,
                    Kind::MissingRuns,
                    Kind::Infinite,
                ];
                let full = x.iter().all(|v| v.is_finite()) && n >= common;
                let confidence = steady.contains(&kind) && (lengths.len() == 1 || full);
                assert_same(&label, &kernel(&x, &times, &periods, 2), &expected, scale, confidence);
            }
        }
    }
}

#[test]
fn weeks_after_days() {
    let (n, random) = (24 * 7 * 4 + 5, &mut Random::new(3));
    let times: Vec<i64> = hourly(n).iter().map(|t| t - 3_000 * 24 * HOUR + 5 * HOUR).collect();
    let lengths = [24 * HOUR, 7 * 24 * HOUR];
    let periods = Periods::new(&lengths, HOUR).unwrap();
    let x: Vec<f64> = times
        .iter()
        .map(|t| {
            let hour = (t - MONDAY).div_euclid(HOUR);
            50.0 + (hour.rem_euclid(24) as f64) - 10.0 * f64::from(u8::from(hour.rem_euclid(168) >= 120))
                + random.normal()
        })
        .collect();
    let got = kernel(&x, &times, &periods, 3);
    assert_same("weeks", &got, &naive(&x, &times, &lengths, HOUR, 3), 1.0, true);
    assert_eq!(got[0].peak, Some(23));
    assert!(got[1].profile[130] < -6.0 && got[1].profile[20] > 2.0);
    assert!(got[0].profile.iter().sum::<f64>().abs() < 1e-9 && got[1].profile.iter().sum::<f64>().abs() < 1e-9);
}

#[test]
fn the_order_of_rows_plays_no_part_and_times_may_repeat() {
    let lengths = [4 * HOUR, 12 * HOUR];
    let periods = Periods::new(&lengths, HOUR).unwrap();
    for seed in 0..20 {
        let n = 300;
        // from a few seconds to hours apart
        let times: Vec<i64> = irregular_times(n, seed).iter().map(|t| t * 500).collect();
        let x = Kind::MissingAtRandom.series(n, seed);
        let expected = naive(&x, &times, &lengths, HOUR, 2);
        let label = format!("x = {x:?}\ntimes = {times:?}");
        assert_same(&label, &kernel(&x, &times, &periods, 2), &expected, 20.0, false);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| (i * 7919) % n);
        let (x, times): (Vec<f64>, Vec<i64>) = order.iter().map(|i| (x[*i], times[*i])).unzip();
        assert_same(&label, &kernel(&x, &times, &periods, 2), &expected, 20.0, false);
    }
}

/// What is taken out is what was found: a pattern without noise leaves its level.
#[test]
fn taking_out_a_pattern_leaves_the_level() {
    let (periods, times) = (Periods::new(&[3 * HOUR, 6 * HOUR], HOUR).unwrap(), hourly(61));
    let pattern = [1.0, 5.0, -2.0, 3.0, 4.0, 7.0];
    let mut x: Vec<f64> = (0..61).map(|i| 100.0 + pattern[i % 6]).collect();
    x[7] = f64::NAN;
    let clock = Clock::new(&periods, &times);
    let patterns = Seasons::default().fit(&x, true, &clock, 2);
    subtract(&mut x, &clock, &offsets(&patterns, &periods, 0.0));
    assert!(x[7].is_nan());
    assert!(x.iter().enumerate().all(|(i, v)| i == 7 || (v - 103.0).abs() < 1e-9), "{x:?}");
    // phases that had no reading are not known, patterns below the least confidence stay in
    let holes: Vec<i64> = times.iter().copied().filter(|t| (t / HOUR) % 6 != 1).collect();
    let clock = Clock::new(&periods, &holes);
    let patterns = Seasons::default().fit(&vec![1.0; holes.len()], false, &clock, 2);
    assert!(patterns[0].confidence.is_nan(), "nothing to explain");
    let patterns =
        Seasons::default().fit(&(0..holes.len()).map(|i| (i % 5) as f64).collect::<Vec<_>>(), false, &clock, 2);
    let at_one = offsets(&patterns, &periods, 0.0)[(MONDAY / HOUR + 1).rem_euclid(6) as usize];
    assert_eq!(offsets(&patterns, &periods, 0.0).iter().filter(|v| v.is_nan()).count(), 1, "{at_one}");
    assert_eq!(offsets(&patterns, &periods, 1.1), [0.0; 6]);
}

/// Without a pattern the confidence is 0 on average, and the share of variance alone would not be.
#[test]
fn noise_gives_no_confidence() {
    let (periods, times) = (Periods::new(&[24 * HOUR, 168 * HOUR], HOUR).unwrap(), hourly(168 * 4));
    let mut seasons = Seasons::default();
    let clock = Clock::new(&periods, &times);
    let means: Vec<f64> = (0..2)
        .map(|i| {
            let of_seed = |seed| seasons.fit(&Kind::WhiteNoise.series(168 * 4, seed), false, &clock, 3)[i].confidence;
            (0..200).map(of_seed).sum::<f64>() / 200.0
        })
        .collect();
    // negative values are cut off, so the mean is a little above 0; R^2 itself would be 0.034 and 0.22
    assert!(means[0] < 0.015 && means[1] < 0.03, "{means:?}");
}

#[test]
fn hostile_readings_give_numbers_or_nothing() {
    let (lengths, random) = ([2 * HOUR, 6 * HOUR], &mut Random::new(9));
    let periods = Periods::new(&lengths, HOUR).unwrap();
    let extremes = [f64::NAN, 0.0, -0.0, 1.0, 5e-324, 2.3e-308, 1.7e308, -1.7e308, 1e160, 1e-160, f64::INFINITY];
    for _ in 0..5000 {
        let n = random.below(64);
        let few = 1 + random.below(extremes.len());
        let x: Vec<f64> = (0..n).map(|_| extremes[random.below(few)]).collect();
        let times: Vec<i64> = (0..n).map(|_| [i64::MIN, i64::MAX, 0, MONDAY, MONDAY + HOUR][random.below(5)]).collect();
        for pattern in kernel(&x, &times, &periods, 2).into_iter().chain(kernel(&x, &hourly(n), &periods, 2)) {
            assert!(!(pattern.confidence < 0.0 || pattern.confidence > 1.0), "{pattern:?} x = {x:?}");
            assert!(
                pattern.amplitude.is_nan() || (0.0..f64::INFINITY).contains(&pattern.amplitude),
                "{pattern:?} x = {x:?}"
            );
        }
    }
    // scaling by powers of two changes nothing but the scale
    let x = Kind::RandomWalk.series(60, 1);
    let plain = kernel(&x, &hourly(60), &periods, 2);
    for factor in [2f64.powi(900), 2f64.powi(-900), 2f64.powi(-1000)] {
        let scaled: Vec<f64> = x.iter().map(|v| v * factor).collect();
        for (one, other) in plain.iter().zip(kernel(&scaled, &hourly(60), &periods, 2)) {
            assert!((one.confidence - other.confidence).abs() < 1e-12, "{factor}");
            assert!((one.amplitude - other.amplitude / factor).abs() < 1e-12, "{factor}");
        }
    }
    // an offset of 1e9 hides nothing above its rounding, a spike in the first row neither
    let lifted: Vec<f64> = x.iter().map(|v| v + 1e9).collect();
    for (one, other) in plain.iter().zip(kernel(&lifted, &hourly(60), &periods, 2)) {
        assert!((one.amplitude - other.amplitude).abs() < 1e-6 && (one.confidence - other.confidence).abs() < 1e-5);
    }
}

/// ACM's form by hand: a cosine from midnight on comes out worse, from 06:00 on it comes out flat (its two errors cancel).
#[test]
fn the_form_of_acm() {
    let periods = Periods::new(&[24 * HOUR], HOUR).unwrap();
    for (start, std) in [(0, 10.0), (6, 0.0)] {
        let times: Vec<i64> = (0..240).map(|i| MONDAY + (start + i) * HOUR).collect();
        let cosine = |t: &i64| 10.0 * (std::f64::consts::TAU * ((t - MONDAY) / HOUR) as f64 / 24.0).cos();
        let mut x: Vec<f64> = times.iter().map(cosine).collect();
        let clock = Clock::new(&periods, &times);
        let patterns = Seasons::default().fit_by_lag(&x, &clock, 3);
        assert!((patterns[0].confidence - 1.0).abs() < 1e-12);
        assert_eq!(patterns[0].peak, Some((24 - start as usize) % 24));
        assert!((patterns[0].amplitude - 10.0).abs() < 1e-9);
        subtract_sines(&mut x, &clock, &patterns, 0.1);
        let spread = (x.iter().map(|v| v * v).sum::<f64>() / 240.0).sqrt();
        assert!((spread - std).abs() < 1e-9, "{spread} from {start}:00");
    }
    // a gap is a straight line: 1, (2, 3 missing), 4
    let periods = Periods::new(&[2 * HOUR], HOUR).unwrap();
    let x: Vec<f64> = (0..26).map(|i| if i == 1 || i == 2 { f64::NAN } else { 1.0 + i as f64 }).collect();
    let patterns = Seasons::default().fit_by_lag(&x, &Clock::new(&periods, &hourly(26)), 2);
    assert_eq!(patterns[0].profile, [13.0, 14.0]);
    assert_eq!(patterns[0].confidence, 1.0);
    assert!(Seasons::default().fit_by_lag(&x[..25], &Clock::new(&periods, &hourly(25)), 2)[0].profile.is_empty());
}

#[test]
fn periods_out_of_range_name_themselves() {
    let text = |periods: &[i64], every| Periods::new(periods, every).unwrap_err().0;
    assert!(text(&[HOUR], 0).contains("`every`"));
    assert!(text(&[], HOUR).contains("`periods`"));
    assert!(text(&[HOUR], HOUR).contains("longer than it"));
    assert!(text(&[90 * HOUR / 60], HOUR).contains("multiple of `every`"));
    assert!(text(&[3 * HOUR, 2 * HOUR], HOUR).contains("ascending"));
    assert!(text(&[10_007 * HOUR, 10_009 * HOUR], HOUR).contains("common multiple"));
    assert!(text(&[i64::MAX], 1).contains("common multiple"));
}
