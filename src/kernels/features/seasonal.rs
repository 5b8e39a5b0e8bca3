//! Daily, weekly and other patterns of fixed periods, by phase means.
//!
//! Time is cut into bins of `every`, counted from a Monday, 00:00 by the clock that the times are of. The phase of a reading in a
//! period of K bins is its bin modulo K: for hours, the hour of day and the hour of week.
//!
//! ```text
//! m_k = mean of the readings of phase k,   profile_k = m_k - mean of the m_k,   amplitude = (max m - min m) / 2
//! ```
//!
//! the seasonal component of classical decomposition (Brockwell & Davis 2016, Introduction to Time Series and Forecasting, 1.5.2,
//! method S1), centred so that a whole period of it sums to 0. Periods are fitted one after the other, each on what the ones
//! before leave. The confidence is the share of the variance within a period (a day, a week) that the pattern explains, of what
//! the other patterns leave:
//!
//! ```text
//! confidence_i = max(0, 1 - (S_i / (n - c_i - d)) / (T_i / (n - c_i - d + d_i)))
//! ```
//!
//! with `S_i` the sum of squares of the residuals r after all periods about the mean of r in their own cycle (this day, this week),
//! `T_i` the same of `r + profile_i`, `c_i` the number of cycles with readings, `d_i` the number of means that are new in period i
//! and `d` their sum: the partial R^2 of a randomised block design, corrected for its bias (Kelley 1935, epsilon^2; Mordkoff 2019,
//! doi:10.1177/2515245919855053). Without a pattern it is 0 on average, whatever the number of phases. A mean of a later period is
//! new only for frequencies that no earlier period has: 144 of the 168 hours of a week, after those of the day. Tried and rejected:
//! the share of all variance, which the year and the weather take from the daily pattern of a temperature, and in which a strong
//! weekly pattern hides the daily one.
//!
//! All means come from one table of cells, one per bin of the least common multiple of the periods: count and mean of the
//! readings in each, by a corrected two-pass sum (Chan, Golub & LeVeque 1983). So the cost is two passes over the readings, and one
//! more for the confidence of each period; the order of rows plays no part but for the last bits. Readings far from 1 are scaled by a
//! power of two, so that squares neither overflow nor vanish.
//!
//! Missing readings are skipped. A phase without readings has no profile. A period that the readings do not span `min_cycles` times has no
//! pattern. Tried and rejected: counts as integers beside the sums (a second store per reading: 20 % slower).
//!
//! [`fit_by_lag`] and [`subtract_sines`] are ACM's own form, for comparison: the phase of its sine is counted from the first bin where
//! it is fitted and from midnight where it is subtracted, and its maximum stands where the sine is 0.

use std::collections::HashMap;
use std::f64::consts::TAU;

use crate::kernels::params::ParamError;
use crate::kernels::powers_of_two;

/// Monday, 29 December 1969, 00:00.
const MONDAY: i64 = -3 * 86_400_000_000_000;
const MINUTE: i64 = 60_000_000_000;

/// Bins of the least common multiple of all periods, at most: a table of 24 MB per thread.
pub const CELLS_MAX: usize = 1 << 20;

/// Sums of squares up to `n * (RESOLUTION * largest reading)^2` are rounding: means are right to about `eps` of the readings.
const RESOLUTION: f64 = 8.0 * f64::EPSILON;

/// Readings whose largest lies outside of this and of its inverse are scaled: their squares and the sums of these are safe within.
const SAFE: f64 = 1e100;

/// ACM's least number of readings.
const ACM_READINGS: usize = 24;

/// Periods, ascending, and the width of a bin, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Periods {
    every: i64,
    /// where bins begin: the Monday modulo `every`
    first: i64,
    /// bins of each period
    phases: Vec<usize>,
    /// frequencies of each period that none before it has; the constant is one of those of the first
    new: Vec<usize>,
    /// bins of their least common multiple
    cells: usize,
}

