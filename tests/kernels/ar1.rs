//! AR(1): numbers worked out by hand, phi against exact arithmetic, a twin straight from the definition, hostile values, and
//! what must hold between two calls; and the median by sampling, against a full selection.

use acm_rs::kernels::detectors::ar1::{Ar1, Fuse, Measure, Rule, Scratch, fit, fuse};
use acm_rs::kernels::selection;

use crate::exact;
use crate::series::{Kind, Random};

const NAN: f64 = f64::NAN;

fn rule(close_gaps: bool) -> Rule {
    Rule::new(0.999, 1e-6, close_gaps).expect("a rule")
}

fn fitted(x: &[f64], rule: &Rule) -> Ar1 {
    fit(x, rule, &mut Scratch::default())
}

fn scores(model: &Ar1, measure: Measure, x: &[f64]) -> Vec<f64> {
    let mut out = vec![7.0; x.len()];
    model.score_series(measure, x, &mut out);
    out
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn loaded(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|v| if v.is_finite() { v } else { NAN }).collect()
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => NAN,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

#[test]
fn numbers_worked_out_by_hand() {
    // y = -2 1 0 -1 2: products -2 0 0 -2, squares 4 1 0 1, so phi = -4 / 6
    let x = [1.0, 4.0, 3.0, 2.0, 5.0];
    let model = fitted(&x, &rule(false));
    assert_eq!((model.center, model.phi, model.readings), (3.0, -4.0 / 6.0, 5));
    // residuals 1 - 4/3, 0 + 2/3, -1, 2 - 2/3, that is -1/3 2/3 -1 4/3: median 1/6, distances 1/2 1/2 7/6 7/6, median 5/6
    assert!((model.scale - 1.4826 * 5.0 / 6.0).abs() < 1e-15, "{model:?}");
    let residuals = scores(&model, Measure::Residual, &x);
    assert!(residuals[0].is_nan());
    for (got, expected) in residuals[1..].iter().zip([-1.0 / 3.0, 2.0 / 3.0, -1.0, 4.0 / 3.0]) {
        assert!((got - expected).abs() < 1e-15, "{residuals:?}");
    }
    let z = scores(&model, Measure::Z, &x);
    assert!((z[4] - 4.0 / 3.0 / model.scale).abs() < 1e-15, "{z:?}");
}

#[test]
fn gaps_part_pairs_or_are_closed() {
    // y = -2 1 . -1 2 0: pairs (-2, 1), (-1, 2), (2, 0) with products -2 -2 0 and squares 4 1 4; closed also (1, -1)
    let x = [1.0, 4.0, NAN, 2.0, 5.0, 3.0];
    assert_eq!(fitted(&x, &rule(false)).phi, -4.0 / 9.0);
    assert_eq!(fitted(&x, &rule(true)).phi, -5.0 / 10.0);
    let z = scores(&fitted(&x, &rule(false)), Measure::Residual, &x);
    // a missing reading has no score; the one after it is predicted by the center
    assert!(z[2].is_nan());
    assert_eq!(z[3], -1.0);
}

#[test]
fn few_readings_and_constant_ones() {
    let model = fitted(&[], &rule(false));
    assert!(model.center.is_nan() && model.phi.is_nan() && model.scale.is_nan() && model.readings == 0);
    let model = fitted(&[NAN, NAN], &rule(false));
    assert!(model.center.is_nan() && model.readings == 0);
    assert!(scores(&model, Measure::Z, &[1.0, 2.0]).iter().all(|z| z.is_nan()));
    assert_eq!(fitted(&[3.0], &rule(false)), Ar1 { center: 3.0, phi: 0.0, scale: 1e-6, readings: 1 });
    // two readings: distances -1 and 1 from the center, their median is 0
    assert_eq!(fitted(&[1.0, 3.0], &rule(false)), Ar1 { center: 2.0, phi: 0.0, scale: 1.4826, readings: 2 });
    // three without a pair, and the same with gaps closed: y = -1 0 2, products 0, squares 1
    let x = [1.0, NAN, 2.0, NAN, 4.0];
    assert_eq!(fitted(&x, &rule(false)), Ar1 { center: 2.0, phi: 0.0, scale: 1.4826, readings: 3 });
    assert_eq!(fitted(&x, &rule(true)), Ar1 { center: 2.0, phi: 0.0, scale: 1.4826, readings: 3 });
    // constant, and constant but for the last digit, in any unit
    for unit in [1.0, 1e-12, 1e9] {
        assert_eq!(fitted(&[0.1 * unit; 40], &rule(false)).phi, 0.0);
        let digits = Kind::LastDigits.series(200, 1).into_iter().map(|v| v * unit).collect::<Vec<_>>();
        assert_eq!(fitted(&digits, &rule(false)).phi, 0.0);
    }
    // small units are no constants, as they would be for an absolute limit
    let walk: Vec<f64> = Kind::RandomWalk.series(200, 2).into_iter().map(|v| v * 1e-9).collect();
    assert!(fitted(&walk, &rule(false)).phi > 0.9);
    // a ramp about its middle grows faster than any stable series
    let ramp: Vec<f64> = (0..50).map(|row| 1.2f64.powi(row)).collect();
    assert_eq!(fitted(&ramp, &rule(false)).phi, 0.999);
    assert_eq!(fitted(&ramp, &Rule::new(0.5, 1e-6, false).unwrap()).phi, 0.5);
    let model = fitted(&[1.0; 5], &Rule::new(0.999, 0.0, false).unwrap());
    assert_eq!(model.scale, 0.0);
    assert!(scores(&model, Measure::Z, &[1.0, 1.0, 2.0]).iter().all(|z| z.is_nan()));
    assert_eq!(scores(&model, Measure::Residual, &[1.0, 1.0, 2.0])[1..], [0.0, 1.0]);
}

#[test]
fn wrong_rules() {
    for (rule, name) in [
        (Rule::new(NAN, 0.0, false), "phi_cap"),
        (Rule::new(-0.1, 0.0, false), "phi_cap"),
        (Rule::new(1.1, 0.0, false), "phi_cap"),
        (Rule::new(0.9, -1.0, false), "scale_floor"),
        (Rule::new(0.9, f64::INFINITY, false), "scale_floor"),
    ] {
        assert!(rule.unwrap_err().0.contains(name));
    }
}

/// phi against exact arithmetic about the same center, and the rest against its definition.
fn check(x: &[f64], close_gaps: bool) {
    let model = fitted(x, &rule(close_gaps));
    let center = middle(x);
    assert_eq!(model.center, center, "{x:?}");
    let used: Vec<f64> = x.iter().copied().filter(|v| !close_gaps || !v.is_nan()).collect();
    let phi = exact::autoregression(&used, center).clamp(-0.999, 0.999);
    let y: Vec<f64> = used.iter().map(|v| v - center).collect();
    let largest = y.iter().copied().filter(|v| !v.is_nan()).fold(0.0, |a: f64, b| a.max(b.abs()));
    let known = x.iter().copied().filter(|v| !v.is_nan()).fold(0.0, |a: f64, b| a.max(b.abs()));
    if largest > 1e-14 * known && !phi.is_nan() && model.readings > 2 {
        assert!((model.phi - phi).abs() <= 1e-12, "phi {:e}, exactly {phi:e}\nx = {x:?}", model.phi);
    } else {
        assert_eq!(model.phi, 0.0, "x = {x:?}");
    }
    let mut residuals: Vec<f64> = y.windows(2).map(|pair| pair[1] - model.phi * pair[0]).collect();
    if model.readings < 3 || residuals.iter().all(|r| r.is_nan()) {
        residuals = y;
    }
    let about = middle(&residuals);
    let distances: Vec<f64> = residuals.iter().map(|r| (r - about).abs()).collect();
    let scale = (1.4826 * middle(&distances)).max(1e-6);
    assert!((model.scale - scale).abs() <= 1e-12 * scale, "scale {}, expected {scale}\nx = {x:?}", model.scale);
    for measure in [Measure::Residual, Measure::Z] {
        let got = scores(&model, measure, x);
        let divisor = if measure == Measure::Z { model.scale } else { 1.0 };
        for row in 0..x.len() {
            let last = if row == 0 { NAN } else { x[row - 1] - model.center };
            let expected = (x[row] - model.center - model.phi * if last.is_nan() { 0.0 } else { last }) / divisor;
            let expected = if row == 0 { NAN } else { expected };
            assert!(same_bits(&[got[row]], &[expected]), "row {row}: {} {expected}\nx = {x:?}", got[row]);
        }
    }
}

#[test]
fn small_and_hard_series() {
    for kind in Kind::ALL {
        for n in (0..20).chain([63, 64, 65, 511, 512, 513, 514, 1025, 2_500]) {
            for seed in 0..3 {
                let x = loaded(kind.series(n, 100 * n as u64 + seed));
                if x.iter().all(|v| v.is_nan()) {
                    continue;
                }
                check(&x, false);
                check(&x, true);
            }
        }
    }
}

#[test]
fn phi_of_long_series_is_exact() {
    for (kind, seed) in
        [(Kind::WhiteNoise, 1), (Kind::RandomWalk, 2), (Kind::LargeOffset, 3), (Kind::MissingAtRandom, 4)]
    {
        check(&loaded(kind.series(20_000, seed)), false);
    }
    // alternating: phi near -1, and readings of all sizes
    let random = &mut Random::new(5);
    check(
        &(0..5_000).map(|row| if row % 2 == 0 { 1.0 } else { -1.0 } + 1e-3 * random.normal()).collect::<Vec<_>>(),
        false,
    );
    check(&(0..5_000).map(|_| random.normal() * 10f64.powi(random.below(12) as i32)).collect::<Vec<_>>(), false);
}

#[test]
fn units_do_not_matter() {
    let x = loaded(Kind::MissingAtRandom.series(700, 1));
    let model = fitted(&x, &Rule::new(0.999, 0.0, false).unwrap());
    for power in [-900, -500, -450, -30, 30, 380, 450, 900, 1_000] {
        let unit = 2f64.powi(power);
        let other = fitted(&x.iter().map(|v| v * unit).collect::<Vec<_>>(), &Rule::new(0.999, 0.0, false).unwrap());
        assert_eq!(other.phi.to_bits(), model.phi.to_bits(), "2^{power}");
        assert_eq!(other.scale, model.scale * unit, "2^{power}");
        let z = scores(&other, Measure::Z, &x.iter().map(|v| v * unit).collect::<Vec<_>>());
        assert!(same_bits(&z, &scores(&model, Measure::Z, &x)), "2^{power}");
    }
}

#[test]
fn the_whole_range_of_numbers() {
    let values =
        [0.0, -0.0, 1.0, -3.5, 5e-324, -5e-324, f64::MIN_POSITIVE, 1e-200, 1e150, -1e200, f64::MAX, f64::MIN, NAN];
    let random = &mut Random::new(9);
    for _ in 0..20_000 {
        let n = 1 + random.below(40);
        let x: Vec<f64> = (0..n).map(|_| random.pick(&values)).collect();
        for close_gaps in [false, true] {
            let model = fitted(&x, &Rule::new(1.0, 0.0, close_gaps).unwrap());
            assert!(model.phi.abs() <= 1.0 || (model.readings == 0 && model.phi.is_nan()), "{model:?}\nx = {x:?}");
            assert!(!model.center.is_infinite() && !model.scale.is_infinite(), "{model:?}\nx = {x:?}");
            let other: Vec<f64> = (0..n).map(|_| random.pick(&values)).collect();
            for measure in [Measure::Residual, Measure::Z] {
                for (got, v) in scores(&model, measure, &other).iter().zip(&other).skip(1) {
                    assert!(got.is_finite() || got.is_nan(), "{model:?}\nx = {x:?}\nother = {other:?}");
                    let fits = measure == Measure::Residual && model.center.abs() < 1e300 && v.abs() < 1e300;
                    assert!(!(fits && !v.is_nan() && got.is_nan() && other.iter().all(|v| v.abs() < 1e300)));
                }
            }
        }
    }
    // huge readings of unlike signs: the residual does not fit, its z does
    let model = Ar1 { center: -f64::MAX, phi: 0.0, scale: f64::MAX, readings: 9 };
    assert!(scores(&model, Measure::Residual, &[0.0, f64::MAX])[1].is_nan());
    assert_eq!(scores(&model, Measure::Z, &[0.0, f64::MAX])[1], 2.0);
}

#[test]
fn a_row_is_scored_by_itself() {
    let x = loaded(Kind::MissingAtRandom.series(300, 1));
    let model = fitted(&x, &rule(false));
    let whole = scores(&model, Measure::Z, &x);
    for cut in 1..40 {
        let mut out = vec![0.0; x.len() - cut];
        model.score(Measure::Z, &x[cut..], &x[cut - 1..x.len() - 1], &mut out);
        assert!(same_bits(&out, &whole[cut..]));
    }
    // dirty buffers
    let mut scratch = Scratch::default();
    fit(&Kind::RandomWalk.series(5_000, 3), &rule(false), &mut scratch);
    assert_eq!(fit(&x, &rule(true), &mut scratch), fitted(&x, &rule(true)));
}

fn fused(how: Fuse, columns: &[&[f64]]) -> Vec<f64> {
    let mut out = vec![7.0; columns[0].len()];
    fuse(how, &columns.concat(), &mut [vec![3.0; 5], vec![]], &mut out);
    out
}

#[test]
fn fused_rows() {
    let columns: [&[f64]; 4] =
        [&[1.0, NAN, NAN, -4.0], &[-2.0, NAN, -3.0, NAN], &[4.0, NAN, NAN, 2.0], &[3.0, NAN, NAN, 1.0]];
    assert!(same_bits(&fused(Fuse::Mean, &columns), &[2.5, NAN, 3.0, 7.0 / 3.0]));
    assert!(same_bits(&fused(Fuse::Median, &columns), &[2.5, NAN, 3.0, 2.0]));
    let p95 = fused(Fuse::P95, &columns);
    // ranks 2.85 of 1 2 3 4, and 1.9 of 1 2 4
    assert!(
        (p95[0] - 3.85).abs() < 1e-15 && p95[1].is_nan() && p95[2] == 3.0 && (p95[3] - 3.8).abs() < 1e-15,
        "{p95:?}"
    );
    // a mean of huge numbers is one of them
    assert_eq!(fused(Fuse::Mean, &[&[f64::MAX], &[-f64::MAX], &[f64::MAX]]), [f64::MAX]);
    assert_eq!(fused(Fuse::Median, &[&[f64::MAX], &[-f64::MAX]]), [f64::MAX]);
    fuse(Fuse::Median, &[], &mut <[Vec<f64>; 2]>::default(), &mut []);
}

#[test]
fn medians_by_sampling() {
    let random = &mut Random::new(1);
    let scratch = &mut vec![];
    let mut check = |x: &[f64]| {
        let mut present: Vec<f64> = x.iter().copied().filter(|v| !v.is_nan()).collect();
        present.sort_unstable_by(f64::total_cmp);
        let n = present.len();
        let expected = if n == 0 { NAN } else { f64::midpoint(present[(n - 1) / 2], present[n / 2]) };
        let got = selection::median(x, scratch);
        assert!(got == expected || (got.is_nan() && expected.is_nan()), "{} readings: {got}, {expected}", x.len());
    };
    for n in (0..12).chain([999, 1_000, 1_001, 1_500, 4_096, 10_000, 10_001]) {
        for kind in Kind::ALL {
            for seed in 0..3 {
                check(&loaded(kind.series(n, seed + n as u64)));
            }
        }
        // sorted, reversed, sparse, and two far heaps between which an even number of readings has its middle
        check(&(0..n).map(|v| v as f64).collect::<Vec<_>>());
        check(&(0..n).map(|v| -(v as f64)).collect::<Vec<_>>());
        check(&(0..10 * n).map(|v| if v % 10 == 3 { v as f64 } else { NAN }).collect::<Vec<_>>());
        check(&(0..n).map(|v| if v % 2 == 0 { 1e9 } else { -1e9 } + random.normal()).collect::<Vec<_>>());
        // an order that repeats with the steps of the sample, so that the sample is wrong
        let step = n / ((n as f64).powf(2.0 / 3.0) as usize).max(1);
        check(&(0..n).map(|v| if step > 0 && v % step == 0 { 1e6 } else { random.normal() }).collect::<Vec<_>>());
        check(&(0..n).map(|_| f64::from(u8::from(random.below(100) < 2))).collect::<Vec<_>>());
    }
}
