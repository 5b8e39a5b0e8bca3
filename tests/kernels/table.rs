//! The naive twin against numbers worked out by hand, and against ACM's own output on its reference series.

use crate::naive;
use crate::subject::{Case, What};

fn naive_column(case: &Case, x: &[f64], times: Option<&[i64]>, i: usize) -> Vec<f64> {
    (0..x.len()).map(|t| naive::row(case, x, times, t)[i].value).collect()
}

fn assert_close(label: &str, got: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(got.len(), expected.len(), "{label}");
    for (t, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.is_nan() && expected.is_nan();
        assert!(
            same || (got - expected).abs() <= relative * expected.abs().max(1.0),
            "{label}, row {t}: {got:?}, not {expected:?}"
        );
    }
}

const NONE: f64 = f64::NAN;

/// ACM's pandas path, eight rows, at least one reading; printed with six digits.
#[test]
#[rustfmt::skip]
#[allow(clippy::approx_constant)] // 0.707107 is a result here
fn reference_series_of_acm() {
    let a = [1.0, 2.0, 4.0, 8.0, 16.0, 3.0, 5.0, 7.0, 2.0, 9.0, 6.0, 0.5];
    let table: [(What, [f64; 12]); 11] = [
        (What::Median, [1.0, 1.5, 2.0, 3.0, 4.0, 3.5, 4.0, 4.5, 4.5, 6.0, 6.5, 5.5]),
        (What::Mad { scale: 1.0 }, [0.0, 0.5, 1.0, 1.5, 3.0, 2.0, 2.0, 2.5, 2.5, 2.5, 2.0, 3.0]),
        (What::Mean, [1.0, 1.5, 2.33333, 3.75, 6.2, 5.66667, 5.57143, 5.75, 5.875, 6.75, 7.0, 6.0625]),
        (What::Std { ddof: 1 }, [NONE, 0.707107, 1.52753, 3.0957, 6.09918, 5.60952, 5.12696, 4.77344, 4.64258, 4.46414, 4.34248, 4.87294]),
        (What::Skew { bias: false }, [NONE, NONE, 0.93522, 1.13762, 1.32531, 1.60026, 1.70772, 1.58269, 1.71622, 1.32477, 1.25609, 1.21561]),
        (What::Kurtosis { bias: false }, [NONE, NONE, NONE, 0.757656, 1.30376, 2.33567, 3.05059, 2.91873, 3.26532, 2.11206, 2.30826, 1.87782]),
        (What::Slope, [NONE, 1.0, 1.5, 2.3, 3.6, 1.6, 0.928571, 0.738095, -0.0833333, -0.238095, -0.595238, -1.02976]),
        (What::Energy(0), [NONE, NONE, NONE, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (What::Energy(1), [NONE, NONE, NONE, 0.0, 0.0, 0.0, 340.868, 270.426, 238.598, 125.106, 144.905, 27.0555]),
        (What::Energy(2), [NONE, NONE, NONE, 45.0, 372.0, 440.0, 211.132, 349.574, 340.402, 432.894, 381.095, 592.694]),
        (What::RobustZ { clip: 100.0, scale_floor: 0.0 }, [0.0, 0.674491, 1.34898, 2.2483, 2.69796, -0.168623, 0.337245, 0.674491, -0.674491, 0.809389, -0.168623, -1.12415]),
    ];
    let case = Case::rows(8, 1, table.iter().map(|(what, _)| *what).collect());
    for (i, (what, expected)) in table.iter().enumerate() {
        assert_close(&format!("{what:?}"), &naive_column(&case, &a, None, i), expected, 1e-5);
        assert_close(&format!("kernel, {what:?}"), &case.evaluate(&a, None)[i], expected, 1e-5);
    }
    // the biased form, from ACM's Polars path, which starts with the first full window
    let case = Case::rows(8, 8, vec![What::Kurtosis { bias: true }]);
    let expected = [NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0.723204, 0.888247, 0.339076, 0.432507, 0.227532];
    assert_close("g2", &naive_column(&case, &a, None, 0), &expected, 1e-5);
    assert_close("kernel, g2", &case.evaluate(&a, None)[0], &expected, 1e-5);
}

/// One window, worked out by hand.
struct ByHand {
    x: &'static [f64],
    window: usize,
    min_samples: usize,
    what: What,
    expected: f64,
}

#[test]
#[rustfmt::skip]
fn windows_worked_out_by_hand() {
    const EIGHT: &[f64] = &[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    const GAP: &[f64] = &[1.0, f64::NAN, 5.0];
    const INFINITE: &[f64] = &[f64::INFINITY, 3.0, f64::NEG_INFINITY, f64::NAN, 4.0];
    const FLAT: &[f64] = &[0.1, 0.1, 0.1, 0.1, 0.1];
    const MOSTLY_FLAT: &[f64] = &[7.0, 7.0, 7.0, 7.0, 6.0];
    const HUGE: &[f64] = &[f64::MAX, f64::MAX, f64::MAX, f64::MAX];
    const APART: &[f64] = &[f64::MIN, f64::MAX];
    let cases = [
        // deviations -3 -1 -1 -1 0 0 2 4: squares 32, cubes 42, fourth powers 356
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Mean, expected: 5.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Std { ddof: 0 }, expected: 2.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Std { ddof: 1 }, expected: (32.0f64 / 7.0).sqrt() },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Std { ddof: 8 }, expected: NONE },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Skew { bias: true }, expected: 0.65625 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Skew { bias: false }, expected: 0.65625 * 56f64.sqrt() / 6.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Kurtosis { bias: true }, expected: -0.21875 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Kurtosis { bias: false }, expected: 0.940625 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Slope, expected: 34.0 / 42.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Median, expected: 4.5 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Mad { scale: 1.0 }, expected: 0.5 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Mad { scale: 1.4826 }, expected: 0.7413 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::RobustZ { clip: 100.0, scale_floor: 0.0 }, expected: 4.5 / 0.7413 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::RobustZ { clip: 3.0, scale_floor: 0.0 }, expected: 3.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::RobustZ { clip: 100.0, scale_floor: 2.25 }, expected: 2.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Hampel { n_sigmas: 6.0 }, expected: 1.0 },
        ByHand { x: EIGHT, window: 8, min_samples: 8, what: What::Hampel { n_sigmas: 6.1 }, expected: 0.0 },
        ByHand { x: EIGHT, window: 3, min_samples: 1, what: What::Median, expected: 7.0 },
        ByHand { x: EIGHT, window: 20, min_samples: 9, what: What::Median, expected: NONE },
        // an impulse has all bins alike; a cosine has one; places keep their gap
        ByHand { x: &[1.0, 0.0, 0.0, 0.0], window: 4, min_samples: 1, what: What::Energy(2), expected: 1.0 },
        ByHand { x: &[1.0, 0.0, -1.0, 0.0], window: 4, min_samples: 1, what: What::Energy(2), expected: 4.0 },
        ByHand { x: &[1.0, -1.0, 1.0, -1.0], window: 4, min_samples: 1, what: What::Energy(2), expected: 0.0 },
        ByHand { x: GAP, window: 3, min_samples: 1, what: What::Energy(2), expected: 12.0 },
        ByHand { x: GAP, window: 3, min_samples: 1, what: What::Slope, expected: 2.0 },
        ByHand { x: GAP, window: 3, min_samples: 1, what: What::Mean, expected: 3.0 },
        ByHand { x: GAP, window: 3, min_samples: 3, what: What::Mean, expected: NONE },
        ByHand { x: INFINITE, window: 5, min_samples: 2, what: What::Median, expected: 3.5 },
        ByHand { x: INFINITE, window: 5, min_samples: 2, what: What::Slope, expected: 1.0 / 3.0 },
        ByHand { x: INFINITE, window: 5, min_samples: 3, what: What::Mean, expected: NONE },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::Std { ddof: 1 }, expected: 0.0 },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::Skew { bias: false }, expected: NONE },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::Kurtosis { bias: true }, expected: NONE },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::Energy(2), expected: 0.0 },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::Slope, expected: 0.0 },
        ByHand { x: FLAT, window: 4, min_samples: 1, what: What::RobustZ { clip: 100.0, scale_floor: 0.0 }, expected: 0.0 },
        ByHand { x: MOSTLY_FLAT, window: 5, min_samples: 1, what: What::RobustZ { clip: 50.0, scale_floor: 0.0 }, expected: -50.0 },
        ByHand { x: MOSTLY_FLAT, window: 5, min_samples: 1, what: What::Hampel { n_sigmas: 3.0 }, expected: 1.0 },
        ByHand { x: HUGE, window: 4, min_samples: 1, what: What::Median, expected: f64::MAX },
        ByHand { x: HUGE, window: 4, min_samples: 1, what: What::Mean, expected: f64::MAX },
        ByHand { x: HUGE, window: 4, min_samples: 1, what: What::Std { ddof: 1 }, expected: 0.0 },
        ByHand { x: APART, window: 2, min_samples: 1, what: What::Median, expected: 0.0 },
        ByHand { x: APART, window: 2, min_samples: 1, what: What::Mean, expected: 0.0 },
        ByHand { x: APART, window: 2, min_samples: 1, what: What::Mad { scale: 1.0 }, expected: f64::MAX },
        ByHand { x: APART, window: 2, min_samples: 1, what: What::Mad { scale: 1.4826 }, expected: NONE },
        ByHand { x: &[-0.0], window: 2, min_samples: 1, what: What::Median, expected: 0.0 },
        ByHand { x: &[3.0], window: 2, min_samples: 1, what: What::Std { ddof: 0 }, expected: NONE },
        ByHand { x: &[3.0], window: 2, min_samples: 1, what: What::Slope, expected: NONE },
    ];
    for ByHand { x, window, min_samples, what, expected } in cases {
        let case = Case::rows(window, min_samples, vec![what]);
        let label = format!("{what:?} of {x:?}, window {window}, min_samples {min_samples}");
        let tolerance = if what.is_order_statistic() { 2e-16 } else { 1e-15 };
        let last = x.len() - 1;
        assert_close(&label, &naive_column(&case, x, None, 0)[last..], &[expected], tolerance);
        assert_close(&format!("kernel, {label}"), &case.evaluate(x, None)[0][last..], &[expected], tolerance);
    }
}

