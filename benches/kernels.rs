//! Time per row of every kernel. The data is a random walk with noise, as a sensor that drifts; 5 % missing readings where the id
//! says so. Other crates race where they have the same: linfa's k-means and mixtures, petal-clustering's HDBSCAN.
//! `cargo bench --no-default-features -- rolling/median` runs some of them, `-- --test` only checks.

use std::hint::black_box;

use acm_rs::kernels::detectors::Score;
use acm_rs::kernels::detectors::ar1::{self, Fuse, Measure, Scratch, fuse};
use acm_rs::kernels::detectors::cusum::{self, State, Subject, cusum, ewma};
use acm_rs::kernels::detectors::gmm::{self, Covariance};
use acm_rs::kernels::detectors::isolation_forest::{self, Scorer};
use acm_rs::kernels::detectors::pca::{self, Pca};
use acm_rs::kernels::detectors::scaling::{Scale, Scaling};
use acm_rs::kernels::features::correlation::matrix::{pearson, spearman};
use acm_rs::kernels::features::correlation::rolling::{self, Pairwise, Reduce};
use acm_rs::kernels::features::rolling::{Plan, Source, Statistic, evaluate};
use acm_rs::kernels::features::seasonal::{Clock, Periods, Seasons, offsets, subtract};
use acm_rs::kernels::features::spectrum::Spectrum;
use acm_rs::kernels::linalg::eigen;
use acm_rs::kernels::linalg::gram::Gram;
use acm_rs::kernels::matrix::{Matrix, TILE_ROWS, Tile};
use acm_rs::kernels::params::{Bands, Span, Window};
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::kmeans::{self, Nearest, Output};
use acm_rs::kernels::regimes::smoothing::{About, Kinds, join_short_runs, mode_filter};
use acm_rs::kernels::regimes::{hdbscan, silhouette, transients};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_clustering::GaussianMixtureModel;
use petal_clustering::{Fit as _, HDbscan};

const ROWS: usize = 10_000;

/// A seeded random walk plus noise; `missing` in percent.
fn series(rows: usize, missing: u64) -> Vec<f64> {
    series_of(rows, missing, 42)
}

fn series_of(rows: usize, missing: u64, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut level = 0.0;
    (0..rows)
        .map(|_| {
            let uniform = |v: u64| v as f64 / (1_u64 << 31) as f64 - 0.5;
            level += 0.1 * uniform(next());
            let v = level + uniform(next());
            if next() % 100 < missing { f64::NAN } else { v }
        })
        .collect()
}

fn all_features() -> Vec<Statistic> {
    vec![
        Statistic::Median,
        Statistic::Mad { scale: 1.0 },
        Statistic::Mean,
        Statistic::Std { ddof: 1 },
        Statistic::Slope,
        Statistic::Skew { bias: false, clip: f64::INFINITY },
        Statistic::Kurtosis { bias: false, clip: f64::INFINITY },
        Statistic::Energy(0),
        Statistic::Energy(1),
        Statistic::Energy(2),
        Statistic::RobustZ { clip: 100.0, scale_floor: 0.0 },
    ]
}

fn plan(statistics: &[Statistic], w: usize) -> Plan {
    let window = Window::rows(w, 1).expect("a window of at least one row");
    let plan = Plan::new(window, statistics.to_vec());
    let bands = Bands::new(&[(0.0, 0.05), (0.05, 0.15), (0.15, 0.5)], 1.0).expect("bands below 0.5 Hz");
    if statistics.iter().any(|s| matches!(s, Statistic::Energy(_))) {
        plan.with_spectrum(bands, 2.max(w / 2)).expect("a window of rows")
    } else {
        plan
    }
}

