//! Eight `f64` lanes, the same on every machine: the only place for `unsafe` SIMD and for run-time dispatch.
//!
//! A kernel is a struct that implements [`Kernel`]; [`dispatch`] runs it once per call on the widest instruction set the
//! processor has (AVX-512, AVX2 or plain arrays that the compiler turns into SSE2 or NEON). Lanes are never summed
//! across, and no operation on `f64` but [`Simd::mul_add`] fuses a multiplication with an addition: a kernel without it gives
//! the same bits on every level.
//!
//! `ACM_RS_ISA=portable|avx2|avx512` forces a level, for tests; an unknown or unsupported word is ignored.

use std::sync::OnceLock;

/// Lanes of a vector on every level.
pub const LANES: usize = 8;

/// Lanes of a vector of 16-bit integers on every level.
pub const SHORTS: usize = 32;

/// Lanes of a vector of `f32` on every level.
pub const FLOATS: usize = 16;

/// Eight values in memory, where one load or store fetches them all: a vector that crosses the border of a cache line costs two.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub struct Lanes(pub [f64; LANES]);

impl std::ops::Deref for Lanes {
    type Target = [f64; LANES];

    #[inline(always)]
    fn deref(&self) -> &[f64; LANES] {
        &self.0
    }
}

impl std::ops::DerefMut for Lanes {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f64; LANES] {
        &mut self.0
    }
}

/// Sixteen values in memory, where one load fetches them all.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Floats(pub [f32; FLOATS]);

/// The values of vectors, one after the other.
pub fn flat(rows: &[Lanes]) -> &[f64] {
    // SAFETY: `Lanes` is eight values and nothing else: 64 bytes without padding.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len() * LANES) }
}

/// The values of vectors, one after the other.
pub fn flat_mut(rows: &mut [Lanes]) -> &mut [f64] {
    // SAFETY: as above; any eight values are `Lanes`.
    unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), rows.len() * LANES) }
}

/// Arithmetic on one value ([`Scalar`]) or on eight lanes, so that a formula need be written once.
pub trait Arithmetic: Copy {
    type V: Copy;

    fn splat(self, a: f64) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
}

/// The operations on eight lanes. A mask has one value per lane, true or false.
pub trait Simd: Arithmetic {
    type M: Copy;
    /// How many vectors the registers hold.
    const REGISTERS: usize;

    fn to_array(self, a: Self::V) -> [f64; LANES];
    fn load(self, a: &[f64; LANES]) -> Self::V;
    fn store(self, a: Self::V, out: &mut [f64; LANES]);
    /// Eight values from `at` on.
    #[inline(always)]
    fn load_at(self, a: &[f64], at: usize) -> Self::V {
        self.load(a[at..at + LANES].try_into().expect("eight values"))
    }
    /// Writes eight values from `at` on.
    #[inline(always)]
    fn store_at(self, a: Self::V, out: &mut [f64], at: usize) {
        self.store(a, (&mut out[at..at + LANES]).try_into().expect("eight values"));
    }
    /// `a b + c`, rounded once where the processor fuses them and twice elsewhere: for fits, matrices of products and transforms (those of
    /// rustfft fuse, too), which take up to twice the time without it, and for nothing else that a row gets.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; where one is NaN, `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; where one is NaN, `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a` where the mask is true, else `b`.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where the mask is true, else 0.
    fn keep(self, m: Self::M, a: Self::V) -> Self::V;
    fn any(self, m: Self::M) -> bool;
    fn all(self, m: Self::M) -> bool;
    /// Writes the lanes where the mask is true one behind the other, from `at` on, and says how many; what comes behind them, up
    /// to `at + 8`, is unspecified afterwards.
    fn compress(self, m: Self::M, a: Self::V, out: &mut [f64], at: usize) -> usize;
    /// Bit i says whether the mask is true in lane i.
    fn bits(self, m: Self::M) -> u8;
    /// Lane j of vector i becomes lane i of vector j.
    fn transpose(self, a: [Self::V; LANES]) -> [Self::V; LANES];

    /// 16-bit integers.
    type W: Copy;

