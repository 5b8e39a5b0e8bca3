//! Correlation matrices of whole columns, pairwise complete: Pearson's, and Spearman's (Pearson's of the average ranks,
//! taken anew over the rows that a pair has in common).
//!
//! Columns are read in blocks of rows, eight columns side by side, about an anchor each: the median of some of its
//! readings. So no copy of the data is made. Products of eight columns with up to three times eight others are summed in
//! registers, over the upper triangle only. Where readings are missing, six such products (of values, squares and masks) give the sums
//! over the rows that a pair has in common. Pairs whose means lie far from the anchors, or out of range, are computed
//! again directly. Rows are cut into at most 16 parts, a function of the shape alone, which are added in their order: no result
//! depends on the number of threads.
//!
//! Cost: n p^2 / 2 multiplications and additions; memory p^2 per part. Spearman sorts every column, and re-ranks both columns of
//! every pair with missing readings.
//!
//! Not taken: a library's matrix product, which wants the columns centred in a matrix of their own first, and takes the
//! full square, or needs a second pass for the triangle.

use rayon::ThreadPool;

use super::{HUGE, Row, TINY, direct};
use crate::kernels::features::rolling::{Columns, Source};
use crate::kernels::linalg::gram::{Square, add_all};
use crate::kernels::parallel;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::side_by_side;

/// Rows that are packed at once: eight times four columns of them stay in the first cache level.
const BLOCK: usize = 128;
/// Groups of columns on the wide side of a product.
const WIDE: usize = 3;
/// Largest squared distance between anchor and mean, in variances: costs up to two digits.
const KAPPA: f64 = 64.0;
/// How many readings of a column its anchor is taken from.
const SAMPLE: usize = 15;
/// Bounds of the number of parts.
const PARTS: (usize, usize) = (4, 16);

/// Pearson's correlations, row by row; NaN where there is none. 1 on the diagonal.
///
/// # Panics
/// If the lengths differ.
pub fn pearson(pool: &ThreadPool, columns: &Columns) -> Vec<f64> {
    let p = columns.len();
    let n = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == n), "columns of one length");
    let anchors = parallel::map(pool, p, SAMPLE * p, || (), |_, i| anchor(columns[i]));
    let order: Vec<usize> = (0..p).collect();
    // most data has nothing missing: found out on the way
    if let Some(sums) = Sums::of(pool, columns, &anchors, &order, p) {
        return sums.correlations(pool, columns, &order);
    }
    let missing = parallel::map(pool, p, n * p, Vec::new, |buffer, i| has_missing(columns[i], buffer));
    let mut order = order;
    order.sort_by_key(|&i| missing[i]);
    let clean = missing.iter().filter(|missing| !**missing).count();
    let sums = Sums::of(pool, columns, &anchors, &order, clean).expect("all columns with missing readings are known");
    sums.correlations(pool, columns, &order)
}

/// Spearman's correlations, row by row; NaN where there is none. 1 on the diagonal.
///
/// # Panics
/// If the lengths differ.
pub fn spearman(pool: &ThreadPool, columns: &Columns) -> Vec<f64> {
    let p = columns.len();
    let n = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == n), "columns of one length");
    let sorted = parallel::map(pool, p, n * p, || (), |_, i| Sorted::new(columns[i]));
    let ranks = parallel::map(pool, p, n * p, || (), |_, i| sorted[i].ranks(n));
    let (clean, gaps): (Vec<usize>, Vec<usize>) = (0..p).partition(|&i| sorted[i].rows.len() == n);
    let views: Vec<&(dyn Source + Sync)> = clean.iter().map(|&i| &ranks[i] as &(dyn Source + Sync)).collect();
    let of_clean = pearson(pool, &views);
    let mut out = vec![f64::NAN; p * p];
    for (&i, row) in clean.iter().zip(of_clean.chunks_exact(clean.len().max(1))) {
        for (&j, r) in clean.iter().zip(row) {
            out[i * p + j] = *r;
        }
    }
    // each pair with missing readings once
    let again: Vec<(usize, usize)> =
        gaps.iter().enumerate().flat_map(|(k, &i)| clean.iter().chain(&gaps[k..]).map(move |&j| (i, j))).collect();
    let results = parallel::map(pool, again.len(), again.len() * n, Vec::new, |buffer: &mut Vec<(f64, f64)>, k| {
        let (i, j) = again[k];
        buffer.clear();
        buffer.resize(n, (f64::NAN, f64::NAN));
        sorted[i].rank_among(&ranks[j], |row, rank| buffer[row].0 = rank);
        sorted[j].rank_among(&ranks[i], |row, rank| buffer[row].1 = rank);
        match direct(|| buffer.iter().copied().filter(|(x, _)| !x.is_nan())) {
            r if i == j && !r.is_nan() => 1.0,
            r => r,
        }
    });
    for (&(i, j), r) in again.iter().zip(results) {
        (out[i * p + j], out[j * p + i]) = (r, r);
    }
    out
}

