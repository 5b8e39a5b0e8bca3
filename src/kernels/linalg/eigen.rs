//! The leading eigenpairs of a symmetric matrix.
//!
//! The matrix is reduced to a tridiagonal one by Householder reflections (Golub and Van Loan 2013, 8.3.1), whose largest
//! eigenvalues are found by bisection with Sturm counts (8.4.1) and whose eigenvectors by inverse iteration with
//! reorthogonalisation (Wilkinson 1965), carried back by the reflections. Each pair is then held against the matrix:
//! if a residual or an inner product is larger than rounding explains, the full decomposition of nalgebra is taken instead.
//! Signs: the loading of the largest magnitude is positive.
//!
//! Errors are those of any backward stable method: a few `eps` times the largest eigenvalue.
//!
//! Cost: 2/3 p^3 multiplications and additions on one triangle, p^2 per eigenvector; no iteration whose length depends on
//! the gaps. One pass per step over what is left of the triangle takes the last reflection off and multiplies with the next.
//! Not taken: Lanczos, whose single vectors miss copies of multiple eigenvalues; subspace iteration with Chebyshev
//! polynomials, fast for few strong factors but over 100 products where the last component lies in the noise; nalgebra's own
//! decomposition, which accumulates all reflections (74 ms for 500 columns).

use nalgebra::{DMatrix, SymmetricEigen};

use crate::kernels::random::Stream;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch, flat, flat_mut};

/// Eigenvalues in descending order and their orthonormal vectors, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigenpairs {
    pub values: Vec<f64>,
    pub vectors: Vec<f64>,
}

/// Largest residual and inner product that rounding explains, in `p eps` times the largest eigenvalue: measured errors are below 1.
const TOLERANCE: f64 = 16.0;
/// Inverse iteration converges in one or two steps; one more costs little.
const INVERSE_ITERATIONS: usize = 3;

/// The `k` largest eigenvalues of a `p` by `p` matrix and their vectors; None if it holds what is not finite.
///
/// # Panics
/// If there are not `p * p` values or `k > p`.
pub fn leading(matrix: &[f64], p: usize, k: usize) -> Option<Eigenpairs> {
    leading_within(matrix, p, k, TOLERANCE)
}

/// With a tolerance of 0, always by the full decomposition.
pub fn leading_within(matrix: &[f64], p: usize, k: usize, tolerance: f64) -> Option<Eigenpairs> {
    assert_eq!(matrix.len(), p * p, "a matrix of {p} by {p}");
    assert!(k <= p, "at most {p} eigenpairs, got {k}");
    let largest = matrix.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
    if !matrix.iter().all(|v| v.is_finite()) {
        return None;
    }
    let mut pairs = if largest == 0.0 {
        let vectors = (0..k * p).map(|i| f64::from(u8::from(i / p == i % p))).collect();
        Eigenpairs { values: vec![0.0; k], vectors }
    } else {
        // a power of two: products neither overflow nor vanish
        let unit = power_of_two_below(largest);
        let scaled: Vec<f64> = matrix.iter().map(|v| v / unit).collect();
        let mut pairs = Tridiagonal::of(&scaled, p).leading(k);
        if !pairs.hold(&scaled, tolerance) {
            pairs = full(&scaled, p, k)?;
        }
        pairs.values.iter_mut().for_each(|value| *value *= unit);
        pairs
    };
    for vector in pairs.vectors.chunks_exact_mut(p.max(1)) {
        orient(vector);
    }
    Some(pairs)
}

