//! Isolation forests: the scorer against a walk from node to node, fits against what their definition promises and against
//! theory, and what must hold for every number of threads and every cut of the rows.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::isolation_forest::{Error, Forest, Plan, Scorer, fit};
use acm_rs::kernels::matrix::{Matrix, TILE_ROWS, Tile};
use acm_rs::kernels::simd::{Node, Tree};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::series::Random;

/// A few units in the last place: sums in the same order, and one power.
const TOLERANCE: f64 = 1e-15;

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Its threads are made once.
fn one_thread() -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| pool(1))
}

fn normals(rows: usize, columns: usize, seed: u64) -> Vec<f64> {
    let random = &mut Random::new(seed);
    (0..rows * columns).map(|_| random.normal()).collect()
}

fn uniforms(rows: usize, columns: usize, seed: u64) -> Vec<f64> {
    let random = &mut Random::new(seed);
    (0..rows * columns).map(|_| random.uniform()).collect()
}

fn grow(data: &[f64], rows: usize, columns: usize, n_trees: i64, max_samples: i64, seed: u64) -> Forest {
    let plan = Plan::new(n_trees, max_samples, false, seed).unwrap();
    fit(Matrix::new(data, rows, columns), &plan, one_thread()).unwrap()
}

/// Scores in tiles of so many rows.
fn score(forest: &Forest, data: &[f64], rows: usize, columns: usize, tile_rows: usize) -> Vec<f64> {
    let matrix = Matrix::new(data, rows, columns);
    let scorer = Scorer::new(forest, columns).unwrap();
    assert_eq!(scorer.results(), 1);
    let (mut tile, mut scratch, mut scores) = (Tile::default(), vec![f64::NAN; 3], vec![]);
    for start in (0..rows).step_by(tile_rows) {
        let end = rows.min(start + tile_rows);
        tile.resize(end - start, columns);
        for j in 0..columns {
            tile.column_mut(j).copy_from_slice(&matrix.column(j)[start..end]);
        }
        tile.pad();
        let mut out = vec![f64::NAN; tile.stride()];
        scorer.score(&tile, &mut scratch, &mut out);
        scores.extend_from_slice(&out[..end - start]);
    }
    scores
}

/// `c(m)` from its definition, the harmonic number by its asymptote.
fn unsuccessful_search(m: usize) -> f64 {
    let harmonic = |i: f64| i.ln() + 0.577_215_664_901_532_9;
    match m {
        1 => 0.0,
        2 => 1.0,
        _ => 2.0 * harmonic(m as f64 - 1.0) - 2.0 * (m as f64 - 1.0) / m as f64,
    }
}

/// The leaf of a row, walked down from the root, and its depth.
fn leaf(forest: &Forest, tree: usize, row: &[f64]) -> (usize, usize) {
    let root = forest.start[tree] as usize;
    let (mut at, mut depth) = (root, 0);
    while forest.child[at] != 0 {
        let x = row[forest.feature[at] as usize];
        let x = if forest.narrow { f64::from(x as f32) } else { x };
        at = root + forest.child[at] as usize + usize::from(x > forest.value[at]);
        depth += 1;
    }
    (at, depth)
}

/// The definition, row by row and tree by tree.
fn naive(forest: &Forest, row: &[f64]) -> f64 {
    let sum: f64 = (0..forest.start.len()).map(|t| forest.value[leaf(forest, t, row).0]).sum();
    let c = unsuccessful_search(forest.sample_size);
    2f64.powf(if c == 0.0 { -1.0 } else { -sum / (forest.start.len() as f64 * c) })
}

fn row(data: &[f64], rows: usize, i: usize) -> Vec<f64> {
    data.iter().skip(i).step_by(rows).copied().collect()
}

fn bits(a: &[f64]) -> Vec<u64> {
    a.iter().map(|v| v.to_bits()).collect()
}

