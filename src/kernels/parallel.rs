//! The only place that splits work over threads.

use std::sync::Mutex;

/// Cells (rows times columns) from which a call with many columns is worth the threads: waking one costs some 10
/// microseconds, a cell of the cheapest kernel about 2 ns.
pub const MIN_CELLS: usize = 16_384;

/// `f(state, i)` for `i` in `0..n`, in the order of `i`, as [`each`] spreads it.
pub fn map<S, T: Send>(
    pool: &rayon::ThreadPool,
    n: usize,
    cells: usize,
    init: impl Fn() -> S + Sync,
    f: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    each(pool, 0..n, cells, init, |state, _, i| f(state, i))
}

/// `f(state, i, item)` for the i-th item, in their order, with one state made by `init` for each thread. Runs on `pool`, too,
/// when there is more than one item and the work, in cells, is worth it; the result does not depend on whether it does.
///
/// The caller's thread takes its share, beside one thread less of the pool: it need not wait until others are awake, which on
/// virtual machines takes longer than a cheap kernel (50 medians of 10,000 rows: 1.9 ms before, 1.2 ms so). A state serves all
/// items of a thread; rayon's `map_init` makes one for every split.
pub fn each<I: Send, S, T: Send>(
    pool: &rayon::ThreadPool,
    items: impl ExactSizeIterator<Item = I> + Send,
    cells: usize,
    init: impl Fn() -> S + Sync,
    f: impl Fn(&mut S, usize, I) -> T + Sync,
) -> Vec<T> {
    let n = items.len();
    let threads = if cells < MIN_CELLS { 1 } else { pool.current_num_threads().min(n) };
    if threads < 2 {
        let mut state = init();
        return items.enumerate().map(|(i, item)| f(&mut state, i, item)).collect();
    }
    let items = Mutex::new(items.enumerate());
    let next = || items.lock().expect("no share panics while it holds the lock").next();
    let done = Mutex::new(Vec::with_capacity(n));
    let share = || {
        let mut state = init();
        let mut own = Vec::new();
        while let Some((i, item)) = next() {
            own.push((i, f(&mut state, i, item)));
        }
        done.lock().expect("no share panics while it holds the lock").append(&mut own);
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| share());
        }
        share();
    });
    let mut done = done.into_inner().expect("a panic of a share has reached the caller");
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}
