//! The minimum spanning tree of the mutual reachability `max(core_a, core_b, |a - b|)`.
//!
//! Many edges have the same reachability, the core distance that their row shares: the nearer pair comes first then, so
//! that the tree is unique and does not depend on the order of the rows unless pairs are equally far apart. All is compared
//! in squares; no root is taken.
//!
//! Boruvka's rounds (1926) over a k-d tree. In each, every component takes its least outgoing edge, and rows look for it one
//! by one (March, Ram and Gray 2010 let pairs of nodes look). Parts of the tree within the component, and parts whose
//! bounding box or least core distance lies beyond the best edge so far, are passed by. A row keeps the edge that it found
//! until that lies inside its component; until then, or while the reach that it searched last time lies beyond the
//! component's best, it need not look again. The neighbours that gave the core distance answer most of the first rounds.
//! Threads share the best edge of each component as a bound; only what lies beyond it is left out, so the least edge is the
//! same whatever they find first.
//!
//! Measured for 10,000 rows, processor time with core distances, min_samples = 10: four clusters of 3 columns 23 ms, of 10
//! columns 91 ms, of 24 columns 235 ms, of 50 columns 876 ms. Prim's algorithm (1957) over all pairs, rows that are left packed
//! together, with core distances from blocks of 32 rows against all: 117, 193, 360 and 668 ms, of which only the core
//! distances run on several threads. So it is not used.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernels::parallel;
use crate::kernels::regimes::hdbscan::points::{Node, Points, Walk};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// An edge: squares of its mutual reachability and of its length, and its rows, the lower first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub reach: f64,
    pub square: f64,
    pub a: usize,
    pub b: usize,
}

impl Edge {
    fn new(reach: f64, square: f64, a: usize, b: usize) -> Self {
        Self { reach, square, a: a.min(b), b: a.max(b) }
    }

    /// Reachability, then length; rows decide between what is equal.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        (self.reach.total_cmp(&other.reach))
            .then(self.square.total_cmp(&other.square))
            .then(self.a.cmp(&other.a))
            .then(self.b.cmp(&other.b))
    }
}

/// Squared core distances of the rows, and the edges of the tree, in order.
pub struct Spanning {
    pub cores: Vec<f64>,
    pub edges: Vec<Edge>,
}

/// Sets of rows that grow together.
pub struct Sets(Vec<usize>);

impl Sets {
    pub fn new(rows: usize) -> Self {
        Self((0..rows).collect())
    }

    pub fn find(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    /// Joins two sets, given by what [`Sets::find`] gives, under the first.
    pub fn join(&mut self, a: usize, b: usize) {
        self.0[b] = a;
    }
}

/// Rows whose neighbours are kept; more would answer few searches.
const KEPT: usize = 16;
/// Rows that are one piece of work.
const PIECE: usize = 256;

const NONE: u32 = u32::MAX;

/// An outgoing edge of a row.
#[derive(Clone, Copy)]
struct Found {
    reach: f64,
    square: f64,
    other: u32,
    /// All its outgoing edges have at least this reachability.
    least: f64,
}

struct Boruvka<'a> {
    points: &'a Points,
    kept: usize,
    /// Of each place its nearest others.
    squares: Vec<f64>,
    places: Vec<u32>,
    /// Squared core distances, infinite behind the last row, and the least of each node.
    cores: Vec<Lanes>,
    node_cores: Vec<f64>,
    /// The component of each place, also as numbers side by side, and that of each node whose rows are all in one.
    components: Vec<u32>,
    lanes: Vec<Lanes>,
    node_components: Vec<u32>,
    found: Vec<Found>,
    /// Bits of the least reachability so far of an outgoing edge of each component.
    bounds: Vec<AtomicU64>,
}

