//! Scoring rows by the trees of a forest, in one of two ways.
//!
//! **Compared.** Where every tree has at most [`COMPARED_LEAVES`] leaves, as with 256 rows a tree, every row is compared with every node
//! of a tree, 32 rows an instruction, without a look at where the row stands: that takes an instruction for 32 rows where a walk takes a
//! step of some ten for one, and a tree has some hundred nodes against eight steps. Leaves are numbered from left to right. A row
//! starts at the first leaf; a node sends the rows that stand at the first leaf below it and are larger than its threshold on to
//! the first leaf below its right child. Nodes come before their children, so that no row has left the first leaf below a node
//! before its turn. For this, readings and thresholds are replaced by ranks: a reading's is the number of thresholds of its
//! column, over many trees, that are smaller, which orders both exactly, in 16 bits.
//!
//! **Walked.** Larger trees are walked from the root: a load of a node (16 bytes), one of a reading, a comparison and an addition. No branch
//! depends on the data: a leaf leads to itself, and all rows take as many steps as the tree is deep. [`WALKERS`] rows walk a tree
//! together, and a group of trees stays in the first-level cache while all rows of a tile walk it. Thresholds and readings are
//! compared as integers in the same order, exactly.
//!
//! Both add the path lengths up in the order of the trees, so that scores have the same bits.
//!
//! 10,000 rows, 200 trees of 256 rows, as called from Python on two threads with AVX-512, where a call with one row and one tree takes
//! 0.7 ms: 50 columns 5.7 ms (AVX2 7.3), 110 columns 6.7. In the race with scikit-learn walks were 5.7 times faster than it, comparisons
//! more than 8. A third each goes into ranks and comparisons, a tenth into the sum. Tried and rejected for ranks: a binary search of 16 or 8
//! readings at once (6.9 and 6.1 ms), and one reading after the other through the tree of nine branches (6.4): each step waits
//! for the one before. Tried and rejected for walks: the first three or four levels by vectors of comparisons and blends, 8 or 32 rows
//! together, one tree or all at a time.

use super::{Error, Forest, average_path};
use crate::kernels::detectors::Score;
use crate::kernels::matrix::{TILE_ROWS, Tile};
use crate::kernels::simd::{self, Kernel, LANES, Lanes, Node, SHORTS, Simd, Tree, WALKERS};

/// The most leaves of a tree that every row is compared with.
const COMPARED_LEAVES: usize = u8::MAX as usize + 1;

/// Thresholds of a column that ranks can tell apart.
const MOST_CUTS: usize = i16::MAX as usize;

/// Rows that are compared together, and the vectors of their ranks.
const BLOCK: usize = TILE_ROWS;
const VECTORS: usize = BLOCK / SHORTS;

/// Trees that are walked stay in the first-level cache, half of 32 KiB; the readings want the other half.
const GROUP_BYTES: usize = 16 * 1024;

/// Of a node, with a path length.
const NODE_BYTES: usize = size_of::<Node>() + size_of::<f64>();

/// A forest ready to score.
pub struct Scorer {
    way: Way,
    columns: usize,
    narrow: bool,
    /// `T c(psi)`
    scale: f64,
}

enum Way {
    Compared(Vec<Compared>),
    Walked(Vec<Walked>),
}

/// A tree's nodes, up to `end` in the list of its group, and the path lengths of its leaves; an array, so that a leaf need not be
/// looked for behind its end.
struct Leaves {
    end: usize,
    lengths: [f64; COMPARED_LEAVES],
}

/// Trees that share ranks.
struct Compared {
    /// Thresholds of each column.
    cuts: Vec<Cuts>,
    /// Inner nodes of all trees.
    nodes: Vec<Split>,
    trees: Vec<Leaves>,
}

/// An inner node: rows at the leaf `here` whose rank is above `rank` go to the leaf `right`.
#[derive(Clone, Copy)]
struct Split {
    column: u32,
    rank: i16,
    here: i16,
    right: i16,
}

