//! The kernels and the naive twin against exact arithmetic, and band energies against a direct sum.

use crate::checks::{against_naive, inputs};
use crate::exact;
use crate::naive::{self, Readings};
use crate::series::{Kind, irregular_times};
use crate::subject::{Case, What};

const EXACT: [What; 8] = [
    What::Mean,
    What::Std { ddof: 1 },
    What::Std { ddof: 0 },
    What::Skew { bias: false },
    What::Skew { bias: true },
    What::Kurtosis { bias: false },
    What::Kurtosis { bias: true },
    What::Slope,
];

/// Largest errors seen, in units of the tolerance.
#[derive(Default)]
struct Worst {
    kernel: [f64; EXACT.len()],
    naive: [f64; EXACT.len()],
}

fn against_exact(
    label: &str,
    case: &Case,
    x: &[f64],
    times: Option<&[i64]>,
    rows: impl Iterator<Item = usize>,
    worst: &mut Worst,
) {
    let kernel = case.evaluate(x, times);
    for t in rows {
        let twin = naive::row(case, x, times, t);
        let readings = Readings::collect(x, times, case.span, t);
        let enough = readings.count() >= case.min_samples;
        let window = exact::Window::new(readings.values(), readings.places());
        for (i, what) in case.what.iter().enumerate() {
            let per = if times.is_some() { 1e9 } else { 1.0 };
            let truth = if enough { window.statistic(*what, per) } else { f64::NAN };
            let tolerance = twin[i].tolerance;
            for (who, got, worst, allowed) in [
                ("naive twin", twin[i].value, &mut worst.naive[i], 0.02),
                ("kernel", kernel[i][t], &mut worst.kernel[i], 1.0),
            ] {
                if got.is_nan() && truth.is_nan() || got == truth {
                    continue;
                }
                let error = (got - truth).abs() / tolerance;
                // a comparison with NaN is false: missing on one side is a fault
                let within = error <= allowed;
                assert!(
                    within,
                    "{label}: {who}, {what:?} in row {t}\ngot   {got:?}\nexact {truth:?}\nerror {error:?} of the tolerance {tolerance:e}\n{}",
                    inputs(case, x, times, t)
                );
                *worst = worst.max(error);
            }
        }
    }
}

fn report(worst: &Worst) {
    for (i, what) in EXACT.iter().enumerate() {
        println!(
            "{what:?}: largest error {:.1e} (kernel), {:.1e} (naive twin) of the tolerance",
            worst.kernel[i], worst.naive[i]
        );
    }
}

#[test]
fn moments_and_slope_of_rows_are_exact_to_1e_12() {
    let mut worst = Worst::default();
    for kind in Kind::ALL {
        for (window, n) in [
            (2, 60),
            (3, 90),
            (4, 90),
            (5, 90),
            (7, 120),
            (8, 120),
            (16, 200),
            (17, 200),
            (33, 300),
            (64, 400),
            (200, 900),
        ] {
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1, EXACT.to_vec());
            let step = 1 + window / 40;
            against_exact(&format!("{kind:?}"), &case, &x, None, (0..n).step_by(step), &mut worst);
        }
    }
    report(&worst);
}

#[test]
fn moments_and_slope_of_large_windows_are_exact_to_1e_12() {
    let mut worst = Worst::default();
    for kind in Kind::ALL {
        for (window, n, step) in [(500, 2500, 97), (1500, 4000, 97), (4096, 10_000, 997)] {
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1, EXACT.to_vec());
            against_exact(&format!("{kind:?}"), &case, &x, None, (0..n).step_by(step), &mut worst);
        }
    }
    report(&worst);
}

#[test]
fn moments_and_slope_of_durations_are_exact_to_1e_12() {
    let mut worst = Worst::default();
    for kind in Kind::ALL {
        for length in [3, 1_000_000_000, 7_500_000_000, 60_000_000_000] {
            let n = 250;
            let x = kind.series(n, length as u64);
            let times = irregular_times(n, length as u64);
            let case = Case::nanoseconds(length, 1, EXACT.to_vec());
            against_exact(&format!("{kind:?}"), &case, &x, Some(&times), 0..n, &mut worst);
        }
    }
    report(&worst);
}

#[test]
fn energies_are_within_1e_12_of_the_total() {
    for kind in Kind::ALL {
        for (window, n) in
            [(2, 40), (3, 40), (5, 60), (16, 120), (17, 120), (63, 300), (64, 300), (65, 300), (100, 450), (256, 900)]
        {
            for bands in
                [vec![(0.0, 0.05), (0.05, 0.15), (0.15, 0.5)], vec![(0.01, 0.02)], vec![(0.3, 0.31), (0.4, 0.5)]]
            {
                let x = kind.series(n, window as u64);
                let what = (0..bands.len()).map(What::Energy).collect();
                let case = Case { bands, ..Case::rows(window, 1, what) };
                let step = 1 + window * window / 2000;
                against_naive(&format!("{kind:?}"), &case, &x, None, (0..n).step_by(step));
            }
        }
    }
}

#[test]
fn energies_of_large_windows_are_within_1e_12_of_the_total() {
    for kind in Kind::ALL {
        for (window, n) in [(1025, 3_000), (2048, 6_000), (4096, 10_000)] {
            let x = kind.series(n, window as u64);
            let bands = vec![(0.0, 0.002), (0.25, 0.251), (0.499, 0.5)];
            let what = (0..bands.len()).map(What::Energy).collect();
            let case = Case { bands, ..Case::rows(window, 1, what) };
            against_naive(&format!("{kind:?}"), &case, &x, None, (0..n).step_by(977));
        }
    }
}
