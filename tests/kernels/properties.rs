//! What must hold between two calls.

use crate::checks::{against_naive, same_bits};
use crate::series::{Kind, Random, irregular_times};
use crate::subject::{Case, What, all_statistics, eleven};

fn rows_from(results: &[Vec<f64>], from: usize) -> Vec<Vec<f64>> {
    results.iter().map(|result| result[from..].to_vec()).collect()
}

fn rows_to(results: &[Vec<f64>], to: usize) -> Vec<Vec<f64>> {
    results.iter().map(|result| result[..to].to_vec()).collect()
}

#[test]
fn a_prefix_gives_the_prefix() {
    for kind in Kind::ALL {
        for window in [1usize, 2, 7, 8, 16, 31, 40, 65, 130, 300] {
            let n = 3 * window + 50;
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1, all_statistics());
            let whole = case.evaluate(&x, None);
            for to in [0, 1, window / 2, window, window + 1, 2 * window - 1, 2 * window + 3, n - 9, n - 1] {
                let label = format!("{kind:?}, the first {to} rows");
                same_bits(&label, &case, &x, &case.evaluate(&x[..to], None), &rows_to(&whole, to));
            }
        }
        let (n, length) = (200, 7_000_000_000);
        let (x, times) = (kind.series(n, 2), irregular_times(n, 2));
        let case = Case::nanoseconds(length, 1, all_statistics());
        let whole = case.evaluate(&x, Some(&times));
        for to in 0..n {
            let got = case.evaluate(&x[..to], Some(&times[..to]));
            same_bits(&format!("{kind:?}, the first {to} rows"), &case, &x, &got, &rows_to(&whole, to));
        }
    }
}

/// The rows before row k that a batch starting there must be given.
fn carried_from(k: usize, window: usize) -> usize {
    (k / window).saturating_sub(1) * window
}

#[test]
fn carried_rows_give_the_bits_of_the_whole() {
    for kind in Kind::ALL {
        for window in [1usize, 2, 3, 7, 8, 9, 16, 20, 33, 64, 65] {
            let n = 4 * window + 30;
            let x = kind.series(n, window as u64 + 70);
            let case = Case::rows(window, 1, all_statistics());
            let whole = case.evaluate(&x, None);
            for k in (0..n).step_by(1 + window / 10) {
                let from = carried_from(k, window);
                let batch = case.evaluate(&x[from..], None);
                same_bits(
                    &format!("{kind:?}, a batch from row {k} with the rows from {from}"),
                    &case,
                    &x,
                    &rows_from(&batch, k - from),
                    &rows_from(&whole, k),
                );
            }
        }
        for window in [200usize, 700] {
            let n = 5 * window + 30;
            let x = kind.series(n, window as u64);
            let case = Case::rows(window, 1, eleven());
            let whole = case.evaluate(&x, None);
            for k in [window - 1, window, 2 * window - 1, 2 * window, 3 * window + 17, n - 1] {
                let from = carried_from(k, window);
                let batch = case.evaluate(&x[from..], None);
                let label = format!("{kind:?}, a batch from row {k} with the rows from {from}");
                same_bits(&label, &case, &x, &rows_from(&batch, k - from), &rows_from(&whole, k));
            }
        }
    }
}

/// Kernels read a long column piece by piece; where the pieces end must show in no bit.
#[test]
fn long_series_prefixes_and_batches() {
    for (kind, window) in [
        (Kind::RandomWalk, 1usize),
        (Kind::MissingAtRandom, 7),
        (Kind::Steps, 16),
        (Kind::Quantised, 64),
        (Kind::RandomWalk, 65),
        (Kind::MissingRuns, 100),
        (Kind::WhiteNoise, 161),
        (Kind::MissingAtRandom, 300),
        (Kind::Steps, 1000),
    ] {
        let n = 41_003;
        let x = kind.series(n, window as u64);
        let case = Case::rows(window, 1, eleven());
        let whole = case.evaluate(&x, None);
        for k in [8191, 8192, 12_287, 12_288, 12_289, 16_384, 20_481, 24_576, 30_000, n - 1] {
            let label = format!("{kind:?}, the first {k} rows");
            same_bits(&label, &case, &x, &case.evaluate(&x[..k], None), &rows_to(&whole, k));
            let from = carried_from(k, window);
            let batch = case.evaluate(&x[from..], None);
            let label = format!("{kind:?}, a batch from row {k} with the rows from {from}");
            same_bits(&label, &case, &x, &rows_from(&batch, k - from), &rows_from(&whole, k));
        }
    }
    for (kind, length) in [(Kind::RandomWalk, 5_000_000_000i64), (Kind::MissingAtRandom, 400_000_000_000)] {
        let n = 30_001;
        let (x, times) = (kind.series(n, 1), irregular_times(n, 1));
        let case = Case::nanoseconds(length, 1, all_statistics());
        let whole = case.evaluate(&x, Some(&times));
        for k in [8191, 8192, 12_289, 20_481, n - 1] {
            let label = format!("{kind:?}, the first {k} rows");
            same_bits(&label, &case, &x, &case.evaluate(&x[..k], Some(&times[..k])), &rows_to(&whole, k));
            let block = times[k].div_euclid(length) - 1;
            let from = times.partition_point(|time| time.div_euclid(length) < block);
            let batch = case.evaluate(&x[from..], Some(&times[from..]));
            let label = format!("{kind:?}, a batch from row {k} with the rows from {from}");
            same_bits(&label, &case, &x, &rows_from(&batch, k - from), &rows_from(&whole, k));
        }
    }
}

