//! Rolling median for large windows of rows: sort each block of `w` rows once, then only move bits.
//!
//! Suomela, "Median filtering is equivalent to sorting" (2014, arXiv 1406.1717), in the form with a bitmap of ranks: a window
//! lies in two neighbouring blocks; merging the two sorted blocks gives each reading its rank among the 2w, and the window is a set of ranks. A row
//! sets one bit and clears one, and the median is at most one step to the next set bit away.
//!
//! Eight blocks are sorted at once, one per SIMD lane, and each is merged with the block before it, by a bitonic network. Blocks
//! begin at multiples of `w`. The network moves one number per reading: its distance from an anchor, with the row in the lowest bits.
//! Readings that differ in these bits alone are put in order afterwards; where all do, a row costs about four times as much.
//! Cost: O(log^2 w / 8) vector steps to sort and O(1) per row to slide; O(w) memory.
//!
//! Before, Batcher's odd-even merge sort moved keys and rows apart, two blocks were merged one reading at a time, and one
//! window slid at a time: 10,000 rows took 34 ns per row for w = 256 and 47 for w = 1024, then 22 and 26 (AVX2). Ranks of all
//! lanes side by side, windows without gaps by themselves, and midpoints taken eight at a time: from 25 and 37 to 20 and 30 (AVX-512).

use super::Tile;
use super::order_statistics::middle;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{deinterleave, side_by_side};

/// Computes the medians of one tile after another; the buffers are made once.
#[derive(Default)]
pub struct RankedBlocks {
    /// the last block with missing rows behind it, then a block of missing rows
    last: Vec<f64>,
    /// eight sorted blocks, then eight blocks of medians
    blocks: Vec<Lanes>,
    /// the block before them
    before: Vec<f64>,
    /// each with the block before it: the keys, then the readings in ascending order
    merged: Vec<Lanes>,
    /// The rank of each row of the left blocks, then of the right ones. When a window has slid past row i, the ranks of its two
    /// middle readings take the places of row i of both.
    ranks: Vec<[u32; LANES]>,
    bitmaps: Bitmaps,
    medians: Vec<f64>,
}

impl RankedBlocks {
    /// Writes the median of every result row of a tile with windows of `w` rows.
    pub fn median(&mut self, tile: &Tile, w: usize, out: &mut [f64]) {
        // a window longer than the tile holds all of its rows up to the current one
        dispatch(Medians { of: self, tile, w: w.min(tile.x.len()), out });
    }
}

struct Medians<'a> {
    of: &'a mut RankedBlocks,
    tile: &'a Tile<'a>,
    w: usize,
    out: &'a mut [f64],
}

