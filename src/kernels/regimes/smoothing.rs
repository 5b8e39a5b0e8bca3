//! Labels without flicker.
//!
//! [`mode_filter`]: each row takes the most frequent label of the window about it. Windows of rows go beyond both ends of the
//! series, where the first and the last label are repeated; windows of time do not. Ties go to the label of the lowest
//! rank, then to the smallest. Where the unknown label wins, the row keeps its own.
//!
//! [`join_short_runs`]: runs of equal labels that are shorter than a dwell join the run before or the run after them: the one
//! of the lower rank, then the longer one in rows, then the one before. From left to right, and a run that was joined counts
//! with all its rows: in the end no run is short unless it has no neighbour. Unknown runs stay and are no neighbours. The
//! dwell of a run is its number of rows, or the time from its first to its last row.
//!
//! Rows without a label stay so: they have no vote, and the labels on both sides of them are neighbours.
//!
//! Cost: of a window two votes per row, and a count of all kinds of labels or of the window, whichever is less, where the
//! winner loses a vote; of runs one pass.

use super::MISSING;
use crate::kernels::params::{ParamError, Span, check};

/// What labels are beside their codes.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// Of each code: the lower is preferred.
    pub ranks: Vec<u32>,
    /// The code that belongs to no regime.
    pub unknown: Option<u32>,
}

/// The rows about a row.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// So many on both sides.
    Rows(usize),
    /// Times of the rows, ascending, and how far the window reaches in both directions.
    Time(&'a [i64], i64),
}

impl<'a> About<'a> {
    /// An odd number of rows, or with times a duration.
    pub fn new(window_size: i64, times: Option<&'a [i64]>) -> Result<Self, ParamError> {
        if let Some(times) = times {
            check(window_size >= 1, || format!("`window_size` must be longer than zero, got {window_size} ns"))?;
            return Ok(Self::Time(times, window_size / 2));
        }
        check(window_size >= 3 && window_size % 2 == 1, || {
            format!("`window_size` must be odd and >= 3, so that the row is in the middle, got {window_size}")
        })?;
        Ok(Self::Rows(usize::try_from(window_size / 2).unwrap_or(usize::MAX)))
    }
}

/// Filters in place, `passes` times; rows that were unknown in the beginning are so again if that is to be preserved.
pub fn mode_filter(labels: &mut [u32], about: About<'_>, passes: usize, preserve_unknown: bool, kinds: &Kinds) {
    let before = preserve_unknown.then(|| labels.to_vec());
    for _ in 0..passes {
        let out = one_pass(labels, about, kinds);
        if out == labels {
            break;
        }
        labels.copy_from_slice(&out);
    }
    if let (Some(before), Some(unknown)) = (before, kinds.unknown) {
        labels.iter_mut().zip(before).filter(|(_, before)| *before == unknown).for_each(|(label, _)| *label = unknown);
    }
}

fn one_pass(labels: &[u32], about: About<'_>, kinds: &Kinds) -> Vec<u32> {
    let n = labels.len();
    let mut votes = Votes::new(&kinds.ranks);
    let (mut from, mut to) = (0, 0);
    let about = match about {
        // beyond twice the series the repeated labels win in any case
        About::Rows(half) => About::Rows(half.min(2 * n)),
        time => time,
    };
    if let About::Rows(half) = about
        && n > 0
    {
        // as if the window stood about the row before the first
        votes.add(labels[0], half + 1);
        labels[..half.min(n)].iter().for_each(|&label| votes.add(label, 1));
        votes.add(labels[n - 1], half.saturating_sub(n));
    }
    let mut out = Vec::with_capacity(n);
    for (i, &own) in labels.iter().enumerate() {
        match about {
            About::Rows(half) => {
                votes.add(labels[(i + half).min(n - 1)], 1);
                votes.remove(labels[i.saturating_sub(half + 1)]);
                (from, to) = (i.saturating_sub(half), (i + half + 1).min(n));
            }
            About::Time(times, reach) => {
                while to < n && times[to] <= times[i].saturating_add(reach) {
                    votes.add(labels[to], 1);
                    to += 1;
                }
                while times[from] < times[i].saturating_sub(reach) {
                    votes.remove(labels[from]);
                    from += 1;
                }
            }
        }
        out.push(if own == MISSING {
            MISSING
        } else {
            let winner = votes.winner(&labels[from..to]);
            if Some(winner) == kinds.unknown { own } else { winner }
        });
    }
    out
}

