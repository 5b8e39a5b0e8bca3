//! Spectra of whole series against a transform by its definition.

use std::f64::consts::TAU;

use acm_rs::kernels::features::spectrum::{Spectrum, frequencies, rows_of_kept_plans};
use acm_rs::kernels::params::Bands;

use crate::series::{Kind, Random};

/// A power may err by this share of the sum of all.
const TOLERANCE: f64 = 1e-12;

fn present(x: &[f64]) -> Vec<f64> {
    x.iter().copied().filter(|v| v.is_finite()).collect()
}

/// The readings about their mean, missing ones as 0; none if fewer than `least` are present.
fn centred(x: &[f64], least: usize) -> Option<Vec<f64>> {
    let readings = present(x);
    if readings.len() < least {
        return None;
    }
    let mean = readings.iter().sum::<f64>() / readings.len() as f64;
    // what rounding left of it: added to the mean of large readings it would be lost
    let rest = readings.iter().map(|v| v - mean).sum::<f64>() / readings.len() as f64;
    Some(x.iter().map(|v| if v.is_finite() { v - mean - rest } else { 0.0 }).collect())
}

fn naive_power(y: &[f64], k: usize) -> f64 {
    let n = y.len();
    let angle = |i: usize| TAU * ((k as u128 * i as u128) % n as u128) as f64 / n as f64;
    let re: f64 = y.iter().enumerate().map(|(i, y)| y * angle(i).cos()).sum();
    let im: f64 = y.iter().enumerate().map(|(i, y)| y * angle(i).sin()).sum();
    re * re + im * im
}

fn naive(x: &[f64], least: usize) -> Option<Vec<f64>> {
    let y = centred(x, least)?;
    Some((0..=x.len() / 2).map(|k| if k == 0 { 0.0 } else { naive_power(&y, k) }).collect())
}

/// As the door between Polars and the kernels hands readings over.
fn loaded(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| if v.is_finite() { *v } else { f64::NAN }).collect()
}

#[test]
fn powers_by_hand() {
    let mut spectrum = Spectrum::default();
    // a wave of four rows twice, amplitude 1 about 5: (n / 2)^2 in bin 2
    let mut x = [5.0, 6.0, 5.0, 4.0, 5.0, 6.0, 5.0, 4.0];
    assert_eq!(naive(&x, 2).unwrap().iter().map(|p| p.round()).collect::<Vec<_>>(), [0.0, 0.0, 16.0, 0.0, 0.0]);
    assert_eq!(spectrum.powers(&mut x, None).unwrap(), [0.0, 0.0, 16.0, 0.0, 0.0]);
    // a missing reading adds nothing: y = -1, 0, 1, 0
    let mut x = [1.0, f64::NAN, 3.0, 2.0];
    assert_eq!(spectrum.powers(&mut x, None).unwrap(), [0.0, 4.0, 0.0]);
    assert_eq!(frequencies(8, 2.0).collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(frequencies(3, 1.0).count(), 2);
    assert_eq!(frequencies(1, 1.0).collect::<Vec<_>>(), [0.0]);
    assert_eq!(frequencies(0, 1.0).count(), 0);
}

#[test]
fn powers_are_those_of_the_definition() {
    let mut spectrum = Spectrum::default();
    for n in (0..=67).chain([96, 97, 100, 127, 128, 131, 254, 255]) {
        for (kind, gaps) in Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let mut x = kind.series(n, 7 * n as u64 + 1);
            if gaps {
                x.iter_mut().skip(2).step_by(5).for_each(|v| *v = f64::NAN);
            }
            for min_samples in [None, Some(2), Some(n.max(2))] {
                let expected = naive(&x, min_samples.unwrap_or((n / 2).max(2)));
                let mut readings = loaded(&x);
                let got = spectrum.powers(&mut readings, min_samples).map(<[f64]>::to_vec);
                assert_eq!(got.is_some(), expected.is_some(), "{kind:?} {min_samples:?} x = {x:?}");
                let (Some(got), Some(expected)) = (got, expected) else { continue };
                assert_eq!(got.len(), n / 2 + 1);
                // a spike may stand first: what it hides of the mean is a share of its own energy
                let total: f64 = expected.iter().sum::<f64>() + f64::MIN_POSITIVE;
                for (k, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let error = (got - expected).abs() / total;
                    assert!(error <= TOLERANCE, "{kind:?} n = {n}, bin {k}: {got} is not {expected}\nx = {x:?}");
                }
            }
        }
    }
}

