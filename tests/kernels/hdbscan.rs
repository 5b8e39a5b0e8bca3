//! HDBSCAN: small cases by hand, a twin that cuts the spanning tree from its longest edge on, petal-clustering as a second
//! opinion, new rows, hostile readings.

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::scaling::Scaling;
use acm_rs::kernels::matrix::Matrix;
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::hdbscan::points::Points;
use acm_rs::kernels::regimes::hdbscan::spanning::{Spanning, spanning};
use acm_rs::kernels::regimes::hdbscan::{Error, Hdbscan, Method, Params, Predictor, fit};
use petal_clustering::{Fit as _, HDbscan};

use crate::kmeans::{clusters, normal, pool, row, tile};

#[derive(Clone, Copy, Debug)]
struct Setting {
    min_cluster_size: usize,
    min_samples: usize,
    epsilon: f64,
    method: Method,
    single: bool,
}

const USUAL: Setting =
    Setting { min_cluster_size: 5, min_samples: 3, epsilon: 0.0, method: Method::Mass, single: false };

fn params(of: Setting, scaling: Scaling) -> Params {
    Params::new(of.min_cluster_size, of.min_samples, of.epsilon, of.method, of.single, scaling)
        .expect("valid parameters")
}

fn fitted(data: &[f64], rows: usize, of: Setting) -> Hdbscan {
    fit(Matrix::new(data, rows, data.len() / rows), &params(of, Scaling::None), &pool(2)).expect("a fit")
}

