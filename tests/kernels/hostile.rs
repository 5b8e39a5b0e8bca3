//! Random series of hostile values through every statistic: no panic, nothing infinite, the truth where f64 can hold it.
//!
//! `ACM_RS_HOSTILE` sets how many (20,000 if it does not).

use crate::checks::{fault, inputs};
use crate::naive::{self, Expected};
use crate::series::Random;
use crate::subject::{Case, What, default_bands};
use std::sync::atomic::{AtomicUsize, Ordering};

const SEED: u64 = 0x0ac3_5eed;
const CHUNK: usize = 64;

struct Hostile {
    case: Case,
    x: Vec<f64>,
    times: Option<Vec<i64>>,
}

fn reading(random: &mut Random, mood: usize) -> f64 {
    let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
    match (mood, random.below(16)) {
        // ordinary readings, some of them missing
        (0, 0) => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        (0, _) => 20.0 + random.normal(),
        // ties and zeros of both signs
        (1, 0) => f64::NAN,
        (1, 1..=4) => random.pick(&[0.0, -0.0]),
        (1, _) => random.below(3) as f64 - 1.0,
        // large only
        (2, _) => sign * random.pick(&[1e308, f64::MAX, 1.7e308, f64::MAX / 2.0, 9e307]),
        // small only
        (3, _) => sign * random.pick(&[5e-324, f64::MIN_POSITIVE, 1e-310, 3e-308, 0.0]),
        // any bits at all
        (4, _) => f64::from_bits(random.next()),
        // everything
        (_, 0 | 1) => f64::NAN,
        (_, 2) => sign * f64::INFINITY,
        (_, 3) => sign * f64::MIN_POSITIVE,
        (_, 4) => f64::from_bits(random.next() >> 12) * sign,
        (_, 5) => sign * 1e308,
        (_, 6) => sign * f64::MAX,
        (_, 7) => -0.0,
        (_, 8) => sign * 1e15,
        (_, 9) => sign * 1e-160,
        (_, 10) => sign * 1e160,
        (_, 11) => random.below(4) as f64,
        _ => random.normal(),
    }
}

/// Of up to `longest` rows.
fn hostile(number: usize, longest: usize) -> Hostile {
    let random = &mut Random::new(SEED ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let n = random.below(longest + 1);
    let mood = random.below(7);
    let x: Vec<f64> = (0..n).map(|_| reading(random, mood)).collect();
    let what = vec![
        What::Median,
        What::Mad { scale: random.pick(&[1.0, 1.4826, 1e-300, 1e300]) },
        What::Mean,
        What::Std { ddof: random.below(4) as u32 },
        What::Skew { bias: random.below(2) == 0 },
        What::Kurtosis { bias: random.below(2) == 0 },
        What::Slope,
        What::RobustZ { clip: random.pick(&[100.0, 1.0, 1e300]), scale_floor: random.pick(&[0.0, 0.0, 1e-9, 1.0]) },
        What::Hampel { n_sigmas: random.pick(&[3.0, 0.5, 1e-3, 1e300]) },
        What::Energy(0),
        What::Energy(1),
        What::Energy(2),
    ];
    if random.below(4) > 0 {
        let window = 1 + random.below(longest + longest / 10);
        let min_samples = 1 + random.below(window.min(6));
        let sampling_hz = random.pick(&[1.0, 1.0, 50.0, 1e-3]);
        let case = Case {
            bands: default_bands(sampling_hz),
            sampling_hz,
            spectrum_min_samples: 1 + random.below(window),
            ..Case::rows(window, min_samples, what)
        };
        return Hostile { case, x, times: None };
    }
    let length = random.pick(&[1, 3, 10, 1_000, 1_000_000_000, 86_400_000_000_000]);
    let case = Case::nanoseconds(length, 1 + random.below(5), what);
    let mut time = random.pick(&[-50, 0, -3_000_000_000_000, 1_700_000_000_000_000_000]);
    let times = (0..n)
        .map(|_| {
            let step = length / 4 + 1;
            time += random.pick(&[0, 0, 1, 2, step, step, 3 * step]);
            time
        })
        .collect();
    Hostile { case, x, times: Some(times) }
}

/// Prints the inputs when a kernel panics.
struct OnPanic<'a>(usize, &'a Hostile);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let OnPanic(number, Hostile { case, x, times }) = self;
            eprintln!("hostile series {number}\nx = {x:?}\ntimes = {times:?}\n{case:?}");
        }
    }
}

/// Results near the end of the range of f64 are rounded to multiples of 5e-324, squares of readings below 1e-150 to 0.
/// A mean may be off by the rounding of the largest reading of the window, which is up to n times the mean of them all.
fn lenient(what: What, expected: Expected) -> Expected {
    let (times, more) = match what {
        What::Mean => (100.0, 1e-321),
        What::Std { .. } | What::Slope => (1.0, 1e-321),
        What::Energy(_) => (1.0, 1e-300),
        _ => (1.0, 0.0),
    };
    Expected { tolerance: times * expected.tolerance + more, ..expected }
}

fn run(number: usize, longest: usize) {
    let input = hostile(number, longest);
    let _guard = OnPanic(number, &input);
    let Hostile { case, x, times } = &input;
    let got = case.evaluate(x, times.as_deref());
    for t in 0..x.len() {
        let expected = naive::row(case, x, times.as_deref(), t);
        for (i, what) in case.what.iter().enumerate() {
            let (got, expected) = (got[i][t], lenient(*what, expected[i]));
            if let Some(fault) = fault(got, expected) {
                panic!(
                    "hostile series {number}: {what:?} in row {t}: {fault}\ngot      {got:?}\nexpected {:?} within {:e}\n{}",
                    expected.value,
                    expected.tolerance,
                    inputs(case, x, times.as_deref(), t)
                );
            }
        }
    }
}

fn run_all(share: usize, longest: usize) {
    let count: usize = match std::env::var("ACM_RS_HOSTILE") {
        Ok(text) => text.parse().expect("ACM_RS_HOSTILE is a whole number"),
        Err(_) => 20_000,
    };
    let count = count / share;
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= count {
                        break;
                    }
                    (from..(from + CHUNK).min(count)).for_each(|number| run(number, longest));
                }
            });
        }
    });
}
#[test]
fn hostile_series() {
    run_all(1, 64);
}

/// Fewer, and long enough for the algorithms of larger windows.
#[test]
fn long_hostile_series() {
    run_all(20, 400);
}