/// Powers of two, products of small primes, primes, twice a prime, and a prime whose predecessor has a large factor.
#[test]
fn long_series_of_every_length() {
    let mut spectrum = Spectrum::default();
    for n in [4096, 5000, 5003, 10_006, 10_007, 32_771] {
        let x = Kind::MissingAtRandom.series(n, 3);
        let y = centred(&x, 2).unwrap();
        let mut readings = loaded(&x);
        let powers = spectrum.powers(&mut readings, None).unwrap();
        let total: f64 = powers.iter().sum();
        // Parseval; the bin at the Nyquist frequency, which even lengths have, stands for itself
        let nyquist = if n % 2 == 0 { powers[n / 2] } else { 0.0 };
        let squares = y.iter().map(|y| y * y).sum::<f64>() * n as f64;
        assert!((2.0 * total - nyquist - squares).abs() <= TOLERANCE * squares, "n = {n}");
        for k in [1, 2, n / 3, n / 2 - 1, n / 2] {
            assert!((powers[k] - naive_power(&y, k)).abs() <= TOLERANCE * total, "n = {n}, bin {k}");
        }
    }
}

#[test]
fn energies_are_sums_over_bands() {
    let (mut spectrum, edges) = (Spectrum::default(), [(0.0, 0.1), (0.1, 0.25), (0.3, 0.5)]);
    let bands = Bands::new(&edges, 1.0).unwrap();
    for n in [2, 5, 16, 40, 61] {
        let x = Kind::MissingAtRandom.series(n, 11);
        let powers = naive(&x, 2).unwrap();
        let got = spectrum.energies(&mut loaded(&x), Some(2), &bands);
        for (band, (low, high)) in edges.into_iter().enumerate() {
            let inside = |k: &usize| (low..high).contains(&(*k as f64 / n as f64));
            let expected: f64 = (0..powers.len()).filter(inside).map(|k| powers[k]).sum();
            let total: f64 = powers.iter().sum();
            assert!((got[band] - expected).abs() <= TOLERANCE * total, "n = {n}, band {band}: {got:?}\nx = {x:?}");
        }
    }
    assert!(spectrum.energies(&mut [f64::NAN, 1.0], None, &bands).iter().all(|e| e.is_nan()));
}

#[test]
fn the_dominant_period_is_the_strongest() {
    let mut spectrum = Spectrum::default();
    let mut period = |x: &[f64], min_cycles: usize| spectrum.dominant_period(&mut x.to_vec(), None, 2.0, min_cycles);
    let wave = |n: usize, of: f64| (0..n).map(|i| 3.0 + (TAU * i as f64 / of).sin()).collect::<Vec<_>>();
    // two rows a second
    assert_eq!(period(&wave(96, 12.0), 2), 6.0);
    assert_eq!(period(&wave(97 * 5, 5.0), 2), 2.5);
    assert_eq!(period(&[1.0, -1.0, 1.0, -1.0], 2), 1.0);
    // once only: nothing but rounding is left
    assert!(period(&wave(100, 100.0), 2).is_nan());
    assert_eq!(period(&wave(100, 100.0), 1), 50.0);
    assert!(period(&[0.1; 50], 1).is_nan());
    assert!(period(&[0.1], 1).is_nan());
    assert!(period(&[], 1).is_nan());
    assert!(period(&[1e300, -1e300, 1e300, -1e300], 1).is_nan(), "powers beyond the largest number");
    for seed in 0..50 {
        let x = Kind::WhiteNoise.series(50 + seed as usize, seed);
        let powers = naive(&x, 2).unwrap();
        let best = (2..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b])).unwrap();
        assert_eq!(period(&x, 2), x.len() as f64 / best as f64 / 2.0, "x = {x:?}");
    }
}

/// However many lengths come by: odd ones of several hundred thousand rows, too.
#[test]
fn plans_are_kept_within_a_bound() {
    let (mut spectrum, random) = (Spectrum::default(), &mut Random::new(1));
    let lengths = (0..400).map(|_| 3 + random.below(5000)).chain([600_001, 262_143, 40_001]).collect::<Vec<_>>();
    for n in lengths {
        let mut x: Vec<f64> = (0..n).map(|i| (i % 7) as f64).collect();
        assert!(spectrum.powers(&mut x, None).is_some());
        let (kept, most) = rows_of_kept_plans();
        assert!(kept <= most, "{kept} rows kept after {n}");
    }
}