impl Kernel for Medians<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of: RankedBlocks { last, blocks, before, merged, ranks, bitmaps, medians }, tile, w, out } = self;
        let x = tile.x;
        let keys = Keys::new(x, w);
        let half = w.next_power_of_two();
        last.clear();
        last.extend(&x[x.len() / w * w..]);
        last.resize(2 * w, f64::NAN);
        before.clear();
        before.resize(w, f64::INFINITY);
        merged.resize(2 * half, Lanes([f64::INFINITY; LANES]));
        ranks.resize(2 * w, [0; LANES]);
        bitmaps.resize(w);
        medians.resize(LANES * w, 0.0);
        let count = x.len().div_ceil(w);
        for first in (0..count).step_by(LANES) {
            let block = |lane: usize| {
                let begin = (first + lane) * w;
                x.get(begin..begin + w).unwrap_or(if begin < x.len() { &last[..w] } else { &last[w..] })
            };
            blocks.resize(half, Lanes([0.0; LANES]));
            side_by_side(s, std::array::from_fn(block), &mut blocks[..w]);
            for (i, row) in blocks[..w].iter_mut().enumerate() {
                *row = Lanes(row.0.map(|v| keys.of(v, i)));
            }
            blocks[w..].fill(Lanes([f64::INFINITY; LANES]));
            sort(s, blocks, w);
            // left blocks end and right ones begin in the middle, so that all padding lies outside
            merged[..half - w].fill(Lanes([f64::NEG_INFINITY; LANES]));
            for ((row, block), before) in merged[half - w..half].iter_mut().zip(&*blocks).zip(before.iter_mut()) {
                *row = Lanes(std::array::from_fn(|lane| if lane == 0 { *before } else { block[lane - 1] }));
                *before = block[LANES - 1];
            }
            for (row, block) in merged[half..].iter_mut().zip(&*blocks) {
                *row = Lanes(block.0.map(|key| keys.behind(key)));
            }
            merge(s, merged, half - w..half + w);
            let values = &mut merged[half - w..half + w];
            let reading = |lane: usize, row: u32| x[(first + lane) * w + row as usize - w];
            let totals = rank(s, values, ranks, bitmaps, &keys, reading);
            bitmaps.bits.fill(0);
            for &rank in ranks[..w].as_flattened() {
                bitmaps.set(rank as usize);
            }
            let mut windows: [Window; LANES] =
                std::array::from_fn(|lane| Window::new(bitmaps, lane, totals[lane], 2 * w));
            let mut lane = 0;
            // the first window of a series is never complete
            for alike in windows[..LANES.min(count - first)].chunk_by_mut(|a, b| a.complete == b.complete) {
                let (fours, rest) = alike.as_chunks_mut::<4>();
                for windows in fours {
                    slide(windows, &mut lane, ranks, bitmaps, tile.min_samples);
                }
                let (twos, rest) = rest.as_chunks_mut::<2>();
                for windows in twos {
                    slide(windows, &mut lane, ranks, bitmaps, tile.min_samples);
                }
                for window in rest.as_chunks_mut::<1>().0 {
                    slide(window, &mut lane, ranks, bitmaps, tile.min_samples);
                }
            }
            let firsts: [usize; LANES] = std::array::from_fn(|lane| bitmaps.first(lane));
            let value =
                |lane: usize, rank: u32| values.get(rank as usize - firsts[lane]).map_or(f64::NAN, |value| value[lane]);
            for (i, row) in blocks[..w].iter_mut().enumerate() {
                let lower: [f64; LANES] = std::array::from_fn(|lane| value(lane, ranks[i][lane]));
                let upper: [f64; LANES] = std::array::from_fn(|lane| value(lane, ranks[w + i][lane]));
                s.store(middle(s, s.load(&lower), s.load(&upper)), row);
            }
            deinterleave(s, &blocks[..w], medians);
            let begin = first * w;
            let results = begin.max(tile.first)..x.len().min(begin + LANES * w);
            if !results.is_empty() {
                out[results.start - tile.first..results.end - tile.first]
                    .copy_from_slice(&medians[results.start - begin..results.end - begin]);
            }
        }
    }
}

/// What the network sorts: a reading's distance from an anchor, with the row in place of the lowest bits.
struct Keys {
    /// The middle one of some readings of the tile: the lowest bits of distances between like numbers are 0, so that none is
    /// lost, and an outlier will not be taken. Results do not depend on it.
    anchor: f64,
    w: usize,
    /// The bits that hold a row of two blocks.
    rows: u64,
}

impl Keys {
    /// # Panics
    /// If the window has 2^27 rows or more: eight bitmaps of twice as many ranks must fit 32 bits.
    fn new(x: &[f64], w: usize) -> Self {
        assert!(w < 1 << 27, "a window of less than 2^27 rows, got {w}");
        let mut some: Vec<f64> = x.iter().copied().step_by(x.len().div_ceil(9)).filter(|v| !v.is_nan()).collect();
        some.sort_unstable_by(f64::total_cmp);
        Self { anchor: some.get(some.len() / 2).copied().unwrap_or(0.0), w, rows: 2 * w.next_power_of_two() as u64 - 1 }
    }

    /// The key of row `i` of a block; missing readings follow all others.
    #[inline(always)]
    fn of(&self, v: f64, i: usize) -> f64 {
        if v.is_nan() { f64::INFINITY } else { f64::from_bits(self.coarse(v) | i as u64) }
    }

    /// The same in the block behind.
    #[inline(always)]
    fn behind(&self, key: f64) -> f64 {
        if key < f64::INFINITY { f64::from_bits(key.to_bits() + self.w as u64) } else { key }
    }

    /// The bits of a key without its row: monotonic, since subtraction, its limits and cutting digits off are.
    #[inline(always)]
    fn coarse(&self, v: f64) -> u64 {
        (v - self.anchor).clamp(f64::MIN, f64::MAX).to_bits() & !self.rows
    }

    #[inline(always)]
    fn row(&self, key: f64) -> u32 {
        (key.to_bits() & self.rows) as u32
    }
}