    fn splat_short(self, a: i16) -> Self::W;
    fn load_shorts(self, a: &[i16; SHORTS]) -> Self::W;
    fn store_shorts(self, a: Self::W, out: &mut [i16; SHORTS]);
    /// `right` where `at` is `here` and `rank` is above `cut`, else `at`.
    fn descend(self, at: Self::W, rank: Self::W, cut: i16, here: i16, right: i16) -> Self::W;

    /// `f32`, for bounds and nothing else: levels may round them in different ways.
    type F: Copy;

    fn splat_float(self, a: f32) -> Self::F;
    fn load_floats(self, a: &Floats) -> Self::F;
    fn add_floats(self, a: Self::F, b: Self::F) -> Self::F;
    /// `sum + (a - b)^2`, of which each operation may be rounded or none but the last.
    fn add_square(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F;
    /// Whether any lane is at most `limit`.
    fn any_at_most(self, a: Self::F, limit: f32) -> bool;
}

/// Work that runs on eight lanes. `run` must be `#[inline(always)]`, so that it is compiled for the level chosen.
pub trait Kernel {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The level that [`dispatch`] uses in this process.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let forced = std::env::var("ACM_RS_ISA").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            // every processor with AVX2 has the bit operations, and nearly every one fuses
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match forced.as_str() {
                "portable" => Level::Portable,
                "avx2" if avx2 => Level::Avx2,
                _ if avx512 => Level::Avx512,
                _ if avx2 => Level::Avx2,
                _ => Level::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = forced;
            Level::Portable
        }
    })
}

/// Runs `kernel` on the widest level of this processor.
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match level() {
        Level::Portable => kernel.run(Portable),
        // SAFETY: `level` gives these only where the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::run_avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::run_avx512(kernel) },
    }
}

/// Whether no value is NaN or infinite.
pub fn all_finite(a: &[f64]) -> bool {
    struct AllFinite<'a>(&'a [f64]);

    impl Kernel for AllFinite<'_> {
        type Output = bool;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> bool {
            let (vectors, rest) = self.0.as_chunks();
            // 0 * v is 0 for a number, NaN for what is none
            let zero = s.splat(0.0);
            // four sums: the additions of one would wait for each other
            let (blocks, vectors) = vectors.as_chunks::<4>();
            let mut sums = [zero; 4];
            for block in blocks {
                for (sum, v) in sums.iter_mut().zip(block) {
                    *sum = s.add(*sum, s.mul(zero, s.load(v)));
                }
            }
            for (sum, v) in sums.iter_mut().zip(vectors) {
                *sum = s.add(*sum, s.mul(zero, s.load(v)));
            }
            let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
            s.all(s.eq(sum, zero)) && rest.iter().all(|v| v.is_finite())
        }
    }

    dispatch(AllFinite(a))
}

/// Rows that walk a [`Tree`] together. Each waits for memory nearly all the time; more would not find room in the registers.
pub const WALKERS: usize = 16;

/// A node of a [`Tree`]: rows whose reading at `column` is at most `key` go to the node `left`, others to the one behind it.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub key: u64,
    pub left: u32,
    pub column: u32,
}

/// A binary tree, checked once when it is made instead of at every step.
#[derive(Debug)]
pub struct Tree {
    /// `column` is multiplied by [`WALKERS`].
    nodes: Vec<Node>,
    columns: usize,
    steps: usize,
}

impl Tree {
    /// A tree whose root comes first, that asks for columns below `columns`, and where `steps` steps lead from the root to
    /// any leaf. A leaf leads to itself: its key is the largest.
    ///
    /// # Panics
    /// If a node leads out of the tree or asks for another column.
    pub fn new(mut nodes: Vec<Node>, columns: usize, steps: usize) -> Self {
        assert!(!nodes.is_empty() && columns <= u32::MAX as usize / WALKERS, "a tree of at least one node");
        for node in &mut nodes {
            assert!((node.column as usize) < columns, "a column of the model");
            node.column *= WALKERS as u32;
        }
        let last = nodes.len() - 1;
        assert!(nodes.iter().all(|node| (node.left as usize) < last + usize::from(node.key == u64::MAX)), "a child");
        Self { nodes, columns, steps }
    }

