//! Rolling median for large windows of rows: sort each block of at least `w` rows once, then only move bits.
//!
//! Suomela, "Median filtering is equivalent to sorting" (2014, arXiv 1406.1717), in the form with a bitmap of ranks: a window
//! lies in two neighbouring blocks; merging the two sorted blocks gives each of their readings its rank, and the window is a set of
//! ranks. A row sets one bit and clears one, and the median is at most one step to the next set bit away.
//!
//! Eight blocks are sorted at once, one per SIMD lane, and each is merged with the block before it, by a bitonic network. They
//! are as much longer than `w` as it takes to leave no lane without a block: 10,000 rows and w = 1024 are eight blocks of 1,250
//! rows, not eight and two of 1,024. The network moves one number per reading: its distance from an anchor, with the row in the
//! lowest bits. Readings that differ in these bits alone are put in order afterwards; where all do, a row costs about four times
//! as much. Cost: O(log^2 w / 8) vector steps to sort and O(1) per row to slide; O(w) memory.
//!
//! Before, Batcher's odd-even merge sort moved keys and rows apart, two blocks were merged one reading at a time, and one
//! window slid at a time: 10,000 rows took 34 ns per row for w = 256 and 47 for w = 1024, then 22 and 26 (AVX2). Ranks of all
//! lanes side by side, windows without gaps by themselves, and midpoints taken eight at a time: from 37 ns for w = 1024 to 29
//! (AVX-512); all lanes in use, ranks lane by lane and all neighbours from one word of the bitmap: 20. Tried: reading the midpoints
//! while the windows slide, a twentieth slower; the readings in ascending order beside their ranks, no gain.

use std::hint::select_unpredictable;

use super::Tile;
use super::order_statistics::middle;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch, flat, flat_mut};
use crate::kernels::transpose::{deinterleave, side_by_side};

/// Lanes whose windows slide at the same time: more do not find room in the registers, nor their ranks in the first cache level.
const FEW: usize = LANES / 2;

