//! Rows as points: eight of them side by side, found by a k-d tree.
//!
//! The tree (Bentley 1975) halves the rows at the median of the widest side of their bounding box, down to leaves of a few
//! vectors. Squared distances are sums over the columns in their order, the same bits from here as from anywhere else.
//! Rows of a leaf search together: down to the half that is nearer to their bounding box first, then to whatever lies near
//! enough to any of them; in a leaf each asks first whether its bounding box lies near enough to itself. So cells come from afar
//! once for many rows.
//! The lower bound that a bounding box gives is a little less than its sum of squares, because sums in another order round
//! otherwise.
//! Where there are many columns, boxes keep few rows apart. There each asks its rows in single precision ([`Coarse`]), and only
//! if one could lie near enough are squared distances taken: fits of 10,000 rows take a third less time with 50
//! columns, a tenth less with 10 (AVX-512).

use crate::kernels::elementary::power_of_two_below;
use crate::kernels::regimes::kmeans::sum_of_lanes;
use crate::kernels::simd::{FLOATS, Floats, Kernel, LANES, Lanes, Simd, dispatch};

/// Vectors of a leaf. Their sums run side by side, so that an addition need not wait for the one before.
pub const LEAF: usize = 4;
/// Columns after which squared distances are looked at: where they are beyond the limit already, the others are not added.
const STEP: usize = 16;

/// Fewer columns are summed in double precision at once.
const COARSE: usize = 8;
/// How much of a squared distance is allowed for its error; see [`Coarse`].
const D: f64 = 1.0 / 1024.0;
/// Vectors of a leaf in single precision.
const HALF: usize = LEAF * LANES / FLOATS;

/// A part of the rows: vectors `from..to` as far as they hold any, in two halves, the first of which is the next node.
#[derive(Clone, Copy)]
pub struct Node {
    pub from: usize,
    pub to: usize,
    /// The second half; 0 for a leaf.
    pub second: usize,
}

/// Rows in the order of a k-d tree.
pub struct Points {
    columns: usize,
    /// Leaf by leaf, of each column the vectors of the leaf; behind the last row come copies of it.
    cells: Vec<Lanes>,
    /// The row at each place.
    pub order: Vec<usize>,
    /// The first is the root; halves come behind what they are halves of.
    pub nodes: Vec<Node>,
    /// Of each node the least and the largest cells, in whole vectors of columns.
    boxes: Vec<Lanes>,
    /// Vectors that hold a cell of each column.
    wide: usize,
    /// What is left of a sum of squares as a lower bound.
    slack: f64,
    coarse: Option<Coarse>,
}

/// The cells in single precision, about the middle of each column and divided by a power of two, so that none is above 1.
///
/// A cell `c` comes out with an error of little more than `2^-24 |c|`, so the distance d of two rows is wrong by at most
/// `e = 2^-24 (|a| + |b|)`, of which twice is allowed for (triangle inequality), and its square at most `(d + e)^2 <= (1 + D) d^2 + (1 + 1 / D) e^2`: with
/// `D = 2^-10` no root is needed. The sum of squares is wrong by a factor of at most `1 + (columns + 4) 2^-24` on top.
struct Coarse {
    /// Leaf by leaf, of each column the rows of the leaf.
    cells: Vec<Floats>,
    middles: Vec<f64>,
    scale: f64,
    /// No row has a larger norm.
    norm: f64,
    /// Factor of a sum of squares.
    slack: f64,
}

impl Coarse {
    /// `low` and `high` bound each column; none if single precision is no use.
    fn new(cells: &[Lanes], low: &[f64], high: &[f64]) -> Option<Self> {
        let columns = low.len();
        let middles: Vec<f64> = low.iter().zip(high).map(|(low, high)| low / 2.0 + high / 2.0).collect();
        let sides: Vec<f64> = low.iter().zip(high).map(|(low, high)| high / 2.0 - low / 2.0).collect();
        let largest = sides.iter().fold(0.0_f64, |largest, side| largest.max(*side));
        if columns < COARSE || !largest.is_normal() {
            return None;
        }
        let scale = power_of_two_below(largest);
        let mut coarse = Self {
            cells: Vec::with_capacity(cells.len() / LEAF * HALF),
            middles,
            scale,
            norm: sides.iter().map(|side| (side * scale) * (side * scale)).sum::<f64>().sqrt(),
            slack: 1.0 + (columns + 8) as f64 * f64::from(f32::EPSILON),
        };
        for (at, vectors) in cells.as_chunks::<LEAF>().0.iter().enumerate() {
            for half in vectors.as_chunks::<{ LEAF / HALF }>().0 {
                let mut floats = Floats([0.0; FLOATS]);
                let values = half.iter().flat_map(|lanes| lanes.0);
                floats.0.iter_mut().zip(values).for_each(|(float, v)| *float = coarse.cell(at % columns, v));
                coarse.cells.push(floats);
            }
        }
        Some(coarse)
    }

