//! Parsed parameters: a value of these types is valid, so kernels need not check again.

use std::fmt;

/// A parameter out of its range; the text names the parameter, what was got and what is allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamError(pub String);

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParamError {}

pub fn check(ok: bool, text: impl FnOnce() -> String) -> Result<(), ParamError> {
    if ok { Ok(()) } else { Err(ParamError(text())) }
}

/// Refuses what is not finite or is below 0, and 0 too where the number must be `positive`.
pub fn number(name: &str, value: f64, positive: bool) -> Result<(), ParamError> {
    let relation = if positive { ">" } else { ">=" };
    check(value.is_finite() && (value > 0.0 || (!positive && value == 0.0)), || {
        format!("`{name}` must be a finite number {relation} 0, got {value}")
    })
}

/// A length: how far a trailing window reaches back, or how long a gap or a standstill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A number of rows; of a window, with the current one.
    Rows(usize),
    /// Nanoseconds; of a window, the rows up to the current one whose time lies in `(t - length, t]`.
    Duration(i64),
}

impl Span {
    /// A length of at least one row or, with times, one nanosecond.
    pub fn new(name: &str, value: i64, timed: bool) -> Result<Self, ParamError> {
        check(value >= 1, || format!("`{name}` must be >= 1, got {value}"))?;
        // on a machine of 32 bits no series has more rows
        Ok(if timed { Self::Duration(value) } else { Self::Rows(usize::try_from(value).unwrap_or(usize::MAX)) })
    }
}

/// A trailing window and how many present readings it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    span: Span,
    min_samples: usize,
}

impl Window {
    pub fn rows(size: usize, min_samples: usize) -> Result<Self, ParamError> {
        check(size >= 1, || format!("`window_size` must be >= 1, got {size}"))?;
        check((1..=size).contains(&min_samples), || {
            format!("`min_samples` must be between 1 and `window_size` ({size}), got {min_samples}")
        })?;
        Ok(Self { span: Span::Rows(size), min_samples })
    }

    pub fn duration(nanoseconds: i64, min_samples: usize) -> Result<Self, ParamError> {
        check(nanoseconds >= 1, || format!("`window_size` must be longer than zero, got {nanoseconds} ns"))?;
        check(min_samples >= 1, || format!("`min_samples` must be >= 1, got {min_samples}"))?;
        Ok(Self { span: Span::Duration(nanoseconds), min_samples })
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub fn min_samples(&self) -> usize {
        self.min_samples
    }
}

/// A frequency that lies no farther below an edge, as a share of it, lies on it.
const ON_EDGE: f64 = 1e-12;

/// Frequency bands `[lo, hi)` in Hz, ascending and apart, and the sampling frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    edges: Vec<(f64, f64)>,
    sampling_hz: f64,
}

impl Bands {
    pub fn new(edges: &[(f64, f64)], sampling_hz: f64) -> Result<Self, ParamError> {
        number("sampling_hz", sampling_hz, true)?;
        check(!edges.is_empty(), || "`bands` must hold at least one band (lo, hi), got none".into())?;
        let nyquist = sampling_hz / 2.0;
        let mut last = 0.0;
        for &(lo, hi) in edges {
            check(lo >= last && lo < hi && hi <= nyquist, || {
                format!(
                    "`bands` must be ascending and apart, each with 0 <= lo < hi <= sampling_hz / 2 ({nyquist}), got ({lo}, {hi})"
                )
            })?;
            last = hi;
        }
        Ok(Self { edges: edges.to_vec(), sampling_hz })
    }

    pub fn len(&self) -> usize {
        self.edges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// For each band the bins `k >= 1` of a transform of `m` rows that lie in it. Bin 0 is left out: of centred data it is 0. A bin
    /// on an edge stays there whatever the rounding of edge and sampling frequency.
    pub fn bins(&self, m: usize) -> Vec<std::ops::Range<usize>> {
        // first bin at or above a frequency; the frequencies ascend
        let bin_at = |edge: f64| {
            let edge = edge * (1.0 - ON_EDGE);
            let (mut low, mut high) = (1, m / 2 + 1);
            while low < high {
                let k = (low + high) / 2;
                if k as f64 * self.sampling_hz / m as f64 >= edge { high = k } else { low = k + 1 }
            }
            low
        };
        self.edges.iter().map(|&(lo, hi)| bin_at(lo)..bin_at(hi)).collect()
    }
}