/// Keys of a stretch that stay in the first-level cache while all steps that lie within it are done.
const STRETCH: usize = 256;

/// Sorts the first `n` keys of every lane by a bitonic network (Batcher 1968), in the form in which each exchange puts the
/// smaller key first; the keys behind are +inf. The length is a power of two.
#[inline(always)]
fn sort<S: Simd>(s: S, keys: &mut [Lanes], n: usize) {
    let len = keys.len();
    let stretch = len.min(STRETCH);
    for (i, part) in keys.chunks_exact_mut(stretch).enumerate().take(n.div_ceil(stretch)) {
        let n = (n - i * stretch).min(stretch);
        let mut p = 2;
        while p <= stretch {
            for (j, group) in part.chunks_exact_mut(p).enumerate().take(n.div_ceil(p)) {
                merge(s, group, 0..n - j * p);
            }
            p *= 2;
        }
    }
    let mut p = 2 * stretch;
    while p <= len {
        for (j, group) in keys.chunks_exact_mut(p).enumerate().take(n.div_ceil(p)) {
            merge(s, group, 0..n - j * p);
        }
        p *= 2;
    }
}

/// Merges the two sorted halves of every lane. Before `used` all keys are -inf, behind it +inf.
#[inline(always)]
fn merge<S: Simd>(s: S, keys: &mut [Lanes], used: std::ops::Range<usize>) {
    let len = keys.len();
    if len < 4 {
        if let [a, b] = keys {
            exchange_pair(s, a, b);
        }
        return;
    }
    // two steps at once, on four keys in registers: each with its mirror image, then at a quarter of the length
    let (low, high) = keys.split_at_mut(len / 2);
    let ((a, b), (c, d)) = (low.split_at_mut(len / 4), high.split_at_mut(len / 4));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c.iter_mut().rev()).zip(d.iter_mut().rev()) {
        let (a0, d0) = exchange(s, s.load(a), s.load(d));
        let (b0, c0) = exchange(s, s.load(b), s.load(c));
        let (a0, b0) = exchange(s, a0, b0);
        let (c0, d0) = exchange(s, c0, d0);
        s.store(a0, a);
        s.store(b0, b);
        s.store(c0, c);
        s.store(d0, d);
    }
    let mut p = len / 4;
    while p > STRETCH {
        quarters(s, keys, p, &used);
        p /= 4;
    }
    let stretch = len.min(STRETCH);
    for (i, part) in keys.chunks_exact_mut(stretch).enumerate() {
        let begin = i * stretch;
        if begin >= used.end || begin + stretch <= used.start {
            continue;
        }
        let used = used.start.saturating_sub(begin)..used.end - begin;
        let mut p = p;
        while p >= 4 {
            quarters(s, part, p, &used);
            p /= 4;
        }
        if p == 2 {
            for pair in part.as_chunks_mut::<2>().0 {
                let [a, b] = pair;
                exchange_pair(s, a, b);
            }
        }
    }
}

/// Two steps of a merge at once, on four keys in registers: at half the length `p` of a bitonic stretch, then at a quarter.
#[inline(always)]
fn quarters<S: Simd>(s: S, keys: &mut [Lanes], p: usize, used: &std::ops::Range<usize>) {
    for (j, stretch) in keys.chunks_exact_mut(p).enumerate() {
        if j * p >= used.end || (j + 1) * p <= used.start {
            continue;
        }
        let (low, high) = stretch.split_at_mut(p / 2);
        let ((a, b), (c, d)) = (low.split_at_mut(p / 4), high.split_at_mut(p / 4));
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (a0, c0) = exchange(s, s.load(a), s.load(c));
            let (b0, d0) = exchange(s, s.load(b), s.load(d));
            let (a0, b0) = exchange(s, a0, b0);
            let (c0, d0) = exchange(s, c0, d0);
            s.store(a0, a);
            s.store(b0, b);
            s.store(c0, c);
            s.store(d0, d);
        }
    }
}

/// The smaller and the larger keys.
#[inline(always)]
fn exchange<S: Simd>(s: S, a: S::V, b: S::V) -> (S::V, S::V) {
    (s.min(a, b), s.max(a, b))
}

#[inline(always)]
fn exchange_pair<S: Simd>(s: S, a: &mut Lanes, b: &mut Lanes) {
    let (low, high) = exchange(s, s.load(a), s.load(b));
    s.store(low, a);
    s.store(high, b);
}

