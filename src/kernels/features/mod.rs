//! Rolling features: one pass over a column gives any set of statistics of its trailing windows.
//!
//! A column is read tile by tile into a buffer of `f64` (missing = NaN), so that memory does not grow with the column
//! and every stage finds its input in the cache. The families of statistics (`order_statistics`, `moments`, `spectral`)
//! work on a [`Tile`]; what they share (the sorted window, the sums, the spectrum) is computed once for all statistics asked for.
//!
//! A tile begins at the start of the block before its first row ([`Window`] blocks: rows `k*w..(k+1)*w`, or times
//! `k*d..(k+1)*d`). So all state that a series carries from one batch to the next is its rows since that border.

mod moments;
mod order_statistics;
mod ranked_blocks;
mod spectral;
mod transpose;

use super::params::{Bands, Span, Window};
use super::simd::LANES;

/// One result per row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    Median,
    /// `scale * med |x - med(x)|` over the window.
    Mad {
        scale: f64,
    },
    /// `(x - med) / max(1.4826 MAD, scale_floor)`, limited to `+-clip`; with a scale of 0: 0 at the median, else the limit.
    RobustZ {
        clip: f64,
        scale_floor: f64,
    },
    /// 1 where `|x - med| > n_sigmas * 1.4826 MAD`, else 0.
    Hampel {
        n_sigmas: f64,
    },
    Mean,
    Std {
        ddof: u32,
    },
    /// `g1 = m3 / m2^1.5`, or without bias `G1 = g1 sqrt(n (n-1)) / (n-2)`.
    Skew {
        bias: bool,
    },
    /// `g2 = m4 / m2^2 - 3`, or without bias `G2 = (n-1) / ((n-2)(n-3)) ((n+1) g2 + 6)`.
    Kurtosis {
        bias: bool,
    },
    /// Least squares, per row; with times per second.
    Slope,
    /// Power in this band of the plan's spectrum.
    Energy(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    Order,
    Moments,
    Spectral,
}

impl Statistic {
    fn family(&self) -> Family {
        match self {
            Self::Median | Self::Mad { .. } | Self::RobustZ { .. } | Self::Hampel { .. } => Family::Order,
            Self::Mean | Self::Std { .. } | Self::Skew { .. } | Self::Kurtosis { .. } | Self::Slope => Family::Moments,
            Self::Energy(_) => Family::Spectral,
        }
    }
}

/// What to compute: a window and the statistics wanted of it.
pub struct Plan {
    window: Window,
    statistics: Vec<Statistic>,
    /// Tables of the rolling spectrum and how many present readings a window must hold for it.
    spectrum: Option<(spectral::Tables, usize)>,
}

impl Plan {
    pub fn new(window: Window, statistics: Vec<Statistic>) -> Self {
        Self { window, statistics, spectrum: None }
    }

    /// Adds the bands that [`Statistic::Energy`] counts, for windows of rows.
    ///
    /// # Panics
    /// If the window is a duration.
    pub fn with_spectrum(mut self, bands: Bands, min_samples: usize) -> Self {
        let Span::Rows(w) = self.window.span() else { panic!("a spectrum needs a window of rows") };
        self.spectrum = Some((spectral::Tables::new(bands, w), min_samples));
        self
    }

    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }
}

/// A column to read from.
pub trait Source {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies the rows from `start` on into `out`, missing readings as NaN; true if there was one.
    fn load(&self, start: usize, out: &mut [f64]) -> bool;
}

impl Source for [f64] {
    fn len(&self) -> usize {
        <[f64]>::len(self)
    }
    fn load(&self, start: usize, out: &mut [f64]) -> bool {
        let mut missing = false;
        for (to, &from) in out.iter_mut().zip(&self[start..]) {
            missing |= !from.is_finite();
            *to = if from.is_finite() { from } else { f64::NAN };
        }
        missing
    }
}

/// A column to write to: takes its rows in order, some at a time.
pub trait Sink {
    fn push(&mut self, rows: &[f64]);
}

impl Sink for Vec<f64> {
    fn push(&mut self, rows: &[f64]) {
        self.extend(rows.iter().map(|&v| if v.is_finite() { v } else { f64::NAN }));
    }
}

/// Missing rows before the first row of a tile, so that a kernel for small windows may read a full window at any row.
const PAD: usize = 256;
/// Rows with results per tile, at least: the buffers of a tile then fill half of a 1 MiB second-level cache.
const TILE: usize = 8192;

/// Rows of a column with the context that their windows need.
struct Tile<'a> {
    /// `PAD` missing values, the rows, and `LANES` missing values.
    padded: &'a [f64],
    /// The rows without padding.
    x: &'a [f64],
    /// The first row with a result; the rows before it are context.
    first: usize,
    /// Whether any row is missing.
    missing: bool,
    /// Whether row 0 is the first of the series.
    at_start: bool,
    span: Frame<'a>,
    min_samples: usize,
}

/// The windows of a tile.
#[derive(Clone, Copy)]
enum Frame<'a> {
    Rows(usize),
    Times(&'a Times),
}

/// Duration windows of a tile.
#[derive(Default)]
struct Times {
    nanoseconds: Vec<i64>,
    /// First row of each row's window.
    start: Vec<usize>,
    blocks: Vec<Block>,
}

/// Rows whose times lie in `[number * duration, (number + 1) * duration)`.
struct Block {
    number: i64,
    first: usize,
}

impl Tile<'_> {
    fn results(&self) -> usize {
        self.x.len() - self.first
    }

    fn window_start(&self, t: usize) -> usize {
        match self.span {
            Frame::Rows(w) => (t + 1).saturating_sub(w),
            Frame::Times(times) => times.start[t],
        }
    }
}