fn rolling(c: &mut Criterion) {
    let energies: Vec<Statistic> = (0..3).map(Statistic::Energy).collect();
    let cases: Vec<(&str, Vec<Statistic>, Vec<usize>)> = vec![
        ("median", vec![Statistic::Median], vec![16, 64, 128, 160, 256, 1024]),
        ("mad", vec![Statistic::Mad { scale: 1.0 }], vec![16, 64, 256, 1024]),
        ("mean", vec![Statistic::Mean], vec![16, 256]),
        ("std", vec![Statistic::Std { ddof: 1 }], vec![16, 256]),
        ("skew", vec![Statistic::Skew { bias: false, clip: f64::INFINITY }], vec![16]),
        ("slope", vec![Statistic::Slope], vec![16, 256]),
        ("spectral_energy", energies, vec![16, 64, 256]),
        ("features", all_features(), vec![16, 64, 256]),
    ];
    let mut group = c.benchmark_group("rolling");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS as u64));
    for missing in [0, 5] {
        let x = series(ROWS, missing);
        for (name, statistics, windows) in &cases {
            for &w in windows {
                let plan = plan(statistics, w);
                let results = evaluate(&x, None, &plan);
                assert_eq!(results.len(), statistics.len());
                assert!(results.iter().all(|r| r.len() == ROWS && r[w..].iter().all(|v| v.is_finite() || missing > 0)));
                let id = BenchmarkId::new(*name, format!("n={ROWS}/w={w}/missing={missing}%"));
                group.bench_function(id, |b| b.iter(|| evaluate(black_box(&x), None, &plan)));
            }
        }
    }
    group.finish();
}

/// A length of small factors, a power of two, a prime, and a prime whose predecessor is twice a prime.
fn spectrum(c: &mut Criterion) {
    let mut group = c.benchmark_group("spectrum");
    for n in [10_000, 8_192, 10_007, 10_163] {
        let x = series(n, 0);
        let (mut spectrum, mut readings) = (Spectrum::default(), x.clone());
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("powers", format!("n={n}")), |b| {
            b.iter(|| {
                readings.copy_from_slice(black_box(&x));
                spectrum.powers(&mut readings, None).map(|powers| powers[1])
            })
        });
        assert!(spectrum.take_powers().iter().all(|power| power.is_finite()));
    }
    group.finish();
}

fn seasonal(c: &mut Criterion) {
    const HOUR: i64 = 3_600_000_000_000;
    let periods = Periods::new(&[24 * HOUR, 168 * HOUR], HOUR).expect("a day and a week of hours");
    let times: Vec<i64> = (0..50_000).map(|row| row * HOUR / 2).collect();
    let clock = Clock::new(&periods, &times);
    let mut group = c.benchmark_group("seasonal");
    group.throughput(Throughput::Elements(times.len() as u64));
    group.bench_function("clock", |b| b.iter(|| Clock::new(&periods, black_box(&times))));
    for missing in [0, 5] {
        let (x, mut seasons) = (series(times.len(), missing), Seasons::default());
        let patterns = seasons.fit(&x, missing > 0, &clock, 3);
        assert!(patterns.iter().all(|pattern| pattern.confidence.is_finite()));
        group.bench_function(BenchmarkId::new("fit", format!("missing={missing}%")), |b| {
            b.iter(|| seasons.fit(black_box(&x), missing > 0, &clock, 3))
        });
        let (offsets, mut readings) = (offsets(&patterns, &periods, 0.0), x.clone());
        group.bench_function(BenchmarkId::new("subtract", format!("missing={missing}%")), |b| {
            b.iter(|| {
                readings.copy_from_slice(black_box(&x));
                subtract(&mut readings, &clock, &offsets);
            })
        });
    }
    group.finish();
}