/// The tree of more rows than `min_samples`.
pub fn spanning(points: &Points, min_samples: usize, pool: &rayon::ThreadPool) -> Spanning {
    let rows = points.rows();
    let kept = min_samples.min(KEPT);
    let pieces: Vec<Range<usize>> = (0..rows).step_by(PIECE).map(|from| from..rows.min(from + PIECE)).collect();
    // a search costs far more than a cell
    let work = rows * 64;
    let parts = parallel::map(
        pool,
        pieces.len(),
        work,
        || (),
        |(), piece| points.neighbours(pieces[piece].clone(), min_samples, kept),
    );
    let mut cores = vec![Lanes([f64::INFINITY; LANES]); points.blocks.vectors()];
    let (mut squares, mut places) = (Vec::with_capacity(rows * kept), Vec::with_capacity(rows * kept));
    let mut place = 0;
    for part in parts {
        for core in part.last {
            cores[place / LANES][place % LANES] = core;
            place += 1;
        }
        squares.extend_from_slice(&part.squares);
        places.extend_from_slice(&part.places);
    }
    let least = |node: &Node| cores[node.from..node.to].iter().flat_map(|core| core.0).fold(f64::INFINITY, f64::min);
    let node_cores = points.nodes.iter().map(least).collect();
    let core = |place: usize| cores[place / LANES].0[place % LANES];
    let found =
        (0..rows).map(|u| Found { reach: f64::INFINITY, square: f64::INFINITY, other: NONE, least: core(u) }).collect();
    let by_row = {
        let mut by_row = vec![0.0; rows];
        points.order.iter().enumerate().for_each(|(place, &row)| by_row[row] = core(place));
        by_row
    };
    let mut rounds = Boruvka {
        points,
        kept,
        squares,
        places,
        cores,
        node_cores,
        components: (0..rows as u32).collect(),
        lanes: vec![Lanes::default(); points.blocks.vectors()],
        node_components: vec![NONE; points.nodes.len()],
        found,
        bounds: (0..rows).map(|_| AtomicU64::new(0)).collect(),
    };
    let mut edges = Vec::with_capacity(rows - 1);
    let mut sets = Sets::new(rows);
    while edges.len() + 1 < rows {
        rounds.round(&mut sets, &mut edges, &pieces, work, pool);
    }
    edges.sort_unstable_by(Edge::order);
    Spanning { cores: by_row, edges }
}

