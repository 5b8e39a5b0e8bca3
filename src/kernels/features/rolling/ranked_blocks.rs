//! Rolling median for large windows of rows: sort each block of `w` rows once, then only move bits.
//!
//! Suomela, "Median filtering is equivalent to sorting" (2014, arXiv 1406.1717), in the form with a bitmap of ranks: a window
//! lies in two neighbouring blocks; merging the two sorted blocks gives each reading its rank among the 2w, and the window is a set of ranks. A row
//! sets one bit and clears one, and the median is at most two steps to the next set bit away.
//!
//! Eight blocks are sorted at once, one per SIMD lane, by Batcher's odd-even merge sort. Blocks begin at multiples of `w`.
//! Cost: O(log^2 w / 8) vector steps to sort and O(1) per row to slide; O(w) memory.

use super::Tile;
use super::order_statistics::midpoint;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Writes the median of every result row of a tile with windows of `w` rows.
pub fn median(tile: &Tile, w: usize, out: &mut [f64]) {
    let mut blocks = Vec::new();
    let n = tile.x.len();
    // a window longer than the tile holds all of its rows up to the current one
    let w = w.min(n);
    let count = n.div_ceil(w);
    for first in (0..count).step_by(LANES) {
        dispatch(SortBlocks { x: tile.x, w, first, count: LANES.min(count - first), blocks: &mut blocks });
    }
    let nothing = SortedBlock::new(std::iter::empty(), w);
    let mut pair = Pair::new(w);
    for (b, right) in blocks.iter().enumerate() {
        let (begin, end) = (b * w, n.min((b + 1) * w));
        if end <= tile.first {
            continue;
        }
        pair.join(if b > 0 { &blocks[b - 1] } else { &nothing }, right);
        for t in begin..end {
            pair.step(t - begin);
            if t >= tile.first {
                out[t - tile.first] = if pair.count >= tile.min_samples { pair.median() } else { f64::NAN };
            }
        }
    }
}

/// The readings of a block in ascending order, between -inf and +inf, and the row of each.
struct SortedBlock {
    values: Vec<f64>,
    rows: Vec<u32>,
}

impl SortedBlock {
    fn new(sorted: impl Iterator<Item = (f64, u32)>, w: usize) -> Self {
        let mut values = Vec::with_capacity(w + 2);
        let mut rows = Vec::with_capacity(w + 2);
        values.push(f64::NEG_INFINITY);
        rows.push(0);
        for (value, row) in sorted {
            values.push(value);
            rows.push(row);
        }
        values.push(f64::INFINITY);
        rows.push(0);
        Self { values, rows }
    }

    fn len(&self) -> usize {
        self.values.len() - 2
    }
}

struct SortBlocks<'a> {
    x: &'a [f64],
    w: usize,
    first: usize,
    count: usize,
    blocks: &'a mut Vec<SortedBlock>,
}

impl Kernel for SortBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, w, first, count, blocks } = self;
        let mut keys = vec![Lanes([f64::INFINITY; LANES]); w];
        let mut rows = vec![Lanes([0.0; LANES]); w];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = Lanes([i as f64; LANES]);
        }
        for lane in 0..count {
            let begin = (first + lane) * w;
            for (key, &v) in keys.iter_mut().zip(&x[begin..]) {
                key[lane] = if v.is_nan() { f64::INFINITY } else { v };
            }
        }
        sort(s, &mut keys, &mut rows);
        for lane in 0..count {
            let present = keys.partition_point(|key| key[lane] < f64::INFINITY);
            let sorted = keys[..present].iter().zip(&rows).map(|(key, row)| (key[lane], row[lane] as u32));
            blocks.push(SortedBlock::new(sorted, w));
        }
    }
}

/// Batcher's odd-even merge sort of every lane (Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M), `rows` moved along.
#[inline(always)]
fn sort<S: Simd>(s: S, keys: &mut [Lanes], rows: &mut [Lanes]) {
    let n = keys.len();
    for level in 0..usize::BITS - (n - 1).leading_zeros() {
        let p = 1 << level;
        let mut k = p;
        while k >= 1 {
            for j in (k % p..n - k.min(n)).step_by(2 * k) {
                let end = (j + k).min(n - k);
                let (low_keys, high_keys) = keys.split_at_mut(j + k);
                let (low_rows, high_rows) = rows.split_at_mut(j + k);
                let low = low_keys[j..end].iter_mut().zip(&mut low_rows[j..end]);
                for (i, ((a, row_a), (b, row_b))) in low.zip(high_keys.iter_mut().zip(high_rows)).enumerate() {
                    // both in the same stretch of 2p
                    if (j + i) >> (level + 1) != (j + i + k) >> (level + 1) {
                        continue;
                    }
                    let (key_a, key_b) = (s.load(a), s.load(b));
                    let (at_a, at_b) = (s.load(row_a), s.load(row_b));
                    let swap = s.lt(key_b, key_a);
                    s.store(s.min(key_a, key_b), a);
                    s.store(s.max(key_a, key_b), b);
                    s.store(s.select(swap, at_b, at_a), row_a);
                    s.store(s.select(swap, at_a, at_b), row_b);
                }
            }
            k /= 2;
        }
    }
}