impl Periods {
    pub fn new(periods: &[i64], every: i64) -> Result<Self, ParamError> {
        let refuse = |text: String| Err(ParamError(text));
        if every < 1 {
            return refuse(format!("`every` must be longer than zero, got {every} ns"));
        }
        if periods.is_empty() {
            return refuse("`periods` must hold at least one period".into());
        }
        let (mut last, mut cells, mut phases, mut new) = (every, 1_usize, Vec::new(), Vec::new());
        for &period in periods {
            if period <= last || period % every != 0 {
                return refuse(format!(
                    "`periods` must be ascending, each a multiple of `every` ({every} ns) and longer than it, got {period} ns"
                ));
            }
            last = period;
            let count = usize::try_from(period / every).unwrap_or(usize::MAX);
            let common = (cells / greatest_common_divisor(cells, count)).checked_mul(count);
            match common.filter(|cells| *cells <= CELLS_MAX) {
                Some(common) => cells = common,
                None => {
                    return refuse(format!(
                        "`periods` must have a common multiple of at most {CELLS_MAX} times `every`, got {period} ns for {every} ns; choose a longer `every`"
                    ));
                }
            }
            // wave number j of this period is a whole wave number of one of k bins if k * j / count is whole
            let known = |j: usize| phases.iter().any(|k| (*k as u128 * j as u128).is_multiple_of(count as u128));
            new.push((0..count).filter(|&j| !known(j)).count());
            phases.push(count);
        }
        Ok(Self { every, first: MONDAY.rem_euclid(every), phases, new, cells })
    }

    pub fn len(&self) -> usize {
        self.phases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.phases.is_empty()
    }

    pub fn every(&self) -> i64 {
        self.every
    }

    /// Bins of each period.
    pub fn phases(&self) -> &[usize] {
        &self.phases
    }

    /// The length of a period.
    pub fn length(&self, i: usize) -> i64 {
        self.phases[i] as i64 * self.every
    }

    /// Bins since the Monday.
    fn bin(&self, time: i64) -> i64 {
        // in parts, because the difference of two times may not fit
        let whole = time.div_euclid(self.every).saturating_sub(MONDAY.div_euclid(self.every));
        whole - i64::from(time.rem_euclid(self.every) < self.first)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The cell of each row: what all columns of a frame share.
pub struct Clock<'a> {
    periods: &'a Periods,
    times: &'a [i64],
    cells: Vec<u32>,
    /// for each period the cycle of each row, by the order in which they come, and how many there are
    cycles: Vec<(Vec<u32>, usize)>,
    /// how many rows each cell has
    counts: Vec<f64>,
    /// first and last bin
    span: Option<(i64, i64)>,
}

impl<'a> Clock<'a> {
    /// Of times in nanoseconds, in any order, by the clock whose hours and weekdays count.
    pub fn new(periods: &'a Periods, times: &'a [i64]) -> Self {
        let mut counts = vec![0.0; periods.cells];
        let mut span: Option<(i64, i64)> = None;
        // the rows of one bin often stand together: divided once
        let (mut whole, mut cell) = (0..0, 0);
        let cells = times
            .iter()
            .map(|&time| {
                if !whole.contains(&time) {
                    let bin = periods.bin(time);
                    span = Some(span.map_or((bin, bin), |(first, last)| (first.min(bin), last.max(bin))));
                    cell = bin.rem_euclid(periods.cells as i64) as usize;
                    let within = (time.rem_euclid(periods.every) - periods.first).rem_euclid(periods.every);
                    let start = time.saturating_sub(within);
                    whole = start..start.saturating_add(periods.every);
                }
                counts[cell] += 1.0;
                cell as u32
            })
            .collect();
        let cycles = (0..periods.len()).map(|i| cycles(times, periods, i)).collect();
        Self { periods, times, cells, cycles, counts, span }
    }

    /// First and last bin of the readings that are present.
    fn span_of(&self, x: &[f64], missing: bool) -> Option<(i64, i64)> {
        if !missing {
            return self.span;
        }
        let present = x.iter().zip(self.times).filter(|(v, _)| !v.is_nan()).map(|(_, time)| *time);
        let ends = present.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        (ends.0 <= ends.1).then(|| (self.periods.bin(ends.0), self.periods.bin(ends.1)))
    }

    /// Whether the readings span a period so many times.
    fn covered(&self, i: usize, span: (i64, i64), min_cycles: usize) -> bool {
        let bins = (i128::from(span.1) - i128::from(span.0) + 1) as u128;
        bins >= min_cycles as u128 * self.periods.phases[i] as u128
    }
}

/// The cycle of each row, by the order in which they come: rows far apart need no table between them.
fn cycles(times: &[i64], periods: &Periods, i: usize) -> (Vec<u32>, usize) {
    let (length, begin) = (periods.length(i), MONDAY.rem_euclid(periods.length(i)));
    let mut known: HashMap<i64, u32> = HashMap::new();
    let (mut whole, mut cycle) = (0..0, 0);
    let ids = times.iter().map(|&time| {
        if !whole.contains(&time) {
            let start = time.saturating_sub((time.rem_euclid(length) - begin).rem_euclid(length));
            whole = start..start.saturating_add(length);
            let next = known.len() as u32;
            cycle = *known.entry(start).or_insert(next);
        }
        cycle
    });
    (ids.collect(), known.len())
}

/// What a period explains. NaN and an empty profile where that is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub confidence: f64,
    pub amplitude: f64,
    /// the phase with the largest mean
    pub peak: Option<usize>,
    /// what a reading of each phase is above the others on average; NaN for phases without readings
    pub profile: Vec<f64>,
}

