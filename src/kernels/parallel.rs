//! The only place that splits work over threads.

use rayon::prelude::*;

/// Cells (rows times columns) from which a call with many columns is worth the threads: waking the pool costs about
/// 10 microseconds, a cell of the cheapest kernel about 2 ns.
pub const MIN_CELLS: usize = 16_384;

/// `f(state, i)` for `i` in `0..n`, in the order of `i`, with a state made by `init` for each thread's share. Runs on `pool`
/// when there is more than one piece and the work, in cells, is worth it; the result does not depend on whether it does.
pub fn map<S, T: Send>(
    pool: &rayon::ThreadPool,
    n: usize,
    cells: usize,
    init: impl Fn() -> S + Sync + Send,
    f: impl Fn(&mut S, usize) -> T + Sync + Send,
) -> Vec<T> {
    if n < 2 || cells < MIN_CELLS || pool.current_num_threads() < 2 {
        let mut state = init();
        return (0..n).map(|i| f(&mut state, i)).collect();
    }
    pool.install(|| (0..n).into_par_iter().map_init(init, f).collect())
}