    fn cell(&self, column: usize, v: f64) -> f32 {
        ((v - self.middles[column]) * self.scale) as f32
    }

    /// What squared distances, scaled, between this row and those of the points may be too large by.
    fn error(&self, x: &[f64]) -> f64 {
        let scaled = x.iter().zip(&self.middles).map(|(x, middle)| (x - middle) * self.scale);
        let error = f64::from(f32::EPSILON) * (self.norm + scaled.map(|v| v * v).sum::<f64>().sqrt());
        (1.0 + D.recip()) * error * error
    }

    /// Whether the squared distance of any row of a leaf, by its first vector, may be as small as the limit.
    #[inline(always)]
    fn may_be_near<S: Simd>(&self, s: S, leaf: usize, x: &[f32], error: f64, limit: f64) -> bool {
        let limit = (((1.0 + D) * (limit * self.scale * self.scale) + error) * self.slack) as f32;
        let columns = x.len();
        let cells = &self.cells[leaf / LEAF * columns * HALF..(leaf / LEAF + 1) * columns * HALF];
        let zero = s.splat_float(0.0);
        let mut sums = [zero; HALF];
        for (cells, x) in cells.chunks(HALF * STEP).zip(x.chunks(STEP)) {
            // two sums each, so that an addition need not wait for the one before
            let mut others = [zero; HALF];
            let (pairs, last) = cells.as_chunks::<{ 2 * HALF }>();
            for (cells, x) in pairs.iter().zip(x.as_chunks::<2>().0) {
                let (even, odd) = (s.splat_float(x[0]), s.splat_float(x[1]));
                for v in 0..HALF {
                    sums[v] = s.add_square(sums[v], s.load_floats(&cells[v]), even);
                    others[v] = s.add_square(others[v], s.load_floats(&cells[HALF + v]), odd);
                }
            }
            for (v, cell) in last.iter().enumerate() {
                others[v] = s.add_square(others[v], s.load_floats(cell), s.splat_float(x[x.len() - 1]));
            }
            for v in 0..HALF {
                sums[v] = s.add_floats(sums[v], others[v]);
            }
            if !sums.iter().any(|&sum| s.any_at_most(sum, limit)) {
                return false;
            }
        }
        true
    }
}

/// The nearest rows found so far, by squared distance; of equals those found first.
#[derive(Clone, Default)]
pub struct Nearest {
    pub squares: Vec<f64>,
    pub places: Vec<u32>,
    wanted: usize,
}

impl Nearest {
    pub fn clear(&mut self, wanted: usize) {
        self.squares.clear();
        self.places.clear();
        self.wanted = wanted;
    }

    /// The square that a row must lie below to be one of them.
    #[inline(always)]
    pub fn limit(&self) -> f64 {
        if self.squares.len() < self.wanted { f64::INFINITY } else { self.squares[self.wanted - 1] }
    }

    #[inline(always)]
    pub fn insert(&mut self, square: f64, place: usize) {
        if self.squares.len() < self.wanted {
            self.squares.push(square);
            self.places.push(place as u32);
        }
        // the last, which is the farthest where the list is full, gives way; counted down by a range: no index need be checked
        let squares = self.squares.as_mut_slice();
        let places = &mut self.places[..squares.len()];
        let mut to = 0;
        for at in (1..squares.len()).rev() {
            if squares[at - 1] <= square {
                to = at;
                break;
            }
            squares[at] = squares[at - 1];
            places[at] = places[at - 1];
        }
        squares[to] = square;
        places[to] = place as u32;
    }
}