/// Batches of random lengths, each with the tail of all that came before it and was kept.
#[test]
fn batch_after_batch_gives_the_bits_of_the_whole() {
    let random = &mut Random::new(11);
    for round in 0..200 {
        let kind = random.pick(&Kind::ALL);
        let window = 1 + random.below(40);
        let n = 1 + random.below(400);
        let x = kind.series(n, round);
        let case = Case::rows(window, 1, eleven());
        let whole = case.evaluate(&x, None);
        let (mut kept, mut done) = (Vec::new(), 0);
        while done < n {
            let more = (1 + random.below(90)).min(n - done);
            let before: usize = Vec::len(&kept);
            kept.extend_from_slice(&x[done..done + more]);
            let got = rows_from(&case.evaluate(&kept, None), before);
            let expected = rows_to(&rows_from(&whole, done), more);
            same_bits(&format!("{kind:?}, {more} rows from row {done}"), &case, &x, &got, &expected);
            done += more;
            kept.drain(..carried_from(kept.len(), window));
        }
    }
}

#[test]
fn carried_rows_give_the_bits_of_the_whole_in_windows_of_time() {
    for kind in Kind::ALL {
        for length in [1, 3, 1_000_000_000, 6_500_000_000, 40_000_000_000] {
            let n = 160;
            let (x, times) = (kind.series(n, 5), irregular_times(n, length as u64 + 5));
            let case = Case::nanoseconds(length, 1, all_statistics());
            let whole = case.evaluate(&x, Some(&times));
            for k in 0..n {
                let block = times[k].div_euclid(length) - 1;
                let from = times.partition_point(|time| time.div_euclid(length) < block);
                let batch = case.evaluate(&x[from..], Some(&times[from..]));
                same_bits(
                    &format!("{kind:?}, a batch from row {k} with the rows from {from}"),
                    &case,
                    &x,
                    &rows_from(&batch, k - from),
                    &rows_from(&whole, k),
                );
            }
        }
    }
}

#[test]
fn one_statistic_alone_has_the_bits_it_has_among_all() {
    for kind in Kind::ALL {
        for window in [1usize, 2, 5, 8, 16, 20, 33, 64, 65, 100, 200] {
            let x = kind.series(3 * window + 40, window as u64);
            for plan in [eleven(), all_statistics()] {
                let case = Case::rows(window, 1, plan);
                let together = case.evaluate(&x, None);
                for (i, what) in case.what.iter().enumerate() {
                    let alone = Case { what: vec![*what], ..case.clone() };
                    same_bits(&format!("{kind:?}"), &alone, &x, &alone.evaluate(&x, None), &together[i..=i]);
                }
            }
        }
        let (x, times) = (kind.series(200, 2), irregular_times(200, 2));
        let case = Case::nanoseconds(7_000_000_000, 1, all_statistics());
        let together = case.evaluate(&x, Some(&times));
        for (i, what) in case.what.iter().enumerate() {
            let alone = Case { what: vec![*what], ..case.clone() };
            same_bits(&format!("{kind:?}"), &alone, &x, &alone.evaluate(&x, Some(&times)), &together[i..=i]);
        }
    }
}

