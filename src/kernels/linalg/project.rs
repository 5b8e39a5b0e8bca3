//! Rows times vectors, eight rows at once: row i of a group lies in lane i, element j of the rows in `rows[8 j..]`.
//!
//! Several vectors go together, as many as the registers hold, so that each element is loaded once for all of them. Every sum
//! runs over the elements in their order, whatever goes together.

use crate::kernels::simd::{LANES, Simd};

/// Vectors that go together: two registers each on AVX2, with four left over.
const AT_ONCE: usize = 6;

/// `out[8 a + i] = sum over j of rows[8 j + i] vectors[a p + j]`.
#[inline(always)]
pub fn project<S: Simd>(s: S, rows: &[f64], vectors: &[f64], out: &mut [f64]) {
    let p = rows.len() / LANES;
    for (vectors, out) in vectors.chunks(AT_ONCE * p).zip(out.chunks_mut(AT_ONCE * LANES)) {
        match out.len() / LANES {
            1 => some::<S, 1>(s, rows, vectors, out),
            2 => some::<S, 2>(s, rows, vectors, out),
            3 => some::<S, 3>(s, rows, vectors, out),
            4 => some::<S, 4>(s, rows, vectors, out),
            5 => some::<S, 5>(s, rows, vectors, out),
            _ => some::<S, AT_ONCE>(s, rows, vectors, out),
        }
    }
}

#[inline(always)]
fn some<S: Simd, const N: usize>(s: S, rows: &[f64], vectors: &[f64], out: &mut [f64]) {
    let (rows, _) = rows.as_chunks::<LANES>();
    let vectors: [&[f64]; N] = std::array::from_fn(|a| &vectors[a * rows.len()..][..rows.len()]);
    let mut sums = [s.splat(0.0); N];
    for (j, row) in rows.iter().enumerate() {
        let row = s.load(row);
        for a in 0..N {
            sums[a] = s.add(sums[a], s.mul(row, s.splat(vectors[a][j])));
        }
    }
    for (a, sum) in sums.into_iter().enumerate() {
        s.store_at(sum, out, a * LANES);
    }
}

/// `rows[8 j + i] -= sum over a of scores[8 a + i] vectors[a p + j]`, one vector after the other.
#[inline(always)]
pub fn subtract<S: Simd>(s: S, rows: &mut [f64], vectors: &[f64], scores: &[f64]) {
    let p = rows.len() / LANES;
    for (vectors, scores) in vectors.chunks(AT_ONCE * p).zip(scores.chunks(AT_ONCE * LANES)) {
        match scores.len() / LANES {
            1 => subtract_some::<S, 1>(s, rows, vectors, scores),
            2 => subtract_some::<S, 2>(s, rows, vectors, scores),
            3 => subtract_some::<S, 3>(s, rows, vectors, scores),
            4 => subtract_some::<S, 4>(s, rows, vectors, scores),
            5 => subtract_some::<S, 5>(s, rows, vectors, scores),
            _ => subtract_some::<S, AT_ONCE>(s, rows, vectors, scores),
        }
    }
}

#[inline(always)]
fn subtract_some<S: Simd, const N: usize>(s: S, rows: &mut [f64], vectors: &[f64], scores: &[f64]) {
    let (rows, _) = rows.as_chunks_mut::<LANES>();
    let vectors: [&[f64]; N] = std::array::from_fn(|a| &vectors[a * rows.len()..][..rows.len()]);
    let mut shares = [s.splat(0.0); N];
    for (a, share) in shares.iter_mut().enumerate() {
        *share = s.load_at(scores, a * LANES);
    }
    for (j, row) in rows.iter_mut().enumerate() {
        let mut rest = s.load(row);
        for a in 0..N {
            rest = s.sub(rest, s.mul(shares[a], s.splat(vectors[a][j])));
        }
        s.store(rest, row);
    }
}

/// The sum of the squares of each row.
#[inline(always)]
pub fn squares<S: Simd>(s: S, rows: &[f64]) -> S::V {
    let mut sum = s.splat(0.0);
    for row in rows.as_chunks::<LANES>().0 {
        let row = s.load(row);
        sum = s.add(sum, s.mul(row, row));
    }
    sum
}

/// NaN for what is not finite.
#[inline(always)]
pub fn finite<S: Simd>(s: S, v: S::V) -> S::V {
    s.select(s.le(s.abs(v), s.splat(f64::MAX)), v, s.splat(f64::NAN))
}