/// On one thread.
fn correlations(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut group = c.benchmark_group("correlation");
    group.sample_size(20);
    for missing in [0, 5] {
        let columns: Vec<Vec<f64>> = (0..24).map(|k| series_of(ROWS, missing, k)).collect();
        let views: Vec<&(dyn Source + Sync)> = columns.iter().map(|column| column as &(dyn Source + Sync)).collect();
        for w in [4, 16, 256] {
            let id = |name| BenchmarkId::new(name, format!("n={ROWS}/w={w}/missing={missing}%"));
            group.throughput(Throughput::Elements(ROWS as u64));
            let pair = || rolling::evaluate(black_box(&columns[0]), &columns[1], w, 2, 0);
            assert!(pair().iter().all(|r| r.is_nan() || r.abs() <= 1.0));
            group.bench_function(id("rolling_corr"), |b| b.iter(pair));
            let all = Pairwise { columns: &columns, window_size: w, min_samples: 2, max_lag: 3, unique: true };
            let results = all.reduce(&pool, Reduce::Farthest).len();
            assert_eq!(results, 24 * 23 / 2 * 4);
            group.throughput(Throughput::Elements((ROWS * results) as u64));
            group.bench_function(id("pairwise_lag_corr"), |b| b.iter(|| all.reduce(&pool, Reduce::Farthest)));
        }
        let id = |name| BenchmarkId::new(name, format!("n={ROWS}/p=24/missing={missing}%"));
        group.throughput(Throughput::Elements((ROWS * 24) as u64));
        assert!(pearson(&pool, &views).iter().all(|r| r.abs() <= 1.0));
        group.bench_function(id("pearson"), |b| b.iter(|| pearson(&pool, black_box(&views))));
        group.bench_function(id("spearman"), |b| b.iter(|| spearman(&pool, black_box(&views))));
    }
    group.finish();
}

/// On one thread.
fn detectors(c: &mut Criterion) {
    let mut group = c.benchmark_group("ar1");
    for missing in [0, 5] {
        let id = |name| BenchmarkId::new(name, format!("n={ROWS}/missing={missing}%"));
        let (x, mut scratch, mut out) = (series(ROWS, missing), Scratch::default(), vec![0.0; ROWS]);
        let rule = ar1::Rule::new(0.999, 1e-6, false).expect("a rule");
        let model = ar1::fit(&x, &rule, &mut scratch);
        assert!(model.phi > 0.5 && model.phi < 1.0);
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function(id("fit"), |b| b.iter(|| ar1::fit(black_box(&x), &rule, &mut scratch)));
        group.bench_function(id("z"), |b| b.iter(|| model.score_series(Measure::Z, black_box(&x), &mut out)));
        let (z, mut scratch, mut out) = (series(50 * ROWS, missing), <[Vec<f64>; 2]>::default(), vec![0.0; ROWS]);
        group.throughput(Throughput::Elements(z.len() as u64));
        for (name, how) in [("fuse mean", Fuse::Mean), ("fuse median", Fuse::Median), ("fuse p95", Fuse::P95)] {
            group.bench_function(id(name), |b| b.iter(|| fuse(how, black_box(&z), &mut scratch, &mut out)));
        }
    }
    group.finish();
    let mut group = c.benchmark_group("cusum");
    let columns: Vec<Vec<f64>> = (0..8).map(|k| series_of(ROWS, 5, k)).collect();
    let rule = cusum::Rule::new(0.5, 5.0, false).expect("a rule");
    for p in [1, 8] {
        let subjects: Vec<Subject> =
            columns[..p].iter().map(|x| Subject { x, center: 0.0, scale: 1.0, state: State::default() }).collect();
        group.throughput(Throughput::Elements((p * ROWS) as u64));
        group.bench_function(BenchmarkId::new("cusum", format!("n={ROWS}/p={p}")), |b| {
            b.iter(|| cusum(black_box(&subjects), &rule))
        });
    }
    let mut out = Vec::new();
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("ewma", |b| b.iter(|| ewma(black_box(&columns[0]), 0.3, f64::NAN, &mut out)));
    group.finish();
}

