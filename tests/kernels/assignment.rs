//! Assignment: by hand, and against all ways to assign.

use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::assignment::assign;

#[test]
fn by_hand() {
    // greedily row 0 would take column 0 and leave 9 for row 1
    assert_eq!(assign(&[1.0, 2.0, 2.0, 9.0], 2, 2), [Some(1), Some(0)]);
    assert_eq!(assign(&[5.0, 1.0, 3.0], 1, 3), [Some(1)]);
    assert_eq!(assign(&[5.0, 1.0, 3.0], 3, 1), [None, Some(0), None]);
    assert_eq!(assign(&[0.0; 9], 3, 3), [Some(0), Some(1), Some(2)]);
    assert_eq!(assign(&[-1.0, -5.0, 0.0, -7.0], 2, 2), [Some(0), Some(1)]);
    assert!(assign(&[], 0, 0).is_empty());
    assert_eq!(assign(&[], 2, 0), [None, None]);
    assert!(assign(&[], 0, 3).is_empty());
}

/// The least sum over all ways to give each of the first rows another column.
fn least(cost: &[f64], columns: usize, row: usize, rows: usize, taken: &mut Vec<bool>) -> f64 {
    if row == rows {
        return 0.0;
    }
    let mut best = f64::INFINITY;
    for j in 0..columns {
        if !taken[j] {
            taken[j] = true;
            best = best.min(cost[row * columns + j] + least(cost, columns, row + 1, rows, taken));
            taken[j] = false;
        }
    }
    best
}

#[test]
fn the_least_of_all_ways() {
    let mut random = Stream::new(1, 0);
    for round in 0..2000 {
        let (rows, columns) = (1 + random.below(6), 1 + random.below(6));
        // small whole numbers have ties, and sums that are exact
        let whole = round % 2 == 0;
        let draw = |random: &mut Stream| if whole { random.below(5) as f64 } else { 10.0 * random.uniform() - 3.0 };
        let cost: Vec<f64> = (0..rows * columns).map(|_| draw(&mut random)).collect();
        let got = assign(&cost, rows, columns);
        let input = format!("{rows} x {columns} {cost:?}: {got:?}");
        let pairs: Vec<(usize, usize)> = got.iter().enumerate().filter_map(|(i, j)| Some((i, (*j)?))).collect();
        assert_eq!(pairs.len(), rows.min(columns), "{input}");
        let mut used: Vec<usize> = pairs.iter().map(|pair| pair.1).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), pairs.len(), "{input}");
        let sum: f64 = pairs.iter().map(|(i, j)| cost[i * columns + j]).sum();
        let expected = if rows <= columns {
            least(&cost, columns, 0, rows, &mut vec![false; columns])
        } else {
            let transposed: Vec<f64> =
                (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| cost[i * columns + j]).collect();
            least(&transposed, rows, 0, columns, &mut vec![false; rows])
        };
        assert!((sum - expected).abs() < 1e-12, "{sum} {expected}: {input}");
    }
}

#[test]
fn large() {
    let n = 200;
    let mut random = Stream::new(2, 0);
    let mut permutation: Vec<usize> = (0..n).collect();
    (1..n).rev().for_each(|i| permutation.swap(i, random.below(i + 1)));
    let cost: Vec<f64> = (0..n * n)
        .map(|at| if permutation[at / n] == at % n { 0.0 } else { 1e-3 + random.uniform() * 1e300 })
        .collect();
    let expected: Vec<Option<usize>> = permutation.into_iter().map(Some).collect();
    assert_eq!(assign(&cost, n, n), expected);
}