/// Windows of two seconds, open on the left; the second row of one time is not in the window of the first.
#[test]
fn windows_of_time_by_hand() {
    let x = [1.0, 3.0, 5.0, f64::NAN, 2.0, 8.0];
    let times: Vec<i64> = [-1.0, 0.0, 0.0, 1.0, 2.0, 9.0].iter().map(|s| (s * 1e9) as i64).collect();
    let case = Case::nanoseconds(2_000_000_000, 1, vec![What::Median, What::Mean, What::Slope, What::Std { ddof: 1 }]);
    let expected: [[f64; 6]; 4] = [
        [1.0, 2.0, 3.0, 4.0, 2.0, 8.0],
        [1.0, 2.0, 3.0, 4.0, 2.0, 8.0],
        [NONE, 2.0, 3.0, NONE, NONE, NONE],
        [NONE, 2f64.sqrt(), 2.0, 2f64.sqrt(), NONE, NONE],
    ];
    for (i, expected) in expected.iter().enumerate() {
        let label = format!("{:?}", case.what[i]);
        assert_close(&label, &naive_column(&case, &x, Some(&times), i), expected, 1e-15);
        assert_close(&format!("kernel, {label}"), &case.evaluate(&x, Some(&times))[i], expected, 1e-15);
    }
}

/// Parseval: the powers of all bins of centred readings sum to m times the sum of their squares.
#[test]
fn spectrum_of_the_naive_twin_keeps_the_energy() {
    for m in [2usize, 3, 7, 8, 31, 64] {
        let x = crate::series::Kind::WhiteNoise.series(m, 5);
        let mut case = Case::rows(m, 1, vec![What::Energy(0), What::Std { ddof: 0 }]);
        // up to and without the bin at the Nyquist frequency, which has no twin
        case.bands = vec![(0.0, 0.5)];
        let row = naive::row(&case, &x, None, m - 1);
        let mean = x.iter().sum::<f64>() / m as f64;
        let nyquist: f64 = x.iter().enumerate().map(|(i, v)| if i % 2 == 0 { v - mean } else { mean - v }).sum();
        let nyquist = if m % 2 == 0 { nyquist * nyquist } else { 0.0 };
        let (energy, std) = (row[0].value, row[1].value);
        assert_close(&format!("m = {m}"), &[2.0 * energy + nyquist], &[(m as f64 * std).powi(2)], 1e-13);
    }
}