/// Turns a vector so that its component of the largest magnitude, the first of these, is positive.
pub fn orient(vector: &mut [f64]) {
    let largest = vector.iter().fold(0.0_f64, |a, &b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 {
        vector.iter_mut().for_each(|v| *v = -*v);
    }
}

fn power_of_two_below(a: f64) -> f64 {
    f64::from_bits(a.max(f64::MIN_POSITIVE).to_bits() & (0x7ff << 52))
}

fn full(matrix: &[f64], p: usize, k: usize) -> Option<Eigenpairs> {
    let all = SymmetricEigen::try_new(DMatrix::from_row_slice(p, p, matrix), f64::EPSILON, 100 * p)?;
    let mut order: Vec<usize> = (0..p).collect();
    order.sort_by(|&a, &b| all.eigenvalues[b].total_cmp(&all.eigenvalues[a]));
    order.truncate(k);
    Some(Eigenpairs {
        values: order.iter().map(|&a| all.eigenvalues[a]).collect(),
        vectors: order.iter().flat_map(|&a| all.eigenvectors.column(a).iter().copied().collect::<Vec<_>>()).collect(),
    })
}

impl Eigenpairs {
    /// Whether they are eigenpairs of the matrix, up to rounding.
    fn hold(&self, matrix: &[f64], tolerance: f64) -> bool {
        let Some(&largest) = self.values.first() else { return true };
        let p = self.vectors.len() / self.values.len();
        let allowed = tolerance * p as f64 * f64::EPSILON;
        let largest = self.values.iter().fold(largest.abs(), |a, b| a.max(b.abs()));
        let vectors = || self.vectors.chunks_exact(p);
        let residual = |(vector, value): (&[f64], &f64)| {
            let square: f64 = matrix
                .chunks_exact(p)
                .zip(vector)
                .map(|(row, v)| dot(row, vector) - value * v)
                .map(|residual| residual * residual)
                .sum();
            square.sqrt()
        };
        // a NaN is not within
        vectors().zip(&self.values).map(residual).all(|r| r < allowed * largest)
            && vectors().enumerate().all(|(a, one)| {
                vectors().take(a + 1).enumerate().all(|(b, other)| {
                    let product = dot(one, other) - f64::from(u8::from(a == b));
                    product.abs() < allowed
                })
            })
    }
}

/// The sum of products, eight at a time.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    struct Dot<'a>(&'a [f64], &'a [f64]);

    impl Kernel for Dot<'_> {
        type Output = f64;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f64 {
            let ((a, a_rest), (b, b_rest)) = (self.0.as_chunks(), self.1.as_chunks());
            // four sums: an addition takes four cycles
            let mut sums = [s.splat(0.0); 4];
            let ((a, a_more), (b, b_more)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            for (a, b) in a.iter().zip(b) {
                for i in 0..4 {
                    sums[i] = s.mul_add(s.load(&a[i]), s.load(&b[i]), sums[i]);
                }
            }
            for (a, b) in a_more.iter().zip(b_more) {
                sums[0] = s.mul_add(s.load(a), s.load(b), sums[0]);
            }
            let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
            total(s, s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))) + rest
        }
    }

    assert_eq!(a.len(), b.len(), "vectors of one length");
    dispatch(Dot(a, b))
}