/// The rows of a column that are present, by value, and where runs of equal values end.
struct Sorted {
    rows: Vec<usize>,
    /// of the row at each place: whether its value is that of the place before
    tied: Vec<bool>,
}

impl Sorted {
    fn new(column: &(dyn Source + Sync)) -> Self {
        let mut values = vec![0.0; column.len()];
        column.load(0, &mut values);
        let mut pairs: Vec<(f64, usize)> =
            values.into_iter().enumerate().filter(|(_, v)| !v.is_nan()).map(|(row, v)| (v, row)).collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // total_cmp puts -0.0 before 0.0, == makes them one run
        let tied = (0..pairs.len()).map(|i| i > 0 && pairs[i - 1].0 == pairs[i].0).collect();
        Self { rows: pairs.into_iter().map(|(_, row)| row).collect(), tied }
    }

    /// The average rank of each row, from 1 on; NaN where missing.
    fn ranks(&self, n: usize) -> Vec<f64> {
        let mut out = vec![f64::NAN; n];
        self.walk(|_| true, |row, rank| out[row] = rank);
        out
    }

    /// The ranks among the rows where the other column is present.
    fn rank_among(&self, other: &[f64], set: impl FnMut(usize, f64)) {
        self.walk(|row| !other[row].is_nan(), set);
    }

    fn walk(&self, counts: impl Fn(usize) -> bool, mut set: impl FnMut(usize, f64)) {
        let (mut start, mut before) = (0, 0);
        while start < self.rows.len() {
            let mut end = start + 1;
            while end < self.rows.len() && self.tied[end] {
                end += 1;
            }
            let run = &self.rows[start..end];
            let ties = run.iter().filter(|&&row| counts(row)).count();
            let rank = before as f64 + (ties + 1) as f64 * 0.5;
            run.iter().filter(|&&row| counts(row)).for_each(|&row| set(row, rank));
            before += ties;
            start = end;
        }
    }
}

/// The middle one of some readings, spread over the column; 0 if there is none.
fn anchor(column: &(dyn Source + Sync)) -> f64 {
    let n = column.len();
    let count = n.min(SAMPLE);
    let mut sample: Vec<f64> = (0..count)
        .map(|i| {
            let mut one = [0.0];
            // i n fits: rows are in memory
            column.load((i * n + n / 2) / count, &mut one);
            one[0]
        })
        .filter(|v| !v.is_nan())
        .collect();
    if sample.is_empty() {
        let mut buffer = [0.0; BLOCK];
        return (0..n)
            .step_by(BLOCK)
            .find_map(|start| {
                let rows = &mut buffer[..BLOCK.min(n - start)];
                column.load(start, rows);
                rows.iter().copied().find(|v| !v.is_nan())
            })
            .unwrap_or(0.0);
    }
    let middle = sample.len() / 2;
    *sample.select_nth_unstable_by(middle, f64::total_cmp).1
}

fn has_missing(column: &(dyn Source + Sync), buffer: &mut Vec<f64>) -> bool {
    buffer.resize(BLOCK * LANES, 0.0);
    let n = column.len();
    (0..n).step_by(buffer.len()).any(|start| {
        let rows = buffer.len().min(n - start);
        column.load(start, &mut buffer[..rows])
    })
}

fn flat(rows: &[Row]) -> impl Iterator<Item = &f64> {
    rows.iter().flat_map(|row| row.iter())
}

fn flat_mut(rows: &mut [Row]) -> impl Iterator<Item = &mut f64> {
    rows.iter_mut().flat_map(|row| row.iter_mut())
}

/// Which products a part holds of two groups of columns, x and y: of values, and where readings are missing also counts,
/// sums and sums of squares over the rows where both are present.
const XY: usize = 0;
const COUNT: usize = 1;
const X: usize = 2;
const Y: usize = 3;
const XX: usize = 4;
const YY: usize = 5;

/// Sums over all rows, columns in the order of their packing.
struct Sums {
    n: usize,
    p: usize,
    sums: Vec<Row>,
    /// Largest distance from the anchor.
    reach: Vec<Row>,
    /// Upper triangle of groups, for each one square, or six.
    squares: Vec<Square>,
    at: Places,
}

