//! Every length x window x min_samples x missing readings x statistic against the naive twin.

use crate::checks::against_naive;
use crate::series::{Kind, Random};
use crate::subject::{Case, What, all_statistics, eleven};

const KINDS: [Kind; 4] = [Kind::WhiteNoise, Kind::Quantised, Kind::ConstantRuns, Kind::Spike];
const SHARES_MISSING: [f64; 4] = [0.0, 0.1, 0.6, 1.0];

fn with_missing(mut x: Vec<f64>, share: f64, seed: u64) -> Vec<f64> {
    let random = &mut Random::new(seed ^ 0xfeed);
    for value in &mut x {
        if random.uniform() < share {
            *value = random.pick(&[f64::NAN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        }
    }
    x
}

fn min_samples(window: usize) -> Vec<usize> {
    let mut all = vec![1, 2, 3, 5, window / 2, window - 1, window];
    all.retain(|m| (1..=window).contains(m));
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn small_windows_of_every_length() {
    for n in 0..=40usize {
        for window in 1..=20usize {
            for (i, min_samples) in min_samples(window).into_iter().enumerate() {
                for (j, share) in SHARES_MISSING.into_iter().enumerate() {
                    let seed = (n * 1000 + window * 10 + i) as u64;
                    let kind = KINDS[(n + window + i + j) % KINDS.len()];
                    let x = with_missing(kind.series(n, seed), share, seed);
                    let mut case = Case::rows(window, min_samples, all_statistics());
                    case.spectrum_min_samples = [min_samples, case.spectrum_min_samples][(n + i) % 2];
                    against_naive(&format!("{kind:?}, missing {share}"), &case, &x, None, 0..n);
                }
            }
        }
    }
}

#[test]
fn longer_series_of_every_kind() {
    for window in (1..=40).chain([48, 63, 64, 65, 66, 96, 127, 128, 129]) {
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            let n = 4 * window + 20 + i;
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1 + i % 3.min(window), all_statistics());
            let step = 1 + window / 16;
            against_naive(&format!("{kind:?}"), &case, &x, None, (i % step..n).step_by(step));
        }
    }
}

#[test]
fn windows_longer_than_the_series() {
    for window in [33, 64, 65, 128, 200, 300, 1000, 5000] {
        for n in [0, 1, 2, 7, 8, 9, 31, 32, 33, 60] {
            for share in SHARES_MISSING {
                let x = with_missing(Kind::WhiteNoise.series(n, window as u64), share, n as u64);
                let case = Case::rows(window, 2, all_statistics());
                against_naive(&format!("missing {share}"), &case, &x, None, 0..n);
            }
        }
    }
}

/// What a window costs is what the series needs, not what the window would hold.
#[test]
fn windows_far_beyond_the_series() {
    for window in [100_000, 1 << 40, i64::MAX as usize] {
        for n in [0, 1, 60, 300] {
            let x = Kind::MissingAtRandom.series(n, 6);
            let case = Case { spectrum_min_samples: 2, ..Case::rows(window, 2, all_statistics()) };
            against_naive("far beyond", &case, &x, None, (0..n).step_by(7));
        }
    }
}

#[test]
fn large_windows() {
    for (window, n) in [(200, 700), (255, 900), (256, 900), (257, 900), (300, 1000), (511, 1400), (513, 1400)] {
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            for share in [0.0, 0.05, 0.6] {
                let x = with_missing(kind.series(n, window as u64), share, window as u64);
                let case = Case::rows(window, [1, window / 2, window][i % 3], all_statistics());
                against_naive(&format!("{kind:?}, missing {share}"), &case, &x, None, (i..n).step_by(n / 9));
            }
        }
    }
}

/// Windows on both sides of any change of algorithm; a few rows each, block borders among them.
#[test]
fn very_large_windows() {
    for (window, n) in
        [(777, 5000), (1023, 4000), (1024, 6000), (1025, 4000), (2000, 10_000), (2048, 5000), (3000, 10_000)]
    {
        for kind in [Kind::WhiteNoise, Kind::RandomWalk, Kind::Quantised, Kind::MissingAtRandom, Kind::Spike] {
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1, eleven());
            let mut rows = vec![window - 2, window - 1, window, 2 * window - 1, 2 * window, n - 1];
            rows.retain(|row| *row < n);
            against_naive(&format!("{kind:?}"), &case, &x, None, rows.into_iter());
        }
    }
}

/// Many windows in a row: blocks are longer than the window where that leaves no lane without one, and the last lane may end
/// within its block.
#[test]
fn medians_of_many_large_windows_in_every_row() {
    for (window, n) in [(70, 600), (200, 1600), (260, 2085), (260, 2100), (300, 4777), (257, 4200), (400, 9000)] {
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, [1, window / 3, window][i % 3], vec![What::Median]);
            against_naive(&format!("{kind:?}"), &case, &x, None, 0..n);
        }
    }
}

/// Order statistics alone are cheap to check, so in every row.
#[test]
fn order_statistics_of_large_windows_in_every_row() {
    for window in [21, 34, 50, 64, 90, 130, 260, 600] {
        for kind in Kind::ALL {
            let n = 3 * window + 17;
            let x = kind.series(n, 3 * window as u64);
            let what = all_statistics().into_iter().filter(|what| what.is_order_statistic()).collect();
            let case = Case::rows(window, 1, what);
            against_naive(&format!("{kind:?}"), &case, &x, None, 0..n);
        }
    }
}

/// Kernels read a long column piece by piece; the rows around the ends of the pieces.
#[test]
fn long_series() {
    for (i, window) in [1, 2, 5, 16, 31, 64, 65, 128, 160, 161, 200, 256, 300, 1500].into_iter().enumerate() {
        let kind = Kind::ALL[i % Kind::ALL.len()];
        let n = 41_003;
        let x = kind.series(n, window as u64);
        let case = Case::rows(window, 1, eleven());
        let mut rows: Vec<usize> = (1..=5).flat_map(|k| [8192 * k - 1, 8192 * k, 8192 * k + 1]).collect();
        if window <= 64 {
            rows.extend((1..=5).flat_map(|k| 8192 * k..8192 * k + 2 * window));
            rows.extend((0..n).step_by(501));
        }
        rows.push(n - 1);
        rows.retain(|row| *row < n);
        against_naive(&format!("{kind:?}"), &case, &x, None, rows.into_iter());
    }
}