impl Boruvka<'_> {
    fn round(
        &mut self,
        sets: &mut Sets,
        edges: &mut Vec<Edge>,
        pieces: &[Range<usize>],
        work: usize,
        pool: &rayon::ThreadPool,
    ) {
        let rows = self.points.rows();
        for (place, &component) in self.components.iter().enumerate() {
            self.lanes[place / LANES][place % LANES] = f64::from(component);
        }
        for (n, node) in self.points.nodes.iter().enumerate().rev() {
            self.node_components[n] = if node.second == 0 {
                let places = &self.components[node.from * LANES..rows.min(node.to * LANES)];
                if places.iter().all(|&c| c == places[0]) { places[0] } else { NONE }
            } else if self.node_components[n + 1] == self.node_components[node.second] {
                self.node_components[n + 1]
            } else {
                NONE
            };
        }
        self.bounds.iter_mut().for_each(|bound| *bound.get_mut() = f64::INFINITY.to_bits());
        let this = &*self;
        let known = parallel::map(
            pool,
            pieces.len(),
            rows * self.kept,
            || (),
            |(), piece| pieces[piece].clone().map(|u| this.known(u)).collect::<Vec<_>>(),
        );
        self.found = known.concat();
        let this = &*self;
        let found = parallel::map(
            pool,
            pieces.len(),
            work,
            || (),
            |(), piece| dispatch(Outgoing { rounds: this, places: pieces[piece].clone() }),
        );
        self.found = found.concat();
        // by component, which is the place that stands for it
        let mut best: Vec<Option<Edge>> = vec![None; rows];
        for (u, found) in self.found.iter().enumerate().filter(|(_, found)| found.other != NONE) {
            let edge = self.edge(u, found);
            let best = &mut best[self.components[u] as usize];
            if best.is_none_or(|best| edge.order(&best).is_lt()) {
                *best = Some(edge);
            }
        }
        let places = self.places_of_rows();
        for edge in best.into_iter().flatten() {
            let (a, b) = (sets.find(places[edge.a]), sets.find(places[edge.b]));
            if a != b {
                sets.join(a, b);
                edges.push(edge);
            }
        }
        for (place, component) in self.components.iter_mut().enumerate() {
            *component = sets.find(place) as u32;
        }
    }

    fn places_of_rows(&self) -> Vec<usize> {
        let mut places = vec![0; self.points.rows()];
        self.points.order.iter().enumerate().for_each(|(place, &row)| places[row] = place);
        places
    }

    fn edge(&self, u: usize, found: &Found) -> Edge {
        Edge::new(found.reach, found.square, self.points.order[u], self.points.order[found.other as usize])
    }

    #[inline(always)]
    fn core(&self, place: usize) -> f64 {
        self.cores[place / LANES].0[place % LANES]
    }

    fn bound(&self, component: u32) -> f64 {
        f64::from_bits(self.bounds[component as usize].load(Ordering::Relaxed))
    }

    /// Lowers the bound of a component. Bits of numbers that are not negative are in the order of the numbers.
    fn offer(&self, component: u32, reach: f64) {
        self.bounds[component as usize].fetch_min(reach.to_bits(), Ordering::Relaxed);
    }

    /// The least outgoing edge of a row, where that is known without a search.
    fn known(&self, u: usize) -> Found {
        let (own, before) = (self.components[u], self.found[u]);
        if before.other != NONE && self.components[before.other as usize] != own {
            self.offer(own, before.reach);
            return before;
        }
        let core = self.core(u);
        let mut bound = f64::INFINITY;
        for (&square, &other) in
            self.squares[u * self.kept..].iter().zip(&self.places[u * self.kept..(u + 1) * self.kept])
        {
            if self.components[other as usize] == own {
                continue;
            }
            let reach = self.core(other as usize).max(core).max(square);
            // no reachability is less than the core distance, and what is not nearer is not before it
            if reach == core {
                self.offer(own, reach);
                return Found { reach, square, other, least: reach };
            }
            bound = bound.min(reach);
        }
        self.offer(own, bound);
        Found { other: NONE, ..before }
    }

    /// The least outgoing edge of a row, if none of its component is known to have less reachability.
    #[inline(always)]
    fn search<S: Simd>(&self, s: S, u: usize, x: &[f64], walk: &mut Walk) -> Found {
        let (own, core) = (self.components[u], self.core(u));
        let bound = self.bound(own);
        let mut best = Found { reach: bound, square: f64::INFINITY, other: NONE, least: bound };
        let (core_lanes, own_lanes) = (s.splat(core), s.splat(f64::from(own)));
        self.points.start(walk, x);
        'open: while let Some((reach, mut node)) = walk.open.pop() {
            if reach > best.reach {
                continue;
            }
            while self.points.nodes[node].second != 0 {
                let (first, second) = (node + 1, self.points.nodes[node].second);
                let (a, b) = (self.reach(s, first, own, core, walk), self.reach(s, second, own, core, walk));
                let (near, far, to_near, to_far) = if a <= b { (first, second, a, b) } else { (second, first, b, a) };
                if to_far <= best.reach && to_far < f64::INFINITY {
                    walk.open.push((to_far, far));
                }
                if to_near > best.reach || to_near == f64::INFINITY {
                    continue 'open;
                }
                node = near;
            }
            let Node { from, to, .. } = self.points.nodes[node];
            for v in from..to {
                let squares = self.points.blocks.squares(s, v, x);
                let reach = s.max(s.max(s.load(&self.cores[v]), core_lanes), squares);
                let reach = s.select(s.eq(s.load(&self.lanes[v]), own_lanes), s.splat(f64::INFINITY), reach);
                if !s.any(s.le(reach, s.splat(best.reach))) {
                    continue;
                }
                let (reach, squares) = (s.to_array(reach), s.to_array(squares));
                for lane in 0..LANES {
                    if reach[lane] > best.reach || reach[lane] == f64::INFINITY {
                        continue;
                    }
                    let other = (v * LANES + lane) as u32;
                    let new = Found { reach: reach[lane], square: squares[lane], other, least: reach[lane] };
                    if best.other == NONE || self.edge(u, &new).order(&self.edge(u, &best)).is_lt() {
                        best = new;
                    }
                }
            }
        }
        best
    }

    /// No outgoing edge of a row to a node has less reachability; infinite if there is none.
    #[inline(always)]
    fn reach<S: Simd>(&self, s: S, node: usize, own: u32, core: f64, walk: &Walk) -> f64 {
        if self.node_components[node] == own {
            return f64::INFINITY;
        }
        let square = self.points.least_square(s, node, walk);
        let core = if self.node_cores[node] > core { self.node_cores[node] } else { core };
        if square > core { square } else { core }
    }
}

/// The least outgoing edges of some rows, as far as they can be the least of their components.
struct Outgoing<'a> {
    rounds: &'a Boruvka<'a>,
    places: Range<usize>,
}

impl Kernel for Outgoing<'_> {
    type Output = Vec<Found>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Found> {
        let (mut walk, mut x) = (Walk::default(), Vec::new());
        let mut all = Vec::with_capacity(self.places.len());
        for u in self.places {
            let mut found = self.rounds.found[u];
            let own = self.rounds.components[u];
            if found.other == NONE && found.least <= self.rounds.bound(own) {
                self.rounds.points.blocks.row(u, &mut x);
                found = self.rounds.search(s, u, &x, &mut walk);
                self.rounds.offer(own, found.reach);
            }
            all.push(found);
        }
        all
    }
}
