//! Eight columns, or eight segments of a column, side by side, one per SIMD lane, and back.

use crate::kernels::simd::{LANES, Lanes, Simd};

/// Rows per segment when `rows` are cut into eight; the last segments may reach past the end.
pub fn segment(rows: usize) -> usize {
    rows.div_ceil(LANES)
}

/// `out[q][j] = columns[j][q]` for as many rows as `out` has.
#[inline(always)]
pub fn side_by_side(columns: [&[f64]; LANES], out: &mut [Lanes]) {
    let columns = columns.map(|column| &column[..out.len()]);
    // blocks of eight by eight, whose size the compiler knows
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    for (at, block) in blocks.iter_mut().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            let from: &[f64; LANES] = column[at * LANES..][..LANES].try_into().expect("eight values");
            for q in 0..LANES {
                block[q][j] = from[q];
            }
        }
    }
    let whole = blocks.len() * LANES;
    for (q, row) in rest.iter_mut().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            row[j] = column[whole + q];
        }
    }
}

/// `out[q][j] = x[j * stride + q]`, or `missing` where that is NaN.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, x: &[f64], stride: usize, steps: usize, missing: f64, out: &mut Vec<Lanes>) {
    out.resize(steps, Lanes([0.0; LANES]));
    let mut lanes = [x; LANES];
    for (j, lane) in lanes.iter_mut().enumerate() {
        *lane = &x[j * stride..];
    }
    side_by_side(lanes, out);
    let missing = s.splat(missing);
    for row in out {
        let v = s.load(row);
        s.store(s.select(s.eq(v, v), v, missing), row);
    }
}

/// `out[j * rows.len() + q] = rows[q][j]`.
#[inline(always)]
pub fn deinterleave(rows: &[Lanes], out: &mut [f64]) {
    for (j, segment) in out.chunks_exact_mut(rows.len()).enumerate() {
        let (to, to_rest) = segment.as_chunks_mut::<LANES>();
        let (from, from_rest) = rows.as_chunks::<LANES>();
        for (to, from) in to.iter_mut().zip(from) {
            for q in 0..LANES {
                to[q] = from[q][j];
            }
        }
        for (to, from) in to_rest.iter_mut().zip(from_rest) {
            *to = from[j];
        }
    }
}
