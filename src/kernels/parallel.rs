//! The only place that splits work over threads.

use rayon::prelude::*;

/// Cells (rows times columns) from which a call with many columns is worth the threads: waking the pool costs about
/// 10 microseconds, a cell of the cheapest kernel about 2 ns.
pub const MIN_CELLS: usize = 16_384;

/// `f(i)` for `i` in `0..n`, in the order of `i`. Runs on `pool` when there is more than one piece and the work, in
/// cells, is worth it; the result does not depend on whether it does.
pub fn map<T: Send>(pool: &rayon::ThreadPool, n: usize, cells: usize, f: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if n < 2 || cells < MIN_CELLS || pool.current_num_threads() < 2 {
        return (0..n).map(f).collect();
    }
    pool.install(|| (0..n).into_par_iter().map(f).collect())
}
