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
mod shared_windows;
mod spectral;

use std::ops::Range;

use crate::kernels::params::{Bands, ParamError, Span, Window, number};
use crate::kernels::simd::LANES;

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
    /// `g1 = m3 / m2^1.5`, or without bias `G1 = g1 sqrt(n (n-1)) / (n-2)`; limited to `+-clip`.
    Skew {
        bias: bool,
        clip: f64,
    },
    /// `g2 = m4 / m2^2 - 3`, or without bias `G2 = (n-1) / ((n-2)(n-3)) ((n+1) g2 + 6)`; limited to `+-clip`.
    Kurtosis {
        bias: bool,
        clip: f64,
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
    /// The same, if its parameters are in their range.
    pub fn checked(self) -> Result<Self, ParamError> {
        match self {
            Self::Mad { scale } => number("scale", scale, true)?,
            Self::RobustZ { clip, scale_floor } => {
                number("clip", clip, true)?;
                number("scale_floor", scale_floor, false)?;
            }
            Self::Hampel { n_sigmas } => number("n_sigmas", n_sigmas, false)?,
            // infinity: no limit
            Self::Skew { clip, .. } | Self::Kurtosis { clip, .. } if clip != f64::INFINITY => {
                number("clip", clip, true)?
            }
            _ => {}
        }
        Ok(self)
    }

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

    /// Adds the bands that [`Statistic::Energy`] counts; a window of time has no spectrum.
    pub fn with_spectrum(mut self, bands: Bands, min_samples: usize) -> Result<Self, ParamError> {
        let Span::Rows(w) = self.window.span() else {
            return Err(ParamError("`by` must be left out: a spectrum needs rows at equal intervals".into()));
        };
        self.spectrum = Some((spectral::Tables::new(bands, w), min_samples));
        Ok(self)
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
    /// All rows, where they lie in memory as they are, one behind the other: missing readings as NaN or infinite.
    fn values(&self) -> Option<&[f64]> {
        None
    }
}

impl Source for [f64] {
    fn len(&self) -> usize {
        <[f64]>::len(self)
    }
    fn values(&self) -> Option<&[f64]> {
        Some(self)
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

impl Source for Vec<f64> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }
    fn values(&self) -> Option<&[f64]> {
        Some(self)
    }
    fn load(&self, start: usize, out: &mut [f64]) -> bool {
        self.as_slice().load(start, out)
    }
}

/// Columns to read from.
pub type Columns<'a> = [&'a (dyn Source + Sync)];

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
    /// `PAD` missing values, the rows, and `PAD` missing values.
    padded: &'a [f64],
    /// The rows without padding.
    x: &'a [f64],
    /// The first row with a result; the rows before it are context.
    first: usize,
    /// Whether any row is missing.
    missing: bool,
    /// Whether row 0 is the first of the series.
    at_start: bool,
    frame: Frame<'a>,
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

    /// How many of `results` windows of `w` rows at the start of each of eight segments may not be full. Without missing rows only
    /// the first windows of a series are not, and those lie in the first segment.
    fn windows_with_gaps(&self, w: usize, results: usize) -> usize {
        match (self.missing, self.at_start) {
            (true, _) => results,
            (false, true) => (w - 1).saturating_sub(self.first).min(results),
            (false, false) => 0,
        }
    }

    fn window_start(&self, t: usize) -> usize {
        match self.frame {
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

/// Runs a plan over one column after another; the buffers are made once.
pub struct Pass<'a> {
    plan: &'a Plan,
    order: Members<order_statistics::Stage>,
    moments: Members<moments::Stage>,
    spectral: Members<Option<spectral::Stage<'a>>>,
    padded: Vec<f64>,
    times: Times,
    outs: Vec<Vec<f64>>,
}

/// The statistics of one family, by their place in the plan, and what computes them.
struct Members<T> {
    places: Vec<usize>,
    stage: T,
}

impl<T> Members<T> {
    fn new(plan: &Plan, family: Family, stage: impl FnOnce(Vec<Statistic>) -> T) -> Self {
        let (places, statistics) =
            plan.statistics.iter().copied().enumerate().filter(|(_, statistic)| statistic.family() == family).unzip();
        Self { places, stage: stage(statistics) }
    }
}

impl<'a> Pass<'a> {
    /// # Panics
    /// If an energy is asked for that the plan has no band for.
    pub fn new(plan: &'a Plan) -> Self {
        let bands = plan.spectrum.as_ref().map_or(0, |(tables, _)| tables.bands());
        for statistic in &plan.statistics {
            assert!(!matches!(statistic, Statistic::Energy(band) if *band >= bands), "{statistic:?} of {bands} bands");
        }
        Self {
            plan,
            order: Members::new(plan, Family::Order, order_statistics::Stage::new),
            moments: Members::new(plan, Family::Moments, moments::Stage::new),
            spectral: Members::new(plan, Family::Spectral, |_| {
                plan.spectrum.as_ref().map(|(tables, least)| spectral::Stage::new(tables, *least))
            }),
            padded: Vec::new(),
            times: Times::default(),
            outs: Vec::new(),
        }
    }

    /// Writes the statistics for every row of `source`, one sink each.
    ///
    /// # Panics
    /// If the number of sinks is not that of the statistics, if the plan has a duration window and `times` has not one
    /// ascending value per row, or if it has none and `times` is given.
    pub fn run<K: Sink>(&mut self, source: &(impl Source + ?Sized), times: Option<&[i64]>, sinks: &mut [K]) {
        let n = source.len();
        assert_eq!(sinks.len(), self.plan.statistics.len(), "one sink per statistic");
        let span = self.plan.window.span();
        match (span, times) {
            (Span::Rows(_), None) => {}
            (Span::Duration(_), Some(times)) => assert_eq!(times.len(), n, "one time per row"),
            _ => panic!("times go with a duration window, and only with it"),
        }
        let times = times.unwrap_or_default();
        let mut start = 0;
        while start < n {
            let from = context(span, times, start);
            // each of the eight lanes begins with a window of context: at most an eighth of its rows
            let lanes = match span {
                Span::Rows(w) => 8 * LANES * w.min(PAD),
                Span::Duration(_) => 0,
            };
            let rows = TILE.max(lanes).max(4 * (start - from));
            // a last tile of less than half a tile goes with the one before
            let end = if n - start < rows + rows / 2 { n } else { start + rows };
            self.tile(source, times, from..end, start - from, sinks);
            start = end;
        }
    }

    /// Reads the rows `rows` and writes the statistics of those from `first` on; the ones before are context.
    fn tile<K: Sink>(
        &mut self,
        source: &(impl Source + ?Sized),
        times: &[i64],
        rows: Range<usize>,
        first: usize,
        sinks: &mut [K],
    ) {
        let Self { plan, padded, outs, .. } = self;
        // the padding in front is never written to
        padded.resize(PAD + rows.len() + PAD, f64::NAN);
        padded[PAD + rows.len()..].fill(f64::NAN);
        let missing = source.load(rows.start, &mut padded[PAD..PAD + rows.len()]);
        let frame = match plan.window.span() {
            Span::Rows(w) => Frame::Rows(w),
            Span::Duration(d) => {
                self.times.fill(&times[rows.clone()], d);
                Frame::Times(&self.times)
            }
        };
        let tile = Tile {
            padded,
            x: &padded[PAD..PAD + rows.len()],
            first,
            missing,
            at_start: rows.start == 0,
            frame,
            min_samples: plan.window.min_samples(),
        };
        let results = tile.results();
        if !self.order.places.is_empty() {
            self.order.stage.run(&tile, outs);
            for (out, &place) in outs.iter().zip(&self.order.places) {
                sinks[place].push(&out[..results]);
            }
        }
        if !self.moments.places.is_empty() {
            self.moments.stage.run(&tile, outs);
            for (out, &place) in outs.iter().zip(&self.moments.places) {
                sinks[place].push(&out[..results]);
            }
        }
        if let Some(stage) = self.spectral.stage.as_mut().filter(|_| !self.spectral.places.is_empty()) {
            stage.run(&tile, outs);
            for &place in &self.spectral.places {
                if let Statistic::Energy(band) = plan.statistics[place] {
                    sinks[place].push(&outs[band][..results]);
                }
            }
        }
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
/// As [`Pass::new`] and [`Pass::run`].
pub fn evaluate(x: &[f64], times: Option<&[i64]>, plan: &Plan) -> Vec<Vec<f64>> {
    let mut sinks: Vec<Vec<f64>> = plan.statistics.iter().map(|_| Vec::with_capacity(x.len())).collect();
    Pass::new(plan).run(x, times, &mut sinks);
    sinks
}