fn isolation_forests(c: &mut Criterion) {
    const COLUMNS: usize = 50;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let data: Vec<f64> = (0..COLUMNS as u64).flat_map(|k| series_of(ROWS, 0, k)).collect();
    let matrix = Matrix::new(&data, ROWS, COLUMNS);
    let mut tile = Tile::default();
    tile.resize(TILE_ROWS, COLUMNS);
    (0..COLUMNS).for_each(|j| tile.column_mut(j).copy_from_slice(&matrix.column(j)[..TILE_ROWS]));
    let (mut scratch, mut out) = (Vec::new(), vec![0.0; TILE_ROWS]);
    let mut group = c.benchmark_group("isolation_forest");
    group.sample_size(20);
    for max_samples in [256, 2048] {
        let id = |name| BenchmarkId::new(name, format!("p={COLUMNS}/trees=200/psi={max_samples}"));
        let plan = isolation_forest::Plan::new(200, max_samples, false, 17).expect("a plan");
        let fit = || isolation_forest::fit(black_box(matrix), &plan, &pool).expect("a forest");
        group.throughput(Throughput::Elements(200));
        group.bench_function(id("fit"), |b| b.iter(fit));
        let scorer = Scorer::new(&fit(), COLUMNS).expect("a forest");
        group.throughput(Throughput::Elements(TILE_ROWS as u64));
        group.bench_function(id("score"), |b| b.iter(|| scorer.score(black_box(&tile), &mut scratch, &mut out)));
        scorer.score(&tile, &mut scratch, &mut out); // a filter may have left the bench out
        assert!(out.iter().all(|s| *s > 0.2 && *s < 0.9));
    }
    group.finish();
}

/// Rows of readings as linfa takes them.
fn records(data: &[f64], rows: usize) -> DatasetBase<ndarray::Array2<f64>, ndarray::Array1<()>> {
    let shape = (rows, data.len() / rows);
    DatasetBase::from(ndarray::Array2::from_shape_fn(shape, |(i, j)| data[j * rows + i]))
}

/// Whole fits, on one thread. linfa ends by the same rules; its mixtures start from the best of ten k-means, ours from one.
fn mixtures(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let columns: Vec<f64> = (0..105).flat_map(|j| series_of(ROWS, 0, j)).collect();
    let matrix = |p: usize| Matrix::new(&columns[..ROWS * p], ROWS, p);
    let mut group = c.benchmark_group("mixtures");
    group.sample_size(10);
    for p in [10, 50] {
        let params = kmeans::Params::new(4, 10, 300, 1e-4, 42).expect("valid parameters");
        let fit = || kmeans::fit(black_box(matrix(p)), &params, None, &pool).expect("a fit");
        assert!(fit().converged);
        group.bench_function(BenchmarkId::new("kmeans", format!("n={ROWS}/p={p}/k=4")), |b| b.iter(fit));
        let records = records(&columns[..ROWS * p], ROWS);
        let variance = records.records().var_axis(ndarray::Axis(0), 0.0).mean().expect("a column");
        let linfa = linfa_clustering::KMeans::params(4).n_runs(10).tolerance((1e-4 * variance).sqrt());
        let fit = || pool.install(|| linfa.fit(black_box(&records)).expect("a fit"));
        group.bench_function(BenchmarkId::new("kmeans of linfa", format!("n={ROWS}/p={p}/k=4")), |b| b.iter(fit));
    }
    for (p, covariance) in [(105, Covariance::Diagonal), (10, Covariance::Full)] {
        let params = gmm::Params::new((3, 3), covariance, Scaling::Robust, 1, 100, 1e-3, 1e-3, 42);
        let params = params.expect("valid parameters");
        let fit = || gmm::fit(black_box(matrix(p)), &params, None, &pool).expect("a fit");
        assert!(fit().log_likelihood.is_finite());
        group.bench_function(BenchmarkId::new(format!("gmm/{covariance:?}"), format!("n={ROWS}/p={p}/k=3")), |b| {
            b.iter(fit)
        });
        if covariance == Covariance::Full {
            let scale = Scale::fit(matrix(p), Scaling::Robust, &pool);
            let mut scaled = vec![0.0; ROWS * p];
            scaled.chunks_exact_mut(ROWS).enumerate().for_each(|(j, z)| scale.convert(j, matrix(p).column(j), z));
            let records = records(&scaled, ROWS);
            let linfa = GaussianMixtureModel::params(3).reg_covariance(1e-3).tolerance(1e-3);
            let fit = || pool.install(|| linfa.fit(black_box(&records)).expect("a fit"));
            group.bench_function(BenchmarkId::new("gmm of linfa/Full", format!("n={ROWS}/p={p}/k=3")), |b| b.iter(fit));
        }
    }
    group.finish();
}

