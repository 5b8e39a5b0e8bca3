//! Cross products of columns: `G[i][j] = sum over the rows of d_i d_j` with `d_j = (x_j - center_j) * factor_j`.
//!
//! Centring comes before multiplying, so that an offset of 1e8 costs nothing: a center within a standard deviation of the
//! mean (the median always is) loses at most a bit when the rest of the mean is taken off in [`Gram::about_means`].
//! Rows are read in blocks, eight columns side by side; each block's products are summed in registers, over the upper triangle
//! only. Rows are cut into at most 16 parts, a function of the shape alone, which are added in their order: no result
//! depends on the number of threads.
//!
//! Cost: n p^2 / 2 multiplications and additions; memory p^2 / 2 per part. Not taken: a library's matrix product, which takes
//! the full square and wants the centred columns in a matrix of their own.

use rayon::ThreadPool;

use crate::kernels::matrix::Matrix;
use crate::kernels::parallel;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::side_by_side;

/// Rows that are packed at once: the panels of 500 columns stay in the second cache level.
const BLOCK: usize = 64;
/// Groups of columns on the wide side of a product.
const WIDE: usize = 3;
/// Bounds of the number of parts.
const PARTS: (usize, usize) = (4, 16);

/// Products of eight columns with eight others.
pub type Square = [Lanes; LANES];

/// A symmetric matrix of products, row by row, and the sums of the columns.
#[derive(Clone, Debug)]
pub struct Gram {
    pub products: Vec<f64>,
    pub sums: Vec<f64>,
    rows: usize,
}

impl Gram {
    /// # Panics
    /// If there is not a center and a factor for each column.
    pub fn new(pool: &ThreadPool, matrix: Matrix<'_>, center: &[f64], factor: &[f64]) -> Self {
        let (n, p) = (matrix.rows(), matrix.columns());
        assert_eq!((center.len(), factor.len()), (p, p), "a center and a factor for each column");
        let groups = p.div_ceil(LANES);
        let parts = (n / (4 * p.max(1))).next_power_of_two().clamp(PARTS.0, PARTS.1);
        let rows = n.div_ceil(parts).next_multiple_of(BLOCK).max(BLOCK);
        let parts = n.div_ceil(rows);
        // a cell is multiplied with half of the columns
        let results = parallel::map(
            pool,
            parts,
            n * p * groups.div_ceil(2),
            || vec![Lanes::default(); groups * BLOCK],
            |panels, part| {
                let mut sums = Sums::new(groups);
                let end = n.min((part + 1) * rows);
                for start in (part * rows..end).step_by(BLOCK) {
                    let rows = start..end.min(start + BLOCK);
                    dispatch(Block { matrix, center, factor, rows, panels, sums: &mut sums });
                }
                sums
            },
        );
        Sums::unpack(pool, results, n, p)
    }

    /// The products about the columns' means, row by row: `G - sums sums' / n`.
    pub fn about_means(mut self) -> Vec<f64> {
        let p = self.sums.len();
        let n = self.rows as f64;
        for (row, a) in self.products.chunks_exact_mut(p.max(1)).zip(&self.sums) {
            for (product, b) in row.iter_mut().zip(&self.sums) {
                *product -= a * b / n;
            }
        }
        self.products
    }
}

/// Sums over some rows.
struct Sums {
    columns: Vec<Lanes>,
    /// Upper triangle of the pairs of groups, row after row.
    squares: Vec<Square>,
}

impl Sums {
    fn new(groups: usize) -> Self {
        Self { columns: vec![Lanes::default(); groups], squares: vec![Square::default(); groups * (groups + 1) / 2] }
    }

    /// The products of all parts, each element added in their order.
    fn unpack(pool: &ThreadPool, mut parts: Vec<Self>, rows: usize, p: usize) -> Gram {
        let mut all = if parts.is_empty() { Self::new(p.div_ceil(LANES)) } else { parts.remove(0) };
        let groups = all.columns.len();
        for part in &parts {
            add(&mut all.columns, &part.columns);
        }
        add_all(pool, &mut all.squares, &parts.iter().map(|part| part.squares.as_slice()).collect::<Vec<_>>());
        let place = |x: usize, y: usize| x * groups - x * x.saturating_sub(1) / 2 + (y - x);
        let mut products = vec![0.0; p * p];
        let rows_of_groups = products.chunks_mut((LANES * p).max(1));
        parallel::each(
            pool,
            rows_of_groups,
            p * p,
            || (),
            // a row of groups: left of the diagonal the column of groups that mirrors it
            |(), x, out| {
                for (i, row) in out.chunks_exact_mut(p).enumerate() {
                    for (y, to) in row.chunks_mut(LANES).enumerate() {
                        let square = &all.squares[place(x.min(y), x.max(y))];
                        for (j, to) in to.iter_mut().enumerate() {
                            *to = if x <= y { square[i][j] } else { square[j][i] };
                        }
                    }
                }
            },
        );
        let sums = all.columns.iter().flat_map(|sums| sums.iter().copied()).take(p).collect();
        Gram { products, sums, rows }
    }
}