impl Pattern {
    fn none() -> Self {
        Self { confidence: f64::NAN, amplitude: f64::NAN, peak: None, profile: Vec::new() }
    }

    fn of_means(confidence: f64, means: Vec<f64>) -> Self {
        let present = || means.iter().copied().enumerate().filter(|(_, m)| !m.is_nan());
        let Some(highest) = present().reduce(|best, next| if next.1 > best.1 { next } else { best }) else {
            return Self::none();
        };
        let lowest = present().fold(highest.1, |low, (_, m)| low.min(m));
        Self { confidence, amplitude: (highest.1 - lowest) / 2.0, peak: Some(highest.0), profile: means }
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.amplitude *= factor;
        self.profile.iter_mut().for_each(|v| *v *= factor);
        self
    }

    /// Whether it is sure enough to be taken out.
    pub fn counts(&self, min_confidence: f64) -> bool {
        self.confidence >= min_confidence && !self.profile.is_empty()
    }
}

/// The readings of one cell.
#[derive(Clone, Copy, Default)]
struct Cell {
    count: f64,
    mean: f64,
}

/// Buffers for one column after another.
#[derive(Default)]
pub struct Seasons {
    cells: Vec<Cell>,
    scaled: Vec<f64>,
    bins: Vec<(f64, f64)>,
}

impl Seasons {
    /// The pattern of every period in the readings, `missing` if some are (NaN).
    pub fn fit(&mut self, x: &[f64], missing: bool, clock: &Clock, min_cycles: usize) -> Vec<Pattern> {
        assert_eq!(x.len(), clock.cells.len(), "a time for each reading");
        let largest = largest(x);
        if largest == 0.0 || (1.0 / SAFE..SAFE).contains(&largest) {
            self.table(x, missing, clock);
            return self.patterns(x, largest, clock, clock.span_of(x, missing), min_cycles);
        }
        // in two steps, because the inverse of the smallest numbers is no number
        let (down, up) = powers_of_two(largest.sqrt());
        let mut scaled = std::mem::take(&mut self.scaled);
        scaled.clear();
        scaled.extend(x.iter().map(|v| v * down * down));
        self.table(&scaled, missing, clock);
        let patterns = self.patterns(&scaled, largest * down * down, clock, clock.span_of(x, missing), min_cycles);
        self.scaled = scaled;
        patterns.into_iter().map(|pattern| pattern.scaled(up).scaled(up)).collect()
    }

    /// Counts and means by cell.
    fn table(&mut self, x: &[f64], missing: bool, clock: &Clock) {
        let rows = || x.iter().zip(&clock.cells).map(|(&v, &cell)| (v, cell as usize));
        let cells = &mut self.cells;
        cells.clear();
        cells.resize(clock.periods.cells, Cell::default());
        if missing {
            for (v, cell) in rows() {
                let present = !v.is_nan();
                cells[cell].mean += if present { v } else { 0.0 };
                cells[cell].count += f64::from(u8::from(present));
            }
        } else {
            rows().for_each(|(v, cell)| cells[cell].mean += v);
            cells.iter_mut().zip(&clock.counts).for_each(|(cell, count)| cell.count = *count);
        }
        let mut rest = vec![0.0; cells.len()];
        cells.iter_mut().filter(|cell| cell.count > 0.0).for_each(|cell| cell.mean /= cell.count);
        for (v, cell) in rows() {
            let distance = v - cells[cell].mean;
            rest[cell] += if distance.is_nan() { 0.0 } else { distance };
        }
        for (cell, rest) in cells.iter_mut().zip(rest).filter(|(cell, _)| cell.count > 0.0) {
            cell.mean += rest / cell.count;
        }
    }