/// Rows that search together, and the nodes that are still open.
#[derive(Default)]
pub struct Walk {
    /// Lower bounds, and the nodes that they are for.
    open: Vec<(f64, usize)>,
    /// The rows, and once more in whole vectors of columns.
    x: Vec<f64>,
    rows: Vec<Lanes>,
    /// The same in single precision, and the error of its distances.
    coarse: Vec<f32>,
    errors: Vec<f64>,
    /// Least and largest cells of the rows.
    low: Vec<Lanes>,
    high: Vec<Lanes>,
}

impl Walk {
    pub fn clear(&mut self) {
        self.x.clear();
    }

    pub fn add(&mut self, x: impl Iterator<Item = f64>) {
        self.x.extend(x);
    }
}

/// A lower bound of whatever a search compares, from a node and the least squared distance to its rows.
pub trait Bound {
    fn least(&self, node: usize, square: f64) -> f64;
}

/// The squared distance itself.
pub struct Distance;

impl Bound for Distance {
    #[inline(always)]
    fn least(&self, _: usize, square: f64) -> f64 {
        square
    }
}

impl Points {
    /// Of at least one row and one column; `cell(row, column)`.
    pub fn new(rows: usize, columns: usize, cell: impl Fn(usize, usize) -> f64) -> Self {
        // rows together, so that a row's columns are fetched at once
        let table: Vec<f64> =
            (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).collect();
        let mut order: Vec<usize> = (0..rows).collect();
        let mut nodes = Vec::new();
        let mut bounds = Vec::new();
        split(&table, columns, &mut order, 0, &mut nodes, &mut bounds);
        let wide = columns.div_ceil(LANES);
        let mut boxes = vec![Lanes::default(); nodes.len() * 2 * wide];
        for (sides, bounds) in boxes.chunks_exact_mut(wide).zip(bounds.chunks_exact(columns)) {
            bounds.iter().enumerate().for_each(|(j, &v)| sides[j / LANES][j % LANES] = v);
        }
        let mut cells = vec![Lanes::default(); rows.div_ceil(LEAF * LANES) * LEAF * columns];
        for (at, lanes) in cells.iter_mut().enumerate() {
            let (leaf, j, v) = (at / LEAF / columns, at / LEAF % columns, at % LEAF);
            for (lane, cell) in lanes.iter_mut().enumerate() {
                let place = (leaf * LEAF + v) * LANES + lane;
                *cell = table[order[place.min(rows - 1)] * columns + j];
            }
        }
        let coarse = Coarse::new(&cells, &bounds[..columns], &bounds[columns..2 * columns]);
        let slack = 1.0 - 2.0 * (columns + 2) as f64 * f64::EPSILON;
        Self { columns, cells, order, nodes, boxes, wide, slack, coarse }
    }

    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// Vectors of all leaves.
    pub fn vectors(&self) -> usize {
        self.rows().div_ceil(LEAF * LANES) * LEAF
    }

