//! Eight segments of a column side by side, one per SIMD lane, and back.

use crate::kernels::simd::{LANES, Lanes, Simd};

/// Rows per segment when `rows` are cut into eight; the last segments may reach past the end.
pub fn segment(rows: usize) -> usize {
    rows.div_ceil(LANES)
}

/// `out[q][j] = x[j * stride + q]`, or `missing` where that is NaN.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, x: &[f64], stride: usize, steps: usize, missing: f64, out: &mut Vec<Lanes>) {
    out.resize(steps, Lanes([0.0; LANES]));
    let mut lanes = [x; LANES];
    for (j, lane) in lanes.iter_mut().enumerate() {
        *lane = &x[j * stride..j * stride + steps];
    }
    // blocks of eight by eight, whose size the compiler knows
    for block in 0..steps / LANES {
        let at = block * LANES;
        let rows: &mut [Lanes; LANES] = (&mut out[at..at + LANES]).try_into().expect("eight rows");
        for (j, lane) in lanes.iter().enumerate() {
            let from: &[f64; LANES] = lane[at..at + LANES].try_into().expect("eight values");
            for q in 0..LANES {
                rows[q][j] = from[q];
            }
        }
    }
    for q in steps / LANES * LANES..steps {
        for (j, lane) in lanes.iter().enumerate() {
            out[q][j] = lane[q];
        }
    }
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