/// Column 0 at 1.5 with a leaf of one row, and column 1 at -0.0 with leaves of two and three rows; and a tree of one leaf.
fn two_trees() -> Forest {
    Forest {
        feature: vec![0, 0, 1, 0, 0, 0],
        value: vec![1.5, 1.0, -0.0, 2.0 + unsuccessful_search(2), 2.0 + unsuccessful_search(3), unsuccessful_search(6)],
        child: vec![1, 0, 3, 0, 0, 0],
        start: vec![0, 5],
        sample_size: 6,
        narrow: false,
    }
}

#[test]
fn scores_worked_out_by_hand() {
    let forest = two_trees();
    // c(3) = 2 (ln 2 + gamma) - 4/3, c(6) = 2 (ln 5 + gamma) - 5/3
    let (c3, c6) = (1.207_392_357_589_622_7, 2.706_640_487_530_6);
    assert!((unsuccessful_search(3) - c3).abs() < 1e-12 && (unsuccessful_search(6) - c6).abs() < 1e-9);
    let cases = [
        ([1.5, 9.0], 1.0),
        ([f64::NEG_INFINITY, 9.0], 1.0),
        ([1.5f64.next_up(), -1.0], 3.0),
        ([2.0, 0.0], 3.0),
        ([2.0, -0.0], 3.0),
        ([f64::MAX, 5e-324], 2.0 + c3),
        ([f64::INFINITY, f64::INFINITY], 2.0 + c3),
    ];
    for (row, length) in cases {
        let got = score(&forest, &row, 1, 2, 8)[0];
        let expected = 2f64.powf(-(length + c6) / (2.0 * c6));
        assert!((got - expected).abs() < 1e-9, "{row:?}: got {got}, expected {expected}");
    }
}

#[test]
fn readings_are_narrowed_where_the_forest_says_so() {
    let mut forest = two_trees();
    // nearest f32 is 1.5
    let row = [1.5 + 1e-9, 1.0];
    let wide = score(&forest, &row, 1, 2, 8)[0];
    forest.narrow = true;
    let narrow = score(&forest, &row, 1, 2, 8)[0];
    assert!(narrow > wide);
    // beyond f32 is infinity, on the right side
    assert_eq!(score(&forest, &[1e300, -1e300], 1, 2, 8), score(&forest, &[1e30, -1.0], 1, 2, 8));
}

#[test]
fn scores_are_those_of_the_naive_walk() {
    let random = &mut Random::new(3);
    for case in 0..60 {
        let rows = random.pick(&[2, 3, 9, 130, 700]);
        let columns = random.pick(&[1, 2, 5, 40]);
        let max_samples = random.pick(&[2, 8, 256, 600]);
        let data = match case % 3 {
            0 => normals(rows, columns, case),
            1 => normals(rows, columns, case).iter().map(|v| (2.0 * v).round() / 2.0).collect(),
            _ => normals(rows, columns, case).iter().map(|v| v * random.pick(&[1e300, 1e-310, 1.0])).collect(),
        };
        let mut forest = grow(&data, rows, columns, 17, max_samples, case);
        forest.narrow = case % 2 == 0;
        let got = score(&forest, &data, rows, columns, TILE_ROWS);
        for (i, got) in got.iter().enumerate() {
            let expected = naive(&forest, &row(&data, rows, i));
            assert!(
                *got > 0.0 && *got <= 1.0 && (got - expected).abs() <= TOLERANCE,
                "case {case} row {i}: {got} {expected}"
            );
        }
    }
}

/// More thresholds of one column than 16 bits tell apart.
#[test]
fn many_thresholds_of_a_column_are_told_apart() {
    let rows = 2_000;
    let data = uniforms(rows, 1, 4);
    let forest = grow(&data, rows, 1, 1_000, 256, 2);
    let inner = forest.child.iter().filter(|&&child| child > 0).count();
    assert!(inner > 1 << 16, "{inner} thresholds");
    for (i, got) in score(&forest, &data, rows, 1, TILE_ROWS).iter().enumerate() {
        let expected = naive(&forest, &row(&data, rows, i));
        assert!((got - expected).abs() <= TOLERANCE, "row {i}: {got} {expected}");
    }
}

