//! Isolation forest (Liu, Ting and Zhou 2008 and 2012): rows that few random splits part from all others are unusual.
//!
//! A tree is grown on `psi` rows drawn at random. A node draws a column among those that vary in it and a threshold uniform
//! between their minimum and maximum; rows with `x <= threshold` go left. A node is a leaf when it holds one row or equal rows, or lies
//! at depth `ceil(log2(max(psi, 2)))`. The path length of a row in a tree is `h = depth + c(m)` of its leaf of `m` train rows, and with `T` trees
//!
//! ```text
//! s = 2^(-sum h / (T c(psi)))      c(m) = 2 (ln(m - 1) + gamma) - 2 (m - 1) / m,  c(1) = 0, c(2) = 1
//! ```
//!
//! in (0, 1], more unusual is higher (2008, equations 1 and 2, with the harmonic number by its asymptote, as everywhere). With
//! `c(psi) = 0`, which takes a single train row, `s` is 1/2. A row that `bootstrap` draws twice is in the tree once: a copy
//! cannot be parted from it, and would lengthen its path by nothing but the draw. scikit-learn counts the same way, and with the
//! same trees has the same scores; it compares readings narrowed to `f32`, which is what `narrow` is for.
//!
//! The order of random numbers is part of the result: tree `t` has stream `t` of the seed.
//!
//! Cost: a fit takes about `T psi log2(psi)` readings, whatever the number of rows and columns, as only the column that a node
//! draws is read. A score takes `T log2(psi)` steps a row: a load of a node (16 bytes), one of a reading, a comparison and an
//! addition. No branch depends on the data: a leaf leads to itself, and all rows take as many steps as the tree is deep.
//! [`WALKERS`] rows walk a tree together, and a group of trees stays in the first-level cache while all rows of a tile walk it.
//! Thresholds and readings are compared as integers in the same order, exactly.
//!
//! One thread, 10,000 rows x 50 columns, 200 trees, AVX2: 28 ms with floating-point comparisons and checked indices, 17.7 with
//! integers; 17.6 is what was seen last, with indices checked when the tree is made. Tried and rejected: the first three or four levels by vectors of
//! comparisons and blends (20), 8 or 32 rows together (16.5, 19), one tree or all trees at a time (19, 20). With AVX-512 the first
//! four levels by comparisons of all rows with every node gained nothing (110 columns: 8.2 ms, before 8.2): the readings of a tile
//! come from the second cache level, over and over; narrower keys would be the next thing to try.

use std::fmt;
use std::ops::Range;

use crate::kernels::detectors::Score;
use crate::kernels::matrix::{Matrix, Tile};
use crate::kernels::parallel;
use crate::kernels::params::ParamError;
use crate::kernels::random::Stream;
use crate::kernels::simd::{Node, Tree, WALKERS};

/// Trees that stay in the first-level cache, half of 32 KiB; the readings want the other half.
const GROUP_BYTES: usize = 16 * 1024;

/// Of a node, with a path length.
const NODE_BYTES: usize = size_of::<Node>() + size_of::<f64>();

/// Euler's constant.
const GAMMA: f64 = 0.577_215_664_901_532_9;

/// The mean path length of an unsuccessful search in a binary search tree of `m` rows.
fn average_path(m: usize) -> f64 {
    match m {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * (((m - 1) as f64).ln() + GAMMA) - 2.0 * (m - 1) as f64 / m as f64,
    }
}

/// How a forest is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    n_trees: usize,
    max_samples: usize,
    bootstrap: bool,
    seed: u64,
}

impl Plan {
    /// `max_samples` is the number of rows that a tree draws, all where there are fewer; with `bootstrap` it draws with replacement.
    pub fn new(n_trees: i64, max_samples: i64, bootstrap: bool, seed: u64) -> Result<Self, ParamError> {
        let count = |name: &str, value: i64, least: i64| {
            if value < least {
                return Err(ParamError(format!("`{name}` must be >= {least}, got {value}")));
            }
            // no series has more rows
            Ok(usize::try_from(value).unwrap_or(usize::MAX))
        };
        Ok(Self {
            n_trees: count("n_trees", n_trees, 1)?,
            max_samples: count("max_samples", max_samples, 2)?,
            bootstrap,
            seed,
        })
    }
}