    /// The leaves of the rows of a block, which holds the keys of a column's rows together.
    ///
    /// # Panics
    /// If the block has another number of columns.
    #[inline]
    pub fn leaves(&self, block: &[[u64; WALKERS]]) -> [u32; WALKERS] {
        assert_eq!(block.len(), self.columns, "a block of the tree's columns");
        let keys = block.as_flattened();
        let mut at = [0; WALKERS];
        for _ in 0..self.steps {
            for (row, at) in at.iter_mut().enumerate() {
                // SAFETY: `at` is 0 or the child of a node, which `new` has found in the tree: `left` is, and `left + 1` is
                // where a key can be larger than the node's.
                let node = unsafe { self.nodes.get_unchecked(*at as usize) };
                // SAFETY: `new` has found the column below `columns`, and there are as many columns in the block.
                let key = unsafe { *keys.get_unchecked(node.column as usize + row) };
                *at = node.left + u32::from(node.key < key);
            }
        }
        at
    }
}

/// One value.
#[derive(Clone, Copy)]
pub struct Scalar;

impl Arithmetic for Scalar {
    type V = f64;

    #[inline(always)]
    fn splat(self, a: f64) -> f64 {
        a
    }
    #[inline(always)]
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f64, b: f64) -> f64 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f64, b: f64) -> f64 {
        a / b
    }
    #[inline(always)]
    fn sqrt(self, a: f64) -> f64 {
        a.sqrt()
    }
}

/// Arrays, for machines without AVX2.
#[derive(Clone, Copy)]
struct Portable;

macro_rules! lanewise {
    ($a:ident, $b:ident, $e:expr) => {{
        let mut out = [0.0; LANES];
        for i in 0..LANES {
            let ($a, $b) = ($a[i], $b[i]);
            out[i] = $e;
        }
        out
    }};
}

macro_rules! compare {
    ($a:ident, $op:tt, $b:ident) => {{
        let mut out = [false; LANES];
        for i in 0..LANES {
            out[i] = $a[i] $op $b[i];
        }
        out
    }};
}

impl Arithmetic for Portable {
    type V = [f64; LANES];

    #[inline(always)]
    fn splat(self, a: f64) -> Self::V {
        [a; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, a / b)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f64::sqrt)
    }
}

impl Simd for Portable {
    type M = [bool; LANES];
    // sixteen of two values each (SSE2; NEON has more)
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn to_array(self, a: Self::V) -> [f64; LANES] {
        a
    }
    #[inline(always)]
    fn load(self, a: &[f64; LANES]) -> Self::V {
        *a
    }
    #[inline(always)]
    fn store(self, a: Self::V, out: &mut [f64; LANES]) {
        *out = a;
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanewise!(a, b, if a > b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        a.map(f64::abs)
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        compare!(a, <, b)
    }
    #[inline(always)]
    fn le(self, a: Self::V, b: Self::V) -> Self::M {
        compare!(a, <=, b)
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        compare!(a, ==, b)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        let mut out = b;
        for i in 0..LANES {
            if m[i] {
                out[i] = a[i];
            }
        }
        out
    }
    #[inline(always)]
    fn keep(self, m: Self::M, a: Self::V) -> Self::V {
        self.select(m, a, [0.0; LANES])
    }
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        m.contains(&true)
    }
    #[inline(always)]
    fn all(self, m: Self::M) -> bool {
        !m.contains(&false)
    }
    #[inline(always)]
    fn compress(self, m: Self::M, a: Self::V, out: &mut [f64], at: usize) -> usize {
        let out = &mut out[at..at + LANES];
        let mut count = 0;
        for i in 0..LANES {
            out[count] = a[i];
            count += usize::from(m[i]);
        }
        count
    }
    #[inline(always)]
    fn bits(self, m: Self::M) -> u8 {
        let mut bits = 0;
        for (i, set) in m.into_iter().enumerate() {
            bits |= u8::from(set) << i;
        }
        bits
    }
    #[inline(always)]
    fn transpose(self, a: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut out = a;
        for i in 0..LANES {
            for j in 0..LANES {
                out[j][i] = a[i][j];
            }
        }
        out
    }

    type W = [i16; SHORTS];