fn predicted(model: &Hdbscan, data: &[f64], rows: usize) -> (Vec<i64>, Vec<f64>) {
    let predictor = Predictor::new(model);
    let (mut labels, mut strengths, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for from in (0..rows).step_by(100) {
        let tile = tile(data, rows, from..rows.min(from + 100));
        out.resize(2 * tile.stride(), 7.0);
        predictor.score(&tile, &mut Vec::new(), &mut out);
        labels.extend(out[..tile.rows()].iter().map(|&label| label as i64));
        strengths.extend_from_slice(&out[tile.stride()..][..tile.rows()]);
    }
    (labels, strengths)
}

// --- the twin --------------------------------------------------------------------------------------------------------

/// Reachability, length, rows.
type Pair = (f64, f64, usize, usize);

/// A cluster: its rows, their strengths, its stability.
type Chosen = (Vec<usize>, Vec<f64>, f64);

struct Twin {
    cores: Vec<f64>,
    edges: Vec<Pair>,
}

fn distance(data: &[f64], rows: usize, i: usize, k: usize) -> f64 {
    row(data, rows, i).iter().zip(row(data, rows, k)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

impl Twin {
    /// All pairs in order, each kept that joins two groups (Kruskal 1956).
    fn new(data: &[f64], rows: usize, min_samples: usize) -> Self {
        let core = |i: usize| {
            let mut others: Vec<f64> = (0..rows).filter(|&k| k != i).map(|k| distance(data, rows, i, k)).collect();
            others.sort_unstable_by(f64::total_cmp);
            others[min_samples - 1]
        };
        let cores: Vec<f64> = (0..rows).map(core).collect();
        let mut pairs: Vec<Pair> = (0..rows)
            .flat_map(|i| (i + 1..rows).map(move |k| (i, k)))
            .map(|(i, k)| (distance(data, rows, i, k), i, k))
            .map(|(d, i, k)| (d.max(cores[i]).max(cores[k]), d, i, k))
            .collect();
        pairs.sort_unstable_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        let mut group: Vec<usize> = (0..rows).collect();
        let mut edges = Vec::new();
        for pair in pairs {
            let (a, b) = (group[pair.2], group[pair.3]);
            if a != b {
                group.iter_mut().filter(|g| **g == b).for_each(|g| *g = a);
                edges.push(pair);
            }
        }
        Self { cores, edges }
    }

    /// The chosen clusters.
    fn clusters(&self, of: Setting) -> Vec<Chosen> {
        let rows = self.cores.len();
        let mut found = Vec::new();
        let top = Part { rows: (0..rows).collect(), start: f64::INFINITY };
        let (kept, _) = self.within(top, of, true, &mut found);
        kept
    }

    /// The chosen clusters in a part of the rows, and their mass.
    fn within(&self, part: Part, of: Setting, first: bool, all: &mut Vec<f64>) -> (Vec<Chosen>, f64) {
        let mut left = part.rows.clone();
        let mut leaves: Vec<(usize, f64)> = Vec::new();
        let mut halves: Vec<Part> = Vec::new();
        while !left.is_empty() {
            // the last edge within parts what is left
            let inside =
                self.edges.iter().rev().find(|edge| left.contains(&edge.2) && left.contains(&edge.3)).expect("an edge");
            let half = self.reached(inside, &left);
            let other: Vec<usize> = left.iter().copied().filter(|i| !half.contains(i)).collect();
            let keeps = |rows: &[usize]| rows.len() >= of.min_cluster_size && inside.1 > 0.0;
            match (keeps(&half), keeps(&other)) {
                (true, true) => {
                    halves = vec![Part { rows: half, start: inside.0 }, Part { rows: other, start: inside.0 }];
                    break;
                }
                (true, false) => {
                    leaves.extend(other.iter().map(|&i| (i, inside.0)));
                    left = half;
                }
                (false, true) => {
                    leaves.extend(half.iter().map(|&i| (i, inside.0)));
                    left = other;
                }
                (false, false) => {
                    leaves.extend(left.iter().map(|&i| (i, inside.0)));
                    left.clear();
                }
            }
        }
        let end = halves.first().map_or_else(|| leaves.last().expect("a row").1, |half| half.start);
        // what lies in the halves leaves with them
        leaves.extend(halves.iter().flat_map(|half| half.rows.iter().map(|&i| (i, half.start))));
        let stability: f64 = leaves.iter().map(|&(_, d)| 1.0 / d - 1.0 / part.start).sum();
        all.push(stability);
        let (mut kept, mut mass) = (Vec::new(), 0.0);
        let whole = halves.is_empty();
        for half in halves {
            let (chosen, of_half) = self.within(half, of, false, all);
            kept.extend(chosen);
            mass += of_half;
        }
        let chosen = match of.method {
            Method::Leaf => whole,
            Method::Mass => stability >= mass,
        };
        if chosen && (!first || of.single) {
            // of all rows only those that stay to the end
            let members: Vec<(usize, f64)> = leaves.iter().copied().filter(|&(_, d)| !first || d <= end).collect();
            let strength = |d: f64| if d == 0.0 { 1.0 } else { end / end.max(d) };
            let (rows, strengths) = members.iter().map(|&(i, d)| (i, strength(d))).unzip();
            return (vec![(rows, strengths, stability)], stability);
        }
        (kept, if chosen { stability } else { mass })
    }

    /// The rows on one side of an edge.
    fn reached(&self, cut: &Pair, left: &[usize]) -> Vec<usize> {
        let mut reached = vec![cut.2];
        let mut at = 0;
        while at < reached.len() {
            for edge in
                self.edges.iter().filter(|edge| *edge != cut && left.contains(&edge.2) && left.contains(&edge.3))
            {
                for (from, to) in [(edge.2, edge.3), (edge.3, edge.2)] {
                    if from == reached[at] && !reached.contains(&to) {
                        reached.push(to);
                    }
                }
            }
            at += 1;
        }
        reached
    }
}

struct Part {
    rows: Vec<usize>,
    start: f64,
}

fn close(got: f64, expected: f64, what: &str) {
    assert!((got - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{what}: {got} instead of {expected}");
}

/// Blobs of different density, and noise.
fn blobs(seed: u64, rows: usize, columns: usize, k: usize) -> Vec<f64> {
    let mut random = Stream::new(seed, 1);
    let centers: Vec<f64> = (0..k * columns).map(|_| 8.0 * normal(&mut random)).collect();
    let of: Vec<usize> = (0..rows).map(|_| random.below(k + 1)).collect();
    let mut data = vec![0.0; rows * columns];
    for j in 0..columns {
        for i in 0..rows {
            data[j * rows + i] = if of[i] == k {
                20.0 * (random.uniform() - 0.5)
            } else {
                centers[of[i] * columns + j] + (0.4 + of[i] as f64 * 0.3) * normal(&mut random)
            };
        }
    }
    data
}

// --- the spanning tree -----------------------------------------------------------------------------------------------

fn found(data: &[f64], rows: usize, min_samples: usize, threads: usize) -> Spanning {
    let points = Points::new(rows, data.len() / rows, |i, j| data[j * rows + i]);
    spanning(&points, min_samples, &pool(threads))
}

#[test]
fn the_spanning_tree_is_the_twins() {
    for (rows, columns, min_samples) in
        [(2, 1, 1), (9, 2, 1), (9, 2, 8), (33, 1, 2), (64, 3, 5), (65, 9, 3), (150, 2, 4), (200, 17, 20), (300, 2, 30)]
    {
        let data = blobs(rows as u64, rows, columns, 3);
        let twin = Twin::new(&data, rows, min_samples);
        let got = found(&data, rows, min_samples, 2);
        for (core, expected) in got.cores.iter().zip(&twin.cores) {
            close(core.sqrt(), *expected, "core distance");
        }
        let pairs: Vec<(usize, usize)> = got.edges.iter().map(|edge| (edge.a, edge.b)).collect();
        let expected: Vec<(usize, usize)> = twin.edges.iter().map(|edge| (edge.2, edge.3)).collect();
        assert_eq!(pairs, expected, "{rows} x {columns}, {min_samples}");
        got.edges.iter().zip(&twin.edges).for_each(|(edge, of)| close(edge.reach.sqrt(), of.0, "reachability"));
    }
}

/// Squares of reachability and length of the edges, in order, by Prim's algorithm.
fn by_pairs(data: &[f64], rows: usize, cores: &[f64]) -> Vec<(f64, f64)> {
    let cells: Vec<Vec<f64>> = (0..rows).map(|i| row(data, rows, i)).collect();
    let mut best = vec![(f64::INFINITY, f64::INFINITY); rows];
    let (mut left, mut next, mut edges) = ((1..rows).collect::<Vec<_>>(), 0, Vec::new());
    while !left.is_empty() {
        for &i in &left {
            let square: f64 = cells[i].iter().zip(&cells[next]).map(|(a, b)| (a - b) * (a - b)).sum();
            let pair = (square.max(cores[i]).max(cores[next]), square);
            if pair < best[i] {
                best[i] = pair;
            }
        }
        let at = (0..left.len()).fold(0, |least, at| if best[left[at]] < best[left[least]] { at } else { least });
        next = left.swap_remove(at);
        edges.push(best[next]);
    }
    edges.sort_unstable_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    edges
}

#[test]
fn many_rows_as_all_their_pairs() {
    let squares = |of: &Spanning| of.edges.iter().map(|edge| (edge.reach, edge.square)).collect::<Vec<_>>();
    for (rows, columns, k) in [(3000, 2, 5), (2500, 8, 3), (1200, 20, 6), (2000, 1, 1)] {
        let data = blobs(7, rows, columns, k);
        for min_samples in [2, 25] {
            let got = found(&data, rows, min_samples, 2);
            assert_eq!(squares(&got), by_pairs(&data, rows, &got.cores), "{rows} x {columns}");
            assert_eq!(found(&data, rows, min_samples, 1).edges, got.edges, "threads");
        }
    }
    // a machine that stands still nearly half of the time
    let rows = 2000;
    let mut data = blobs(9, rows, 2, 3);
    (0..rows).filter(|i| i % 7 < 3).for_each(|i| (data[i], data[rows + i]) = (1.0, if i % 5 == 0 { 1.0 } else { 2.0 }));
    for min_samples in [3, 25, 700] {
        let got = found(&data, rows, min_samples, 2);
        assert_eq!(squares(&got), by_pairs(&data, rows, &got.cores));
        assert_eq!(found(&data, rows, min_samples, 1).edges, got.edges, "threads");
    }
    // a grid: most distances are equal, so the tree is not unique, but its lengths are
    let rows = 900;
    let grid: Vec<f64> =
        (0..2 * rows).map(|at| if at < rows { (at % 30) as f64 } else { (at % rows / 30) as f64 }).collect();
    for min_samples in [1, 2, 4, 5] {
        let got = found(&grid, rows, min_samples, 2);
        assert_eq!(squares(&got), by_pairs(&grid, rows, &got.cores));
        assert_eq!(found(&grid, rows, min_samples, 1).edges, got.edges, "threads");
    }
}

/// What single precision cannot tell apart is not passed by.
#[test]
fn rows_that_single_precision_cannot_tell_apart() {
    let rows = 600;
    for columns in [8, 9, 21, 50] {
        let data = blobs(columns as u64, rows, columns, 4);
        let first = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            data.iter().enumerate().map(|(at, &v)| if at < rows { f(v) } else { v }).collect()
        };
        let cases: [(&str, Vec<f64>); 8] = [
            ("offset", data.iter().map(|v| v + 1e8).collect()),
            ("small units", data.iter().map(|v| v * 1e-140).collect()),
            ("large units", data.iter().map(|v| v * 1e140).collect()),
            ("one column in large units", first(&|v| v * 1e9)),
            ("one column of two values far apart", first(&|v| if v > 0.0 { 1e12 } else { -1e12 })),
            ("one row far away", first(&|v| if v == data[0] { 1e9 } else { v })),
            ("coarse values", data.iter().map(|v| v.round()).collect()),
            ("close together", data.iter().map(|v| 1.0 + v.round() * f64::EPSILON).collect()),
        ];
        for (name, data) in cases {
            let cells: Vec<Vec<f64>> = (0..rows).map(|i| row(&data, rows, i)).collect();
            let got = found(&data, rows, 6, 2);
            for (i, &core) in got.cores.iter().enumerate() {
                let square = |k: usize| cells[i].iter().zip(&cells[k]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
                let mut squares: Vec<f64> = (0..rows).filter(|&k| k != i).map(square).collect();
                squares.sort_unstable_by(f64::total_cmp);
                assert_eq!(core, squares[5], "{name}, {columns} columns");
            }
            let edges: Vec<(f64, f64)> = got.edges.iter().map(|edge| (edge.reach, edge.square)).collect();
            assert_eq!(edges, by_pairs(&data, rows, &got.cores), "{name}, {columns} columns");
        }
    }
}

// --- clusters --------------------------------------------------------------------------------------------------------

#[test]
fn by_hand() {
    // two triples on a line, 1 apart within, and a row far away
    let x = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 100.0];
    let of = Setting { min_cluster_size: 3, min_samples: 1, ..USUAL };
    let model = fitted(&x, 7, of);
    assert_eq!(model.labels, [0, 1, 0, 1, 0, 1, -1]);
    assert_eq!(model.strengths, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(model.cores, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 88.0]);
    assert_eq!(model.sizes, [3, 3]);
    assert_eq!(model.centers, [1.0, 11.0]);
    // each starts at 8 and ends at 1: 3 (1 - 1/8) of 3 rows, the largest density is 1
    assert_eq!(model.persistence, [0.875, 0.875]);
    // within 1, apart 8
    close(model.relative_validity, 6.0 / 7.0 * 7.0 / 8.0, "relative validity");
    // new rows: in the middle of a cluster; half way to the edge; one that leaves with the noise; far away
    let (labels, strengths) = predicted(&model, &[1.5, 4.0, 7.0, 1e9, 100.0, 11.0], 6);
    assert_eq!(labels, [0, 0, 1, -1, -1, 1]);
    assert_eq!(strengths, [1.0, 0.5, 1.0 / 3.0, 0.0, 0.0, 1.0]);
}

#[test]
fn as_the_twin() {
    for seed in 0..12 {
        let (rows, columns) = (60 + 7 * seed as usize, 1 + seed as usize % 3);
        let data = blobs(seed, rows, columns, 3);
        for min_samples in [1, 3, 6] {
            let twin = Twin::new(&data, rows, min_samples);
            for method in [Method::Mass, Method::Leaf] {
                for single in [false, true] {
                    let of = Setting { min_samples, method, single, ..USUAL };
                    let model = fitted(&data, rows, of);
                    let mut expected = twin.clusters(of);
                    expected.iter_mut().for_each(|(members, strengths, _)| {
                        let mut both: Vec<_> = members.iter().copied().zip(strengths.iter().copied()).collect();
                        both.sort_unstable_by_key(|&(i, _)| i);
                        (*members, *strengths) = both.into_iter().unzip();
                    });
                    expected.sort_by_key(|(members, ..)| (std::cmp::Reverse(members.len()), members[0]));
                    let what = format!("seed {seed}, {of:?}");
                    assert_eq!(model.sizes, expected.iter().map(|(rows, ..)| rows.len()).collect::<Vec<_>>(), "{what}");
                    let densest = model.row_distances.iter().copied().fold(f64::INFINITY, f64::min);
                    for (label, (members, strengths, stability)) in expected.iter().enumerate() {
                        let got: Vec<usize> = (0..rows).filter(|&i| model.labels[i] == label as i64).collect();
                        assert_eq!(got, *members, "{what}");
                        got.iter().zip(strengths).for_each(|(&i, of)| close(model.strengths[i], *of, &what));
                        let persistence = stability * densest / members.len() as f64;
                        close(model.persistence[label], persistence, &what);
                    }
                }
            }
        }
    }
}

/// The clusters as lists of rows in order, and outlier scores, of petal-clustering, which counts a row among its own neighbours.
fn petal(data: &[f64], rows: usize, of: Setting, boruvka: bool) -> (Vec<Vec<usize>>, Vec<f64>) {
    let points = ndarray_petal::Array2::from_shape_fn((rows, data.len() / rows), |(i, j)| data[j * rows + i]);
    let (min_samples, min_cluster_size) = (of.min_samples + 1, of.min_cluster_size);
    let mut method = HDbscan { min_samples, min_cluster_size, boruvka, ..HDbscan::default() };
    let (clusters, _, scores) = method.fit(&points, None);
    let mut clusters: Vec<Vec<usize>> = clusters.into_values().collect();
    clusters.iter_mut().for_each(|rows| rows.sort_unstable());
    clusters.sort_unstable();
    (clusters, scores)
}

/// All edges at the core distance of a row are equally long. petal-clustering removes them at once; here the longer pair
/// goes first, and a row that leaves where its cluster starts belongs to it, where petal-clustering has noise.
/// So the clusters are the same without such rows, unless a cluster ends where it starts.
#[test]
fn as_petal_but_for_rows_that_leave_at_the_start() {
    let (mut equal, mut but_for_some, mut scored) = (0, 0, 0);
    for seed in 0..24 {
        let (rows, columns) = (100 + 37 * (seed as usize % 9), 1 + seed as usize % 4);
        let data = blobs(seed, rows, columns, 3);
        for (min_samples, min_cluster_size) in [(1, 5), (3, 12), (6, 10), (10, 20)] {
            let of = Setting { min_samples, min_cluster_size, ..USUAL };
            let model = fitted(&data, rows, of);
            let mut ends = vec![f64::INFINITY; model.starts.len()];
            for (c, &start) in model.starts.iter().enumerate() {
                if let Some(parent) = model.parents[c] {
                    ends[parent] = start;
                }
            }
            (0..rows).for_each(|i| {
                let end = &mut ends[model.row_clusters[i]];
                *end = end.min(model.row_distances[i]);
            });
            if ends.iter().zip(&model.starts).any(|(end, start)| end == start) {
                continue;
            }
            let at_start = |i: usize| {
                usize::try_from(model.labels[i]).is_ok_and(|label| model.row_distances[i] == model.outer[label])
            };
            let mut ours: Vec<Vec<usize>> = (0..model.sizes.len() as i64)
                .map(|label| (0..rows).filter(|&i| model.labels[i] == label && !at_start(i)).collect())
                .collect();
            ours.sort_unstable();
            let what = format!("seed {seed}, {of:?}");
            let (theirs, scores) = petal(&data, rows, of, true);
            assert_eq!(ours, theirs, "{what}");
            assert_eq!(ours, petal(&data, rows, of, false).0, "{what}");
            if ours.len() > 1 {
                equal += usize::from(!(0..rows).any(at_start));
                but_for_some += usize::from((0..rows).any(at_start));
            }
            // the strength of a row in a cluster that does not fall apart is 1 less its outlier score
            for i in (0..rows).filter(|&i| model.labels[i] >= 0 && !at_start(i)) {
                let (cluster, parent) = (model.row_clusters[i], model.parents[model.row_clusters[i]]);
                let chosen = parent.is_some_and(|parent| model.cluster_labels[parent] < 0);
                if chosen && !model.parents.contains(&Some(cluster)) {
                    close(1.0 - model.strengths[i], scores[i], &what);
                    scored += 1;
                }
            }
        }
    }
    assert!(equal >= 20 && but_for_some >= 20 && scored >= 2000, "{equal}, {but_for_some}, {scored}");
}

#[test]
fn the_order_of_rows_does_not_matter() {
    for (rows, columns) in [(700, 2), (500, 15)] {
        let data = blobs(11, rows, columns, 4);
        let of = Setting { min_cluster_size: 12, min_samples: 6, ..USUAL };
        let model = fitted(&data, rows, of);
        assert!(model.sizes.len() > 1 && model.labels.contains(&-1));
        let mut random = Stream::new(1, 2);
        let mut order: Vec<usize> = (0..rows).collect();
        (1..rows).rev().for_each(|i| order.swap(i, random.below(i + 1)));
        let other: Vec<f64> =
            (0..columns).flat_map(|j| order.iter().map(move |&i| j * rows + i)).map(|at| data[at]).collect();
        let again = fitted(&other, rows, of);
        // sizes are different, so labels are the same
        for (at, &i) in order.iter().enumerate() {
            assert_eq!((again.labels[at], again.strengths[at]), (model.labels[i], model.strengths[i]), "row {i}");
        }
        assert_eq!(again.sizes, model.sizes);
    }
}

#[test]
fn epsilon_merges_what_starts_within_it() {
    // pairs of groups: 0.1 within a group, 1 between the groups of a pair, 20 between pairs
    let mut x = Vec::new();
    for pair in [0.0, 21.0] {
        for group in [0.0, 1.4] {
            x.extend((0..5).map(|i| pair + group + 0.1 * f64::from(i)));
        }
    }
    let of = |epsilon, method, single| Setting { min_samples: 1, epsilon, method, single, ..USUAL };
    let sizes = |of| fitted(&x, 20, of).sizes;
    assert_eq!(sizes(of(0.0, Method::Leaf, false)), [5, 5, 5, 5]);
    assert_eq!(sizes(of(0.5, Method::Leaf, false)), [5, 5, 5, 5], "they start at 1");
    assert_eq!(sizes(of(2.0, Method::Leaf, false)), [10, 10]);
    assert_eq!(sizes(of(2.0, Method::Mass, false)), [10, 10]);
    assert_eq!(sizes(of(100.0, Method::Leaf, false)), [10, 10], "all rows are no cluster");
    assert_eq!(sizes(of(100.0, Method::Leaf, true)), [20]);
}

#[test]
fn all_rows_as_one_cluster() {
    let mut random = Stream::new(4, 4);
    let x: Vec<f64> = (0..200).map(|_| normal(&mut random)).collect();
    let of = Setting { min_cluster_size: 101, min_samples: 5, ..USUAL };
    assert!(fitted(&x, 200, of).labels.iter().all(|&label| label == -1));
    let single = fitted(&x, 200, Setting { single: true, ..of });
    assert_eq!(single.sizes.len(), 1);
    assert!(single.sizes[0] >= 101 && single.sizes[0] < 200, "{:?}", single.sizes);
    // within epsilon instead of to the end
    let wide = fitted(&x, 200, Setting { single: true, epsilon: 0.4, ..of });
    assert!(wide.sizes[0] > single.sizes[0]);
    for i in 0..200 {
        assert_eq!(wide.labels[i] == 0, wide.row_distances[i] <= 0.4);
    }
    // fewer rows than a cluster needs
    assert!(fitted(&x[..20], 20, Setting { single: true, ..of }).sizes.is_empty());
}

#[test]
fn duplicates_have_one_density() {
    // ten rows alike, ten more alike elsewhere, some that are all different
    let mut x = vec![1.0; 10];
    x.extend([5.0; 10]);
    x.extend((0..6).map(|i| 9.0 + 0.3 * f64::from(i)));
    for min_samples in [1, 4] {
        let model = fitted(&x, 26, Setting { min_samples, ..USUAL });
        assert_eq!(&model.labels[..20], [[0; 10], [1; 10]].as_flattened(), "{min_samples}");
        assert!(model.strengths[..20].iter().all(|&strength| strength == 1.0));
        assert!(model.persistence.iter().all(|&of| of == 1.0));
        assert!(model.relative_validity.is_finite());
    }
    // equal rows whose core distance reaches beyond them: the edges between them would part them in any way
    let mut x = vec![1.0; 20];
    x.extend((0..30).map(|i| 3.0 + 0.1 * f64::from(i)));
    let model = fitted(&x, 50, Setting { min_samples: 24, method: Method::Leaf, ..USUAL });
    assert!(model.labels[..20].iter().all(|label| *label == model.labels[0]), "{:?}", model.labels);
    // all alike: no density tells rows apart
    let model = fitted(&[2.0; 30], 30, USUAL);
    assert!(model.sizes.is_empty() && model.relative_validity.is_nan());
    let model = fitted(&[2.0; 30], 30, Setting { single: true, ..USUAL });
    assert_eq!((model.sizes, model.persistence, model.relative_validity), (vec![30], vec![1.0], 0.0));
}

#[test]
fn train_rows_keep_their_labels() {
    for (rows, columns) in [(900, 3), (300, 16)] {
        let data = blobs(21, rows, columns, 4);
        for single in [false, true] {
            let model = fitted(&data, rows, Setting { min_cluster_size: 10, single, ..USUAL });
            assert_eq!(predicted(&model, &data, rows), (model.labels.clone(), model.strengths.clone()));
        }
    }
}

/// Every train row asked, and the clusters of the condensed tree climbed one by one.
fn predicted_by_all(model: &Hdbscan, data: &[f64], rows: usize, x: &[f64]) -> (i64, f64) {
    let mut away: Vec<(f64, usize)> = (0..rows)
        .map(|i| (row(data, rows, i).iter().zip(x).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(), i))
        .collect();
    away.sort_unstable_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    let core = away[model.min_samples - 1].0;
    let (reach, _, t) = away
        .iter()
        .map(|&(d, i)| (d.max(core).max(model.cores[i]), d, i))
        .min_by(|a, b| a.partial_cmp(b).expect("no NaN"))
        .expect("a row");
    let d = reach.max(model.row_distances[t]);
    let mut cluster = Some(model.row_clusters[t]);
    while let Some(c) = cluster.filter(|&c| model.starts[c] < d) {
        cluster = model.parents[c];
    }
    let label = model.cluster_labels[cluster.unwrap_or(0)];
    if label < 0 || d > model.outer[label as usize] {
        return (-1, 0.0);
    }
    let inner = model.inner[label as usize];
    (label, if d == 0.0 { 1.0 } else { inner / inner.max(d) })
}

#[test]
fn new_rows_as_if_all_train_rows_were_asked() {
    for (rows, columns) in [(400, 2), (400, 14)] {
        let data = blobs(31, rows, columns, 3);
        let new = blobs(31, rows + 50, columns, 3);
        let model = fitted(&data, rows, Setting { min_cluster_size: 8, min_samples: 4, ..USUAL });
        let (labels, strengths) = predicted(&model, &new, rows + 50);
        let mut noise = 0;
        for i in 0..rows + 50 {
            let (label, strength) = predicted_by_all(&model, &data, rows, &row(&new, rows + 50, i));
            assert_eq!(labels[i], label, "row {i}");
            close(strengths[i], strength, "strength");
            noise += usize::from(label == -1);
        }
        assert!(noise > 10 && noise < rows, "{noise} of {rows}");
    }
}

#[test]
fn units_and_offsets_do_not_matter() {
    let rows = 500;
    let data: Vec<f64> = blobs(41, rows, 3, 3).iter().map(|x| (x * 4096.0).round() / 4096.0).collect();
    let model = fitted(&data, rows, USUAL);
    let far = fitted(&data.iter().map(|x| x + 1e8).collect::<Vec<_>>(), rows, USUAL);
    assert_eq!((&far.labels, &far.strengths), (&model.labels, &model.strengths));
    for power in [-900, 900] {
        let unit = 2.0_f64.powi(power);
        let other = fitted(&data.iter().map(|x| x * unit).collect::<Vec<_>>(), rows, USUAL);
        assert_eq!((&other.labels, &other.strengths), (&model.labels, &model.strengths));
        close(other.cores[7] / unit, model.cores[7], "core distance");
    }
    // distances so small that one over them is no number
    let least: Vec<f64> =
        (0..60).map(|i| f64::from_bits((i % 10 * i % 7) as u64 + if i < 30 { 0 } else { 50 })).collect();
    let tiny = fitted(&least, 60, Setting { min_samples: 6, ..USUAL });
    assert!(!tiny.sizes.is_empty() && tiny.persistence.iter().all(|of| (0.0..=1.0).contains(of)), "{tiny:?}");
    let of = |data: &[f64], scaling| fit(Matrix::new(data, rows, 3), &params(USUAL, scaling), &pool(1)).expect("a fit");
    let units: Vec<f64> = data.iter().enumerate().map(|(at, x)| x * [1.0, 1024.0, 0.125][at / rows]).collect();
    for scaling in [Scaling::Standard, Scaling::Robust] {
        assert_eq!(of(&units, scaling).labels, of(&data, scaling).labels);
    }
    // centres are means of the readings
    let scaled = of(&data, Scaling::Standard);
    for label in 0..scaled.sizes.len() {
        for j in 0..3 {
            let members = (0..rows).filter(|&i| scaled.labels[i] == label as i64).map(|i| data[j * rows + i]);
            close(scaled.centers[label * 3 + j], members.sum::<f64>() / scaled.sizes[label] as f64, "centre");
        }
    }
}

#[test]
fn what_cannot_be_fitted() {
    let x = clusters(1, 10, 2, 1, 1.0);
    let of = |min_samples| params(Setting { min_samples, ..USUAL }, Scaling::None);
    let fails = |data: &[f64], rows, min_samples| {
        fit(Matrix::new(data, rows, 2), &of(min_samples), &pool(1)).expect_err("no fit")
    };
    assert_eq!(fails(&x, 10, 10), Error::FewRows { rows: 10, min_samples: 10 });
    assert_eq!(fails(&[], 0, 1), Error::FewRows { rows: 0, min_samples: 1 });
    assert!(fit(Matrix::new(&x, 10, 2), &of(9), &pool(1)).is_ok());
    for wrong in [
        Params::new(1, 1, 0.0, Method::Mass, false, Scaling::None),
        Params::new(2, 0, 0.0, Method::Mass, false, Scaling::None),
        Params::new(2, 1, -1.0, Method::Mass, false, Scaling::None),
        Params::new(2, 1, f64::NAN, Method::Mass, false, Scaling::None),
    ] {
        assert!(wrong.is_err());
    }
}