#[test]
fn a_score_depends_on_its_row_alone() {
    let (rows, columns) = (900, 7);
    let data = normals(rows, columns, 5);
    // small trees are compared with, large ones walked
    for max_samples in [256, 800] {
        let forest = grow(&data, rows, columns, 50, max_samples, 1);
        let whole = score(&forest, &data, rows, columns, TILE_ROWS);
        for tile_rows in [1, 2, 7, 8, 9, 16, 17, 100, 300] {
            let parts = score(&forest, &data, rows, columns, tile_rows);
            assert_eq!(bits(&parts), bits(&whole), "psi = {max_samples}, tiles of {tile_rows} rows");
        }
    }
}

#[test]
fn a_forest_does_not_depend_on_threads() {
    let data = normals(5_000, 9, 8);
    let matrix = Matrix::new(&data, 5_000, 9);
    for bootstrap in [false, true] {
        let plan = Plan::new(40, 256, bootstrap, 7).unwrap();
        let one = fit(matrix, &plan, one_thread()).unwrap();
        for threads in [2, 3, 8] {
            assert!(fit(matrix, &plan, &pool(threads)).unwrap() == one, "{threads} threads");
        }
        assert!(fit(matrix, &Plan::new(40, 256, bootstrap, 8).unwrap(), one_thread()).unwrap() != one, "another seed");
        // fewer trees are the first of them
        let few = fit(matrix, &Plan::new(10, 256, bootstrap, 7).unwrap(), one_thread()).unwrap();
        assert_eq!(few.start, one.start[..10]);
        assert_eq!(few.value, one.value[..few.value.len()]);
    }
}

/// What a fit promises of each tree that drew all rows: both sides of every split hold rows, thresholds lie in the node's range,
/// leaves hold equal rows or lie at the limit, and know their number of rows.
#[track_caller]
fn check_trees(label: &str, data: &[f64], rows: usize, columns: usize, n_trees: i64) {
    let forest = grow(data, rows, columns, n_trees, 1 << 20, 9);
    assert_eq!(forest.sample_size, rows);
    let limit = (1..).find(|d| 1 << d >= rows.max(2)).unwrap();
    let all: Vec<Vec<f64>> = (0..rows).map(|i| row(data, rows, i)).collect();
    for t in 0..forest.start.len() {
        let root = forest.start[t] as usize;
        let end = forest.start.get(t + 1).map_or(forest.child.len(), |next| *next as usize);
        let mut stack = vec![(root, 0, (0..rows).collect::<Vec<usize>>())];
        let mut seen = 0;
        while let Some((at, depth, held)) = stack.pop() {
            seen += 1;
            let equal = held.iter().all(|&i| all[i] == all[held[0]]);
            if forest.child[at] == 0 {
                assert!(equal || depth == limit, "{label}: tree {t} has a leaf of different rows at depth {depth}");
                let length = depth as f64 + unsuccessful_search(held.len());
                assert!(
                    (forest.value[at] - length).abs() < 1e-12,
                    "{label}: {} of {} rows",
                    forest.value[at],
                    held.len()
                );
                continue;
            }
            assert!(!equal && depth < limit, "{label}: tree {t} splits equal rows or too deep");
            let (j, threshold) = (forest.feature[at] as usize, forest.value[at]);
            let (left, right): (Vec<usize>, Vec<usize>) = held.iter().partition(|&&i| all[i][j] <= threshold);
            assert!(!left.is_empty() && !right.is_empty(), "{label}: tree {t} splits nothing off at {threshold:e}");
            let low = held.iter().map(|&i| all[i][j]).fold(f64::INFINITY, f64::min);
            let high = held.iter().map(|&i| all[i][j]).fold(f64::NEG_INFINITY, f64::max);
            assert!(threshold.is_finite() && low <= threshold && threshold < high);
            let child = root + forest.child[at] as usize;
            stack.push((child, depth + 1, left));
            stack.push((child + 1, depth + 1, right));
        }
        assert_eq!(seen, end - root, "{label}: tree {t} has nodes that nothing leads to");
    }
    // what was learnt scores without a fault
    let scores = score(&forest, data, rows, columns, TILE_ROWS);
    assert!(scores.iter().all(|s| *s > 0.0 && *s <= 1.0), "{label}: {scores:?}");
}

