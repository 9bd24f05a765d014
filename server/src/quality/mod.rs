//! What can be told of annotations without knowing the truth: how far people agree, and how each of them works. Pure:
//! answers in (`store/judgements.rs` reads them), figures out (`routes/quality.rs` hands them on).

pub mod agreement;
pub mod alpha;
pub mod answers;
pub mod bradley_terry;
pub mod counts;
pub mod distributions;
pub mod forecast;
pub mod given;
pub mod habits;
pub mod kappa;
pub mod progress;
pub mod reliability;
pub mod sample;
pub mod share;
pub mod standings;
pub mod table;
pub mod tau;
pub mod windows;

use answers::Judged;
use laurel_protocol::{AnnotatorQuality, Quality, TaskId, UserId};
use std::collections::{BTreeMap, BTreeSet};
use table::Tables;

/// The annotations of a project that stand, and the people behind them by name.
#[derive(Clone, Debug, Default)]
pub struct Judgements {
    pub judged: Vec<Judged>,
    pub people: BTreeMap<UserId, String>,
}

pub fn report(all: &Judgements) -> Quality {
    let tables = Tables::of(&all.judged);
    let shared = shared_tasks(&all.judged);
    Quality {
        n_annotations: all.judged.len() as u64,
        n_tasks: all
            .judged
            .iter()
            .map(|judged| judged.task)
            .collect::<BTreeSet<_>>()
            .len() as u64,
        n_shared_tasks: shared.len() as u64,
        agreement: agreement::figures(&tables),
        pairs: agreement::pairs(&tables),
        habits: habits::of(&all.judged.iter().collect::<Vec<_>>()),
        distributions: habits::distributions(&all.judged),
        annotators: annotators(all, &tables, &shared),
    }
}

/// How reliable each person is, without an interval where that takes long; of some too little is known.
pub fn reliabilities(all: &Judgements) -> BTreeMap<UserId, Option<f64>> {
    let tables = Tables::of(&all.judged);
    let people: BTreeSet<UserId> = all.judged.iter().map(|judged| judged.user).collect();
    let people: Vec<UserId> = people.into_iter().collect();
    let estimates = reliability::reliabilities(tables.contests(&people), people.len());
    let values = estimates
        .into_iter()
        .map(|estimate| estimate.map(|known| known.value));
    people.into_iter().zip(values).collect()
}

/// The tasks that at least two people judged.
fn shared_tasks(judged: &[Judged]) -> BTreeSet<TaskId> {
    let (mut seen, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for judged in judged {
        if !seen.insert(judged.task) {
            shared.insert(judged.task);
        }
    }
    shared
}

fn annotators(all: &Judgements, tables: &Tables, shared: &BTreeSet<TaskId>) -> Vec<AnnotatorQuality> {
    let mut by_user = BTreeMap::<UserId, Vec<&Judged>>::new();
    for judged in &all.judged {
        by_user.entry(judged.user).or_default().push(judged);
    }
    let mut agreement = agreement::with_others(tables);
    let people: Vec<UserId> = by_user.keys().copied().collect();
    let reliabilities = reliability::reliabilities(tables.contests(&people), people.len());
    let mut annotators: Vec<_> = by_user
        .into_iter()
        .zip(reliabilities)
        .map(|((user, judged), reliability)| AnnotatorQuality {
            user,
            name: all.people.get(&user).cloned().unwrap_or_default(),
            habits: habits::of(&judged),
            n_shared_tasks: judged
                .iter()
                .filter(|judged| shared.contains(&judged.task))
                .count() as u64,
            agreement: agreement.remove(&user).flatten(),
            reliability,
        })
        .collect();
    annotators.sort_by_key(|annotator| std::cmp::Reverse(annotator.habits.n_annotations));
    annotators
}