/// Why there is no forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NoRows,
    NoColumns,
    /// Rows, or nodes of a tree, are counted in 32 bits.
    TooLarge,
    /// The lists are not those of a forest; what is wrong with them.
    Damaged(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRows => f.write_str("no row has enough readings to learn from"),
            Self::NoColumns => f.write_str("no column varies"),
            Self::TooLarge => f.write_str("more than 2^31 rows; learn from a sample of them"),
            Self::Damaged(what) => write!(f, "the model is damaged: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// A fitted forest, as lists: one entry for each node, one tree after the other, each from its root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// Column that an inner node asks for; 0 for a leaf.
    pub feature: Vec<u32>,
    /// Threshold of an inner node; path length of a leaf.
    pub value: Vec<f64>,
    /// Left child of an inner node, counted from the root of its tree; the right child is the next. 0 for a leaf.
    pub child: Vec<u32>,
    /// First node of each tree.
    pub start: Vec<u32>,
    /// `psi`, how many rows each tree drew.
    pub sample_size: usize,
    /// Whether readings are narrowed to `f32` before they are compared.
    pub narrow: bool,
}

/// Grows a forest; the same for every number of threads.
pub fn fit(matrix: Matrix<'_>, plan: &Plan, pool: &rayon::ThreadPool) -> Result<Forest, Error> {
    if matrix.rows() == 0 {
        return Err(Error::NoRows);
    }
    if matrix.columns() == 0 {
        return Err(Error::NoColumns);
    }
    if matrix.rows() > i32::MAX as usize {
        return Err(Error::TooLarge);
    }
    let sample_size = plan.max_samples.min(matrix.rows());
    let limit = sample_size.max(2).next_power_of_two().ilog2();
    let cells = plan.n_trees.saturating_mul(sample_size).saturating_mul(limit as usize);
    let trees = parallel::map(
        pool,
        plan.n_trees,
        cells,
        || Grower::new(matrix),
        |grower, t| grower.grow(&mut Stream::new(plan.seed, t), sample_size, plan.bootstrap, limit),
    );
    let mut forest = Forest { sample_size, ..Forest::default() };
    for tree in trees {
        forest.start.push(u32::try_from(forest.child.len()).map_err(|_| Error::TooLarge)?);
        forest.feature.extend(tree.feature);
        forest.value.extend(tree.value);
        forest.child.extend(tree.child);
    }
    Ok(forest)
}

/// The lists of one tree.
#[derive(Default)]
struct Grown {
    feature: Vec<u32>,
    value: Vec<f64>,
    child: Vec<u32>,
}

/// What a thread needs to grow trees.
struct Grower<'a> {
    matrix: Matrix<'a>,
    /// One bit for each row: whether it is drawn. All are 0 between two trees.
    drawn: Vec<u64>,
    /// Rows of the tree; those of a node lie together.
    rows: Vec<u32>,
    /// Readings of the node that is split, and the rows that go right.
    readings: Vec<f64>,
    right: Vec<u32>,
    /// All columns; a node looks at the first few, the others are constant in it.
    columns: Vec<u32>,
    tree: Grown,
}

impl<'a> Grower<'a> {
    fn new(matrix: Matrix<'a>) -> Self {
        Self {
            matrix,
            drawn: vec![0; matrix.rows().div_ceil(64)],
            rows: Vec::new(),
            readings: Vec::new(),
            right: Vec::new(),
            columns: Vec::new(),
            tree: Grown::default(),
        }
    }

    fn grow(&mut self, stream: &mut Stream, sample_size: usize, bootstrap: bool, limit: u32) -> Grown {
        self.draw(stream, sample_size, bootstrap);
        self.readings.resize(self.rows.len(), 0.0);
        self.right.resize(self.rows.len(), 0);
        let columns = self.matrix.columns();
        self.columns.clear();
        self.columns.extend(0..columns as u32);
        self.tree.child.push(0);
        self.tree.feature.push(0);
        self.tree.value.push(0.0);
        self.split(stream, 0, 0..self.rows.len(), limit, 0, columns);
        std::mem::take(&mut self.tree)
    }

