//! Eight segments of a column side by side, one per SIMD lane, and back.

use crate::kernels::simd::LANES;

/// Rows per segment when `rows` are cut into eight; the last segments may reach past the end.
pub fn segment(rows: usize) -> usize {
    rows.div_ceil(LANES)
}

/// `out[q][j] = x[j * stride + q]`, or `missing` where that is NaN.
pub fn interleave(x: &[f64], stride: usize, steps: usize, missing: f64, out: &mut Vec<[f64; LANES]>) {
    out.resize(steps, [0.0; LANES]);
    let lanes: [&[f64]; LANES] = std::array::from_fn(|j| &x[j * stride..j * stride + steps]);
    for (q, row) in out.iter_mut().enumerate() {
        for j in 0..LANES {
            let v = lanes[j][q];
            row[j] = if v.is_nan() { missing } else { v };
        }
    }
}

/// `out[j * steps + q] = rows[q][j]`.
pub fn deinterleave(rows: &[[f64; LANES]], out: &mut [f64]) {
    for (j, segment) in out.chunks_mut(rows.len()).enumerate() {
        for (to, row) in segment.iter_mut().zip(rows) {
            *to = row[j];
        }
    }
}