/// Adds all parts, each element in their order.
pub fn add_all(pool: &ThreadPool, to: &mut [Square], parts: &[&[Square]]) {
    const SOME: usize = 64;
    let work = to.len() * LANES * LANES * parts.len();
    parallel::each(
        pool,
        to.chunks_mut(SOME),
        work,
        || (),
        |(), i, to| {
            for part in parts {
                let from = &part[i * SOME..][..to.len()];
                add(to.as_flattened_mut(), from.as_flattened());
            }
        },
    );
}

fn add(to: &mut [Lanes], from: &[Lanes]) {
    for (to, from) in to.iter_mut().zip(from) {
        to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to += from);
    }
}

/// Packs a block of rows and adds its products.
struct Block<'a> {
    matrix: Matrix<'a>,
    center: &'a [f64],
    factor: &'a [f64],
    rows: std::ops::Range<usize>,
    panels: &'a mut [Lanes],
    sums: &'a mut Sums,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { matrix, center, factor, rows, panels, sums } = self;
        let groups = sums.columns.len();
        for group in 0..groups {
            // lanes without a column are 0
            let mut columns = [&[0.0; BLOCK][..]; LANES];
            let (mut centers, mut factors) = (Lanes::default(), Lanes::default());
            for (lane, j) in (group * LANES..matrix.columns().min((group + 1) * LANES)).enumerate() {
                columns[lane] = &matrix.column(j)[rows.clone()];
                (centers[lane], factors[lane]) = (center[j], factor[j]);
            }
            let panel = &mut panels[group * BLOCK..][..rows.len()];
            side_by_side(s, columns, panel);
            let (centers, factors) = (s.load(&centers), s.load(&factors));
            let mut sum = s.splat(0.0);
            for row in panel {
                let d = s.mul(s.sub(s.load(row), centers), factors);
                s.store(d, row);
                sum = s.add(sum, d);
            }
            s.store(s.add(s.load(&sums.columns[group]), sum), &mut sums.columns[group]);
        }
        let panel = |group: usize| &panels[group * BLOCK..][..rows.len()];
        let mut squares = &mut sums.squares[..];
        for x in 0..groups {
            let (of_x, rest) = std::mem::take(&mut squares).split_at_mut(groups - x);
            squares = rest;
            let mut y = x;
            if S::REGISTERS >= 32 {
                while y + WIDE <= groups {
                    product::<S, 8, WIDE>(s, panel(x), [panel(y), panel(y + 1), panel(y + 2)], &mut of_x[y - x..]);
                    y += WIDE;
                }
            }
            while y < groups {
                let to = &mut of_x[y - x..];
                if S::REGISTERS >= 32 {
                    product::<S, 8, 1>(s, panel(x), [panel(y)], to);
                } else if S::REGISTERS >= 8 {
                    product::<S, 4, 1>(s, panel(x), [panel(y)], to);
                } else {
                    product::<S, 2, 1>(s, panel(x), [panel(y)], to);
                }
                y += 1;
            }
        }
    }
}

/// Adds the products of one group of columns with some others to their squares, `AT_ONCE` columns of the one at a time.
/// Each sum runs over the rows in their order, whatever the shape.
#[inline(always)]
fn product<S: Simd, const AT_ONCE: usize, const N: usize>(
    s: S,
    left: &[Lanes],
    rights: [&[Lanes]; N],
    squares: &mut [Square],
) {
    let rights = rights.map(|right| &right[..left.len()]);
    for lane in (0..LANES).step_by(AT_ONCE) {
        let mut sums = [[s.splat(0.0); N]; AT_ONCE];
        for (q, row) in left.iter().enumerate() {
            let mut others = [s.splat(0.0); N];
            for k in 0..N {
                others[k] = s.load(&rights[k][q]);
            }
            for i in 0..AT_ONCE {
                let v = s.splat(row[lane + i]);
                for k in 0..N {
                    sums[i][k] = s.mul_add(v, others[k], sums[i][k]);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (square, sum) in squares.iter_mut().zip(sums) {
                let to = &mut square[lane + i];
                s.store(s.add(s.load(to), *sum), to);
            }
        }
    }
}