/// First row of the block before the one that holds row `t`.
fn context(span: Span, times: &[i64], t: usize) -> usize {
    match span {
        Span::Rows(w) => (t / w).saturating_sub(1) * w,
        Span::Duration(d) => {
            let block = times[t].div_euclid(d).saturating_sub(1);
            times[..t].partition_point(|time| time.div_euclid(d) < block)
        }
    }
}

impl Times {
    fn fill(&mut self, times: &[i64], length: i64) {
        self.nanoseconds.clear();
        self.nanoseconds.extend(times);
        self.start.clear();
        self.blocks.clear();
        let mut start = 0;
        for (t, &time) in times.iter().enumerate() {
            // i128: the difference of two i64 may not fit
            while i128::from(time) - i128::from(times[start]) >= i128::from(length) {
                start += 1;
            }
            self.start.push(start);
            let number = time.div_euclid(length);
            if self.blocks.last().is_none_or(|block| block.number != number) {
                self.blocks.push(Block { number, first: t });
            }
        }
    }
}

/// Writes the statistics of `plan` for every row of `source`, one sink each.
///
/// # Panics
/// If the number of sinks is not that of the statistics, if the plan has a duration window and `times` has not one
/// ascending value per row, if it has none and `times` is given, or if an energy is asked for that the plan has no band for.
pub fn run<K: Sink>(source: &(impl Source + ?Sized), times: Option<&[i64]>, plan: &Plan, sinks: &mut [K]) {
    let n = source.len();
    assert_eq!(sinks.len(), plan.statistics.len(), "one sink per statistic");
    let span = plan.window.span();
    match (span, times) {
        (Span::Rows(_), None) => {}
        (Span::Duration(_), Some(times)) => assert_eq!(times.len(), n, "one time per row"),
        _ => panic!("times go with a duration window, and only with it"),
    }
    let times = times.unwrap_or_default();
    let members = |family| -> Vec<usize> {
        (0..plan.statistics.len()).filter(|&i| plan.statistics[i].family() == family).collect()
    };
    let (order, moments, spectral) = (members(Family::Order), members(Family::Moments), members(Family::Spectral));
    let pick = |which: &[usize]| -> Vec<Statistic> { which.iter().map(|&i| plan.statistics[i]).collect() };
    let mut order_stage = order_statistics::Stage::new(pick(&order));
    let mut moments_stage = moments::Stage::new(pick(&moments));
    let mut spectral_stage = plan.spectrum.as_ref().map(|(tables, least)| spectral::Stage::new(tables, *least));
    let mut padded = Vec::new();
    let mut geometry = Times::default();
    let mut outs: Vec<Vec<f64>> = Vec::new();
    let mut start = 0;
    while start < n {
        let from = context(span, times, start);
        let narrow = match span {
            Span::Rows(w) => 64 * w.min(PAD),
            Span::Duration(_) => 0,
        };
        let rows = TILE.max(narrow).max(4 * (start - from));
        // a last tile of less than half a tile goes with the one before
        let end = if n - start < rows + rows / 2 { n } else { start + rows };
        padded.clear();
        padded.resize(PAD + (end - from) + LANES, f64::NAN);
        let missing = source.load(from, &mut padded[PAD..PAD + (end - from)]);
        let frame = match span {
            Span::Rows(w) => Frame::Rows(w),
            Span::Duration(d) => {
                geometry.fill(&times[from..end], d);
                Frame::Times(&geometry)
            }
        };
        let tile = Tile {
            padded: &padded,
            x: &padded[PAD..PAD + (end - from)],
            first: start - from,
            missing,
            at_start: from == 0,
            span: frame,
            min_samples: plan.window.min_samples(),
        };
        let mut write = |which: &[usize], outs: &[Vec<f64>], pick: &dyn Fn(usize) -> usize| {
            for (k, &i) in which.iter().enumerate() {
                sinks[i].push(&outs[pick(k)][..end - start]);
            }
        };
        if !order.is_empty() {
            order_stage.run(&tile, &mut outs);
            write(&order, &outs, &|k| k);
        }
        if !moments.is_empty() {
            moments_stage.run(&tile, &mut outs);
            write(&moments, &outs, &|k| k);
        }
        if !spectral.is_empty() {
            let stage = spectral_stage.as_mut().expect("a plan with energies has bands and a window of rows");
            stage.run(&tile, &mut outs);
            let band = |k: usize| match plan.statistics[spectral[k]] {
                Statistic::Energy(band) => band,
                _ => unreachable!("the spectral family has one member"),
            };
            write(&spectral, &outs, &band);
        }
        start = end;
    }
}

/// Makes `outs` hold at least `count` buffers of exactly `len` values. What they hold is left over from before.
fn size_buffers(outs: &mut Vec<Vec<f64>>, count: usize, len: usize) {
    if outs.len() < count {
        outs.resize_with(count, Vec::new);
    }
    for out in &mut outs[..count] {
        out.resize(len, 0.0);
    }
}

/// The statistics of `plan` for every row of `x`, one vector each; NaN where there is no result.
///
/// # Panics
/// As [`run`].
pub fn evaluate(x: &[f64], times: Option<&[i64]>, plan: &Plan) -> Vec<Vec<f64>> {
    let mut sinks: Vec<Vec<f64>> = plan.statistics.iter().map(|_| Vec::with_capacity(x.len())).collect();
    run(x, times, plan, &mut sinks);
    sinks
}