/// No reading at this row.
const MISSING: u32 = u32::MAX;
/// Bits before the first rank and behind the last one, always set, where a search ends that finds none between.
const GUARD: usize = 64;

/// Two neighbouring blocks and the window that slides from one to the other.
struct Pair {
    w: usize,
    /// the readings of both in ascending order, from `GUARD` on
    values: Vec<f64>,
    /// the rank, counted from `GUARD`, of each row of the left block, then of the right one
    ranks: Vec<u32>,
    /// the ranks in the window
    bits: Vec<u64>,
    count: usize,
    /// a rank, and how many ranks of the window are below it
    at: usize,
    below: usize,
}

impl Pair {
    /// # Panics
    /// If the window has so many rows that a rank does not fit its type.
    fn new(w: usize) -> Self {
        let ranks = 2 * w + GUARD;
        assert!(ranks < MISSING as usize, "a window of at most 2^31 - 64 rows, got {w}");
        Self {
            w,
            values: vec![0.0; ranks + GUARD],
            ranks: vec![MISSING; 2 * w],
            bits: vec![0; ranks / 64 + 3],
            count: 0,
            at: 0,
            below: 0,
        }
    }

    /// The window becomes the left block.
    fn join(&mut self, left: &SortedBlock, right: &SortedBlock) {
        let w = self.w as u32;
        self.ranks.fill(MISSING);
        let (nl, nr) = (left.len(), right.len());
        let total = nl + nr;
        let values = &mut self.values[GUARD..GUARD + total];
        // from both ends at once, two independent chains; masks, because a branch would be guessed wrong half of the time
        let (mut i, mut j) = (1, 1);
        let (mut i_end, mut j_end) = (nl, nr);
        let choose = |first: bool, a: u32, b: u32| b ^ ((a ^ b) & 0_u32.wrapping_sub(u32::from(first)));
        for r in 0..total.div_ceil(2) {
            let (a, b) = (left.values[i], right.values[j]);
            let from_left = a <= b;
            values[r] = if from_left { a } else { b };
            let row = choose(from_left, left.rows[i], right.rows[j] + w);
            self.ranks[row as usize] = (r + GUARD) as u32;
            i += usize::from(from_left);
            j += usize::from(!from_left);
            let (a, b) = (left.values[i_end], right.values[j_end]);
            let from_right = a <= b;
            // the middle one of an odd number is the same from both ends
            let r = total - 1 - r;
            values[r] = if from_right { b } else { a };
            let row = choose(from_right, right.rows[j_end] + w, left.rows[i_end]);
            self.ranks[row as usize] = (r + GUARD) as u32;
            j_end -= usize::from(from_right);
            i_end -= usize::from(!from_right);
        }
        self.bits.fill(0);
        for &rank in self.ranks[..self.w].iter().filter(|rank| **rank != MISSING) {
            self.bits[rank as usize / 64] |= 1 << (rank % 64);
        }
        self.count = nl;
        // whole words first: the median of the left block lies w/2 bits away
        let target = self.count.saturating_sub(1) / 2;
        let (mut word, mut below) = (GUARD / 64, 0);
        while below + (self.bits[word].count_ones() as usize) < target {
            below += self.bits[word].count_ones() as usize;
            word += 1;
        }
        (self.at, self.below) = (word * 64, below);
        self.bits[0] = !0;
        let behind = (GUARD + total).div_ceil(64);
        self.bits[behind..].fill(!0);
        while self.below < target {
            self.at = self.from(self.from(self.at) + 1);
            self.below += 1;
        }
    }

    /// Row `i` of the right block enters, row `i` of the left one leaves.
    #[inline(always)]
    fn step(&mut self, i: usize) {
        let (old, new) = (self.ranks[i], self.ranks[self.w + i]);
        if old != MISSING {
            self.bits[old as usize / 64] &= !(1 << (old % 64));
            self.count -= 1;
            self.below -= usize::from((old as usize) < self.at);
        }
        if new != MISSING {
            self.bits[new as usize / 64] |= 1 << (new % 64);
            self.count += 1;
            self.below += usize::from((new as usize) < self.at);
        }
        // one row moves the middle by at most one; all three answers are taken, because which one is needed cannot be guessed
        let target = self.count.saturating_sub(1) / 2;
        let here = self.from(self.at);
        let above = self.from(here + 1);
        let beneath = self.before(self.at);
        let (up, down) = (self.below < target, self.below > target);
        self.at = if up { above } else { here };
        self.at = if down { beneath } else { self.at };
        self.below = self.below + usize::from(up) - usize::from(down);
    }

    /// The median of a window that is not empty.
    #[inline(always)]
    fn median(&self) -> f64 {
        let next = self.from(self.at + 1);
        let upper = if self.count.is_multiple_of(2) { next } else { self.at };
        midpoint(self.values[self.at], self.values[upper])
    }

    /// The first rank of the window from `rank` on.
    #[inline(always)]
    fn from(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.bits[word] & (!0 << (rank % 64));
        while bits == 0 {
            word += 1;
            bits = self.bits[word];
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    /// The last rank of the window below `rank`.
    #[inline(always)]
    fn before(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.bits[word] & !(!0 << (rank % 64));
        while bits == 0 {
            word -= 1;
            bits = self.bits[word];
        }
        word * 64 + 63 - bits.leading_zeros() as usize
    }
}
