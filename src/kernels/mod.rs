//! Mathematics on slices: no Polars, no Python, no I/O.
//!
//! Conventions of every kernel:
//! - A missing reading is NaN; infinities count as missing. Missing readings are skipped and counted; a result that cannot
//!   be computed, or does not fit an `f64`, is NaN.
//! - Rows are in the order of the series. Windows trail and end at the current row.
//! - Arithmetic is `f64`. Results never are -0.0 for order statistics.
//! - A result depends on the series up to its row only, and where sums are taken in blocks, the borders are functions of
//!   the row number (or the time) since the start: a prefix of the series gives a prefix of the result, bit for bit.

pub mod detectors;
pub mod elementary;
pub mod features;
pub mod linalg;
pub mod matrix;
pub mod parallel;
pub mod params;
pub mod random;
pub mod regimes;
pub mod selection;
pub mod simd;
pub mod transpose;

/// `(2^-e, 2^e)` with `2^e` near `a`, both of them normal numbers.
fn powers_of_two(a: f64) -> (f64, f64) {
    let exponent = ((a.max(f64::MIN_POSITIVE).to_bits() >> 52) as i32 - 1023).clamp(-1021, 1021);
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    (power(-exponent), power(exponent))
}