/// Trees that are walked while they lie in the cache, each with the path lengths of its leaves.
type Walked = Vec<(Tree, Vec<f64>)>;

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
        let mut trees = Vec::with_capacity(forest.start.len());
        for (t, &start) in forest.start.iter().enumerate() {
            let start = start as usize;
            let end = forest.start.get(t + 1).map_or(n, |&next| next as usize);
            if start >= end || end > n {
                return Err(Error::Damaged("its trees do not follow one another"));
            }
            let tree = Lists {
                feature: &forest.feature[start..end],
                value: &forest.value[start..end],
                child: &forest.child[start..end],
            };
            trees.push((tree, tree.depth(columns)?));
        }
        let scale = trees.len() as f64 * average_path(forest.sample_size);
        // a tree of 2 m - 1 nodes has m leaves
        let small = trees.iter().all(|(tree, _)| tree.child.len() < 2 * COMPARED_LEAVES);
        let way = if small { Way::Compared(compared(&trees, columns)) } else { Way::Walked(walked(&trees, columns)) };
        Ok(Self { way, columns, narrow: forest.narrow, scale })
    }
}

/// A reading as it is compared.
#[inline(always)]
fn narrowed(v: f64, narrow: bool) -> f64 {
    if narrow { f64::from(v as f32) } else { v }
}

/// The lists of one tree.
#[derive(Clone, Copy)]
struct Lists<'a> {
    feature: &'a [u32],
    value: &'a [f64],
    child: &'a [u32],
}

impl Lists<'_> {
    /// How many steps lead from the root to the farthest leaf; refuses what is not a tree on so many columns.
    fn depth(self, columns: usize) -> Result<usize, Error> {
        let n = self.child.len();
        let mut depths = vec![0_usize; n];
        for (i, &left) in self.child.iter().enumerate() {
            if !self.value[i].is_finite() {
                return Err(Error::Damaged("a threshold or a path length is not a number"));
            }
            if self.feature[i] as usize >= columns {
                return Err(Error::Damaged("a node asks for a column that the model lacks"));
            }
            if left == 0 {
                continue;
            }
            let children = left as usize..left as usize + 2;
            if children.start <= i || children.end > n {
                return Err(Error::Damaged("a node has no children"));
            }
            let depth = depths[i] + 1;
            for child in &mut depths[children] {
                if *child > 0 {
                    return Err(Error::Damaged("two nodes have the same child"));
                }
                *child = depth;
            }
        }
        Ok(depths.into_iter().max().unwrap_or(0))
    }

    /// Adds the inner nodes from `node` down to `nodes`, the path lengths of the leaves, from left to right and behind the first
    /// `leaves`, to `lengths`, and the thresholds with their nodes to the lists of their columns.
    fn flatten(
        self,
        node: usize,
        nodes: &mut Vec<Split>,
        thresholds: &mut [Vec<(f64, u32)>],
        lengths: &mut [f64; COMPARED_LEAVES],
        leaves: &mut usize,
    ) {
        if self.child[node] == 0 {
            lengths[*leaves] = self.value[node];
            *leaves += 1;
            return;
        }
        let (child, column, at) = (self.child[node] as usize, self.feature[node], nodes.len());
        thresholds[column as usize].push((self.value[node], at as u32));
        nodes.push(Split { column, rank: 0, here: *leaves as i16, right: 0 });
        self.flatten(child, nodes, thresholds, lengths, leaves);
        nodes[at].right = *leaves as i16;
        self.flatten(child + 1, nodes, thresholds, lengths, leaves);
    }
}

