//! Eight columns, or eight segments of a column, side by side, one per SIMD lane, and back.

use crate::kernels::simd::{LANES, Lanes, Simd};

/// Rows per segment when `rows` are cut into eight; the last segments may reach past the end.
pub fn segment(rows: usize) -> usize {
    rows.div_ceil(LANES)
}

/// `out[q][j] = columns[j][q]` for as many rows as `out` has.
#[inline(always)]
pub fn side_by_side<S: Simd>(s: S, columns: [&[f64]; LANES], out: &mut [Lanes]) {
    let mut from = columns;
    for column in &mut from {
        *column = &column[..out.len()];
    }
    let (squares, rest) = out.as_chunks_mut::<LANES>();
    let whole = squares.len() * LANES;
    for (at, square) in squares.iter_mut().enumerate() {
        let mut vectors = [s.splat(0.0); LANES];
        for j in 0..LANES {
            vectors[j] = s.load_at(from[j], at * LANES);
        }
        let vectors = s.transpose(vectors);
        for q in 0..LANES {
            s.store(vectors[q], &mut square[q]);
        }
    }
    for (q, row) in rest.iter_mut().enumerate() {
        for j in 0..LANES {
            row[j] = from[j][whole + q];
        }
    }
}

/// `out[q][j] = x[j * stride + q]` for as many rows as `out` has.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, x: &[f64], stride: usize, out: &mut [Lanes]) {
    let mut lanes = [x; LANES];
    for (j, lane) in lanes.iter_mut().enumerate() {
        *lane = &x[j * stride..];
    }
    side_by_side(s, lanes, out);
}

/// `out[j * rows.len() + q] = rows[q][j]`.
#[inline(always)]
pub fn deinterleave<S: Simd>(s: S, rows: &[Lanes], out: &mut [f64]) {
    let n = rows.len();
    if n == 0 {
        return;
    }
    let mut lanes = out.chunks_exact_mut(n);
    let mut columns: [&mut [f64]; LANES] = Default::default();
    for column in &mut columns {
        *column = lanes.next().unwrap_or_default();
    }
    apart(s, rows, columns);
}

/// `out[j * segment + at + q] = rows[q][j]`.
#[inline(always)]
pub fn deinterleave_eight<S: Simd>(s: S, rows: &[Lanes; LANES], segment: usize, at: usize, out: &mut [f64]) {
    let mut vectors = [s.splat(0.0); LANES];
    for q in 0..LANES {
        vectors[q] = s.load(&rows[q]);
    }
    for (j, vector) in s.transpose(vectors).into_iter().enumerate() {
        s.store_at(vector, out, j * segment + at);
    }
}

/// `columns[j][q] = rows[q][j]`; empty columns are not wanted.
#[inline(always)]
pub fn apart<S: Simd>(s: S, rows: &[Lanes], columns: [&mut [f64]; LANES]) {
    let (squares, rest) = rows.as_chunks::<LANES>();
    let whole = squares.len() * LANES;
    let to = columns;
    for (at, square) in squares.iter().enumerate() {
        let mut vectors = [s.splat(0.0); LANES];
        for q in 0..LANES {
            vectors[q] = s.load(&square[q]);
        }
        let vectors = s.transpose(vectors);
        for j in 0..LANES {
            if !to[j].is_empty() {
                s.store_at(vectors[j], to[j], at * LANES);
            }
        }
    }
    for j in 0..LANES {
        if !to[j].is_empty() {
            for (q, row) in rest.iter().enumerate() {
                to[j][whole + q] = row[j];
            }
        }
    }
}