#[test]
fn trees_keep_their_promises() {
    for rows in [1, 2, 3, 4, 5, 16, 17, 100] {
        for columns in [1, 3] {
            check_trees("normal", &normals(rows, columns, rows as u64), rows, columns, 20);
            check_trees("constant", &vec![4.2; rows * columns], rows, columns, 3);
            let quantised: Vec<f64> = normals(rows, columns, 2).iter().map(|v| v.round()).collect();
            check_trees("quantised", &quantised, rows, columns, 20);
            let huge: Vec<f64> =
                normals(rows, columns, 3).iter().map(|v| v.signum() * f64::MAX * v.abs().min(1.0)).collect();
            check_trees("huge", &huge, rows, columns, 20);
            let subnormal: Vec<f64> = normals(rows, columns, 4).iter().map(|v| v * 1e-323).collect();
            check_trees("subnormal", &subnormal, rows, columns, 20);
            let last_digits: Vec<f64> = uniforms(rows, columns, 5)
                .iter()
                .map(|u| f64::from_bits(1e8f64.to_bits() + (3.0 * u) as u64))
                .collect();
            check_trees("last digits", &last_digits, rows, columns, 20);
            let zeros: Vec<f64> =
                uniforms(rows, columns, 6).iter().map(|u| if *u < 0.5 { -0.0 } else { 0.0 }).collect();
            check_trees("zeros of both signs", &zeros, rows, columns, 3);
        }
    }
    // one column varies among fifty, and only by one row
    let mut data = vec![1.0; 64 * 50];
    data[64 * 31 + 5] = 2.0;
    check_trees("one reading", &data, 64, 50, 20);
    let scores = score(&grow(&data, 64, 50, 20, 256, 1), &data, 64, 50, TILE_ROWS);
    assert!((0..64).all(|i| i == 5 || scores[i] < scores[5]));
}

#[test]
fn draws_are_fair() {
    let (rows, psi, trees) = (40, 2, 20_000);
    let data: Vec<f64> = (0..rows).map(|i| i as f64).collect();
    let forest = grow(&data, rows, 1, trees, psi, 21);
    // a tree of two rows a < b has one threshold uniform in [a, b): its mean over all pairs is the mean of the data
    let thresholds: Vec<f64> = forest.start.iter().map(|s| forest.value[*s as usize]).collect();
    let mean = thresholds.iter().sum::<f64>() / trees as f64;
    // the standard deviation of a threshold is below 10: four standard errors
    assert!((mean - 19.5).abs() < 4.0 * 10.0 / (trees as f64).sqrt(), "{mean}");
    // the mean of the threshold's square: E[(a^2 + a b + b^2) / 3] over distinct a, b
    let n = rows as f64;
    let (first, second) = ((n - 1.0) / 2.0, (n - 1.0) * (2.0 * n - 1.0) / 6.0);
    let product = (n * n * first * first - n * second) / (n * (n - 1.0));
    let expected = (2.0 * second + product) / 3.0;
    let got = thresholds.iter().map(|t| t * t).sum::<f64>() / trees as f64;
    assert!((got - expected).abs() < 4.0 * 420.0 / (trees as f64).sqrt(), "{got} {expected}");
}

