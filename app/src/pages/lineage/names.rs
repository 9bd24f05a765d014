//! What the nodes of the lineage are called, and where they lead.

use super::layout::Node;
use crate::{
    components::badge::status_name,
    format,
    pages::overview::kind_name,
    words::{fill, t},
};
use laurel_protocol::{JobStatus, Lineage, ProjectId, Timestamp};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Name {
    /// Fits the node.
    pub short: String,
    /// A line below it.
    pub fine: String,
    pub href: String,
    pub class: &'static str,
    pub at: Timestamp,
}

/// The names by node.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<Node, Name>);

impl Names {
    pub fn new(project: ProjectId, lineage: &Lineage) -> Self {
        let mut names = BTreeMap::new();
        for job in &lineage.completions {
            let short = fill("Completions {0}", &[&job.id]);
            let fine = format::counted(job.n_done, "{0} completion", "{0} completions");
            let name = Name {
                short,
                fine,
                href: format!("/projects/{project}"),
                class: "lineage-node lineage-completions",
                at: job.created_at,
            };
            names.insert(Node::Completions(job.id), name);
        }
        for snapshot in &lineage.snapshots {
            let short = fill("Snapshot {0}", &[&format::short_hash(&snapshot.hash)]);
            let fine = format::counted(snapshot.n_rows, "{0} row", "{0} rows");
            // Its rows are downloaded on the page of a round that trained on it.
            let round = lineage.rounds.iter().find(|round| round.snapshot == snapshot.id);
            let name = Name {
                short,
                fine,
                href: round.map_or_else(
                    || format!("/projects/{project}"),
                    |round| format!("/rounds/{}", round.id),
                ),
                class: "lineage-node lineage-snapshot",
                at: snapshot.created_at,
            };
            names.insert(Node::Snapshot(snapshot.id), name);
        }
        for round in &lineage.rounds {
            let fine = match (round.adapter, round.deleted) {
                (Some(_), true) => fill("{0}, files deleted", &[&kind_name(round.kind)]),
                (Some(_), false) => fill("{0}, adapter", &[&kind_name(round.kind)]),
                (None, _) => format!("{}, {}", kind_name(round.kind), status_word(round.status)),
            };
            let href = match round.adapter {
                Some(adapter) => format!("/adapters/{adapter}"),
                None => format!("/rounds/{}", round.id),
            };
            let name = Name {
                short: cut(&round.name, 22),
                fine,
                href,
                class: match round.adapter {
                    Some(_) => "lineage-node lineage-adapter",
                    None => "lineage-node lineage-round",
                },
                at: round.created_at,
            };
            names.insert(Node::Round(round.id), name);
        }
        Self(names)
    }

    pub fn of(&self, node: Node) -> Name {
        self.0.get(&node).cloned().unwrap_or_else(|| Name {
            short: String::new(),
            fine: String::new(),
            href: "/".to_owned(),
            class: "lineage-node",
            at: Timestamp(0),
        })
    }
}

fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Failed => t("failed"),
        JobStatus::Aborted => t("aborted"),
        _ => status_name(status),
    }
}

fn cut(text: &str, n: usize) -> String {
    match text.chars().count() > n {
        true => text.chars().take(n - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