/// Bits before a bitmap's first rank and behind the last one, always set, where a search ends that finds none between.
const GUARD: usize = 64;

/// The bitmaps of the lanes one behind the other. Ranks are counted through all of them.
#[derive(Default)]
struct Bitmaps {
    bits: Vec<u64>,
    /// of each lane
    words: usize,
}

impl Bitmaps {
    fn resize(&mut self, w: usize) {
        self.words = (GUARD + 2 * w).div_ceil(64) + 3;
        self.bits.resize(LANES * self.words, 0);
    }

    /// The rank that a lane's smallest reading has.
    fn first(&self, lane: usize) -> usize {
        64 * lane * self.words + GUARD
    }

    /// The rank of a lane's missing readings, in its last word, which no search reaches.
    fn missing(&self, lane: usize) -> usize {
        64 * ((lane + 1) * self.words - 1)
    }

    #[inline(always)]
    fn clear(&mut self, rank: usize) {
        self.bits[rank / 64] &= !(1 << (rank % 64));
    }

    #[inline(always)]
    fn set(&mut self, rank: usize) {
        self.bits[rank / 64] |= 1 << (rank % 64);
    }

    /// The first rank of the window from `rank` on.
    #[inline(always)]
    fn next(&self, rank: usize) -> usize {
        let word = rank / 64;
        let bits = self.bits[word] >> (rank % 64);
        if bits == 0 { self.next_word(word + 1) } else { rank + bits.trailing_zeros() as usize }
    }

    #[cold]
    #[inline(never)]
    fn next_word(&self, mut word: usize) -> usize {
        while self.bits[word] == 0 {
            word += 1;
        }
        64 * word + self.bits[word].trailing_zeros() as usize
    }

    /// The last rank of the window below `rank`.
    #[inline(always)]
    fn previous(&self, rank: usize) -> usize {
        let word = rank / 64;
        let bits = self.bits[word] & !(!0 << (rank % 64));
        if bits == 0 { self.previous_word(word) } else { 64 * word + 63 - bits.leading_zeros() as usize }
    }

    #[cold]
    #[inline(never)]
    fn previous_word(&self, mut word: usize) -> usize {
        word -= 1;
        while self.bits[word] == 0 {
            word -= 1;
        }
        64 * word + 63 - self.bits[word].leading_zeros() as usize
    }
}

/// Puts readings in the place of their merged keys, and writes their ranks. Says how many each lane has.
#[inline(always)]
fn rank<S: Simd>(
    s: S,
    merged: &mut [Lanes],
    ranks: &mut [[u32; LANES]],
    bitmaps: &Bitmaps,
    keys: &Keys,
    reading: impl Fn(usize, u32) -> f64,
) -> [usize; LANES] {
    ranks.fill(std::array::from_fn(|lane| bitmaps.missing(lane) as u32));
    let first: [usize; LANES] = std::array::from_fn(|lane| bitmaps.first(lane));
    let mut totals = [0; LANES];
    for (rank, values) in merged.iter_mut().enumerate() {
        for (lane, value) in values.iter_mut().enumerate() {
            if *value < f64::INFINITY {
                let row = keys.row(*value);
                *value = reading(lane, row);
                ranks[row as usize][lane] = (first[lane] + rank) as u32;
                totals[lane] += 1;
            }
        }
    }
    let mut unsorted = 0;
    for (this, next) in merged.iter().zip(&merged[1..]) {
        unsorted |= s.bits(s.lt(s.load(next), s.load(this)));
    }
    for lane in (0..LANES).filter(|lane| unsorted & 1 << lane != 0) {
        let mut rows = vec![0; totals[lane]];
        for (row, ranks) in (0..).zip(&*ranks) {
            if let Some(at) = rows.get_mut(ranks[lane] as usize - first[lane]) {
                *at = row;
            }
        }
        let reading = |row: u32| reading(lane, row);
        for equal in rows.chunk_by_mut(|a, b| keys.coarse(reading(*a)) == keys.coarse(reading(*b))) {
            equal.sort_unstable_by(|a, b| reading(*a).total_cmp(&reading(*b)));
        }
        for (rank, row) in rows.into_iter().enumerate() {
            merged[rank][lane] = reading(row);
            ranks[row as usize][lane] = (first[lane] + rank) as u32;
        }
    }
    totals
}