/// Where the squares of a pair of groups lie; the groups from `clean` on have missing readings.
struct Places {
    groups: usize,
    clean: usize,
}

impl Places {
    fn is_clean(&self, y: usize) -> bool {
        y < self.clean
    }

    /// The squares of x and y with x <= y: column after column of the triangle, one each while y is clean, then six each.
    fn of(&self, x: usize, y: usize) -> usize {
        let before = |columns: usize| columns * (columns + 1) / 2;
        if self.is_clean(y) { before(y) + x } else { before(self.clean) + 6 * (before(y) - before(self.clean) + x) }
    }

    fn len(&self) -> usize {
        self.of(0, self.groups)
    }
}

impl Sums {
    fn new(n: usize, p: usize, clean: usize) -> Self {
        let groups = p.div_ceil(LANES);
        let at = Places { groups, clean };
        let squares = vec![[Row::default(); LANES]; at.len()];
        Self { n, p, sums: vec![Row::default(); groups], reach: vec![Row::default(); groups], squares, at }
    }

    /// The first `clean` of the columns in `order` are read as having nothing missing: None if one of them has.
    fn of(pool: &ThreadPool, columns: &Columns, anchors: &[f64], order: &[usize], clean: usize) -> Option<Self> {
        let p = columns.len();
        let n = columns.first().map_or(0, |column| column.len());
        let groups = p.div_ceil(LANES);
        let clean = if clean == p { groups } else { clean / LANES };
        let parts = (n / (4 * p.max(1))).next_power_of_two().clamp(PARTS.0, PARTS.1);
        let rows = n.div_ceil(parts).next_multiple_of(BLOCK).max(BLOCK);
        let parts = n.div_ceil(rows);
        let results = parallel::map(
            pool,
            parts,
            n * p,
            || Panels::new(columns, anchors, order, groups, clean),
            |panels, part| {
                let mut sums = Sums::new(n, p, clean);
                let end = n.min((part + 1) * rows);
                for start in (part * rows..end).step_by(BLOCK) {
                    panels.pack(&mut sums, start, BLOCK.min(end - start))?;
                    dispatch(Products { panels, sums: &mut sums });
                }
                Some(sums)
            },
        );
        let mut parts = results.into_iter().collect::<Option<Vec<Sums>>>()?;
        let mut all = if parts.is_empty() { Sums::new(n, p, clean) } else { parts.remove(0) };
        add_all(pool, &mut all.squares, &parts.iter().map(|part| part.squares.as_slice()).collect::<Vec<_>>());
        for part in parts {
            flat_mut(&mut all.sums).zip(flat(&part.sums)).for_each(|(to, from)| *to += from);
            for (to, from) in flat_mut(&mut all.reach).zip(flat(&part.reach)) {
                // a distance out of range is a NaN or infinite
                *to = if *to >= *from { *to } else { *from };
            }
        }
        Some(all)
    }

    /// The matrix in the order of the columns.
    fn correlations(&self, pool: &ThreadPool, columns: &Columns, order: &[usize]) -> Vec<f64> {
        let p = self.p;
        let factors: Vec<Option<f64>> = (0..p).map(|a| self.factor(a)).collect();
        // row by row: each pair twice, but on all threads and side by side in memory
        let rows = parallel::map(
            pool,
            p,
            p * p,
            || (),
            |(), a| {
                let mut again = Vec::new();
                let row: Vec<f64> = (0..p)
                    .map(|b| {
                        self.pair(&factors, a.min(b), a.max(b)).unwrap_or_else(|| {
                            again.push(b);
                            f64::NAN
                        })
                    })
                    .collect();
                (row, again)
            },
        );
        let mut out = vec![f64::NAN; p * p];
        let mut again = Vec::new();
        for (a, (row, others)) in rows.into_iter().enumerate() {
            let i = order[a];
            for (r, &j) in row.into_iter().zip(order) {
                out[i * p + j] = r;
            }
            again.extend(others.into_iter().filter(|&b| b >= a).map(|b| (i, order[b])));
        }
        let cells = again.len() * self.n;
        let results = parallel::map(
            pool,
            again.len(),
            cells,
            || (vec![0.0; self.n], vec![0.0; self.n]),
            |(x, y), k| {
                let (i, j) = again[k];
                columns[i].load(0, x);
                columns[j].load(0, y);
                let pairs = || x.iter().copied().zip(y.iter().copied()).filter(|(x, y)| !x.is_nan() && !y.is_nan());
                match direct(pairs) {
                    r if i == j && !r.is_nan() => 1.0,
                    r => r,
                }
            },
        );
        for (&(i, j), r) in again.iter().zip(results) {
            (out[i * p + j], out[j * p + i]) = (r, r);
        }
        out
    }