/// Computes the medians of one tile after another; the buffers are made once.
#[derive(Default)]
pub struct RankedBlocks {
    /// the last block with missing rows behind it, then a block of missing rows
    last: Vec<f64>,
    /// eight sorted blocks, then eight blocks of medians
    blocks: Vec<Lanes>,
    /// the block before them
    before: Vec<f64>,
    /// the keys of each with the block before it
    merged: Vec<Lanes>,
    /// The rank of each row of the left blocks, then of the right ones: of the first `FEW` lanes, then of the others.
    ranks: Vec<[u32; FEW]>,
    /// For each row of the right blocks the ranks of the two middle readings of its window.
    middles: Vec<[[u32; LANES]; 2]>,
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
        let Self { of, tile, w, out } = self;
        let RankedBlocks { last, blocks, before, merged, ranks, middles, bitmaps, medians } = of;
        let x = tile.x;
        // all lanes are in use, where there are enough rows
        let groups = (x.len() / (LANES * w)).max(1);
        let b = x.len().div_ceil(LANES * groups).max(w);
        let keys = Keys::new(x, b);
        let half = b.next_power_of_two();
        last.clear();
        last.extend(&x[x.len() / b * b..]);
        last.resize(2 * b, f64::NAN);
        before.clear();
        before.resize(b, f64::INFINITY);
        merged.resize(2 * half, Lanes([f64::INFINITY; LANES]));
        ranks.resize(LANES / FEW * 2 * b, [0; FEW]);
        middles.resize(b, [[0; LANES]; 2]);
        bitmaps.resize(b);
        medians.resize(LANES * b, 0.0);
        let count = x.len().div_ceil(b);
        for first in (0..count).step_by(LANES) {
            let block = |lane: usize| {
                let begin = (first + lane) * b;
                x.get(begin..begin + b).unwrap_or(if begin < x.len() { &last[..b] } else { &last[b..] })
            };
            blocks.resize(half, Lanes([0.0; LANES]));
            side_by_side(s, std::array::from_fn(block), &mut blocks[..b]);
            for (i, v) in flat_mut(&mut blocks[..b]).iter_mut().enumerate() {
                *v = keys.of(*v, i / LANES);
            }
            flat_mut(&mut blocks[b..]).fill(f64::INFINITY);
            sort(s, blocks, b);
            // left blocks end and right ones begin in the middle, so that all padding lies outside
            flat_mut(&mut merged[..half - b]).fill(f64::NEG_INFINITY);
            // every block one lane on: one number on in memory
            flat_mut(&mut merged[half - b..half])[1..].copy_from_slice(&flat(&blocks[..b])[..LANES * b - 1]);
            merged[half - b..half].iter_mut().zip(&*before).for_each(|(row, before)| row[0] = *before);
            if first + LANES < count {
                before.iter_mut().zip(&*blocks).for_each(|(before, block)| *before = block[LANES - 1]);
            }
            for (to, key) in flat_mut(&mut merged[half..]).iter_mut().zip(flat(blocks)) {
                *to = keys.behind(*key);
            }
            merge(s, merged, half - b..half + b);
            let merged = &mut merged[half - b..half + b];
            let reading = |lane: usize, row: usize| {
                x.get(((first + lane) * b + row).wrapping_sub(b)).copied().unwrap_or(f64::NAN)
            };
            let totals = rank(merged, w, ranks, bitmaps, &keys, reading);
            let mut windows: [Window; LANES] = std::array::from_fn(|lane| {
                // what comes after the last row changes no result
                let behind = ((first + lane + 1) * b).saturating_sub(x.len());
                let complete = totals[lane] + if behind < w / 4 { behind } else { 0 } == 2 * b;
                Window::new(bitmaps, lane, totals[lane], complete)
            });
            let few = windows[..LANES.min(count - first)].chunks_mut(FEW).zip(ranks.chunks_exact(2 * b));
            for (i, (windows, ranks)) in few.enumerate() {
                let mut lane = 0;
                // the first window of a series is never complete
                for alike in windows.chunk_by_mut(|a, b| a.complete == b.complete) {
                    let slide = Slide { of: i * FEW, lane, w, ranks, bitmaps, min_samples: tile.min_samples, middles };
                    lane += alike.len();
                    match alike {
                        [a, b, c, d] => slide.run([a, b, c, d]),
                        [a, b, c] => slide.run([a, b, c]),
                        [a, b] => slide.run([a, b]),
                        [a] => slide.run([a]),
                        _ => unreachable!("one to four windows"),
                    }
                }
            }
            // lanes without a block still hold ranks of the blocks before
            let firsts: [usize; LANES] = std::array::from_fn(|lane| bitmaps.first(lane));
            let value = |lane: usize, rank: u32| {
                merged
                    .get((rank as usize).wrapping_sub(firsts[lane]))
                    .map_or(f64::NAN, |keyed| reading(lane, keys.row(keyed[lane])))
            };
            for ([lower, upper], row) in middles.iter().zip(&mut blocks[..b]) {
                let lower: [f64; LANES] = std::array::from_fn(|lane| value(lane, lower[lane]));
                let upper: [f64; LANES] = std::array::from_fn(|lane| value(lane, upper[lane]));
                s.store(middle(s, s.load(&lower), s.load(&upper)), row);
            }
            let begin = first * b;
            let results = begin.max(tile.first)..x.len().min(begin + LANES * b);
            if results.len() == LANES * b {
                deinterleave(s, &blocks[..b], &mut out[begin - tile.first..][..LANES * b]);
            } else if !results.is_empty() {
                deinterleave(s, &blocks[..b], medians);
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
    /// Rows of a block.
    b: usize,
    /// The bits that hold a row of two blocks.
    rows: u64,
}

impl Keys {
    /// # Panics
    /// If blocks have 2^27 rows or more: eight bitmaps of twice as many ranks must fit 32 bits.
    fn new(x: &[f64], b: usize) -> Self {
        assert!(b < 1 << 27, "a block of less than 2^27 rows, got {b}");
        let mut some: Vec<f64> = x.iter().copied().step_by(x.len().div_ceil(9)).filter(|v| !v.is_nan()).collect();
        some.sort_unstable_by(f64::total_cmp);
        Self { anchor: some.get(some.len() / 2).copied().unwrap_or(0.0), b, rows: 2 * b.next_power_of_two() as u64 - 1 }
    }

    /// The key of row `i` of a block; missing readings follow all others.
    #[inline(always)]
    fn of(&self, v: f64, i: usize) -> f64 {
        if v.is_nan() { f64::INFINITY } else { f64::from_bits(self.coarse(v) | i as u64) }
    }

    /// The same in the block behind.
    #[inline(always)]
    fn behind(&self, key: f64) -> f64 {
        if key < f64::INFINITY { f64::from_bits(key.to_bits() + self.b as u64) } else { key }
    }

    /// The bits of a key without its row: monotonic, since subtraction, its limits and cutting digits off are.
    #[inline(always)]
    fn coarse(&self, v: f64) -> u64 {
        (v - self.anchor).clamp(f64::MIN, f64::MAX).to_bits() & !self.rows
    }

    /// Whether two keys differ in nothing but the row.
    #[inline(always)]
    fn alike(&self, a: f64, b: f64) -> bool {
        (a.to_bits() ^ b.to_bits() <= self.rows) & (b < f64::INFINITY)
    }

    #[inline(always)]
    fn row(&self, key: f64) -> usize {
        (key.to_bits() & self.rows) as usize
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
    fn resize(&mut self, b: usize) {
        self.words = (GUARD + 2 * b).div_ceil(64) + 3;
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

    /// The last rank of the window below `rank`, and the next two above it: mostly all in one word.
    #[inline(always)]
    fn around(&self, rank: usize) -> [usize; 3] {
        let (word, bit) = (rank / 64, rank % 64);
        let bits = self.bits[word];
        let (below, above) = (bits & !(!0 << bit), bits & (!1 << bit));
        let second = above & above.wrapping_sub(1);
        if below == 0 || second == 0 {
            return self.around_afar(rank);
        }
        let at = 64 * word;
        [63 - below.leading_zeros(), above.trailing_zeros(), second.trailing_zeros()].map(|bit| at + bit as usize)
    }

    #[cold]
    #[inline(never)]
    fn around_afar(&self, rank: usize) -> [usize; 3] {
        let above = self.next(rank + 1);
        [self.previous(rank), above, self.next(above + 1)]
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

/// Writes the ranks of merged keys, and the bitmaps of the last `w` rows of the left blocks. Says how many readings each lane has.
#[inline(always)]
fn rank(
    merged: &mut [Lanes],
    w: usize,
    ranks: &mut [[u32; FEW]],
    bitmaps: &mut Bitmaps,
    keys: &Keys,
    reading: impl Fn(usize, usize) -> f64,
) -> [usize; LANES] {
    let b = merged.len() / 2;
    let within = |row: usize| row.wrapping_sub(b - w) < w;
    bitmaps.bits.fill(0);
    let first: [usize; LANES] = std::array::from_fn(|lane| bitmaps.first(lane));
    let totals: [usize; LANES] = std::array::from_fn(|lane| merged.partition_point(|row| row[lane] < f64::INFINITY));
    for (i, ranks) in ranks.chunks_exact_mut(2 * b).enumerate() {
        ranks.fill(std::array::from_fn(|j| bitmaps.missing(i * FEW + j) as u32));
        for (word, merged) in merged.chunks(64).enumerate() {
            for lane in i * FEW..(i + 1) * FEW {
                let from = 64 * word;
                let present = totals[lane].saturating_sub(from).min(merged.len());
                let mut left = 0;
                for (bit, row) in merged[..present].iter().enumerate() {
                    let row = keys.row(row[lane]);
                    left |= u64::from(within(row)) << bit;
                    ranks[row][lane % FEW] = (first[lane] + from + bit) as u32;
                }
                bitmaps.bits[first[lane] / 64 + word] = left;
            }
        }
    }
    let all = flat(merged);
    let alike = all.iter().zip(&all[LANES..]).fold(false, |any, (a, b)| any | keys.alike(*a, *b));
    if !alike {
        return totals;
    }
    for lane in 0..LANES {
        let reading = |row: usize| reading(lane, row);
        let pairs = || merged[..totals[lane]].windows(2).map(|pair| [pair[0][lane], pair[1][lane]]);
        let sorted = |[a, b]: [f64; 2]| !keys.alike(a, b) || reading(keys.row(a)) <= reading(keys.row(b));
        if pairs().all(sorted) {
            continue;
        }
        let mut rows: Vec<usize> = merged[..totals[lane]].iter().map(|row| keys.row(row[lane])).collect();
        for equal in rows.chunk_by_mut(|a, b| keys.coarse(reading(*a)) == keys.coarse(reading(*b))) {
            equal.sort_unstable_by(|a, b| reading(*a).total_cmp(&reading(*b)));
        }
        for (i, row) in rows.into_iter().enumerate() {
            merged[i][lane] = f64::from_bits(keys.coarse(reading(row)) | row as u64);
            let rank = first[lane] + i;
            ranks[lane / FEW * 2 * b + row][lane % FEW] = rank as u32;
            bitmaps.clear(rank);
            if within(row) {
                bitmaps.set(rank);
            }
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
    /// The window whose bits are set, of two blocks with `total` readings.
    fn new(bitmaps: &mut Bitmaps, lane: usize, total: usize, complete: bool) -> Self {
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
        Self { complete, count, at, below, missing }
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
        self.at = select_unpredictable(up, above, select_unpredictable(down, beneath, here));
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
        let [beneath, above, second] = bitmaps.around(at);
        // the one that leaves may be the middle one; no branch, which could not be guessed
        let (up, down) = ((old <= at) & (new > at), (old >= at) & (new < at));
        let lower = select_unpredictable(up, above, select_unpredictable(down, beneath, at));
        let kept = select_unpredictable(down & (old > at), at, above);
        let upper = select_unpredictable(up, second, kept);
        self.at = lower;
        (lower as u32, if even { upper } else { lower } as u32)
    }
}

/// Which of `count` readings in ascending order is the lower middle one.
fn lower_middle(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

/// Windows of `w` rows slide over the right blocks, all at the same time: one row waits for the row before, but not for another
/// window. They are all complete or none.
struct Slide<'a> {
    /// The lane that `ranks` begin with, and that of the first window among theirs.
    of: usize,
    lane: usize,
    w: usize,
    ranks: &'a [[u32; FEW]],
    bitmaps: &'a mut Bitmaps,
    min_samples: usize,
    middles: &'a mut [[[u32; LANES]; 2]],
}

impl Slide<'_> {
    #[inline(always)]
    fn run<const N: usize>(self, mut windows: [&mut Window; N]) {
        let Self { of, lane, w, ranks, bitmaps, min_samples, middles } = self;
        let b = middles.len();
        let even = w.is_multiple_of(2);
        let complete = windows[0].complete;
        for ((old, new), [lower, upper]) in ranks[b - w..].iter().zip(&ranks[b..]).zip(middles) {
            for (j, window) in (lane..).zip(&mut windows) {
                (lower[of + j], upper[of + j]) = if complete {
                    window.step_complete(bitmaps, old[j], new[j], even)
                } else {
                    window.step(bitmaps, old[j], new[j], min_samples)
                };
            }
        }
    }
}
