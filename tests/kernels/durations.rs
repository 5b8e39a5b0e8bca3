//! Windows of time: irregular, tied and distant rows against the naive twin.

use crate::checks::against_naive;
use crate::series::{Kind, irregular_times};
use crate::subject::{Case, all_statistics};

#[test]
fn irregular_and_tied_times() {
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        for length in
            [1, 2, 4, 999_999_999, 1_000_000_000, 1_000_000_001, 4_500_000_000, 30_000_000_000, 3_600_000_000_000]
        {
            for n in [0, 1, 2, 3, 10, 40, 150] {
                let seed = length as u64 + n as u64;
                let times = irregular_times(n, seed);
                let case = Case::nanoseconds(length, 1 + i % 4, all_statistics());
                against_naive(&format!("{kind:?}"), &case, &kind.series(n, seed), Some(&times), 0..n);
            }
        }
    }
}

#[test]
fn many_rows_in_a_window_of_time() {
    for kind in Kind::ALL {
        for length in [20_000_000_000, 100_000_000_000, 700_000_000_000, 3_000_000_000_000] {
            let n = 3000;
            let times = irregular_times(n, length as u64);
            let case = Case::nanoseconds(length, 1, all_statistics());
            against_naive(&format!("{kind:?}"), &case, &kind.series(n, 9), Some(&times), (0..n).step_by(41));
        }
    }
}

/// Regular times and a window of as many steps give what the window of rows gives, slopes in another unit.
#[test]
fn regular_times_give_the_windows_of_rows() {
    let x = Kind::MissingAtRandom.series(300, 4);
    let times: Vec<i64> = (0..300).map(|t| t * 1_000_000_000 + 1_700_000_000_123_456_789).collect();
    for size in [1usize, 2, 5, 16, 40, 90] {
        let by_time = Case::nanoseconds(size as i64 * 1_000_000_000, 1, all_statistics());
        let by_rows = Case::rows(size, 1, by_time.what.clone());
        let (time, rows) = (by_time.evaluate(&x, Some(&times)), by_rows.evaluate(&x, None));
        for (i, what) in by_time.what.iter().enumerate() {
            for t in 0..x.len() {
                let (a, b) = (time[i][t], rows[i][t]);
                let equal = if what.is_order_statistic() { a == b } else { (a - b).abs() <= 1e-12 * b.abs().max(1.0) };
                assert!(equal || a.is_nan() && b.is_nan(), "{what:?}, {size} rows, row {t}: {a:?} and {b:?}");
            }
        }
    }
}

/// All rows at one time: no slope; the window still grows row by row.
#[test]
fn one_time_for_all_rows() {
    for time in [0, -1, i64::MIN, i64::MAX, 1_700_000_000_000_000_000] {
        let x = Kind::WhiteNoise.series(70, 8);
        let times = vec![time; 70];
        let case = Case::nanoseconds(5, 1, all_statistics());
        against_naive("one time", &case, &x, Some(&times), 0..70);
    }
}

/// The ends of the range of i64, and durations nearly as long.
#[test]
fn extreme_times() {
    let times = [i64::MIN, i64::MIN, i64::MIN + 1, -2, -1, 0, 0, 1, 5, i64::MAX - 1, i64::MAX, i64::MAX];
    let x = Kind::Quantised.series(times.len(), 3);
    for length in [1, 2, 6, i64::MAX / 2, i64::MAX - 1, i64::MAX] {
        let case = Case::nanoseconds(length, 1, all_statistics());
        // places so far apart are no whole f64 any more, in the twin neither
        let what = case.what.iter().copied().filter(|what| *what != crate::subject::What::Slope).collect();
        against_naive("extreme times", &Case { what, ..case }, &x, Some(&times), 0..times.len());
    }
}