    fn patterns(
        &mut self,
        x: &[f64],
        largest: f64,
        clock: &Clock,
        span: Option<(i64, i64)>,
        min_cycles: usize,
    ) -> Vec<Pattern> {
        let (periods, cells) = (clock.periods, &mut self.cells);
        let Some(span) = span else { return vec![Pattern::none(); periods.len()] };
        let count: f64 = cells.iter().map(|cell| cell.count).sum();
        // about the mean of all readings, itself about the mean of one cell
        let about = cells.iter().find(|cell| cell.count > 0.0).map_or(0.0, |cell| cell.mean);
        let mean = about + cells.iter().map(|cell| cell.count * (cell.mean - about)).sum::<f64>() / count;
        cells.iter_mut().for_each(|cell| cell.mean -= mean);
        let mut patterns = Vec::with_capacity(periods.len());
        // new means of each fitted period, and what is fitted in all, by cell
        let mut new_means: Vec<f64> = Vec::new();
        let mut level: Vec<f64> = cells.iter().map(|cell| cell.mean + mean).collect();
        for (i, &phases) in periods.phases.iter().enumerate() {
            if !clock.covered(i, span, min_cycles) {
                // neither are those that follow, which are longer
                patterns.push(Pattern::none());
                continue;
            }
            let (mut means, mut counts) = (vec![0.0; phases], vec![0.0; phases]);
            for (c, cell) in cells.iter().enumerate() {
                means[c % phases] += cell.count * cell.mean;
                counts[c % phases] += cell.count;
            }
            // a phase without readings has 0 / 0, which is missing
            means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= count);
            let present = || means.iter().zip(&counts).filter(|(_, count)| **count > 0.0);
            let occupied = present().count() as f64;
            // the constant is a frequency of the first period, but known
            let new = (periods.new[i] as f64 * occupied / phases as f64 - f64::from(u8::from(i == 0))).max(0.0);
            new_means.push(new);
            let centre = present().map(|(mean, _)| mean).sum::<f64>() / occupied;
            for (c, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.count > 0.0) {
                cell.mean -= means[c % phases];
            }
            means.iter_mut().for_each(|mean| *mean -= centre);
            patterns.push(Pattern::of_means(f64::NAN, means));
        }
        // what the patterns leave of the mean of a cell is not fitted
        level.iter_mut().zip(cells.iter()).for_each(|(level, cell)| *level -= cell.mean);
        let (fitted, floor) = (new_means.iter().sum::<f64>(), count * (RESOLUTION * largest).powi(2));
        for (i, new) in new_means.into_iter().enumerate() {
            let (rest, with_pattern, met) = within_cycles(x, clock, i, &level, &patterns[i].profile);
            let free = count - met - fitted;
            if free > 0.0 && with_pattern > floor {
                patterns[i].confidence = (1.0 - rest / free / (with_pattern / (free + new))).max(0.0);
            }
        }
        patterns
    }

    /// ACM's patterns: readings averaged by bin from the first to the last, gaps interpolated, the confidence is the correlation
    /// of the bins with those a period before, the means are by phase since the first bin and not centred.
    pub fn fit_by_lag(&mut self, x: &[f64], clock: &Clock, min_cycles: usize) -> Vec<Pattern> {
        let periods = clock.periods;
        let none = || vec![Pattern::none(); periods.len()];
        let Some((first, last)) = clock.span_of(x, true) else { return none() };
        let readings = x.iter().filter(|v| !v.is_nan()).count();
        // more bins than this are gaps for the most part; ACM would fill them one by one
        let bins = (i128::from(last) - i128::from(first) + 1) as u128;
        if readings < ACM_READINGS || bins > (CELLS_MAX as u128).max(64 * x.len() as u128) {
            return none();
        }
        self.bins.clear();
        self.bins.resize(bins as usize, (0.0, 0.0));
        for (&v, &time) in x.iter().zip(clock.times).filter(|(v, _)| !v.is_nan()) {
            let (sum, count) = &mut self.bins[(periods.bin(time) - first) as usize];
            (*sum, *count) = (*sum + v, *count + 1.0);
        }
        let mut values: Vec<f64> = self.bins.iter().map(|(sum, count)| sum / count).collect();
        interpolate(&mut values);
        let ends = x.iter().zip(clock.times).filter(|(v, _)| !v.is_nan()).map(|(_, &time)| time);
        let span = ends.clone().max().zip(ends.min()).map_or(0, |(last, first)| i128::from(last) - i128::from(first));
        (0..periods.len())
            .map(|i| {
                let lag = periods.phases[i];
                let cycles = min_cycles as i128;
                if span < cycles * i128::from(periods.length(i)) || (values.len() as i128) < cycles * lag as i128 {
                    return Pattern::none();
                }
                let confidence = correlation(&values[lag..], &values[..values.len() - lag]).max(0.0);
                let means = (0..lag).map(|k| {
                    let of_phase = values.iter().skip(k).step_by(lag);
                    of_phase.clone().sum::<f64>() / of_phase.count() as f64
                });
                Pattern::of_means(confidence, means.collect())
            })
            .collect()
    }
}