#[test]
fn columns_are_drawn_evenly_among_those_that_vary() {
    let (rows, columns, trees) = (256, 10, 5_000);
    let mut data = normals(rows, columns, 12);
    data[3 * rows..4 * rows].fill(7.0);
    let forest = grow(&data, rows, columns, trees, 2, 4);
    let mut counts = vec![0; columns];
    forest.start.iter().for_each(|s| counts[forest.feature[*s as usize] as usize] += 1);
    assert_eq!(counts[3], 0);
    let expected = trees as f64 / 9.0;
    let chi2: f64 = (0..columns).filter(|j| *j != 3).map(|j| (counts[j] as f64 - expected).powi(2) / expected).sum();
    // 99.99 % of chi square with 8 degrees of freedom
    assert!(chi2 < 31.8, "{counts:?}");
}

#[test]
fn mean_path_lengths_agree_with_theory() {
    // A threshold uniform between minimum and maximum falls into a gap between neighbours with a chance that is the gap's share;
    // the gaps of uniform rows are exchangeable, so that each is as likely and both sides are uniform again.
    let (rows, trees) = (8, 40_000);
    // fresh rows for each tree, as the gaps are random too
    let mut sum = 0.0;
    for t in 0..trees {
        let data = uniforms(rows, 1, 1_000 + t);
        let forest = grow(&data, rows, 1, 1, 256, t);
        let depths: usize = data.iter().map(|v| leaf(&forest, 0, &[*v]).1).sum();
        let rest: f64 = data.iter().map(|v| forest.value[leaf(&forest, 0, &[*v]).0]).sum();
        assert!(rest >= depths as f64);
        sum += depths as f64 / rows as f64;
    }
    // external path length with the limit of three levels, from the recursion: each of the n - 1 gaps is as likely
    let mut external = vec![vec![0.0; rows + 1]; 4];
    for limit in 1..=3 {
        for n in 2..=rows {
            let splits = (1..n).map(|k| external[limit - 1][k] + external[limit - 1][n - k]).sum::<f64>();
            external[limit][n] = n as f64 + splits / (n - 1) as f64;
        }
    }
    let expected = external[3][rows] / rows as f64;
    let mean = sum / trees as f64;
    // a tree's mean depth spreads by less than 0.3
    assert!((mean - expected).abs() < 4.0 * 0.3 / (trees as f64).sqrt(), "{mean} {expected}");
}

#[test]
fn bootstrap_draws_with_replacement() {
    // all rows are different: a tree has as many leaves as distinct rows until depth ends it
    let (rows, trees) = (64, 2_000);
    let data: Vec<f64> = (0..rows).map(|i| i as f64).collect();
    let matrix = Matrix::new(&data, rows, 1);
    let plan = Plan::new(trees, 64, true, 3).unwrap();
    let forest = fit(matrix, &plan, one_thread()).unwrap();
    assert_eq!(forest.sample_size, rows);
    // how many rows a tree held: c(m) is invertible
    let held = |value: f64, depth: usize| {
        (1..=rows).find(|m| (unsuccessful_search(*m) + depth as f64 - value).abs() < 1e-9).expect("a number of rows")
    };
    let mut total = 0;
    for t in 0..trees as usize {
        let leaves: BTreeSet<(usize, usize)> = data.iter().map(|v| leaf(&forest, t, &[*v])).collect();
        total += leaves.iter().map(|&(at, depth)| held(forest.value[at], depth)).sum::<usize>();
    }
    let mean = total as f64 / trees as f64;
    let expected = rows as f64 * (1.0 - (1.0 - 1.0 / rows as f64).powi(64));
    // the number of distinct rows spreads by sqrt(n (e^-1 - 2 e^-2)), 2.5
    assert!((mean - expected).abs() < 4.0 * 2.6 / (trees as f64).sqrt(), "{mean} {expected}");
}

