//! From the edges of the minimum spanning tree to clusters.
//!
//! Edges in order join rows to groups, the dendrogram. Read from its top, with growing density `lambda = 1 / distance`, a
//! group that falls into two of at least `min_cluster_size` rows each ends as a cluster and starts two; otherwise rows leave
//! it. Equal rows are never parted; at distance 0 density is infinite. The stability of a cluster is the sum of
//! `lambda - lambda of its start` over its rows, each with the density at which it leaves or the cluster ends.

use crate::kernels::regimes::hdbscan::spanning::{Edge, Sets};

/// How clusters are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Excess of mass: those of greatest stability in sum.
    Mass,
    /// Those that do not fall apart.
    Leaf,
}

/// A cluster of the condensed tree; the first holds all rows, others come behind the one that they are part of.
pub struct Cluster {
    pub parent: Option<usize>,
    /// Distance at which it starts; infinite for the first.
    pub start: f64,
    /// Least distance at which anything leaves it.
    pub end: f64,
    pub stability: f64,
}

/// The condensed tree.
pub struct Condensed {
    pub clusters: Vec<Cluster>,
    /// The cluster that each row leaves last, and the distance at which it does.
    pub row_clusters: Vec<usize>,
    pub row_distances: Vec<f64>,
}

impl Condensed {
    /// `distances` go with the edges, at least one, which are in order and join all rows; a cluster has two rows or more.
    pub fn new(edges: &[Edge], distances: &[f64], min_cluster_size: usize) -> Self {
        let rows = edges.len() + 1;
        // group `rows + i` is what edge i makes
        let mut halves = Vec::with_capacity(edges.len());
        let mut sizes = vec![1_usize; rows];
        let mut group: Vec<usize> = (0..rows).collect();
        let mut sets = Sets::new(rows);
        for (i, edge) in edges.iter().enumerate() {
            let (a, b) = (sets.find(edge.a), sets.find(edge.b));
            halves.push((group[a], group[b]));
            sizes.push(sizes[group[a]] + sizes[group[b]]);
            // the smaller under the larger
            let (a, b) = if sizes[group[a]] < sizes[group[b]] { (b, a) } else { (a, b) };
            sets.join(a, b);
            group[a] = rows + i;
        }
        let mut tree = Self {
            clusters: vec![Cluster { parent: None, start: f64::INFINITY, end: f64::INFINITY, stability: 0.0 }],
            row_clusters: vec![0; rows],
            row_distances: vec![0.0; rows],
        };
        let mut open = vec![(2 * rows - 2, 0)];
        while let Some((top, cluster)) = open.pop() {
            let (distance, (a, b)) = (distances[top - rows], halves[top - rows]);
            // an edge of length 0 is the last of none but equal rows
            let keeps = |group: usize| sizes[group] >= min_cluster_size && edges[top - rows].square > 0.0;
            if keeps(a) && keeps(b) {
                for half in [a, b] {
                    tree.count(cluster, distance, sizes[half]);
                    open.push((half, tree.clusters.len()));
                    tree.clusters.push(Cluster {
                        parent: Some(cluster),
                        start: distance,
                        end: f64::INFINITY,
                        stability: 0.0,
                    });
                }
            } else {
                for half in [a, b] {
                    if keeps(half) {
                        open.push((half, cluster));
                    } else {
                        tree.count(cluster, distance, sizes[half]);
                        tree.leave(&halves, rows, half, cluster, distance);
                    }
                }
            }
        }
        tree
    }

    /// So many rows leave a cluster.
    fn count(&mut self, cluster: usize, distance: f64, rows: usize) {
        let cluster = &mut self.clusters[cluster];
        cluster.stability += (1.0 / distance - 1.0 / cluster.start) * rows as f64;
        cluster.end = distance;
    }

    /// The rows of a group leave a cluster for good.
    fn leave(&mut self, halves: &[(usize, usize)], rows: usize, group: usize, cluster: usize, distance: f64) {
        let mut open = vec![group];
        while let Some(group) = open.pop() {
            if group < rows {
                self.row_clusters[group] = cluster;
                self.row_distances[group] = distance;
            } else {
                let (a, b) = halves[group - rows];
                open.extend([a, b]);
            }
        }
    }

    /// The chosen clusters, none of which is part of another.
    pub fn select(&self, method: Method, epsilon: f64, allow_single: bool) -> Vec<usize> {
        let count = self.clusters.len();
        let mut chosen = vec![false; count];
        match method {
            Method::Leaf => {
                chosen.fill(true);
                self.clusters.iter().filter_map(|cluster| cluster.parent).for_each(|parent| chosen[parent] = false);
            }
            Method::Mass => {
                // of the chosen clusters within each
                let mut within = vec![0.0; count];
                for (c, cluster) in self.clusters.iter().enumerate().rev() {
                    chosen[c] = cluster.stability >= within[c];
                    let mass = if chosen[c] { cluster.stability } else { within[c] };
                    if let Some(parent) = cluster.parent {
                        within[parent] += mass;
                    }
                }
            }
        }
        chosen[0] &= allow_single;
        self.outermost(&mut chosen);
        if epsilon > 0.0 {
            for c in (1..count).filter(|&c| chosen[c]).collect::<Vec<_>>() {
                chosen[c] = false;
                chosen[self.coarser(c, epsilon, allow_single)] = true;
            }
            self.outermost(&mut chosen);
        }
        (0..count).filter(|&c| chosen[c]).collect()
    }

    /// Drops chosen clusters that are part of others.
    fn outermost(&self, chosen: &mut [bool]) {
        let mut covered = vec![false; chosen.len()];
        for (c, cluster) in self.clusters.iter().enumerate() {
            if let Some(parent) = cluster.parent {
                covered[c] = covered[parent] || chosen[parent];
                chosen[c] &= !covered[c];
            }
        }
    }

    /// The least cluster round `c` that starts at a distance of at least `epsilon`; below the first unless that may be one.
    fn coarser(&self, mut c: usize, epsilon: f64, allow_single: bool) -> usize {
        while self.clusters[c].start < epsilon {
            match self.clusters[c].parent {
                Some(0) if !allow_single => break,
                Some(parent) => c = parent,
                None => break,
            }
        }
        c
    }

    /// The densest distance at which any row leaves.
    pub fn least_distance(&self) -> f64 {
        self.row_distances.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
