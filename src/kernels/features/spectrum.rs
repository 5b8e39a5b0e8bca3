//! Spectrum of a whole series.
//!
//! ```text
//! y_i = x_i - mean (missing: 0),  P_k = |sum_i y_i exp(-2 pi i k i / n)|^2,  k = 0..=n/2,  f_k = k * sampling_hz / n
//! ```
//!
//! The unscaled periodogram (Schuster 1898) as `rolling::spectral` has it: no window function, bins not doubled, as NumPy's
//! `rfft`. Bin 0 is 0, because the series is centred. The energy of a band is the sum of its powers.
//!
//! The dominant period is that of the largest power among the bins that hold at least `min_cycles` cycles. Bins below
//! `NOISE` of the sum of all powers are rounding, not readings: a series with nothing else has no dominant period.
//!
//! Missing readings add nothing. Cost: O(n log n) for every n (realfft on rustfft: mixed radix, Rader and Bluestein for lengths
//! with large prime factors); a power is right to about `eps * log2(n)` of the sum of all powers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

use crate::kernels::params::Bands;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

/// Powers up to this share of their sum are rounding: a bin of an exact transform of this data would hold `eps^2` of the sum of
/// squares, 16 times that leaves room for the rounding of log2(n) steps.
const NOISE: f64 = 16.0 * f64::EPSILON * f64::EPSILON;

/// A thread keeps plans of so many rows together, about 10 MB: enough for hundreds of groups of some hundred rows, and no more
/// however many lengths come by.
const ROWS_KEPT: usize = 1 << 18;

pub type Plan = Arc<dyn RealToComplex<f64>>;

/// A plan for `n` rows, by a planner of its own, because a planner never forgets.
pub fn plan(n: usize) -> Plan {
    RealFftPlanner::new().plan_fft_forward(n)
}

/// Plans by length; emptied when they grow too large together.
#[derive(Default)]
struct Plans {
    by_rows: HashMap<usize, Plan>,
    rows: usize,
}

thread_local! {
    static PLANS: RefCell<Plans> = RefCell::default();
}

impl Plans {
    fn get(&mut self, n: usize) -> Plan {
        if let Some(plan) = self.by_rows.get(&n) {
            return plan.clone();
        }
        let plan = plan(n);
        if n <= ROWS_KEPT {
            if self.rows + n > ROWS_KEPT {
                *self = Self::default();
            }
            self.rows += n;
            self.by_rows.insert(n, plan.clone());
        }
        plan
    }
}

/// The same, as this thread keeps it.
pub fn kept_plan(n: usize) -> Plan {
    PLANS.with_borrow_mut(|plans| plans.get(n))
}

/// How many rows the plans of this thread hold, and the most they may: for tests.
pub fn rows_of_kept_plans() -> (usize, usize) {
    (PLANS.with_borrow(|plans| plans.by_rows.keys().sum()), ROWS_KEPT)
}

/// Buffers for one series after another.
#[derive(Default)]
pub struct Spectrum {
    transform: Vec<Complex64>,
    scratch: Vec<Complex64>,
    powers: Vec<f64>,
}

impl Spectrum {
    /// The powers `P_0..=P_(n/2)` of the readings, which are overwritten; none where fewer than `min_samples` are present, by
    /// default half of the rows and at least 2.
    pub fn powers(&mut self, x: &mut [f64], min_samples: Option<usize>) -> Option<&[f64]> {
        let n = x.len();
        let least = min_samples.unwrap_or(n / 2).max(2);
        centre(x, least)?;
        Some(self.of_centred(x, &kept_plan(n)))
    }

    /// The powers of readings about their mean.
    pub fn of_centred(&mut self, x: &mut [f64], plan: &Plan) -> &[f64] {
        self.transform.resize(x.len() / 2 + 1, Complex64::default());
        self.scratch.resize(plan.get_scratch_len(), Complex64::default());
        plan.process_with_scratch(x, &mut self.transform, &mut self.scratch).expect("buffers of the plan's lengths");
        self.powers.clear();
        self.powers.extend(self.transform.iter().map(|z| z.re * z.re + z.im * z.im));
        self.powers[0] = 0.0;
        &self.powers
    }

