//! Where the nodes of the lineage stand: in layers, each below all that it follows from, wide layers wrapped. Pure, so that it
//! is tested without a browser.

use laurel_protocol::{AdapterId, CompletionJobId, Lineage, LineageRound, RoundId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};

/// A thing in the graph. A round and the adapter that it made are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    Completions(CompletionJobId),
    Snapshot(SnapshotId),
    Round(RoundId),
}

/// What goes along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// Answers that were judged.
    Answers,
    Rows,
    /// An adapter that a round began from, or that wrote answers.
    Start,
    /// An adapter that scored a round.
    Reward,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: Node,
    pub to: Node,
    pub flow: Flow,
}

/// The nodes, oldest first, and what follows from what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// Nodes side by side at most.
pub const MOST_ACROSS: usize = 5;

/// A node's place: row from the top, column from the left.
pub type Places = BTreeMap<Node, (usize, usize)>;

impl Graph {
    pub fn of(lineage: &Lineage) -> Self {
        let maker: BTreeMap<AdapterId, RoundId> = lineage
            .rounds
            .iter()
            .filter_map(|round| Some((round.adapter?, round.id)))
            .collect();
        let made = |adapter: Option<AdapterId>| Some(Node::Round(*maker.get(&adapter?)?));
        let mut edges = Vec::new();
        for job in &lineage.completions {
            if let Some(from) = made(job.adapter) {
                edges.push(Edge {
                    from,
                    to: Node::Completions(job.id),
                    flow: Flow::Start,
                });
            }
        }
        for source in &lineage.sources {
            edges.push(Edge {
                from: Node::Completions(source.completions),
                to: Node::Snapshot(source.snapshot),
                flow: Flow::Answers,
            });
        }
        for round in &lineage.rounds {
            edges.extend(into(round, made));
        }
        let mut timed: Vec<_> = lineage
            .completions
            .iter()
            .map(|job| (job.created_at, Node::Completions(job.id)))
            .chain(
                lineage
                    .snapshots
                    .iter()
                    .map(|one| (one.created_at, Node::Snapshot(one.id))),
            )
            .chain(
                lineage
                    .rounds
                    .iter()
                    .map(|round| (round.created_at, Node::Round(round.id))),
            )
            .collect();
        timed.sort();
        let graph = Self {
            nodes: timed.into_iter().map(|(_, node)| node).collect(),
            edges,
        };
        graph.sound()
    }

    /// Without edges to what is not there.
    fn sound(mut self) -> Self {
        let there: BTreeSet<Node> = self.nodes.iter().copied().collect();
        self.edges
            .retain(|edge| there.contains(&edge.from) && there.contains(&edge.to));
        self.edges.sort();
        self.edges.dedup();
        self
    }

    /// The part that a node goes back to or that follows from it, itself included.
    pub fn around(&self, node: Node) -> BTreeSet<Node> {
        let mut found = self.reach(node, |edge| (edge.from, edge.to));
        found.extend(self.reach(node, |edge| (edge.to, edge.from)));
        found
    }

    fn reach(&self, start: Node, ends: impl Fn(&Edge) -> (Node, Node)) -> BTreeSet<Node> {
        let mut next: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for (from, to) in self.edges.iter().map(ends) {
            next.entry(from).or_default().push(to);
        }
        let (mut found, mut open) = (BTreeSet::from([start]), vec![start]);
        while let Some(node) = open.pop() {
            for other in next.get(&node).into_iter().flatten() {
                if found.insert(*other) {
                    open.push(*other);
                }
            }
        }
        found
    }

    /// The same with these nodes alone.
    pub fn only(&self, kept: &BTreeSet<Node>) -> Self {
        let graph = Self {
            nodes: self
                .nodes
                .iter()
                .copied()
                .filter(|node| kept.contains(node))
                .collect(),
            edges: self.edges.clone(),
        };
        graph.sound()
    }

    /// Each node below all that it follows from.
    pub fn places(&self) -> Places {
        let mut rows: Vec<Vec<Node>> = Vec::new();
        for (node, layer) in self.layers() {
            rows.resize_with(rows.len().max(layer + 1), Vec::new);
            rows[layer].push(node);
        }
        let mut places = Places::new();
        let mut top = 0;
        for layer in rows {
            for (at, node) in self.untangled(layer, &places).into_iter().enumerate() {
                places.insert(node, (top + at / MOST_ACROSS, at % MOST_ACROSS));
            }
            top = places.values().map(|(row, _)| row + 1).max().unwrap_or(0);
        }
        places
    }