    /// The row at a place.
    pub fn row(&self, place: usize) -> impl Iterator<Item = f64> + '_ {
        let (leaf, v, lane) = (place / LANES / LEAF, place / LANES % LEAF, place % LANES);
        (0..self.columns).map(move |j| self.cells[(leaf * self.columns + j) * LEAF + v].0[lane])
    }

    /// Squared distances to `x` of the rows of a leaf, by its first vector; none if all are above the limit.
    #[inline(always)]
    fn squares<S: Simd>(&self, s: S, leaf: usize, x: &[f64], limit: f64) -> Option<[S::V; LEAF]> {
        let cells = &self.cells[leaf * self.columns..(leaf + LEAF) * self.columns];
        let mut sums = [s.splat(0.0); LEAF];
        for (cells, x) in cells.chunks(LEAF * STEP).zip(x.chunks(STEP)) {
            for (cells, &x) in cells.as_chunks::<LEAF>().0.iter().zip(x) {
                let x = s.splat(x);
                for v in 0..LEAF {
                    let difference = s.sub(s.load(&cells[v]), x);
                    sums[v] = s.add(sums[v], s.mul(difference, difference));
                }
            }
            let least = s.min(s.min(sums[0], sums[1]), s.min(sums[2], sums[3]));
            if !s.any(s.le(least, s.splat(limit))) {
                return None;
            }
        }
        Some(sums)
    }

    /// Begins a search for the rows of a walk.
    #[inline(always)]
    pub fn start<S: Simd>(&self, s: S, walk: &mut Walk) {
        walk.rows.clear();
        walk.rows.resize(walk.x.len() / self.columns * self.wide, Lanes::default());
        for (row, x) in walk.rows.chunks_exact_mut(self.wide).zip(walk.x.chunks_exact(self.columns)) {
            x.iter().enumerate().for_each(|(j, &x)| row[j / LANES][j % LANES] = x);
        }
        walk.low.clear();
        walk.low.extend_from_slice(&walk.rows[..self.wide]);
        walk.high.clone_from(&walk.low);
        for row in walk.rows.chunks_exact(self.wide) {
            for ((x, low), high) in row.iter().zip(&mut walk.low).zip(&mut walk.high) {
                let x = s.load(x);
                s.store(s.min(x, s.load(low)), low);
                s.store(s.max(x, s.load(high)), high);
            }
        }
        if let Some(coarse) = &self.coarse {
            walk.coarse.clear();
            walk.errors.clear();
            for x in walk.x.chunks_exact(self.columns) {
                walk.coarse.extend(x.iter().enumerate().map(|(j, &x)| coarse.cell(j, x)));
                walk.errors.push(coarse.error(x));
            }
        }
        walk.open.clear();
        walk.open.push((0.0, 0));
    }

    /// The next leaf whose bound is not above `worst`, if there is one.
    #[inline(always)]
    pub fn next_leaf<S: Simd>(&self, s: S, walk: &mut Walk, bound: &impl Bound, worst: f64) -> Option<usize> {
        'open: loop {
            let (least, mut node) = walk.open.pop()?;
            if least > worst {
                continue;
            }
            while self.nodes[node].second != 0 {
                let (first, second) = (node + 1, self.nodes[node].second);
                let a = bound.least(first, self.least_square(s, first, &walk.low, &walk.high));
                let b = bound.least(second, self.least_square(s, second, &walk.low, &walk.high));
                let (near, far, least, other) = if a <= b { (first, second, a, b) } else { (second, first, b, a) };
                if other <= worst {
                    walk.open.push((other, far));
                }
                if least > worst {
                    continue 'open;
                }
                node = near;
            }
            return Some(node);
        }
    }

    /// No row of a node has a squared distance below this to a row between `low` and `high`.
    #[inline(always)]
    fn least_square<S: Simd>(&self, s: S, node: usize, low: &[Lanes], high: &[Lanes]) -> f64 {
        let sides = &self.boxes[node * 2 * self.wide..(node + 1) * 2 * self.wide];
        let (lows, highs) = sides.split_at(self.wide);
        let mut sum = s.splat(0.0);
        for (((of_low, of_high), low), high) in lows.iter().zip(highs).zip(low).zip(high) {
            let below = s.sub(s.load(of_low), s.load(high));
            let above = s.sub(s.load(low), s.load(of_high));
            let outside = s.max(s.max(below, above), s.splat(0.0));
            sum = s.add(sum, s.mul(outside, outside));
        }
        sum_of_lanes(&Lanes(s.to_array(sum))) * self.slack
    }

    /// Squared distances of row `q` of the walk to those of a leaf; none if all are above the limit.
    #[inline(always)]
    pub fn squares_of<S: Simd>(&self, s: S, node: usize, walk: &Walk, q: usize, limit: f64) -> Option<[S::V; LEAF]> {
        let (leaf, cells) = (self.nodes[node].from, q * self.columns..(q + 1) * self.columns);
        let far = if let Some(coarse) = &self.coarse {
            limit < f64::MAX && !coarse.may_be_near(s, leaf, &walk.coarse[cells.clone()], walk.errors[q], limit)
        } else {
            let row = &walk.rows[q * self.wide..(q + 1) * self.wide];
            self.least_square(s, node, row, row) > limit
        };
        if far {
            return None;
        }
        self.squares(s, leaf, &walk.x[cells], limit)
    }

    /// The nearest rows to those of a walk, save for row `q` the one at place `skip + q`.
    #[inline(always)]
    pub fn nearest<S: Simd>(&self, s: S, walk: &mut Walk, skip: usize, found: &mut [Nearest]) {
        self.start(s, walk);
        // what is as far as the farthest is no use: of many equal rows a few are enough
        let mut worst = f64::MAX;
        while let Some(node) = self.next_leaf(s, walk, &Distance, worst) {
            worst = f64::NEG_INFINITY;
            for (q, found) in found.iter_mut().enumerate() {
                if let Some(squares) = self.squares_of(s, node, walk, q, found.limit().next_down()) {
                    for (v, squares) in squares.into_iter().enumerate() {
                        let mut near = s.bits(s.lt(squares, s.splat(found.limit())));
                        if near == 0 {
                            continue;
                        }
                        let squares = s.to_array(squares);
                        while near != 0 {
                            let lane = near.trailing_zeros() as usize;
                            near &= near - 1;
                            let (square, place) = (squares[lane], (self.nodes[node].from + v) * LANES + lane);
                            if square < found.limit() && place != skip.wrapping_add(q) && place < self.rows() {
                                found.insert(square, place);
                            }
                        }
                    }
                }
                let limit = found.limit().next_down();
                worst = if limit > worst { limit } else { worst };
            }
        }
    }

    /// For each of the rows at these places the squared distance of its other neighbour number `wanted`, and its nearest
    /// `kept` ones, up to `wanted`, one row after the other.
    pub fn neighbours(&self, places: std::ops::Range<usize>, wanted: usize, kept: usize) -> Neighbours {
        struct Search<'a>(&'a Points, std::ops::Range<usize>, usize, usize);

        impl Kernel for Search<'_> {
            type Output = Neighbours;

            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Neighbours {
                let Self(points, places, wanted, kept) = self;
                let mut walk = Walk::default();
                let mut founds = vec![Nearest::default(); LEAF * LANES];
                let mut all = Neighbours::default();
                for from in places.clone().step_by(LEAF * LANES) {
                    let group = from..places.end.min(from + LEAF * LANES);
                    walk.clear();
                    group.clone().for_each(|place| walk.add(points.row(place)));
                    let founds = &mut founds[..group.len()];
                    founds.iter_mut().for_each(|found| found.clear(wanted));
                    points.nearest(s, &mut walk, from, founds);
                    for found in founds {
                        all.last.push(found.limit());
                        all.squares.extend_from_slice(&found.squares[..kept]);
                        all.places.extend_from_slice(&found.places[..kept]);
                    }
                }
                all
            }
        }

        dispatch(Search(self, places, wanted, kept))
    }
}