/// A call leaves nothing behind that the next one on this thread could see.
#[test]
fn a_call_does_not_see_the_call_before() {
    let case = Case::rows(16, 1, all_statistics());
    let x = Kind::WhiteNoise.series(300, 1);
    let first = case.evaluate(&x, None);
    for other in Kind::ALL {
        Case::rows(90, 1, all_statistics()).evaluate(&other.series(700, 3), None);
        same_bits(&format!("after {other:?}"), &case, &x, &case.evaluate(&x, None), &first);
    }
}

/// Powers of two change exponents only, so order statistics scale exactly; the others within their tolerance.
#[test]
fn scaling_by_powers_of_two() {
    for kind in Kind::ALL {
        for window in [2usize, 5, 16, 30, 70, 150] {
            let x = kind.series(2 * window + 30, 40);
            let what: Vec<What> = all_statistics()
                .into_iter()
                .filter(|w| !matches!(w, What::RobustZ { scale_floor, .. } if *scale_floor > 0.0))
                .collect();
            let case = Case::rows(window, 1, what);
            let before = case.evaluate(&x, None);
            for factor in [2f64.powi(-60), 0.5, -1.0, -8.0, 2f64.powi(50)] {
                let scaled: Vec<f64> = x.iter().map(|v| v * factor).collect();
                let after = case.evaluate(&scaled, None);
                against_naive(&format!("{kind:?} x {factor:e}"), &case, &scaled, None, (0..x.len()).step_by(7));
                for (i, what) in case.what.iter().enumerate() {
                    let times = match what {
                        What::Median | What::Mean | What::Slope => factor,
                        What::Mad { .. } | What::Std { .. } => factor.abs(),
                        What::Skew { .. } | What::RobustZ { .. } => factor.signum(),
                        What::Kurtosis { .. } | What::Hampel { .. } => 1.0,
                        What::Energy(_) => factor * factor,
                    };
                    for (row, (a, b)) in after[i].iter().zip(&before[i]).enumerate() {
                        if what.is_order_statistic() {
                            let equal = *a == b * times || a.is_nan() && b.is_nan();
                            assert!(equal, "{kind:?} x {factor:e}, {what:?}, row {row}: {a:?} and {b:?}\n{case:?}");
                        } else {
                            let missing = a.is_nan() != b.is_nan();
                            assert!(!missing, "{kind:?} x {factor:e}, {what:?}, row {row}: {a:?} and {b:?}\n{case:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Readings on a grid of 2^-10, so that an offset of 1e9 is added without rounding.
#[test]
fn offsets_of_1e9_change_nothing_but_the_level() {
    for window in [2usize, 3, 4, 8, 16, 40, 100, 300] {
        let n = 2 * window + 60;
        let x: Vec<f64> = Kind::WhiteNoise.series(n, 21).iter().map(|v| (v * 1024.0).round() / 1024.0).collect();
        let case = Case::rows(window, 1, all_statistics());
        let before = case.evaluate(&x, None);
        for offset in [1e9, -1e9, 2f64.powi(40)] {
            let shifted: Vec<f64> = x.iter().map(|v| v + offset).collect();
            let after = case.evaluate(&shifted, None);
            for (i, what) in case.what.iter().enumerate() {
                for (row, (a, b)) in after[i].iter().zip(&before[i]).enumerate() {
                    let equal = match what {
                        What::Median => *a == b + offset,
                        What::Mean => (a - (b + offset)).abs() <= 1e-15 * offset.abs(),
                        _ if what.is_order_statistic() => a == b,
                        What::Energy(_) => true,
                        What::Slope => (a - b).abs() <= 1e-12,
                        _ => (a - b).abs() <= 1e-12 * b.abs().max(1.0),
                    };
                    assert!(
                        equal || a.is_nan() && b.is_nan(),
                        "offset {offset:e}, {what:?}, row {row}: {a:?} and {b:?}\n{case:?}"
                    );
                }
            }
            against_naive(&format!("offset {offset:e}"), &case, &shifted, None, (0..n).step_by(1 + window / 10));
        }
    }
}

#[test]
fn constants_give_exact_results() {
    for value in [0.0, -0.0, 0.1, -273.2, 1e-300, 5e-324, 1e15 + 0.1, 1e300, f64::MAX, f64::MIN] {
        for window in [1usize, 2, 3, 5, 16, 33, 64, 100, 400] {
            let n = 2 * window + 20;
            let mut x = vec![value; n];
            for missing in [false, true] {
                if missing {
                    let random = &mut Random::new(window as u64);
                    x.iter_mut().filter(|_| random.below(4) == 0).for_each(|v| *v = f64::NAN);
                }
                let case = Case::rows(window, 1, all_statistics());
                against_naive("constant", &case, &x, None, (0..n).step_by(1 + window / 20));
                let got = case.evaluate(&x, None);
                for (i, what) in case.what.iter().enumerate() {
                    for (row, got) in got[i].iter().enumerate().filter(|(_, got)| !got.is_nan()) {
                        let expected = match what {
                            What::Median => value,
                            // sums of many equal readings may round; one of them may not
                            What::Mean if (got - value).abs() <= 1e-15 * value.abs() => continue,
                            What::Mean => value,
                            _ => 0.0,
                        };
                        assert_eq!(*got, expected, "{what:?} of {value:e} in row {row}\n{case:?}");
                    }
                }
            }
        }
    }
}

/// Ordinary readings, one of 1e15 or of 1e300: behind the window nothing is left of it.
#[test]
fn a_huge_spike_leaves_with_its_window() {
    for spike in [1e15, -1e15, 1e100, 1e300] {
        for window in [2usize, 3, 5, 8, 16, 20, 33, 64, 65, 130, 300] {
            let n = 5 * window + 20;
            for place in [0, window / 2, window - 1, window, window + window / 3] {
                let mut x = Kind::WhiteNoise.series(n, window as u64);
                let mut calm = x.clone();
                x[place] = spike;
                calm[place] = 0.0;
                let case = Case::rows(window, 1, all_statistics());
                let (after, before) = (case.evaluate(&x, None), case.evaluate(&calm, None));
                for (i, what) in case.what.iter().enumerate() {
                    for row in place + window..n {
                        let (a, b) = (after[i][row], before[i][row]);
                        let equal = match what {
                            What::Energy(_) => continue,
                            _ if what.is_order_statistic() => a == b,
                            _ => (a - b).abs() <= 2e-12 * b.abs().max(1.0),
                        };
                        assert!(
                            equal || a.is_nan() && b.is_nan(),
                            "spike {spike:e} in row {place}, {what:?}, row {row}: {a:?} and without it {b:?}\n{case:?}"
                        );
                    }
                }
                let label = format!("spike {spike:e} in row {place}");
                let step = 1 + window * window / 400;
                against_naive(&label, &case, &x, None, (place + window..n).step_by(step));
            }
        }
    }
}

/// FNV-1a over all bits, every NaN alike: of the energies, or of all other statistics.
fn digest(energies: bool) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let wanted = |what: &What| matches!(what, What::Energy(_)) == energies;
    let statistics: Vec<What> = all_statistics().into_iter().filter(wanted).collect();
    for kind in Kind::ALL {
        for window in [1usize, 2, 5, 8, 16, 20, 33, 64, 65, 100, 300] {
            let n = 3 * window + 50;
            let (x, times) = (kind.series(n, 6), irregular_times(n, 6));
            let rows = Case::rows(window, 1, statistics.clone()).evaluate(&x, None);
            let time = Case::nanoseconds(500_000_000 * window as i64, 1, statistics.clone()).evaluate(&x, Some(&times));
            for value in rows.iter().chain(&time).flatten() {
                let bits = if value.is_nan() { u64::MAX } else { value.to_bits() };
                hash = (hash ^ bits).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    format!("{hash:016x}")
}

/// Printed for the test below, which runs this binary again at other instruction sets.
#[test]
fn print_digest() {
    println!("digest {} {}", digest(false), digest(true));
}

/// The energies where multiplications and additions are fused, all else everywhere.
#[test]
fn all_instruction_sets_give_the_same_bits() {
    let [portable, avx2, avx512] = ["portable", "avx2", "avx512"].map(|level| {
        let output = std::process::Command::new(std::env::current_exe().expect("the path of this test binary"))
            .args(["--exact", "properties::print_digest", "--nocapture"])
            .env("ACM_RS_ISA", level)
            .output()
            .expect("this test binary runs again");
        let text = String::from_utf8_lossy(&output.stdout);
        // the name of the test may stand before it on the line
        let digests = text.split("digest ").nth(1).unwrap_or_else(|| panic!("{level}: {text}"));
        let mut digests = digests.split_whitespace().map(str::to_owned);
        [digests.next(), digests.next()].map(|digest| digest.expect("two digests"))
    });
    let here = digest(false);
    assert_eq!([&portable[0], &avx2[0], &avx512[0]], [&here; 3]);
    assert_eq!(avx2[1], avx512[1], "energies");
}