/// A window that slides from one block to the next.
struct Window {
    /// whether no reading of both blocks is missing
    complete: bool,
    /// how many the window has
    count: usize,
    /// a rank, and how many ranks of the window are below it
    at: usize,
    below: usize,
    /// the rank of missing readings
    missing: usize,
}

impl Window {
    /// The window is the left block, whose bits are set, of two blocks with `total` readings in `rows` rows.
    fn new(bitmaps: &mut Bitmaps, lane: usize, total: usize, rows: usize) -> Self {
        let (first, missing) = (bitmaps.first(lane), bitmaps.missing(lane));
        let bits = &mut bitmaps.bits;
        bits[missing / 64] = 0;
        let count: usize = bits[first / 64..missing / 64].iter().map(|word| word.count_ones() as usize).sum();
        // whole words first: the median lies w/2 bits away
        let target = lower_middle(count);
        let (mut word, mut below) = (first / 64, 0);
        while below + (bits[word].count_ones() as usize) < target {
            below += bits[word].count_ones() as usize;
            word += 1;
        }
        bits[first / 64 - 1] = !0;
        bits[(first + total).div_ceil(64)..missing / 64].fill(!0);
        let mut at = bitmaps.next(64 * word);
        while below < target {
            at = bitmaps.next(at + 1);
            below += 1;
        }
        Self { complete: total == rows, count, at, below, missing }
    }

    /// Row `old` leaves and row `new` enters, given by their ranks; the ranks of the two middle readings. One row moves the middle
    /// by at most one: both ways are looked up, because which one is needed cannot be guessed.
    #[inline(always)]
    fn step(&mut self, bitmaps: &mut Bitmaps, old: u32, new: u32, min_samples: usize) -> (u32, u32) {
        let Self { missing, at, .. } = *self;
        let (old, new) = (old as usize, new as usize);
        bitmaps.clear(old);
        bitmaps.set(new);
        self.count = self.count + usize::from(new < missing) - usize::from(old < missing);
        self.below = self.below + usize::from(new < at) - usize::from(old < at);
        let target = lower_middle(self.count);
        let (up, down) = (self.below < target, self.below > target);
        let (here, beneath) = (bitmaps.next(at), bitmaps.previous(at));
        let above = bitmaps.next(here + 1);
        self.at = if up { above } else { here };
        self.at = if down { beneath } else { self.at };
        self.below = self.below + usize::from(up) - usize::from(down);
        let upper = if self.count.is_multiple_of(2) { bitmaps.next(self.at + 1) } else { self.at };
        if self.count >= min_samples { (self.at as u32, upper as u32) } else { (missing as u32, missing as u32) }
    }

    /// The same where no reading is missing, so that `at` is that of the lower middle one.
    #[inline(always)]
    fn step_complete(&mut self, bitmaps: &mut Bitmaps, old: u32, new: u32, even: bool) -> (u32, u32) {
        let (old, new, at) = (old as usize, new as usize, self.at);
        bitmaps.clear(old);
        bitmaps.set(new);
        let (beneath, above) = (bitmaps.previous(at), bitmaps.next(at + 1));
        // the one that leaves may be the middle one
        self.at = if old <= at && new > at { above } else { at };
        self.at = if old >= at && new < at { beneath } else { self.at };
        let upper = if even { bitmaps.next(self.at + 1) } else { self.at };
        (self.at as u32, upper as u32)
    }
}

/// Which of `count` readings in ascending order is the lower middle one.
fn lower_middle(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

/// Windows, from that of lane `lane` on, slide over the right blocks, all at the same time: one row waits for the row before,
/// but not for another window. They are all complete or none.
#[inline(always)]
fn slide<const N: usize>(
    windows: &mut [Window; N],
    lane: &mut usize,
    ranks: &mut [[u32; LANES]],
    bitmaps: &mut Bitmaps,
    min_samples: usize,
) {
    let w = ranks.len() / 2;
    let (left, right) = ranks.split_at_mut(w);
    let even = w.is_multiple_of(2);
    let complete = windows[0].complete;
    for (left, right) in left.iter_mut().zip(right) {
        for (j, window) in (*lane..).zip(&mut *windows) {
            (left[j], right[j]) = if complete {
                window.step_complete(bitmaps, left[j], right[j], even)
            } else {
                window.step(bitmaps, left[j], right[j], min_samples)
            };
        }
    }
    *lane += N;
}