/// Neighbours of rows; see [`Points::neighbours`].
#[derive(Default)]
pub struct Neighbours {
    pub last: Vec<f64>,
    pub squares: Vec<f64>,
    pub places: Vec<u32>,
}

/// Orders some rows as a node and its halves, from the vector `from` on.
fn split(
    table: &[f64],
    columns: usize,
    order: &mut [usize],
    from: usize,
    nodes: &mut Vec<Node>,
    bounds: &mut Vec<f64>,
) {
    let vectors = order.len().div_ceil(LANES);
    let node = nodes.len();
    nodes.push(Node { from, to: from + vectors, second: 0 });
    let at = bounds.len();
    bounds.resize(at + columns, f64::INFINITY);
    bounds.resize(at + 2 * columns, f64::NEG_INFINITY);
    let (low, high) = bounds[at..].split_at_mut(columns);
    for &i in order.iter() {
        for ((low, high), &v) in low.iter_mut().zip(high.iter_mut()).zip(&table[i * columns..(i + 1) * columns]) {
            *low = if v < *low { v } else { *low };
            *high = if v > *high { v } else { *high };
        }
    }
    if vectors <= LEAF {
        return;
    }
    let side = |j: usize| high[j] - low[j];
    let widest = (0..columns).fold(0, |widest, j| if side(j) > side(widest) { j } else { widest });
    // whole leaves in the first half
    let middle = vectors.div_ceil(2 * LEAF) * LEAF;
    let key = |&i: &usize| table[i * columns + widest];
    order.select_nth_unstable_by(middle * LANES, |a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
    let (first, second) = order.split_at_mut(middle * LANES);
    split(table, columns, first, from, nodes, bounds);
    nodes[node].second = nodes.len();
    split(table, columns, second, from + middle, nodes, bounds);
}