/// On one thread.
fn components(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let data: Vec<f64> = (0..500).flat_map(|j| series_of(ROWS, 0, j)).collect();
    let mut group = c.benchmark_group("pca");
    group.sample_size(10);
    for p in [50, 500] {
        let matrix = Matrix::new(&data[..ROWS * p], ROWS, p);
        let id = |name| BenchmarkId::new(name, format!("n={ROWS}/p={p}/k=5"));
        let (center, factor) = (vec![0.0; p], vec![1.0; p]);
        let gram = || Gram::new(&pool, black_box(matrix), &center, &factor);
        group.bench_function(id("gram"), |b| b.iter(gram));
        let products = gram().about_means();
        group.bench_function(id("eigen"), |b| b.iter(|| eigen::leading(black_box(&products), p, 5)));
        for (name, scale) in [("fit none", pca::Scale::None), ("fit robust", pca::Scale::Robust)] {
            let fit = || Pca::fit(&pool, black_box(matrix), 5, scale, 0.99).expect("a model");
            group.bench_function(id(name), |b| b.iter(fit));
        }
        let model = Pca::fit(&pool, matrix, 5, pca::Scale::Robust, 0.99).expect("a model");
        let mut tile = Tile::default();
        tile.resize(TILE_ROWS, p);
        (0..p).for_each(|j| tile.column_mut(j).copy_from_slice(&matrix.column(j)[..TILE_ROWS]));
        let scorer = pca::Scorer::new(&model, pca::Statistic::Scores(0), true);
        let (mut scratch, mut out) = (Vec::new(), vec![0.0; 2 * TILE_ROWS]);
        group.bench_function(id("spe and t2 of a tile"), |b| {
            b.iter(|| scorer.score(black_box(&tile), &mut scratch, &mut out));
        });
        assert!(out.iter().all(|v| v.is_finite()));
    }
    group.finish();
}