    fn is_constant(&self, a: usize) -> bool {
        self.reach[a / LANES][a % LANES] == 0.0
    }

    /// What a column adds to its correlations with others of which none has missing readings.
    fn factor(&self, a: usize) -> Option<f64> {
        let (group, lane) = (a / LANES, a % LANES);
        factor(self.n as f64, self.sums[group][lane], self.squares[self.at.of(group, group)][lane][lane])
    }

    /// The correlation of two columns by place, `a <= b`; None where the sums are not good enough.
    fn pair(&self, factors: &[Option<f64>], a: usize, b: usize) -> Option<f64> {
        let (ga, i, gb, j) = (a / LANES, a % LANES, b / LANES, b % LANES);
        if self.is_constant(a) || self.is_constant(b) || self.n < 2 {
            return Some(f64::NAN);
        }
        let at = self.at.of(ga, gb);
        let (per_x, per_y, n, sx, sy, sxy) = if self.at.is_clean(gb) {
            let n = self.n as f64;
            (factors[a], factors[b], n, self.sums[ga][i], self.sums[gb][j], self.squares[at][i][j])
        } else {
            let [n, sx, sy, sxx, syy, sxy] = [COUNT, X, Y, XX, YY, XY].map(|k| self.squares[at + k][i][j]);
            if n < 2.0 {
                return Some(f64::NAN);
            }
            (factor(n, sx, sxx), factor(n, sy, syy), n, sx, sy, sxy)
        };
        let per = per_x? * per_y?;
        let r = if a == b { 1.0 } else { (sxy - sx * sy / n) * per };
        Some(r.clamp(-1.0, 1.0) + 0.0)
    }
}

/// 1 / sqrt(sum of squares about the mean), of n readings about their anchor; None where the digits of these sums do not suffice.
fn factor(n: f64, sum: f64, squares: f64) -> Option<f64> {
    let mean = sum / n;
    let v = squares - sum * mean;
    (sum * mean <= KAPPA * v && (TINY..=HUGE).contains(&v)).then(|| 1.0 / v.sqrt())
}

/// A block of rows, eight columns side by side, about their anchors.
struct Panels<'a> {
    columns: &'a Columns<'a>,
    /// those that need not be loaded
    slices: Vec<Option<&'a [f64]>>,
    anchors: Vec<Row>,
    order: &'a [usize],
    groups: usize,
    clean: usize,
    rows: usize,
    buffer: Vec<f64>,
    /// `BLOCK` rows per group: values, missing is 0; and of the groups with missing readings presence and squares.
    values: Vec<Row>,
    present: Vec<Row>,
    squares: Vec<Row>,
}

impl<'a> Panels<'a> {
    fn new(columns: &'a Columns, anchors: &[f64], order: &'a [usize], groups: usize, clean: usize) -> Self {
        let lanes = |g: usize| -> Row {
            Lanes(std::array::from_fn(|lane| order.get(g * LANES + lane).map_or(0.0, |&column| anchors[column])))
        };
        // clean groups need them too, where there are others
        let more = if clean == groups { 0 } else { groups };
        Self {
            columns,
            slices: columns.iter().map(|column| column.values()).collect(),
            anchors: (0..groups).map(lanes).collect(),
            order,
            groups,
            clean,
            rows: 0,
            buffer: vec![0.0; BLOCK * LANES],
            values: vec![Row::default(); groups * BLOCK],
            present: vec![Row::default(); more * BLOCK],
            squares: vec![Row::default(); more * BLOCK],
        }
    }

    fn panel<'b>(&self, of: &'b [Row], group: usize) -> &'b [Row] {
        &of[group * BLOCK..][..self.rows]
    }

    /// Packs the rows from `start` on, and adds up their sums. None if a column said to be clean is not.
    fn pack(&mut self, sums: &mut Sums, start: usize, rows: usize) -> Option<()> {
        self.rows = rows;
        for group in 0..self.groups {
            let members = &self.order[group * LANES..self.order.len().min((group + 1) * LANES)];
            for (&column, buffer) in members.iter().zip(self.buffer.chunks_exact_mut(BLOCK)) {
                if self.slices[column].is_none() {
                    self.columns[column].load(start, &mut buffer[..rows]);
                }
            }
            // lanes without a column hold their anchor
            self.buffer[members.len() * BLOCK..].fill(0.0);
            if dispatch(Pack { panels: self, sums, group, members, start }) && group < self.clean {
                return None;
            }
        }
        Some(())
    }
}

