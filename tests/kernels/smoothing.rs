//! Labels without flicker: by hand, twins straight from the definition, and what must hold of any result.

use acm_rs::kernels::params::Span;
use acm_rs::kernels::random::Stream;
use acm_rs::kernels::regimes::MISSING;
use acm_rs::kernels::regimes::smoothing::{About, Kinds, join_short_runs, mode_filter};

fn plain(kinds: usize) -> Kinds {
    Kinds { ranks: vec![0; kinds], unknown: None }
}

fn filtered(labels: &[u32], about: About<'_>, passes: usize, preserve: bool, kinds: &Kinds) -> Vec<u32> {
    let mut out = labels.to_vec();
    mode_filter(&mut out, about, passes, preserve, kinds);
    out
}

fn joined(labels: &[u32], min_dwell: Span, times: Option<&[i64]>, kinds: &Kinds) -> Vec<u32> {
    let mut out = labels.to_vec();
    join_short_runs(&mut out, min_dwell, times, kinds);
    out
}

const M: u32 = MISSING;

#[test]
fn modes_by_hand() {
    let about = About::new(3, None).expect("a window");
    let labels = [0, 0, 0, 0, 0, 1, 2, 1, 2, 2, 2, 2, 2, 2];
    let once = [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2];
    let thrice = [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2];
    assert_eq!(filtered(&labels, about, 1, true, &plain(3)), once);
    assert_eq!(filtered(&labels, about, 3, true, &plain(3)), [0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(filtered(&labels, About::new(7, None).expect("a window"), 3, true, &plain(3)), thrice);
    // the first and the last label count once more beyond the ends
    assert_eq!(filtered(&[1, 0, 0, 2, 1], about, 1, true, &plain(3)), [1, 0, 0, 0, 1]);
    // missing rows stay and have no vote
    assert_eq!(filtered(&[M, 1, M, 0, M], about, 1, true, &plain(2)), [M, 1, M, 0, M]);
    assert_eq!(filtered(&[M, M], about, 1, true, &plain(0)), [M, M]);
    // where the unknown label wins, the row keeps its own; unknown rows learn one unless they are to stay
    let unknown = Kinds { ranks: vec![0; 3], unknown: Some(0) };
    assert_eq!(filtered(&[0, 1, 0, 0, 2, 2, 0, 2, 2], about, 1, true, &unknown), [0, 1, 0, 0, 2, 2, 0, 2, 2]);
    assert_eq!(filtered(&[0, 1, 0, 0, 2, 2, 0, 2, 2], about, 1, false, &unknown), [0, 1, 0, 0, 2, 2, 2, 2, 2]);
    // of equal votes the lower rank
    let ranked = Kinds { ranks: vec![2, 0, 1], unknown: None };
    assert_eq!(filtered(&[0, 1, 2, 0], about, 1, true, &ranked), [0, 1, 1, 0]);
    assert_eq!(filtered(&[0, 1, 2, 0], about, 1, true, &plain(3)), [0, 0, 0, 0]);
    // a window of time ends with the series, and holds all rows of one time
    let times = [0, 10, 20, 20, 100];
    let about = About::new(20, Some(&times)).expect("a window");
    assert_eq!(filtered(&[1, 0, 2, 2, 0], about, 1, true, &plain(3)), [0, 2, 2, 2, 0]);
    for (size, times, text) in [
        (4, None, "`window_size` must be odd and >= 3, so that the row is in the middle, got 4"),
        (1, None, "`window_size` must be odd and >= 3, so that the row is in the middle, got 1"),
        (0, Some(&times[..]), "`window_size` must be longer than zero, got 0 ns"),
    ] {
        assert_eq!(About::new(size, times).expect_err("an error").to_string(), text);
    }
}

/// The definition, a count for every row.
fn naive_filter(labels: &[u32], about: About<'_>, passes: usize, preserve: bool, kinds: &Kinds) -> Vec<u32> {
    let n = labels.len() as i64;
    let mut now = labels.to_vec();
    for _ in 0..passes {
        let winner = |i: usize| {
            let window: Vec<u32> = match about {
                About::Rows(half) => {
                    let half = half as i64;
                    (i as i64 - half..=i as i64 + half).map(|p| now[p.clamp(0, n - 1) as usize]).collect()
                }
                About::Time(times, reach) => (0..now.len())
                    .filter(|&j| (i128::from(times[j]) - i128::from(times[i])).abs() <= i128::from(reach))
                    .map(|j| now[j])
                    .collect(),
            };
            let votes = |label: u32| window.iter().filter(|&&l| l == label).count() as i64;
            let winner = (0..kinds.ranks.len() as u32)
                .min_by_key(|&label| (-votes(label), kinds.ranks[label as usize], label))
                .expect("a label");
            if now[i] == MISSING || Some(winner) == kinds.unknown { now[i] } else { winner }
        };
        now = (0..now.len()).map(winner).collect();
    }
    if preserve {
        for (label, before) in now.iter_mut().zip(labels) {
            *label = if Some(*before) == kinds.unknown { *before } else { *label };
        }
    }
    now
}

/// Labels that mostly stay, some of them missing.
fn draw(random: &mut Stream, n: usize, kinds: usize) -> Vec<u32> {
    let stay = random.uniform();
    let mut label = random.below(kinds) as u32;
    (0..n)
        .map(|_| {
            if random.uniform() > stay {
                label = random.below(kinds) as u32;
            }
            if random.below(12) == 0 { MISSING } else { label }
        })
        .collect()
}

fn draw_kinds(random: &mut Stream, kinds: usize) -> Kinds {
    Kinds {
        ranks: (0..kinds).map(|_| random.below(3) as u32).collect(),
        unknown: (random.below(2) == 0).then(|| random.below(kinds) as u32),
    }
}

fn draw_times(random: &mut Stream, n: usize) -> Vec<i64> {
    let mut time = if random.below(2) == 0 { i64::MIN } else { 5 };
    (0..n)
        .map(|_| {
            time += random.below(4) as i64;
            time
        })
        .collect()
}

#[test]
fn modes_as_the_twin() {
    let mut random = Stream::new(3, 0);
    for n in (0..12).chain([30, 100]) {
        for _ in 0..150 {
            let kinds = 1 + random.below(5) * random.below(9);
            let (labels, kinds) = (draw(&mut random, n, kinds), draw_kinds(&mut random, kinds));
            let times = draw_times(&mut random, n);
            let (passes, preserve) = (1 + random.below(3), random.below(2) == 0);
            for about in [
                About::Rows(1 + random.below(6)),
                About::Rows(n + random.below(2 * n + 2)),
                About::Time(&times, random.below(12) as i64),
                About::Time(&times, i64::MAX),
            ] {
                let got = filtered(&labels, about, passes, preserve, &kinds);
                let expected = naive_filter(&labels, about, passes, preserve, &kinds);
                assert_eq!(got, expected, "{about:?} {passes} {preserve} {kinds:?}\n{labels:?}");
            }
        }
    }
    // rows beyond all bounds
    assert_eq!(filtered(&[2, 1, 1, 0], About::Rows(usize::MAX), 1, true, &plain(3)), [2, 2, 0, 0]);
}

#[test]
fn runs_by_hand() {
    let rows = Span::Rows;
    let runs = |parts: &[(u32, usize)]| -> Vec<u32> {
        parts.iter().flat_map(|&(label, rows)| std::iter::repeat_n(label, rows)).collect()
    };
    let plain = plain(4);
    let series = runs(&[(0, 10), (1, 3), (2, 3), (0, 10)]);
    assert_eq!(joined(&series, rows(5), None, &plain), [0; 26]);
    assert_eq!(joined(&series, rows(3), None, &plain), series);
    // the longer neighbour; the one before if they are equal
    assert_eq!(joined(&runs(&[(0, 5), (1, 2), (2, 6)]), rows(3), None, &plain), runs(&[(0, 5), (2, 8)]));
    assert_eq!(joined(&runs(&[(0, 5), (1, 2), (2, 5)]), rows(3), None, &plain), runs(&[(0, 7), (2, 5)]));
    // a run that was joined counts with all its rows
    assert_eq!(joined(&runs(&[(1, 2), (2, 4), (3, 3)]), rows(5), None, &plain), [2; 9]);
    // what a short run kept apart comes together, and is long enough then
    assert_eq!(
        joined(&runs(&[(3, 9), (0, 4), (1, 1), (0, 5), (2, 9)]), rows(4), None, &plain),
        runs(&[(3, 9), (0, 10), (2, 9)])
    );
    // unknown runs stay and are no neighbours, missing rows are skipped
    let unknown = Kinds { ranks: vec![0; 4], unknown: Some(0) };
    assert_eq!(joined(&[0, 1, 0, 0, 2, 3, 3], rows(3), None, &unknown), [0, 1, 0, 0, 3, 3, 3]);
    assert_eq!(joined(&[1, M, 1, 2, M, M, 1, 1], rows(2), None, &plain), [1, M, 1, 1, M, M, 1, 1]);
    assert_eq!(joined(&[M, M], rows(2), None, &plain), [M, M]);
    assert_eq!(joined(&[1, 1], rows(5), None, &plain), [1, 1]);
    // the lower rank before the longer one
    let ranked = Kinds { ranks: vec![1, 1, 0, 1], unknown: None };
    assert_eq!(joined(&runs(&[(0, 9), (1, 2), (2, 4)]), rows(3), None, &ranked), runs(&[(0, 9), (2, 6)]));
    // the time of a run is from its first to its last row: two rows span one step
    let times: Vec<i64> = (0..9).map(|i| 10 * i).collect();
    let series = runs(&[(0, 4), (1, 2), (2, 3)]);
    assert_eq!(joined(&series, Span::Duration(10), Some(&times), &plain), series);
    assert_eq!(joined(&series, Span::Duration(11), Some(&times), &plain), runs(&[(0, 6), (2, 3)]));
}

#[test]
fn no_run_is_short_in_the_end() {
    let mut random = Stream::new(4, 0);
    for round in 0..4000 {
        let (n, count) = (random.below(40), 1 + random.below(5));
        let (labels, kinds) = (draw(&mut random, n, count), draw_kinds(&mut random, count));
        let times = draw_times(&mut random, n);
        let least = 1 + random.below(6);
        let (span, times) =
            if round % 2 == 0 { (Span::Rows(least), None) } else { (Span::Duration(least as i64), Some(&times[..])) };
        let got = joined(&labels, span, times, &kinds);
        let input = format!("{span:?} {times:?} {kinds:?}\n{labels:?}\n{got:?}");
        let known: Vec<usize> = (0..n).filter(|&i| labels[i] != MISSING).collect();
        for i in 0..n {
            assert_eq!(labels[i] == MISSING, got[i] == MISSING, "{input}");
            let unknown = |label: u32| Some(label) == kinds.unknown;
            assert_eq!(unknown(labels[i]), unknown(got[i]), "{input}");
        }
        let runs: Vec<&[usize]> = known.chunk_by(|&a, &b| got[a] == got[b]).collect();
        for (r, run) in runs.iter().enumerate() {
            let label = got[run[0]];
            let short = match times {
                None => run.len() < least,
                Some(times) => times[run[run.len() - 1]] - times[run[0]] < least as i64,
            };
            let has_neighbour = [r.checked_sub(1), Some(r + 1)]
                .into_iter()
                .flatten()
                .filter_map(|r| runs.get(r))
                .any(|other| Some(got[other[0]]) != kinds.unknown);
            assert!(!short || Some(label) == kinds.unknown || !has_neighbour, "run {r}: {input}");
            // a label comes from a neighbour: it was there in the run or next to it
            assert!(run.iter().any(|&i| labels[i] == label), "run {r}: {input}");
        }
        assert_eq!(joined(&got, span, times, &kinds), got, "again: {input}");
    }
}