    /// The length of the longest way to each node; oldest first within a layer.
    fn layers(&self) -> Vec<(Node, usize)> {
        let mut into: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for edge in &self.edges {
            into.entry(edge.to).or_default().push(edge.from);
        }
        let mut layers: BTreeMap<Node, usize> = self.nodes.iter().map(|node| (*node, 0)).collect();
        // What follows from something is newer, so that one pass does; more are for clocks that went back.
        for _ in 0..self.nodes.len() {
            let mut changed = false;
            for node in &self.nodes {
                let sources = into.get(node).into_iter().flatten();
                let lowest = sources
                    .filter_map(|from| layers.get(from))
                    .max()
                    .map_or(0, |layer| layer + 1);
                if lowest > layers[node] && lowest <= self.nodes.len() {
                    layers.insert(*node, lowest);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.nodes.iter().map(|node| (*node, layers[node])).collect()
    }

    /// A layer in the order of what its nodes follow from, so that fewer edges cross.
    fn untangled(&self, mut layer: Vec<Node>, above: &Places) -> Vec<Node> {
        let middle = |node: &Node| {
            let from = self.edges.iter().filter(|edge| edge.to == *node);
            let columns: Vec<usize> = from
                .filter_map(|edge| above.get(&edge.from))
                .map(|(_, column)| *column)
                .collect();
            match columns.len() {
                0 => 0,
                n => 100 * columns.iter().sum::<usize>() / n,
            }
        };
        if layer.len() <= MOST_ACROSS {
            layer.sort_by_key(middle);
        }
        layer
    }
}

/// What a round follows from.
fn into(round: &LineageRound, made: impl Fn(Option<AdapterId>) -> Option<Node>) -> Vec<Edge> {
    let to = Node::Round(round.id);
    let rows = Some((Node::Snapshot(round.snapshot), Flow::Rows));
    let start = made(round.starting_adapter).map(|from| (from, Flow::Start));
    let reward = made(round.reward_adapter).map(|from| (from, Flow::Reward));
    let edges = [rows, start, reward].into_iter().flatten();
    edges.map(|(from, flow)| Edge { from, to, flow }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{
        JobStatus, LineageCompletions, LineageSnapshot, LineageSource, RoundKind, Timestamp,
    };

    /// `n` generations, each of completions by the adapter before, a snapshot of them all so far, and `wide` rounds.
    fn lineage(n: i64, wide: i64) -> Lineage {
        let mut all = Lineage::default();
        for generation in 1..=n {
            let before = (generation > 1).then(|| AdapterId((generation - 1) * wide));
            let at = |part: i64| Timestamp(generation * 1000 + part);
            all.completions.push(LineageCompletions {
                id: CompletionJobId(generation),
                status: JobStatus::Done,
                adapter: before,
                n_done: 1,
                created_at: at(0),
            });
            all.snapshots.push(LineageSnapshot {
                id: SnapshotId(generation),
                hash: "ab".into(),
                n_rows: 1,
                created_at: at(1),
            });
            all.sources.push(LineageSource {
                snapshot: SnapshotId(generation),
                completions: CompletionJobId(generation),
                n_annotations: 1,
            });
            for k in 1..=wide {
                let id = (generation - 1) * wide + k;
                all.rounds.push(LineageRound {
                    id: RoundId(id),
                    name: format!("DPO {id}"),
                    kind: RoundKind::Dpo,
                    status: JobStatus::Done,
                    snapshot: SnapshotId(generation),
                    starting_adapter: before,
                    reward_adapter: None,
                    adapter: Some(AdapterId(id)),
                    adapter_hash: None,
                    deleted: false,
                    created_at: at(1 + k),
                });
            }
        }
        all
    }

    #[test]
    fn every_node_stands_alone_and_below_all_that_it_follows_from() {
        for (n, wide) in [(1, 1), (200, 1), (1, 200), (20, 10)] {
            let graph = Graph::of(&lineage(n, wide));
            let places = graph.places();
            assert_eq!(places.len(), graph.nodes.len());
            let distinct: BTreeSet<_> = places.values().collect();
            assert_eq!(distinct.len(), places.len(), "{n} × {wide}");
            assert!(places.values().all(|(_, column)| *column < MOST_ACROSS));
            for edge in &graph.edges {
                assert!(
                    places[&edge.from].0 < places[&edge.to].0,
                    "{edge:?} of {n} × {wide}"
                );
            }
        }
    }

    #[test]
    fn what_belongs_to_a_node_is_what_it_goes_back_to_and_what_follows() {
        let graph = Graph::of(&lineage(3, 2));
        // Round 1 is a dead end; round 2 goes on.
        let dead = graph.around(Node::Round(RoundId(1)));
        let [job, snapshot] = [
            Node::Completions(CompletionJobId(1)),
            Node::Snapshot(SnapshotId(1)),
        ];
        assert_eq!(dead, BTreeSet::from([job, snapshot, Node::Round(RoundId(1))]));
        let goes_on = graph.around(Node::Round(RoundId(2)));
        assert!(goes_on.contains(&Node::Round(RoundId(6))) && !goes_on.contains(&Node::Round(RoundId(1))));
        let part = graph.only(&dead);
        assert_eq!((part.nodes.len(), part.edges.len()), (3, 2));
    }

    #[test]
    fn an_edge_to_what_is_not_there_is_left_out() {
        let mut lineage = lineage(1, 1);
        lineage.rounds[0].reward_adapter = Some(AdapterId(99));
        lineage.sources[0].snapshot = SnapshotId(99);
        assert_eq!(Graph::of(&lineage).edges.len(), 1);
    }
}