#[test]
fn outliers_score_higher() {
    let (rows, columns) = (2_000, 6);
    let mut data = normals(rows, columns, 30);
    for j in 0..columns {
        data[j * rows + 77] = 6.0;
    }
    for bootstrap in [false, true] {
        let plan = Plan::new(100, 256, bootstrap, 17).unwrap();
        let forest = fit(Matrix::new(&data, rows, columns), &plan, &pool(2)).unwrap();
        let scores = score(&forest, &data, rows, columns, TILE_ROWS);
        assert!((0..rows).all(|i| i == 77 || scores[i] < scores[77]));
        assert!(scores[77] > 0.7, "{}", scores[77]);
    }
}

#[test]
fn a_single_row_scores_one_half() {
    let forest = grow(&[1.0, 2.0], 1, 2, 10, 256, 0);
    assert_eq!((forest.sample_size, forest.child.len()), (1, 10));
    assert_eq!(score(&forest, &[5.0, -5.0], 1, 2, 8), [0.5]);
}

#[test]
fn nothing_to_learn_from_is_an_error() {
    let plan = Plan::new(10, 256, false, 0).unwrap();
    assert_eq!(fit(Matrix::new(&[], 0, 3), &plan, one_thread()), Err(Error::NoRows));
    assert_eq!(fit(Matrix::new(&[], 3, 0), &plan, one_thread()), Err(Error::NoColumns));
    assert!(Error::NoRows.to_string().contains("no row"));
}

#[test]
fn refused_parameters_name_themselves() {
    let text = |n_trees, max_samples| Plan::new(n_trees, max_samples, false, 0).unwrap_err().to_string();
    assert_eq!(text(0, 256), "`n_trees` must be >= 1, got 0");
    assert_eq!(text(100, 1), "`max_samples` must be >= 2, got 1");
    assert_eq!(text(-3, 256), "`n_trees` must be >= 1, got -3");
}

#[test]
fn damaged_lists_are_refused() {
    type Damage = fn(&mut Forest);
    let cases: [(Damage, &str); 13] = [
        (|f| f.feature.truncate(5), "different lengths"),
        (|f| f.value.push(0.0), "different lengths"),
        (|f| f.start.clear(), "no first tree"),
        (|f| f.start[0] = 1, "no first tree"),
        (|f| f.start[1] = 0, "do not follow"),
        (|f| f.start[1] = 6, "do not follow"),
        (|f| f.value[0] = f64::NAN, "not a number"),
        (|f| f.value[5] = f64::INFINITY, "not a number"),
        (|f| f.feature[2] = 2, "lacks"),
        (|f| f.child[2] = 1, "no children"),
        (|f| f.child[2] = 4, "no children"),
        (|f| f.child[1] = 3, "the same child"),
        (|f| f.sample_size = 0, "drew no rows"),
    ];
    for (damage, expected) in cases {
        let mut forest = two_trees();
        damage(&mut forest);
        let text = Scorer::new(&forest, 2).err().expect(expected).to_string();
        assert!(text.contains("damaged") && text.contains(expected), "{text}");
    }
    assert!(Scorer::new(&two_trees(), 1).is_err());
    assert!(Scorer::new(&two_trees(), 3).is_ok());
}

/// What makes walks without checks sound.
#[test]
fn trees_that_lead_out_of_themselves_cannot_be_made() {
    let leaf = Node { key: u64::MAX, left: 1, column: 0 };
    let root = Node { key: 5, left: 1, column: 1 };
    let made = |nodes: &[Node], columns| std::panic::catch_unwind(|| Tree::new(nodes.to_vec(), columns, 1)).is_ok();
    let right = Node { left: 2, ..leaf };
    assert!(made(&[root, leaf, right], 2));
    assert!(!made(&[root, leaf], 2), "no right child");
    assert!(!made(&[root, leaf, Node { left: 3, ..leaf }], 2), "a leaf leads out");
    assert!(!made(&[Node { left: 2, ..root }, leaf, right], 2), "a child leads out");
    assert!(!made(&[root, leaf, right], 1), "a column leads out");
    assert!(!made(&[], 2), "no root");
}
