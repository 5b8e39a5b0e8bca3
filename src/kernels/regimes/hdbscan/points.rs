//! Rows as points: eight of them side by side, found by a k-d tree.
//!
//! The tree (Bentley 1975) halves the rows at the median of the widest side of their bounding box, down to leaves of a few
//! vectors. Squared distances are sums over the columns in their order, the same bits from here as from anywhere else.
//! Neighbours are looked for one row at a time: down to the nearer half first, then to whatever lies near enough.
//! The lower bound that a bounding box gives is a little less than its sum of squares, because sums in another order round
//! otherwise. Leaves of 16 rows took 1.3 times as long for 10 columns, of 64 rows for 3 columns.

use crate::kernels::regimes::kmeans::sum_of_lanes;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Vectors of a leaf.
const LEAF: usize = 4;

/// Eight rows of a column side by side, their columns one after the other. Behind the last row come copies of it.
pub struct Blocks {
    pub cells: Vec<Lanes>,
    pub rows: usize,
    pub columns: usize,
}

impl Blocks {
    /// `cell(place, column)` for at least one row.
    pub fn new(rows: usize, columns: usize, cell: impl Fn(usize, usize) -> f64) -> Self {
        let mut cells = vec![Lanes::default(); rows.div_ceil(LANES) * columns];
        for (v, block) in cells.chunks_exact_mut(columns).enumerate() {
            for (j, lanes) in block.iter_mut().enumerate() {
                for (lane, to) in lanes.iter_mut().enumerate() {
                    *to = cell((v * LANES + lane).min(rows - 1), j);
                }
            }
        }
        Self { cells, rows, columns }
    }

    pub fn vectors(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    pub fn cell(&self, place: usize, column: usize) -> f64 {
        self.cells[place / LANES * self.columns + column].0[place % LANES]
    }

    /// A row, as searches want it.
    pub fn row(&self, place: usize, out: &mut Vec<f64>) {
        out.clear();
        out.extend((0..self.columns).map(|j| self.cell(place, j)));
    }

    /// Squared distances of the eight rows of vector `v` to `x`.
    #[inline(always)]
    pub fn squares<S: Simd>(&self, s: S, v: usize, x: &[f64]) -> S::V {
        let mut sum = s.splat(0.0);
        for (cell, &x) in self.cells[v * self.columns..(v + 1) * self.columns].iter().zip(x) {
            let difference = s.sub(s.load(cell), s.splat(x));
            sum = s.add(sum, s.mul(difference, difference));
        }
        sum
    }
}

/// A part of the rows: vectors `from..to`, in two halves, the first of which is the next node.
#[derive(Clone, Copy)]
pub struct Node {
    pub from: usize,
    pub to: usize,
    /// The second half; 0 for a leaf.
    pub second: usize,
}

/// Rows in the order of a k-d tree.
pub struct Points {
    pub blocks: Blocks,
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
        if self.squares.len() == self.wanted {
            self.squares.pop();
            self.places.pop();
        }
        let mut at = self.squares.len();
        self.squares.push(square);
        self.places.push(place as u32);
        while at > 0 && self.squares[at - 1] > square {
            self.squares[at] = self.squares[at - 1];
            self.places[at] = self.places[at - 1];
            at -= 1;
        }
        self.squares[at] = square;
        self.places[at] = place as u32;
    }
}

/// What searches keep from row to row.
#[derive(Default)]
pub struct Walk {
    /// Lower bounds of squares and the nodes they are for.
    pub open: Vec<(f64, usize)>,
    /// A row in whole vectors of columns.
    padded: Vec<Lanes>,
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
        Self {
            blocks: Blocks::new(rows, columns, |place, j| table[order[place] * columns + j]),
            order,
            nodes,
            boxes,
            wide,
            slack: 1.0 - 2.0 * (columns + 2) as f64 * f64::EPSILON,
        }
    }

    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// Prepares a walk that starts at `x`.
    #[inline(always)]
    pub fn start(&self, walk: &mut Walk, x: &[f64]) {
        walk.padded.clear();
        walk.padded.resize(self.wide, Lanes::default());
        x.iter().enumerate().for_each(|(j, &v)| walk.padded[j / LANES][j % LANES] = v);
        walk.open.clear();
        walk.open.push((0.0, 0));
    }

    /// No row of a node has a squared distance below this.
    #[inline(always)]
    pub fn least_square<S: Simd>(&self, s: S, node: usize, walk: &Walk) -> f64 {
        let sides = &self.boxes[node * 2 * self.wide..(node + 1) * 2 * self.wide];
        let mut sum = s.splat(0.0);
        for (j, x) in walk.padded.iter().enumerate() {
            let x = s.load(x);
            let below = s.sub(s.load(&sides[j]), x);
            let above = s.sub(x, s.load(&sides[self.wide + j]));
            let outside = s.max(s.max(below, above), s.splat(0.0));
            sum = s.add(sum, s.mul(outside, outside));
        }
        sum_of_lanes(&Lanes(s.to_array(sum))) * self.slack
    }

    /// The nearest rows to `x`, save the one at `skip`.
    #[inline(always)]
    pub fn nearest<S: Simd>(&self, s: S, x: &[f64], skip: usize, walk: &mut Walk, found: &mut Nearest) {
        self.start(walk, x);
        while let Some((bound, mut node)) = walk.open.pop() {
            if bound >= found.limit() {
                continue;
            }
            while self.nodes[node].second != 0 {
                let (first, second) = (node + 1, self.nodes[node].second);
                let (a, b) = (self.least_square(s, first, walk), self.least_square(s, second, walk));
                let (near, far, bound) = if a <= b { (first, second, b) } else { (second, first, a) };
                if bound < found.limit() {
                    walk.open.push((bound, far));
                }
                node = near;
            }
            let Node { from, to, .. } = self.nodes[node];
            for v in from..to {
                let squares = self.blocks.squares(s, v, x);
                if !s.any(s.lt(squares, s.splat(found.limit()))) {
                    continue;
                }
                for (lane, square) in s.to_array(squares).into_iter().enumerate() {
                    let place = v * LANES + lane;
                    if square < found.limit() && place != skip && place < self.blocks.rows {
                        found.insert(square, place);
                    }
                }
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
                let (mut walk, mut x, mut found) = (Walk::default(), Vec::new(), Nearest::default());
                let mut all = Neighbours::default();
                for place in places {
                    found.clear(wanted);
                    points.blocks.row(place, &mut x);
                    points.nearest(s, &x, place, &mut walk, &mut found);
                    all.last.push(found.limit());
                    all.squares.extend_from_slice(&found.squares[..kept]);
                    all.places.extend_from_slice(&found.places[..kept]);
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
