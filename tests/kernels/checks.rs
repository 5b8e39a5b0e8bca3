//! Comparisons that print their inputs.

use crate::naive::{self, Expected, Readings};
use crate::subject::Case;

/// Why `got` is not what was expected, if so.
pub fn fault(got: f64, expected: Expected) -> Option<&'static str> {
    if got.is_infinite() {
        return Some("infinite");
    }
    if got.to_bits() == (-0.0f64).to_bits() {
        return Some("negative zero");
    }
    if expected.tolerance.is_infinite() {
        return None;
    }
    if got.is_nan() || expected.value.is_nan() {
        // at the very end of the range rounding decides whether a number is one
        let at_the_end = |v: f64| (v.abs() * (1.0 + 1e-12)).is_infinite();
        let one_side = got.is_nan() != expected.value.is_nan();
        return (one_side && !at_the_end(got) && !at_the_end(expected.value)).then_some("missing on one side only");
    }
    if expected.tolerance == 0.0 {
        return (got.to_bits() != expected.value.to_bits()).then_some("other bits");
    }
    ((got - expected.value).abs() > expected.tolerance).then_some("outside the tolerance")
}

/// The whole series if it is short, else what lies in the window of row t.
pub fn inputs(case: &Case, x: &[f64], times: Option<&[i64]>, t: usize) -> String {
    if x.len() <= 100 {
        return format!("x = {x:?}\ntimes = {times:?}\n{case:?}");
    }
    let readings = Readings::collect(x, times, case.span, t);
    let shown = readings.count().min(100);
    let values = &readings.values()[readings.count() - shown..];
    let places = &readings.places()[readings.count() - shown..];
    format!(
        "n = {}, {} readings in the window, the last of them {values:?}\nat {places:?}\n{case:?}",
        x.len(),
        readings.count()
    )
}

/// Holds the given rows of the kernels' results against the naive twin.
pub fn against_naive(label: &str, case: &Case, x: &[f64], times: Option<&[i64]>, rows: impl Iterator<Item = usize>) {
    let got = case.evaluate(x, times);
    for t in rows {
        let expected = naive::row(case, x, times, t);
        for (i, expected) in expected.into_iter().enumerate() {
            if let Some(fault) = fault(got[i][t], expected) {
                panic!(
                    "{label}: {:?} in row {t}: {fault}\ngot      {:?} ({:016x})\nexpected {:?} ({:016x}) within {:e}\n{}",
                    case.what[i],
                    got[i][t],
                    got[i][t].to_bits(),
                    expected.value,
                    expected.value.to_bits(),
                    expected.tolerance,
                    inputs(case, x, times, t)
                );
            }
        }
    }
}

/// Two results of one length, equal to the bit (a missing value equals a missing value).
pub fn same_bits(label: &str, case: &Case, x: &[f64], one: &[Vec<f64>], other: &[Vec<f64>]) {
    for (i, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one.len(), other.len(), "{label}: {:?}", case.what[i]);
        for (row, (a, b)) in one.iter().zip(other).enumerate() {
            assert!(
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                "{label}: {:?} in row {row}: {a:?} and {b:?}\nx (the first rows) = {:?}\n{case:?}",
                case.what[i],
                &x[..x.len().min(200)]
            );
        }
    }
}