/// Clusters and their silhouettes, on one thread.
fn clusters(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut group = c.benchmark_group("clusters");
    group.sample_size(10);
    for (rows, p) in [(ROWS, 10), (ROWS, 50), (10 * ROWS, 3)] {
        // the sum of twelve is nearly normal
        let mut random = Stream::new(42, 0);
        let mut noise = || (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0;
        let centers: Vec<f64> = (0..4 * p).map(|_| 4.0 * noise()).collect();
        let data: Vec<f64> = (0..rows * p).map(|at| centers[at % rows % 4 * p + at / rows] + noise()).collect();
        let params = hdbscan::Params::new(50, 10, 0.0, hdbscan::Method::Mass, false, Scaling::None);
        let params = params.expect("valid parameters");
        let fit = || hdbscan::fit(Matrix::new(black_box(&data), rows, p), &params, &pool).expect("a fit");
        assert_eq!(fit().sizes.len(), 4);
        group.bench_function(BenchmarkId::new("hdbscan", format!("n={rows}/p={p}")), |b| b.iter(fit));
        if (rows, p) == (ROWS, 10) {
            let points = ndarray_petal::Array2::from_shape_fn((rows, p), |(i, j)| data[j * rows + i]);
            for (name, boruvka) in [("boruvka", true), ("prim", false)] {
                // a row is one of its own neighbours
                let (min_samples, min_cluster_size) = (11, 50);
                let mut petal = HDbscan { min_samples, min_cluster_size, boruvka, ..HDbscan::default() };
                let mut fit = || pool.install(|| petal.fit(black_box(&points), None).0.len());
                let id = BenchmarkId::new(format!("hdbscan of petal/{name}"), format!("n={rows}/p={p}"));
                group.bench_function(id, |b| b.iter(&mut fit));
            }
        }
        let labels: Vec<Option<u32>> = (0..rows).map(|i| Some((i % 4) as u32)).collect();
        for metric in [silhouette::Metric::Euclidean, silhouette::Metric::Squared] {
            if rows > ROWS && metric == silhouette::Metric::Euclidean {
                continue; // seconds
            }
            let params = silhouette::Params::new(metric, Scaling::None, 1.0, None).expect("valid parameters");
            let mean = || silhouette::mean(black_box(&data).clone(), &labels, &params, &pool);
            assert!(mean() > 0.5);
            group.bench_function(BenchmarkId::new(format!("silhouette/{metric:?}"), format!("n={rows}/p={p}")), |b| {
                b.iter(mean)
            });
        }
    }
    group.finish();
}

/// Labels that follow the level of the series, and those of the nearest of four centres.
fn labels(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let columns: Vec<Vec<f64>> = (0..10).map(|j| series_of(ROWS, 0, j)).collect();
    let labels: Vec<u32> = columns[0].iter().map(|v| (v.abs() * 2.0).min(3.0) as u32).collect();
    let kinds = Kinds { ranks: vec![0; 4], unknown: None };
    let mut group = c.benchmark_group("labels");
    group.throughput(Throughput::Elements(ROWS as u64));
    for window in [7, 1001] {
        let about = About::new(window, None).expect("a window");
        group.bench_function(BenchmarkId::new("mode filter", format!("n={ROWS}/w={window}")), |b| {
            b.iter(|| mode_filter(black_box(&mut labels.clone()), about, 1, true, &kinds));
        });
    }
    group.bench_function(BenchmarkId::new("short runs", format!("n={ROWS}/dwell=15")), |b| {
        b.iter(|| join_short_runs(black_box(&mut labels.clone()), Span::Rows(15), None, &kinds));
    });
    let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let rule = transients::Rule::new(5, 3.0, 5.0, 3, vec![1.0; views.len()]).expect("a rule");
    group.bench_function(BenchmarkId::new("transient states", format!("n={ROWS}/p=10")), |b| {
        b.iter(|| transients::states(black_box(&views), Some(&labels), &rule, &pool));
    });
    let scale = Scale { center: vec![0.0; 10], scale: vec![1.0; 10] };
    let centers: Vec<f64> = (0..4).flat_map(|row| views.iter().map(move |x| x[row * 2000])).collect();
    let mut tile = Tile::default();
    tile.resize(TILE_ROWS, 10);
    (0..10).for_each(|j| tile.column_mut(j).copy_from_slice(&columns[j][..TILE_ROWS]));
    let nearest = Nearest::new(&scale, &centers, Output::Label);
    let (mut scratch, mut out) = (Vec::new(), vec![f64::NAN; TILE_ROWS]);
    group.throughput(Throughput::Elements(TILE_ROWS as u64));
    group.bench_function(BenchmarkId::new("nearest centre of a tile", "p=10/k=4"), |b| {
        b.iter(|| nearest.score(black_box(&tile), &mut scratch, &mut out));
    });
    nearest.score(&tile, &mut scratch, &mut out); // a filter may have left the bench out
    assert!(out.iter().all(|label| *label < 4.0));
    group.finish();
}

criterion_group!(
    benches,
    rolling,
    spectrum,
    seasonal,
    correlations,
    detectors,
    isolation_forests,
    mixtures,
    components,
    clusters,
    labels
);
criterion_main!(benches);