/// Groups of small trees, each of no more thresholds of a column than ranks can tell apart.
fn compared(trees: &[(Lists<'_>, usize)], columns: usize) -> Vec<Compared> {
    let mut groups = Vec::new();
    let new = || Compared { cuts: Vec::with_capacity(columns), nodes: Vec::new(), trees: Vec::new() };
    let (mut group, mut cuts) = (new(), vec![Vec::new(); columns]);
    for &(tree, _) in trees {
        if cuts.iter().any(|cuts| cuts.len() + COMPARED_LEAVES > MOST_CUTS) {
            groups.push(group.ranked(&mut cuts));
            group = new();
        }
        let (mut lengths, mut leaves) = ([0.0; COMPARED_LEAVES], 0);
        tree.flatten(0, &mut group.nodes, &mut cuts, &mut lengths, &mut leaves);
        group.trees.push(Leaves { end: group.nodes.len(), lengths });
    }
    groups.push(group.ranked(&mut cuts));
    groups
}

impl Compared {
    /// With the ranks of thresholds that go with nodes; the list of a column is empty afterwards.
    fn ranked(mut self, columns: &mut [Vec<(f64, u32)>]) -> Self {
        let mut distinct = Vec::new();
        for thresholds in columns {
            thresholds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            distinct.clear();
            for (threshold, node) in thresholds.drain(..) {
                if distinct.last() != Some(&threshold) {
                    distinct.push(threshold);
                }
                self.nodes[node as usize].rank = (distinct.len() - 1) as i16;
            }
            self.cuts.push(Cuts::new(&distinct));
        }
        self
    }

    /// Adds the path lengths of rows in these trees to `sums`.
    fn add_lengths(&self, ranks: &[[i16; BLOCK]], sums: &mut [f64; BLOCK]) {
        let mut start = 0;
        for Leaves { end, lengths } in &self.trees {
            let leaves = simd::dispatch(Descend { nodes: &self.nodes[start..*end], ranks });
            for (sum, leaf) in sums.iter_mut().zip(leaves) {
                *sum += lengths[usize::from(leaf as u8)];
            }
            start = *end;
        }
    }
}

/// Ascending thresholds as a tree of `2^3 + 1` branches, so that a step of the search is one comparison of eight. The thresholds
/// are at the in-order places of a full tree; behind the last comes infinity. Between thresholds `k - 1` and `k` lies the k-th way
/// out of the tree, which therefore is a rank.
struct Cuts {
    levels: Vec<Vec<Lanes>>,
}

/// Ways that lead on from a node.
const BRANCHES: usize = LANES + 1;

impl Cuts {
    fn new(ascending: &[f64]) -> Self {
        let mut ways = 1;
        while ways <= ascending.len() {
            ways *= BRANCHES;
        }
        let mut levels = Vec::new();
        let mut nodes = 1;
        while nodes < ways {
            let below = ways / (nodes * BRANCHES);
            let place = |node: usize, lane: usize| (node * BRANCHES + lane + 1) * below - 1;
            let cut = |node, lane| ascending.get(place(node, lane)).copied().unwrap_or(f64::INFINITY);
            levels.push((0..nodes).map(|node| Lanes(std::array::from_fn(|lane| cut(node, lane)))).collect());
            nodes *= BRANCHES;
        }
        Self { levels }
    }
}

/// How many thresholds are smaller than each reading.
struct Ranks<'a> {
    cuts: &'a Cuts,
    readings: &'a [f64],
    narrow: bool,
    out: &'a mut [i16; BLOCK],
}

impl Kernel for Ranks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // many at once, as every step waits for the one before
        for (ranks, readings) in self.out.as_chunks_mut::<LANES>().0.iter_mut().zip(self.readings.as_chunks().0) {
            let readings: [_; LANES] = readings.map(|v| s.splat(narrowed(v, self.narrow)));
            let mut nodes = [0; LANES];
            for level in &self.cuts.levels {
                for (node, reading) in nodes.iter_mut().zip(readings) {
                    *node = *node * BRANCHES + s.bits(s.lt(s.load(&level[*node]), reading)).count_ones() as usize;
                }
            }
            *ranks = nodes.map(|node| node as i16);
        }
    }
}