/// Sums of squares about the means of the cycles of period i, of the residuals and of those with their profile, and how many
/// cycles have readings.
fn within_cycles(x: &[f64], clock: &Clock, i: usize, level: &[f64], profile: &[f64]) -> (f64, f64, f64) {
    /// About the first reading of the cycle, so that a drift from cycle to cycle does no harm.
    #[derive(Clone, Copy, Default)]
    struct Cycle {
        count: f64,
        first: f64,
        sums: [f64; 2],
        squares: [f64; 2],
    }
    let by_cell: Vec<f64> = (0..level.len()).map(|c| profile[c % profile.len()]).collect();
    let (ids, count) = &clock.cycles[i];
    let mut cycles = vec![Cycle::default(); *count];
    // the rows of one cycle often stand together: summed without a detour over memory
    let (mut id, mut cycle) = (0, Cycle::default());
    for ((&v, &cell), &next) in x.iter().zip(&clock.cells).zip(ids) {
        if next != id {
            cycles[id as usize] = cycle;
            (id, cycle) = (next, cycles[next as usize]);
        }
        if v.is_nan() {
            continue;
        }
        let residual = v - level[cell as usize];
        if cycle.count == 0.0 {
            cycle.first = residual;
        }
        let rest = residual - cycle.first;
        let with_pattern = rest + by_cell[cell as usize];
        cycle.count += 1.0;
        cycle.sums = [cycle.sums[0] + rest, cycle.sums[1] + with_pattern];
        cycle.squares = [cycle.squares[0] + rest * rest, cycle.squares[1] + with_pattern * with_pattern];
    }
    if let Some(last) = cycles.get_mut(id as usize) {
        *last = cycle;
    }
    let met = || cycles.iter().filter(|cycle| cycle.count > 0.0);
    let of = |k: usize| met().map(|c| (c.squares[k] - c.sums[k] * c.sums[k] / c.count).max(0.0)).sum::<f64>();
    (of(0), of(1), met().count() as f64)
}

/// What the patterns add to a reading in each cell: NaN where a phase without readings makes that unknown.
pub fn offsets(patterns: &[Pattern], periods: &Periods, min_confidence: f64) -> Vec<f64> {
    let mut out = vec![0.0; periods.cells];
    for pattern in patterns.iter().filter(|pattern| pattern.counts(min_confidence)) {
        out.iter_mut().enumerate().for_each(|(c, offset)| *offset += pattern.profile[c % pattern.profile.len()]);
    }
    out
}

/// Takes the offset of its cell out of every reading.
pub fn subtract(x: &mut [f64], clock: &Clock, offsets: &[f64]) {
    x.iter_mut().zip(&clock.cells).for_each(|(v, &cell)| *v -= offsets[cell as usize]);
}

/// ACM's adjustment: a sine through each pattern, by the minute since Monday.
pub fn subtract_sines(x: &mut [f64], clock: &Clock, patterns: &[Pattern], min_confidence: f64) {
    let periods = clock.periods;
    for (i, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| pattern.counts(min_confidence)) {
        let Some(peak) = pattern.peak else { continue };
        let (length, shift) = (periods.length(i), peak as i64 * periods.every);
        for (v, &time) in x.iter_mut().zip(clock.times) {
            let minute = time - time.rem_euclid(MINUTE);
            let phase = (minute.rem_euclid(length) - MONDAY.rem_euclid(length)).rem_euclid(length) - shift;
            *v -= pattern.amplitude * (TAU * phase as f64 / length as f64).sin();
        }
    }
}

/// Straight lines over gaps; the first and the last value are known.
fn interpolate(values: &mut [f64]) {
    let mut known = 0;
    for i in 1..values.len() {
        if values[i].is_nan() {
            continue;
        }
        let (from, to, steps) = (values[known], values[i], (i - known) as f64);
        for (j, value) in values[known + 1..i].iter_mut().enumerate() {
            *value = from + (to - from) * ((j + 1) as f64 / steps);
        }
        known = i;
    }
}

/// Pearson's correlation, NaN where one side is constant.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v[0] + v.iter().map(|x| x - v[0]).sum::<f64>() / v.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    if aa > 0.0 && bb > 0.0 { (ab / aa.sqrt() / bb.sqrt()).clamp(-1.0, 1.0) } else { f64::NAN }
}

/// The largest magnitude, of eight rows at a time: one after the other they would wait for each other.
fn largest(x: &[f64]) -> f64 {
    let larger = |a: f64, b: f64| if b > a { b } else { a };
    let mut lanes = [0.0; 8];
    let blocks = x.chunks_exact(8);
    let rest = blocks.remainder();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, v)| *lane = larger(*lane, v.abs()));
    }
    lanes.into_iter().chain(rest.iter().map(|v| v.abs())).fold(0.0, larger)
}