    /// Without replacement each set of rows is as likely as any other (Floyd's algorithm, Bentley 1987).
    fn draw(&mut self, stream: &mut Stream, sample_size: usize, bootstrap: bool) {
        self.rows.clear();
        let n = self.matrix.rows();
        for last in n - sample_size..n {
            let row = stream.below(if bootstrap { n } else { last + 1 });
            if self.insert(row) {
                self.rows.push(row as u32);
            } else if !bootstrap {
                self.insert(last);
                self.rows.push(last as u32);
            }
        }
        for &row in &self.rows {
            self.drawn[row as usize / 64] = 0;
        }
    }

    /// Whether the row was not yet drawn.
    fn insert(&mut self, row: usize) -> bool {
        let (word, bit) = (&mut self.drawn[row / 64], 1 << (row % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Splits a node of the rows at `range` until nothing is left to split; of the columns the first `varying` may vary in it.
    fn split(
        &mut self,
        stream: &mut Stream,
        node: usize,
        range: Range<usize>,
        limit: u32,
        depth: u32,
        mut varying: usize,
    ) {
        let rows = &mut self.rows[range.clone()];
        let mut found = None;
        while depth < limit && rows.len() > 1 && varying > 0 {
            let k = stream.below(varying);
            let column = self.matrix.column(self.columns[k] as usize);
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for (reading, &row) in self.readings.iter_mut().zip(rows.iter()) {
                let v = column[row as usize];
                *reading = v;
                low = if v < low { v } else { low };
                high = if v > high { v } else { high };
            }
            if low < high {
                found = Some((self.columns[k], threshold(low, high, stream.uniform())));
                break;
            }
            varying -= 1;
            self.columns.swap(k, varying);
        }
        let Some((feature, threshold)) = found else {
            self.tree.value[node] = f64::from(depth) + average_path(rows.len());
            return;
        };
        // no branch depends on the readings: those of a row are written to both sides, and one side moves on
        let (mut left, mut right) = (0, 0);
        for i in 0..rows.len() {
            let (row, goes_left) = (rows[i], self.readings[i] <= threshold);
            rows[left] = row;
            self.right[right] = row;
            left += usize::from(goes_left);
            right += usize::from(!goes_left);
        }
        rows[left..].copy_from_slice(&self.right[..right]);
        let child = self.tree.child.len();
        self.tree.feature[node] = feature;
        self.tree.value[node] = threshold;
        self.tree.child[node] = child as u32;
        self.tree.feature.extend([0; 2]);
        self.tree.value.extend([0.0; 2]);
        self.tree.child.extend([0; 2]);
        let middle = range.start + left;
        self.split(stream, child, range.start..middle, limit, depth + 1, varying);
        self.split(stream, child + 1, middle..range.end, limit, depth + 1, varying);
    }
}

/// At `u`, in [0, 1), of the way from `low` to `high`, at least `low` and below `high`, so that both sides get a row.
fn threshold(low: f64, high: f64, u: f64) -> f64 {
    let range = high - low;
    // the range of readings of both signs may overflow; neither product does
    let at = if range.is_finite() { low + u * range } else { (1.0 - u) * low + u * high };
    // by rounding only
    if at < high { at.max(low) } else { low }
}

/// A forest ready to score.
pub struct Scorer {
    trees: Vec<Tree>,
    /// Path lengths of the leaves of each tree.
    lengths: Vec<Vec<f64>>,
    /// First tree of each group that is walked while it lies in the cache, and the end.
    groups: Vec<usize>,
    columns: usize,
    narrow: bool,
    /// `T c(psi)`
    scale: f64,
}

impl Scorer {
    /// Refuses lists that are not a forest on so many columns.
    pub fn new(forest: &Forest, columns: usize) -> Result<Self, Error> {
        let n = forest.child.len();
        if forest.feature.len() != n || forest.value.len() != n {
            return Err(Error::Damaged("its lists of nodes have different lengths"));
        }
        if forest.start.first() != Some(&0) {
            return Err(Error::Damaged("it has no first tree"));
        }
        if forest.sample_size == 0 {
            return Err(Error::Damaged("its trees drew no rows"));
        }
        let (mut trees, mut lengths, mut groups) = (Vec::new(), Vec::new(), vec![0]);
        let mut in_group = 0;
        for (t, &start) in forest.start.iter().enumerate() {
            let start = start as usize;
            let end = forest.start.get(t + 1).map_or(n, |&next| next as usize);
            if start >= end || end > n {
                return Err(Error::Damaged("its trees do not follow one another"));
            }
            if in_group > 0 && (in_group + end - start) * NODE_BYTES > GROUP_BYTES {
                groups.push(t);
                in_group = 0;
            }
            in_group += end - start;
            trees.push(tree(forest, start..end, columns)?);
            lengths.push(forest.value[start..end].to_vec());
        }
        groups.push(trees.len());
        let scale = trees.len() as f64 * average_path(forest.sample_size);
        Ok(Self { trees, lengths, groups, columns, narrow: forest.narrow, scale })
    }
}

/// The tree of the nodes at `range`.
fn tree(forest: &Forest, range: Range<usize>, columns: usize) -> Result<Tree, Error> {
    let n = range.len();
    let mut depths = vec![0_usize; n];
    let mut nodes = Vec::with_capacity(n);
    for (i, at) in range.enumerate() {
        let (feature, value, left) = (forest.feature[at], forest.value[at], forest.child[at]);
        if !value.is_finite() {
            return Err(Error::Damaged("a threshold or a path length is not a number"));
        }
        if feature as usize >= columns {
            return Err(Error::Damaged("a node asks for a column that the model lacks"));
        }
        let children = left as usize..left as usize + 2;
        if left == 0 {
            nodes.push(Node { key: u64::MAX, left: i as u32, column: 0 });
        } else if children.start <= i || children.end > n {
            return Err(Error::Damaged("a node has no children"));
        } else {
            let depth = depths[i] + 1;
            depths[children].fill(depth);
            nodes.push(Node { key: key(value), left, column: feature });
        }
    }
    Ok(Tree::new(nodes, columns, depths.into_iter().max().unwrap_or(0)))
}

/// A number in the same order as `v`. Integers are compared and counted on in fewer steps than floating-point numbers.
fn key(v: f64) -> u64 {
    // -0.0 becomes 0.0
    let bits = (v + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

impl Score for Scorer {
    fn results(&self) -> usize {
        1
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        assert_eq!(tile.columns(), self.columns, "a tile of the model's columns");
        let mut blocks = vec![[0; WALKERS]; tile.stride().div_ceil(WALKERS) * self.columns];
        for j in 0..self.columns {
            for (block, readings) in blocks.chunks_exact_mut(self.columns).zip(tile.column(j).chunks(WALKERS)) {
                for (k, &v) in block[j].iter_mut().zip(readings) {
                    *k = key(if self.narrow { f64::from(v as f32) } else { v });
                }
            }
        }
        let sums = scratch;
        sums.clear();
        sums.resize(blocks.len() / self.columns * WALKERS, 0.0);
        for group in self.groups.windows(2) {
            let trees = group[0]..group[1];
            let sums = sums.as_chunks_mut::<WALKERS>().0;
            for (block, sums) in blocks.chunks_exact(self.columns).zip(sums) {
                for (tree, lengths) in self.trees[trees.clone()].iter().zip(&self.lengths[trees.clone()]) {
                    for (sum, leaf) in sums.iter_mut().zip(tree.leaves(block)) {
                        *sum += lengths[leaf as usize];
                    }
                }
            }
        }
        for (score, sum) in out[..tile.stride()].iter_mut().zip(sums) {
            let mean = if self.scale > 0.0 { *sum / self.scale } else { 1.0 };
            *score = (-mean).exp2();
        }
    }
}