/// Packs a group's rows from `start` on; says whether a reading is missing.
struct Pack<'a, 'b> {
    panels: &'a mut Panels<'b>,
    sums: &'a mut Sums,
    group: usize,
    members: &'a [usize],
    start: usize,
}

impl Kernel for Pack<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let Self { panels, sums, group, members, start } = self;
        let Panels { slices, anchors, rows, buffer, values, present, squares, .. } = panels;
        let (zero, one, anchor) = (s.splat(0.0), s.splat(1.0), s.load(&anchors[group]));
        let columns = std::array::from_fn(|lane| {
            let slice = members.get(lane).and_then(|&column| slices[column]);
            slice.map_or(&buffer[lane * BLOCK..][..*rows], |slice| &slice[start..start + *rows])
        });
        let values = &mut values[group * BLOCK..][..*rows];
        side_by_side(s, columns, values);
        let (mut sum, mut reach, mut all) = (zero, s.load(&sums.reach[group]), one);
        for (q, row) in values.iter_mut().enumerate() {
            let v = s.load(row);
            // 0 * v is 0 for a number, NaN for what is none
            let known = s.eq(s.mul(v, zero), zero);
            all = s.keep(known, all);
            let d = s.keep(known, s.sub(v, anchor));
            s.store(d, row);
            sum = s.add(sum, d);
            reach = s.max(reach, s.abs(d));
            if !present.is_empty() {
                s.store(s.keep(known, one), &mut present[group * BLOCK + q]);
                s.store(s.mul(d, d), &mut squares[group * BLOCK + q]);
            }
        }
        s.store(s.add(s.load(&sums.sums[group]), sum), &mut sums.sums[group]);
        s.store(reach, &mut sums.reach[group]);
        !s.all(s.eq(all, one))
    }
}

/// Adds the products of a block.
struct Products<'a, 'b> {
    panels: &'a Panels<'b>,
    sums: &'a mut Sums,
}

impl Kernel for Products<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panels, sums } = self;
        let Sums { squares, at, .. } = sums;
        for x in 0..panels.groups {
            let mut y = x;
            let values = panels.panel(&panels.values, x);
            // wide products of the clean groups, where the registers hold them
            if S::REGISTERS >= 32 {
                while y + WIDE <= panels.clean {
                    let others = [0, 1, 2].map(|k| panels.panel(&panels.values, y + k));
                    product::<S, 8, WIDE>(s, values, others, squares, [0, 1, 2].map(|k| at.of(x, y + k)));
                    y += WIDE;
                }
            }
            while y < panels.clean {
                narrow(s, values, panels.panel(&panels.values, y), &mut squares[at.of(x, y)]);
                y += 1;
            }
            for y in y..panels.groups {
                let place = at.of(x, y);
                for (k, left, right) in [
                    (XY, &panels.values, &panels.values),
                    (COUNT, &panels.present, &panels.present),
                    (X, &panels.values, &panels.present),
                    (Y, &panels.present, &panels.values),
                    (XX, &panels.squares, &panels.present),
                    (YY, &panels.present, &panels.squares),
                ] {
                    narrow(s, panels.panel(left, x), panels.panel(right, y), &mut squares[place + k]);
                }
            }
        }
    }
}

/// One square, in as many lanes at once as the registers hold.
#[inline(always)]
fn narrow<S: Simd>(s: S, left: &[Row], right: &[Row], square: &mut Square) {
    let squares = std::slice::from_mut(square);
    if S::REGISTERS >= 32 {
        product::<S, 8, 1>(s, left, [right], squares, [0]);
    } else if S::REGISTERS >= 8 {
        product::<S, 4, 1>(s, left, [right], squares, [0]);
    } else {
        product::<S, 2, 1>(s, left, [right], squares, [0]);
    }
}

/// Adds the products of one group of columns with some others to their squares, `AT_ONCE` columns of the one at a time.
/// Each sum runs over the rows in their order, whatever the shape.
#[inline(always)]
fn product<S: Simd, const AT_ONCE: usize, const N: usize>(
    s: S,
    left: &[Row],
    rights: [&[Row]; N],
    squares: &mut [Square],
    places: [usize; N],
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
            for (place, sum) in places.iter().zip(sums) {
                let to = &mut squares[*place][lane + i];
                s.store(s.add(s.load(to), *sum), to);
            }
        }
    }
}