/// The sum of the lanes, in one order on every level.
#[inline(always)]
fn total<S: Simd>(s: S, v: S::V) -> f64 {
    let [a, b, c, d, e, f, g, h] = s.to_array(v);
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// `Q T Q' = A` with `Q` the product of the reflections `1 - tau v v'`.
struct Tridiagonal {
    p: usize,
    diagonal: Vec<f64>,
    /// Beside the diagonal, one less.
    beside: Vec<f64>,
    tau: Vec<f64>,
    /// Row j: the vector of reflection j, 0 up to column j. `groups` vectors each.
    reflections: Vec<Lanes>,
    groups: usize,
}

impl Tridiagonal {
    fn of(matrix: &[f64], p: usize) -> Self {
        let groups = p.div_ceil(LANES);
        let mut a = vec![Lanes::default(); p * groups];
        for (from, to) in matrix.chunks_exact(p).zip(a.chunks_exact_mut(groups)) {
            flat_mut(to)[..p].copy_from_slice(from);
        }
        let (mut diagonal, mut beside, mut tau) = (Vec::with_capacity(p), Vec::with_capacity(p), Vec::with_capacity(p));
        // the last reflection: A - v w' - w v' is still to be taken
        let (mut v, mut w) = (vec![Lanes::default(); groups], vec![Lanes::default(); groups]);
        let mut next = vec![Lanes::default(); groups];
        let mut product = vec![Lanes::default(); groups];
        for j in 0..p {
            let row = flat_mut(&mut a[j * groups..][..groups]);
            let (vs, ws) = (flat(&v), flat(&w));
            for c in j..p {
                row[c] -= vs[j] * ws[c] + ws[j] * vs[c];
            }
            diagonal.push(row[j]);
            if j + 1 == p {
                break;
            }
            row[..=j].fill(0.0);
            let reflection = reflect(&mut row[j + 1..p]);
            beside.push(reflection.beta);
            tau.push(reflection.tau);
            next.copy_from_slice(&a[j * groups..][..groups]);
            product.fill(Lanes::default());
            dispatch(Step { a: &mut a, p, from: j + 1, v: &v, w: &w, next: &next, product: &mut product });
            // w = tau (A v - tau/2 (v' A v) v)
            let (x, y) = (flat(&next), flat_mut(&mut product));
            let half = 0.5 * reflection.tau * dot(x, y);
            for c in 0..p {
                y[c] = reflection.tau * (y[c] - half * x[c]);
            }
            y[..=j].fill(0.0);
            std::mem::swap(&mut v, &mut next);
            std::mem::swap(&mut w, &mut product);
        }
        Self { p, diagonal, beside, tau, reflections: a, groups }
    }

    fn leading(&self, k: usize) -> Eigenpairs {
        let p = self.p;
        let values = self.largest(k);
        let mut vectors: Vec<f64> = Vec::with_capacity(k * p);
        for (a, &value) in values.iter().enumerate() {
            let vector = self.inverse_iteration(value, a, &vectors);
            vectors.extend(vector);
        }
        for (j, tau) in self.tau.iter().enumerate().rev() {
            let row = flat(&self.reflections[j * self.groups..][..self.groups]);
            for vector in vectors.chunks_exact_mut(p) {
                // whole vectors of lanes from the one on in which the reflection begins
                let start = (j + 1) / LANES * LANES;
                let (v, x) = (&row[start..p], &mut vector[start..]);
                let share = tau * dot(v, x);
                x.iter_mut().zip(v).for_each(|(x, v)| *x -= share * v);
            }
        }
        Eigenpairs { values, vectors }
    }

    /// The `k` largest eigenvalues, by cutting the interval that holds one into nine parts.
    fn largest(&self, k: usize) -> Vec<f64> {
        let beside = |i: usize| self.beside.get(i).map_or(0.0, |e| e.abs());
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (i, d) in self.diagonal.iter().enumerate() {
            let radius = beside(i) + if i > 0 { beside(i - 1) } else { 0.0 };
            (low, high) = (low.min(d - radius), high.max(d + radius));
        }
        let reach = low.abs().max(high.abs());
        let margin = 2.0 * self.p as f64 * f64::EPSILON * reach + f64::MIN_POSITIVE;
        (low, high) = (low - margin, high + margin);
        let squares: Vec<f64> = std::iter::once(0.0).chain(self.beside.iter().map(|e| e * e)).collect();
        let mut values: Vec<f64> = Vec::with_capacity(k);
        for a in 0..k {
            let (mut l, mut h) = (low, high);
            while h - l > f64::EPSILON * l.abs().max(h.abs()).max(f64::EPSILON * reach) {
                let points: [f64; LANES] = std::array::from_fn(|i| l + (h - l) * (i + 1) as f64 / 9.0);
                let below = self.counts(&squares, points);
                let (before_l, before_h) = (l, h);
                for (point, below) in points.into_iter().zip(below) {
                    if below + a < self.p {
                        l = point;
                    } else {
                        h = point;
                        break;
                    }
                }
                if (l, h) == (before_l, before_h) {
                    break;
                }
            }
            // the next ones are no larger
            high = h;
            values.push(values.last().copied().unwrap_or(h).min(f64::midpoint(l, h)));
        }
        values
    }

    /// How many eigenvalues lie below each point.
    fn counts(&self, squares: &[f64], points: [f64; LANES]) -> [usize; LANES] {
        let mut counts = [0; LANES];
        let mut q = [1.0; LANES];
        for (d, square) in self.diagonal.iter().zip(squares) {
            for i in 0..LANES {
                let next = d - points[i] - square / q[i];
                // a pivot that vanishes counts as a small negative one
                q[i] = if next.abs() < PIVOT { -PIVOT } else { next };
                counts[i] += usize::from(q[i] < 0.0);
            }
        }
        counts
    }

    /// The vector of an eigenvalue, orthogonal to those before.
    fn inverse_iteration(&self, value: f64, index: usize, before: &[f64]) -> Vec<f64> {
        let p = self.p;
        let factors = Factors::of(self, value);
        let mut random = Stream::new(0, index);
        let mut x: Vec<f64> = (0..p).map(|_| random.uniform() - 0.5).collect();
        for _ in 0..INVERSE_ITERATIONS {
            normalise(&mut x);
            factors.solve(&mut x);
            normalise(&mut x);
            // twice is enough (Parlett 1980)
            for other in before.chunks_exact(p).chain(before.chunks_exact(p)) {
                let share = dot(&x, other);
                x.iter_mut().zip(other).for_each(|(x, o)| *x -= share * o);
            }
        }
        normalise(&mut x);
        x
    }
}

/// Smallest pivot, for matrices whose largest element lies in [1, 2).
const PIVOT: f64 = f64::EPSILON * f64::EPSILON;

/// To length 1; a vector of zeros stays.
pub fn normalise(x: &mut [f64]) {
    let largest = x.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    if largest > 0.0 {
        x.iter_mut().for_each(|v| *v /= largest);
        let norm = dot(x, x).sqrt();
        x.iter_mut().for_each(|v| *v /= norm);
    }
}

struct Reflection {
    beta: f64,
    tau: f64,
}

/// Replaces `x` by `v` such that `(1 - tau v v') x = (beta, 0, ...)`.
fn reflect(x: &mut [f64]) -> Reflection {
    let Some((first, rest)) = x.split_first_mut() else { return Reflection { beta: 0.0, tau: 0.0 } };
    let square = dot(rest, rest);
    let beta = *first;
    if square == 0.0 {
        x.fill(0.0);
        return Reflection { beta, tau: 0.0 };
    }
    let beta = -(beta * beta + square).sqrt().copysign(beta);
    let tau = (beta - *first) / beta;
    let pivot = *first - beta;
    rest.iter_mut().for_each(|v| *v /= pivot);
    *first = 1.0;
    Reflection { beta, tau }
}

/// One pass over the rows `from..p`: takes `v w' + w v'` off the matrix and writes its product with `next`. Groups of columns
/// from the diagonal one on are read and written; that one is whole.
struct Step<'a> {
    a: &'a mut [Lanes],
    p: usize,
    from: usize,
    v: &'a [Lanes],
    w: &'a [Lanes],
    next: &'a [Lanes],
    product: &'a mut [Lanes],
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, p, from, v, w, next, product } = self;
        let groups = v.len();
        let mut row = from;
        while row < p {
            let group = row / LANES;
            // two rows of a group together share the loads of the vectors
            let pair = row + 1 < p && (row + 1) / LANES == group;
            if pair {
                let (first, second) = a[row * groups..][..2 * groups].split_at_mut(groups);
                rows(s, [&mut first[group..], &mut second[group..]], row, group, v, w, next, product);
                row += 2;
            } else {
                rows(s, [&mut a[row * groups..][group..groups]], row, group, v, w, next, product);
                row += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn rows<S: Simd, const N: usize>(
    s: S,
    mut a: [&mut [Lanes]; N],
    row: usize,
    group: usize,
    v: &[Lanes],
    w: &[Lanes],
    next: &[Lanes],
    product: &mut [Lanes],
) {
    let at = |of: &[Lanes]| -> [f64; N] { std::array::from_fn(|i| of[group][row % LANES + i]) };
    let (vs, ws, xs) = (at(v), at(w), at(next));
    let (vs, ws, xs) = (vs.map(|v| s.splat(-v)), ws.map(|w| s.splat(-w)), xs.map(|x| s.splat(x)));
    let len = v.len() - group;
    let (v, w, next) = (&v[group..][..len], &w[group..][..len], &next[group..][..len]);
    for a in &mut a {
        *a = &mut std::mem::take(a)[..len];
    }
    let mut dots = [s.splat(0.0); N];
    for c in 0..len {
        let (v, w, x) = (s.load(&v[c]), s.load(&w[c]), s.load(&next[c]));
        let mut y = s.load(&product[group + c]);
        for i in 0..N {
            let cell = s.mul_add(vs[i], w, s.mul_add(ws[i], v, s.load(&a[i][c])));
            s.store(cell, &mut a[i][c]);
            dots[i] = s.mul_add(cell, x, dots[i]);
            // the diagonal group holds both triangles
            if c > 0 {
                y = s.mul_add(cell, xs[i], y);
            }
        }
        s.store(y, &mut product[group + c]);
    }
    for (i, dot) in dots.into_iter().enumerate() {
        product[group][row % LANES + i] += total(s, dot);
    }
}

/// `T - value` as lower and upper factors with rows exchanged where that keeps them small.
struct Factors {
    /// Of each row the diagonal and two beside it.
    upper: Vec<[f64; 3]>,
    multipliers: Vec<f64>,
    exchanged: Vec<bool>,
}

impl Factors {
    fn of(t: &Tridiagonal, value: f64) -> Self {
        let p = t.p;
        let beside = |i: usize| t.beside.get(i).copied().unwrap_or(0.0);
        let mut upper = Vec::with_capacity(p);
        let (mut multipliers, mut exchanged) = (Vec::with_capacity(p), Vec::with_capacity(p));
        let mut row = [t.diagonal[0] - value, beside(0), 0.0];
        for i in 0..p {
            if i + 1 == p {
                upper.push(row);
                break;
            }
            let mut below = [beside(i), t.diagonal[i + 1] - value, beside(i + 1)];
            let exchange = below[0].abs() > row[0].abs();
            if exchange {
                std::mem::swap(&mut row, &mut below);
            }
            let multiplier = if row[0] == 0.0 { 0.0 } else { below[0] / row[0] };
            multipliers.push(multiplier);
            exchanged.push(exchange);
            upper.push(row);
            row = [below[1] - multiplier * row[1], below[2] - multiplier * row[2], 0.0];
        }
        Self { upper, multipliers, exchanged }
    }

    fn solve(&self, x: &mut [f64]) {
        for (i, (multiplier, exchanged)) in self.multipliers.iter().zip(&self.exchanged).enumerate() {
            if *exchanged {
                x.swap(i, i + 1);
            }
            x[i + 1] -= multiplier * x[i];
        }
        let p = x.len();
        for i in (0..p).rev() {
            let [diagonal, one, two] = self.upper[i];
            let mut rest = x[i];
            if i + 1 < p {
                rest -= one * x[i + 1];
            }
            if i + 2 < p {
                rest -= two * x[i + 2];
            }
            // the matrix is singular up to rounding, which is the point
            let pivot = if diagonal.abs() < f64::EPSILON { f64::EPSILON.copysign(diagonal) } else { diagonal };
            x[i] = rest / pivot;
        }
    }
}