/// Where rows of these ranks come to stand in a tree.
struct Descend<'a> {
    nodes: &'a [Split],
    ranks: &'a [[i16; BLOCK]],
}

impl Kernel for Descend<'_> {
    type Output = [i16; BLOCK];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [i16; BLOCK] {
        let mut at = [s.splat_short(0); VECTORS];
        for node in self.nodes {
            let ranks = self.ranks[node.column as usize].as_chunks::<SHORTS>().0;
            for v in 0..VECTORS {
                at[v] = s.descend(at[v], s.load_shorts(&ranks[v]), node.rank, node.here, node.right);
            }
        }
        let mut leaves = [0; BLOCK];
        for (at, leaves) in at.into_iter().zip(leaves.as_chunks_mut::<SHORTS>().0) {
            s.store_shorts(at, leaves);
        }
        leaves
    }
}

/// Groups of trees that are walked.
fn walked(trees: &[(Lists<'_>, usize)], columns: usize) -> Vec<Walked> {
    let mut groups = vec![Walked::new()];
    let mut in_group = 0;
    for &(tree, depth) in trees {
        let n = tree.child.len();
        if in_group > 0 && (in_group + n) * NODE_BYTES > GROUP_BYTES {
            groups.push(Walked::new());
            in_group = 0;
        }
        in_group += n;
        let node = |i: usize| match tree.child[i] {
            0 => Node { key: u64::MAX, left: i as u32, column: 0 },
            left => Node { key: key(tree.value[i]), left, column: tree.feature[i] },
        };
        let group = groups.last_mut().expect("a group");
        group.push((Tree::new((0..n).map(node).collect(), columns, depth), tree.value.to_vec()));
    }
    groups
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
        let sums = scratch;
        sums.clear();
        sums.resize(tile.stride().next_multiple_of(BLOCK), 0.0);
        match &self.way {
            Way::Compared(groups) => self.compare(groups, tile, sums.as_chunks_mut().0),
            Way::Walked(groups) => self.walk(groups, tile, sums.as_chunks_mut().0),
        }
        for (score, sum) in out[..tile.stride()].iter_mut().zip(sums) {
            let mean = if self.scale > 0.0 { *sum / self.scale } else { 1.0 };
            *score = (-mean).exp2();
        }
    }
}

impl Scorer {
    fn compare(&self, groups: &[Compared], tile: &Tile, sums: &mut [[f64; BLOCK]]) {
        let mut ranks = vec![[0; BLOCK]; self.columns];
        for (b, sums) in sums.iter_mut().enumerate() {
            for group in groups {
                for (j, (cuts, ranks)) in group.cuts.iter().zip(&mut ranks).enumerate() {
                    simd::dispatch(Ranks {
                        cuts,
                        readings: &tile.column(j)[b * BLOCK..],
                        narrow: self.narrow,
                        out: ranks,
                    });
                }
                group.add_lengths(&ranks, sums);
            }
        }
    }

    fn walk(&self, groups: &[Walked], tile: &Tile, sums: &mut [[f64; WALKERS]]) {
        let mut blocks = vec![[0; WALKERS]; tile.stride().div_ceil(WALKERS) * self.columns];
        for j in 0..self.columns {
            for (block, readings) in blocks.chunks_exact_mut(self.columns).zip(tile.column(j).chunks(WALKERS)) {
                for (k, &v) in block[j].iter_mut().zip(readings) {
                    *k = key(narrowed(v, self.narrow));
                }
            }
        }
        for group in groups {
            for (block, sums) in blocks.chunks_exact(self.columns).zip(&mut *sums) {
                for (tree, lengths) in group {
                    for (sum, leaf) in sums.iter_mut().zip(tree.leaves(block)) {
                        *sum += lengths[leaf as usize];
                    }
                }
            }
        }
    }
}