    #[inline(always)]
    fn splat_short(self, a: i16) -> Self::W {
        [a; SHORTS]
    }
    #[inline(always)]
    fn load_shorts(self, a: &[i16; SHORTS]) -> Self::W {
        *a
    }
    #[inline(always)]
    fn store_shorts(self, a: Self::W, out: &mut [i16; SHORTS]) {
        *out = a;
    }
    #[inline(always)]
    fn descend(self, at: Self::W, rank: Self::W, cut: i16, here: i16, right: i16) -> Self::W {
        let mut out = at;
        for i in 0..SHORTS {
            out[i] = if (at[i] == here) & (rank[i] > cut) { right } else { at[i] };
        }
        out
    }

    type F = [f32; FLOATS];

    #[inline(always)]
    fn splat_float(self, a: f32) -> Self::F {
        [a; FLOATS]
    }
    #[inline(always)]
    fn load_floats(self, a: &Floats) -> Self::F {
        a.0
    }
    #[inline(always)]
    fn add_floats(self, a: Self::F, b: Self::F) -> Self::F {
        let mut out = a;
        out.iter_mut().zip(b).for_each(|(out, b)| *out += b);
        out
    }
    #[inline(always)]
    fn add_square(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        let mut out = sum;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out += (a - b) * (a - b);
        }
        out
    }
    #[inline(always)]
    fn any_at_most(self, a: Self::F, limit: f32) -> bool {
        a.iter().fold(false, |any, &a| any | (a <= limit))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Arithmetic, Floats, Kernel, LANES, SHORTS, Simd};
    use std::arch::x86_64::*;

    // SAFETY: call only where the processor has AVX2, the bit operations and fuses.
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }

    // SAFETY: call only where the processor has these.
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }

    /// Only `run_avx2` makes one, which is what makes the intrinsics below sound.
    #[derive(Clone, Copy)]
    pub struct Avx2(());

    /// Only `run_avx512` makes one.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    macro_rules! halves {
        ($f:ident, $a:ident $(, $rest:ident)*) => {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [$f($a[0] $(, $rest[0])*), $f($a[1] $(, $rest[1])*)] }
        };
    }

    impl Arithmetic for Avx2 {
        type V = [__m256d; 2];

        #[inline(always)]
        fn splat(self, a: f64) -> Self::V {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [_mm256_set1_pd(a); 2] }
        }
        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_add_pd, a, b)
        }
        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_sub_pd, a, b)
        }
        #[inline(always)]
        fn mul(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_mul_pd, a, b)
        }
        #[inline(always)]
        fn div(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_div_pd, a, b)
        }
        #[inline(always)]
        fn sqrt(self, a: Self::V) -> Self::V {
            halves!(_mm256_sqrt_pd, a)
        }
    }

    impl Simd for Avx2 {
        type M = [__m256d; 2];
        const REGISTERS: usize = 8;

        #[inline(always)]
        fn to_array(self, a: Self::V) -> [f64; LANES] {
            let mut out = [0.0; LANES];
            self.store(a, &mut out);
            out
        }
        #[inline(always)]
        fn load(self, a: &[f64; LANES]) -> Self::V {
            // SAFETY: an `Avx2` exists only inside `run_avx2`; the slice has eight values.
            unsafe { [_mm256_loadu_pd(a.as_ptr()), _mm256_loadu_pd(a.as_ptr().add(4))] }
        }
        #[inline(always)]
        fn store(self, a: Self::V, out: &mut [f64; LANES]) {
            // SAFETY: an `Avx2` exists only inside `run_avx2`; the slice has eight values.
            unsafe {
                _mm256_storeu_pd(out.as_mut_ptr(), a[0]);
                _mm256_storeu_pd(out.as_mut_ptr().add(4), a[1]);
            }
        }
        #[inline(always)]
        fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            halves!(_mm256_fmadd_pd, a, b, c)
        }
        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_min_pd, a, b)
        }
        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_max_pd, a, b)
        }
        #[inline(always)]
        fn abs(self, a: Self::V) -> Self::V {
            let sign = self.splat(-0.0);
            halves!(_mm256_andnot_pd, sign, a)
        }
        #[inline(always)]
        fn lt(self, a: Self::V, b: Self::V) -> Self::M {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [_mm256_cmp_pd::<_CMP_LT_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_LT_OQ>(a[1], b[1])] }
        }
        #[inline(always)]
        fn le(self, a: Self::V, b: Self::V) -> Self::M {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [_mm256_cmp_pd::<_CMP_LE_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_LE_OQ>(a[1], b[1])] }
        }
        #[inline(always)]
        fn eq(self, a: Self::V, b: Self::V) -> Self::M {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [_mm256_cmp_pd::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_EQ_OQ>(a[1], b[1])] }
        }
        #[inline(always)]
        fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
            halves!(_mm256_blendv_pd, b, a, m)
        }
        #[inline(always)]
        fn keep(self, m: Self::M, a: Self::V) -> Self::V {
            halves!(_mm256_and_pd, m, a)
        }
        #[inline(always)]
        fn any(self, m: Self::M) -> bool {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { _mm256_movemask_pd(m[0]) | _mm256_movemask_pd(m[1]) != 0 }
        }
        #[inline(always)]
        fn all(self, m: Self::M) -> bool {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { _mm256_movemask_pd(m[0]) & _mm256_movemask_pd(m[1]) == 0b1111 }
        }
        #[inline(always)]
        fn compress(self, m: Self::M, a: Self::V, out: &mut [f64], at: usize) -> usize {
            let out: &mut [f64; LANES] = (&mut out[at..at + LANES]).try_into().expect("eight values");
            // SAFETY: an `Avx2` exists only inside `run_avx2`; the mask of four lanes is below 16; the first four values are written
            // to the first half of `out`, the others behind at most four.
            unsafe {
                let bits = [_mm256_movemask_pd(m[0]) as usize, _mm256_movemask_pd(m[1]) as usize];
                let first = bits[0].count_ones() as usize;
                for (half, at) in [0, first].into_iter().enumerate() {
                    let order = _mm256_loadu_si256(FRONT.get_unchecked(bits[half]).as_ptr().cast());
                    let packed = _mm256_permutevar8x32_ps(_mm256_castpd_ps(a[half]), order);
                    _mm256_storeu_ps(out.as_mut_ptr().add(at).cast(), packed);
                }
                first + bits[1].count_ones() as usize
            }
        }
        #[inline(always)]
        fn bits(self, m: Self::M) -> u8 {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { (_mm256_movemask_pd(m[0]) | _mm256_movemask_pd(m[1]) << 4) as u8 }
        }
        #[inline(always)]
        fn transpose(self, a: [Self::V; LANES]) -> [Self::V; LANES] {
            let mut out = a;
            // four squares of four by four
            for i in 0..2 {
                for j in 0..2 {
                    let [a, b, c, d] = [a[4 * i][j], a[4 * i + 1][j], a[4 * i + 2][j], a[4 * i + 3][j]];
                    // SAFETY: an `Avx2` exists only inside `run_avx2`.
                    unsafe {
                        let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d));
                        out[4 * j][i] = _mm256_permute2f128_pd::<0x20>(ab, cd);
                        out[4 * j + 2][i] = _mm256_permute2f128_pd::<0x31>(ab, cd);
                        let (ab, cd) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d));
                        out[4 * j + 1][i] = _mm256_permute2f128_pd::<0x20>(ab, cd);
                        out[4 * j + 3][i] = _mm256_permute2f128_pd::<0x31>(ab, cd);
                    }
                }
            }
            out
        }

        type W = [__m256i; 2];

        #[inline(always)]
        fn splat_short(self, a: i16) -> Self::W {
            // SAFETY: an `Avx2` exists only inside `run_avx2`.
            unsafe { [_mm256_set1_epi16(a); 2] }
        }
        #[inline(always)]
        fn load_shorts(self, a: &[i16; SHORTS]) -> Self::W {
            // SAFETY: an `Avx2` exists only inside `run_avx2`; the slice has thirty-two values.
            unsafe { [_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(a.as_ptr().add(16).cast())] }
        }
        #[inline(always)]
        fn store_shorts(self, a: Self::W, out: &mut [i16; SHORTS]) {
            // SAFETY: an `Avx2` exists only inside `run_avx2`; the slice has thirty-two values.
            unsafe {
                _mm256_storeu_si256(out.as_mut_ptr().cast(), a[0]);
                _mm256_storeu_si256(out.as_mut_ptr().add(16).cast(), a[1]);
            }
        }
        #[inline(always)]
        fn descend(self, at: Self::W, rank: Self::W, cut: i16, here: i16, right: i16) -> Self::W {
            let (cut, here, right) = (self.splat_short(cut), self.splat_short(here), self.splat_short(right));
            let (above, stands) = (halves!(_mm256_cmpgt_epi16, rank, cut), halves!(_mm256_cmpeq_epi16, at, here));
            let moves = halves!(_mm256_and_si256, above, stands);
            halves!(_mm256_blendv_epi8, at, right, moves)
        }

        type F = [__m256; 2];

        #[inline(always)]
        fn splat_float(self, a: f32) -> Self::F {
            // SAFETY: as above.
            unsafe { [_mm256_set1_ps(a); 2] }
        }
        #[inline(always)]
        fn load_floats(self, a: &Floats) -> Self::F {
            // SAFETY: as above; both halves are inside the array.
            unsafe { [_mm256_loadu_ps(a.0.as_ptr()), _mm256_loadu_ps(a.0.as_ptr().add(8))] }
        }
        #[inline(always)]
        fn add_floats(self, a: Self::F, b: Self::F) -> Self::F {
            halves!(_mm256_add_ps, a, b)
        }
        #[inline(always)]
        fn add_square(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
            let difference = halves!(_mm256_sub_ps, a, b);
            halves!(_mm256_fmadd_ps, difference, difference, sum)
        }
        #[inline(always)]
        fn any_at_most(self, a: Self::F, limit: f32) -> bool {
            // SAFETY: as above.
            unsafe {
                let limit = _mm256_set1_ps(limit);
                let [low, high] = a.map(|a| _mm256_cmp_ps::<_CMP_LE_OQ>(a, limit));
                _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0
            }
        }
    }

    /// For each mask of four lanes, the halves of the lanes where it is true, in their order, and then others.
    const FRONT: [[u32; 8]; 16] = {
        let mut orders = [[0; 8]; 16];
        let mut mask = 0;
        while mask < 16 {
            let (mut lane, mut to) = (0, 0);
            while lane < 4 {
                if mask >> lane & 1 == 1 {
                    orders[mask][2 * to] = 2 * lane;
                    orders[mask][2 * to + 1] = 2 * lane + 1;
                    to += 1;
                }
                lane += 1;
            }
            mask += 1;
        }
        orders
    };

    macro_rules! wide {
        ($e:expr) => {
            // SAFETY: an `Avx512` exists only inside `run_avx512`.
            unsafe { $e }
        };
    }

    impl Arithmetic for Avx512 {
        type V = __m512d;

        #[inline(always)]
        fn splat(self, a: f64) -> Self::V {
            wide!(_mm512_set1_pd(a))
        }
        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_add_pd(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_sub_pd(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_mul_pd(a, b))
        }
        #[inline(always)]
        fn div(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_div_pd(a, b))
        }
        #[inline(always)]
        fn sqrt(self, a: Self::V) -> Self::V {
            wide!(_mm512_sqrt_pd(a))
        }
    }

    impl Simd for Avx512 {
        type M = __mmask8;
        const REGISTERS: usize = 32;

        #[inline(always)]
        fn to_array(self, a: Self::V) -> [f64; LANES] {
            let mut out = [0.0; LANES];
            self.store(a, &mut out);
            out
        }
        #[inline(always)]
        fn load(self, a: &[f64; LANES]) -> Self::V {
            wide!(_mm512_loadu_pd(a.as_ptr()))
        }
        #[inline(always)]
        fn store(self, a: Self::V, out: &mut [f64; LANES]) {
            wide!(_mm512_storeu_pd(out.as_mut_ptr(), a))
        }
        #[inline(always)]
        fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            wide!(_mm512_fmadd_pd(a, b, c))
        }
        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_min_pd(a, b))
        }
        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_max_pd(a, b))
        }
        #[inline(always)]
        fn abs(self, a: Self::V) -> Self::V {
            wide!(_mm512_abs_pd(a))
        }
        #[inline(always)]
        fn lt(self, a: Self::V, b: Self::V) -> Self::M {
            wide!(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b))
        }
        #[inline(always)]
        fn le(self, a: Self::V, b: Self::V) -> Self::M {
            wide!(_mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b))
        }
        #[inline(always)]
        fn eq(self, a: Self::V, b: Self::V) -> Self::M {
            wide!(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b))
        }
        #[inline(always)]
        fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
            wide!(_mm512_mask_blend_pd(m, b, a))
        }
        #[inline(always)]
        fn keep(self, m: Self::M, a: Self::V) -> Self::V {
            wide!(_mm512_maskz_mov_pd(m, a))
        }
        #[inline(always)]
        fn any(self, m: Self::M) -> bool {
            m != 0
        }
        #[inline(always)]
        fn all(self, m: Self::M) -> bool {
            m == 0xff
        }
        #[inline(always)]
        fn compress(self, m: Self::M, a: Self::V, out: &mut [f64], at: usize) -> usize {
            self.store_at(wide!(_mm512_maskz_compress_pd(m, a)), out, at);
            m.count_ones() as usize
        }
        #[inline(always)]
        fn bits(self, m: Self::M) -> u8 {
            m
        }
        #[inline(always)]
        fn transpose(self, a: [Self::V; LANES]) -> [Self::V; LANES] {
            // pairs of rows: quarter i holds columns 2 i, or 2 i + 1, of both
            let (mut even, mut odd) = ([a[0]; 4], [a[0]; 4]);
            for i in 0..4 {
                even[i] = wide!(_mm512_unpacklo_pd(a[2 * i], a[2 * i + 1]));
                odd[i] = wide!(_mm512_unpackhi_pd(a[2 * i], a[2 * i + 1]));
            }
            let mut out = a;
            for (first, pairs) in [even, odd].into_iter().enumerate() {
                let [a, b, c, d] = pairs;
                // quarters 0 and 2, or 1 and 3, of both
                let (ab, cd) = (wide!(_mm512_shuffle_f64x2::<0x88>(a, b)), wide!(_mm512_shuffle_f64x2::<0x88>(c, d)));
                out[first] = wide!(_mm512_shuffle_f64x2::<0x88>(ab, cd));
                out[first + 4] = wide!(_mm512_shuffle_f64x2::<0xdd>(ab, cd));
                let (ab, cd) = (wide!(_mm512_shuffle_f64x2::<0xdd>(a, b)), wide!(_mm512_shuffle_f64x2::<0xdd>(c, d)));
                out[first + 2] = wide!(_mm512_shuffle_f64x2::<0x88>(ab, cd));
                out[first + 6] = wide!(_mm512_shuffle_f64x2::<0xdd>(ab, cd));
            }
            out
        }

        type W = __m512i;

        #[inline(always)]
        fn splat_short(self, a: i16) -> Self::W {
            wide!(_mm512_set1_epi16(a))
        }
        #[inline(always)]
        fn load_shorts(self, a: &[i16; SHORTS]) -> Self::W {
            wide!(_mm512_loadu_epi16(a.as_ptr()))
        }
        #[inline(always)]
        fn store_shorts(self, a: Self::W, out: &mut [i16; SHORTS]) {
            wide!(_mm512_storeu_epi16(out.as_mut_ptr(), a))
        }
        #[inline(always)]
        fn descend(self, at: Self::W, rank: Self::W, cut: i16, here: i16, right: i16) -> Self::W {
            let above = wide!(_mm512_cmpgt_epi16_mask(rank, self.splat_short(cut)));
            let moves = wide!(_mm512_mask_cmpeq_epi16_mask(above, at, self.splat_short(here)));
            wide!(_mm512_mask_mov_epi16(at, moves, self.splat_short(right)))
        }

        type F = __m512;

        #[inline(always)]
        fn splat_float(self, a: f32) -> Self::F {
            wide!(_mm512_set1_ps(a))
        }
        #[inline(always)]
        fn load_floats(self, a: &Floats) -> Self::F {
            wide!(_mm512_loadu_ps(a.0.as_ptr()))
        }
        #[inline(always)]
        fn add_floats(self, a: Self::F, b: Self::F) -> Self::F {
            wide!(_mm512_add_ps(a, b))
        }
        #[inline(always)]
        fn add_square(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
            let difference = wide!(_mm512_sub_ps(a, b));
            wide!(_mm512_fmadd_ps(difference, difference, sum))
        }
        #[inline(always)]
        fn any_at_most(self, a: Self::F, limit: f32) -> bool {
            wide!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, self.splat_float(limit))) != 0
        }
    }
}