    /// The powers computed last, to keep.
    pub fn take_powers(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.powers)
    }

    /// The energy in each band, NaN where there is no spectrum.
    pub fn energies(&mut self, x: &mut [f64], min_samples: Option<usize>, bands: &Bands) -> Vec<f64> {
        let n = x.len();
        match self.powers(x, min_samples) {
            Some(powers) => bands.bins(n).into_iter().map(|bins| sum(&powers[bins], |power| power)).collect(),
            None => vec![f64::NAN; bands.len()],
        }
    }

    /// The period of the largest power in seconds, NaN where there is none.
    pub fn dominant_period(
        &mut self,
        x: &mut [f64],
        min_samples: Option<usize>,
        sampling_hz: f64,
        min_cycles: usize,
    ) -> f64 {
        let n = x.len();
        let Some(powers) = self.powers(x, min_samples) else { return f64::NAN };
        let noise = NOISE * sum(powers, |power| power);
        let bins = powers.iter().enumerate().skip(min_cycles);
        let largest = bins.fold((0, 0.0), |best, (k, &power)| if power > best.1 { (k, power) } else { best });
        if noise.is_finite() && largest.1 > noise { n as f64 / largest.0 as f64 / sampling_hz } else { f64::NAN }
    }
}

/// The frequencies in Hz of the powers of `n` rows.
pub fn frequencies(n: usize, sampling_hz: f64) -> impl Iterator<Item = f64> {
    let bins = if n == 0 { 0 } else { n / 2 + 1 };
    (0..bins).map(move |k| k as f64 * sampling_hz / n as f64)
}

/// Takes the mean out and puts 0 in place of missing readings, if at least so many are present.
pub fn centre(x: &mut [f64], least: usize) -> Option<()> {
    let anchor = *x.iter().find(|v| !v.is_nan())?;
    let (count, sum) = dispatch(Moments { x, anchor });
    if count < least {
        return None;
    }
    dispatch(Subtract { x, anchor, shift: sum / count as f64 });
    Some(())
}

/// How many readings are present, and their sum about the anchor: in lanes, because one after the other the additions would wait
/// for each other, half of the time of the transform.
struct Moments<'a> {
    x: &'a [f64],
    anchor: f64,
}

impl Kernel for Moments<'_> {
    type Output = (usize, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (usize, f64) {
        let (vectors, rest) = self.x.as_chunks::<LANES>();
        let (anchor, one) = (s.splat(self.anchor), s.splat(1.0));
        let (mut counts, mut sums) = (s.splat(0.0), s.splat(0.0));
        for v in vectors {
            let v = s.load(v);
            let present = s.eq(v, v);
            counts = s.add(counts, s.keep(present, one));
            sums = s.add(sums, s.keep(present, s.sub(v, anchor)));
        }
        let rest = || rest.iter().filter(|v| !v.is_nan());
        let count = s.to_array(counts).iter().sum::<f64>() as usize + rest().count();
        (count, s.to_array(sums).iter().sum::<f64>() + rest().map(|v| v - self.anchor).sum::<f64>())
    }
}

/// Readings less their mean, 0 for missing ones. The mean is taken out as anchor and shift, one after the other: rounded to the digits
/// of large readings it would leave a level in what lies between the gaps.
struct Subtract<'a> {
    x: &'a mut [f64],
    anchor: f64,
    shift: f64,
}

impl Kernel for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (vectors, rest) = self.x.as_chunks_mut::<LANES>();
        let (anchor, shift) = (s.splat(self.anchor), s.splat(self.shift));
        for v in vectors {
            let reading = s.load(v);
            s.store(s.keep(s.eq(reading, reading), s.sub(s.sub(reading, anchor), shift)), v);
        }
        rest.iter_mut().for_each(|v| *v = if v.is_nan() { 0.0 } else { *v - self.anchor - self.shift });
    }
}

/// The sum of `f` over all, in eight lanes: one after the other the additions would wait for each other, half of the time of
/// the transform.
pub fn sum(x: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let blocks = x.chunks_exact(8);
    let rest: f64 = blocks.remainder().iter().map(|v| f(*v)).sum();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, v)| *lane += f(*v));
    }
    ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])) + rest
}