/// Votes of a window.
struct Votes<'a> {
    counts: Vec<usize>,
    ranks: &'a [u32],
    /// None where the winner has lost a vote.
    winner: Option<u32>,
}

impl<'a> Votes<'a> {
    fn new(ranks: &'a [u32]) -> Self {
        Self { counts: vec![0; ranks.len()], ranks, winner: None }
    }

    fn add(&mut self, label: u32, votes: usize) {
        if label == MISSING {
            return;
        }
        self.counts[label as usize] += votes;
        self.winner = self.winner.map(|winner| self.better(winner, label));
    }

    fn remove(&mut self, label: u32) {
        if label == MISSING {
            return;
        }
        self.counts[label as usize] -= 1;
        self.winner = self.winner.filter(|&winner| winner != label);
    }

    fn better(&self, a: u32, b: u32) -> u32 {
        let key = |label: u32| {
            let at = label as usize;
            (std::cmp::Reverse(self.counts[at]), self.ranks[at], label)
        };
        if key(b) < key(a) { b } else { a }
    }

    /// Of a window in which one label at least is present.
    fn winner(&mut self, window: &[u32]) -> u32 {
        if let Some(winner) = self.winner {
            return winner;
        }
        let kinds = self.counts.len() as u32;
        let winner = if self.counts.len() <= window.len() {
            (0..kinds).reduce(|a, b| self.better(a, b))
        } else {
            window.iter().copied().filter(|&label| label != MISSING).reduce(|a, b| self.better(a, b))
        };
        let winner = winner.expect("a label in the window");
        self.winner = Some(winner);
        winner
    }
}

/// Equal labels of neighbouring rows, by their places among the rows that have a label.
#[derive(Clone, Copy)]
struct Run {
    label: u32,
    first: usize,
    last: usize,
}

impl Run {
    fn rows(&self) -> usize {
        self.last - self.first + 1
    }
}

/// Joins in place; with a duration `times` are the times of the rows.
///
/// # Panics
/// If the dwell is a duration and there is not a time for each row.
pub fn join_short_runs(labels: &mut [u32], min_dwell: Span, times: Option<&[i64]>, kinds: &Kinds) {
    let known: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] != MISSING).collect();
    let is_short = |run: &Run| match min_dwell {
        Span::Rows(rows) => run.rows() < rows,
        Span::Duration(duration) => {
            let times = times.expect("a time for each row");
            times[known[run.last]].abs_diff(times[known[run.first]]) < duration as u64
        }
    };
    let is_known = |run: &Run| Some(run.label) != kinds.unknown;
    let mut ahead: Vec<Run> = Vec::new();
    for (place, &i) in known.iter().enumerate() {
        match ahead.last_mut() {
            Some(run) if run.label == labels[i] => run.last = place,
            _ => ahead.push(Run { label: labels[i], first: place, last: place }),
        }
    }
    ahead.reverse();
    let mut done: Vec<Run> = Vec::new();
    while let Some(run) = ahead.pop() {
        if let Some(before) = done.last_mut().filter(|before| before.label == run.label) {
            before.last = run.last;
            continue;
        }
        if !is_known(&run) || !is_short(&run) {
            done.push(run);
            continue;
        }
        let before = done.last().copied().filter(is_known);
        let after = ahead.last().copied().filter(is_known);
        let key = |run: &Run| (kinds.ranks[run.label as usize], std::cmp::Reverse(run.rows()));
        match (before, after) {
            (None, None) => done.push(run),
            (Some(before), after) if after.is_none_or(|after| key(&before) <= key(&after)) => {
                done.last_mut().expect("a run before").last = run.last;
            }
            _ => {
                let mut first = run.first;
                let after = ahead.last_mut().expect("a run after");
                // what the run kept apart
                if let Some(before) = done.pop_if(|before| before.label == after.label) {
                    first = before.first;
                }
                after.first = first;
            }
        }
    }
    for run in done {
        known[run.first..=run.last].iter().for_each(|&i| labels[i] = run.label);
    }
}
