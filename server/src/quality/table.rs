//! All answers about one subject, task by task.

use super::{
    answers::{Judged, Thing},
    counts::{Counts, N_VALUES, Task},
    reliability::{Contest, Vote},
    tau::Taus,
};
use laurel_protocol::{Subject, TaskId, UserId};
use std::collections::BTreeMap;

/// What one person said of one thing of a task.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub user: UserId,
    pub thing: Thing,
    pub value: u8,
}

/// The answers about one subject.
#[derive(Clone, Debug, Default)]
pub struct Table(BTreeMap<TaskId, Vec<Entry>>);

/// The answers by subject.
#[derive(Clone, Debug, Default)]
pub struct Tables(pub BTreeMap<Subject, Table>);

impl Tables {
    pub fn of(judged: &[Judged]) -> Self {
        let mut tables = BTreeMap::<Subject, Table>::new();
        for judged in judged {
            for (about, said) in judged.answers() {
                let task = tables.entry(about).or_default().0.entry(judged.task).or_default();
                let known = said
                    .into_iter()
                    .filter(|(_, value)| usize::from(*value) < N_VALUES);
                task.extend(known.map(|(thing, value)| Entry {
                    user: judged.user,
                    thing,
                    value,
                }));
            }
        }
        Self(tables)
    }

    /// Those that tell best whether two people agree: the judgement, or the ratings where there is none.
    pub fn main(&self) -> impl Iterator<Item = (&Subject, &Table)> {
        let is_judgement = |about: &Subject| matches!(about, Subject::Choice | Subject::Verdict);
        let is_rating = |about: &Subject| matches!(about, Subject::Rating { .. });
        let has_judgement = self.0.keys().any(is_judgement);
        self.0
            .iter()
            .filter(move |(about, _)| is_judgement(about) || (!has_judgement && is_rating(about)))
    }
}

impl Tables {
    /// The strict verdicts on two completions each, task by task; people by their number in the list.
    pub fn contests(&self, people: &[UserId]) -> Vec<Vec<Contest>> {
        let vote = |(user, value): (UserId, u8)| {
            let who = people.iter().position(|known| *known == user)?;
            (value < 2).then_some(Vote {
                who,
                first_is_better: value == 0,
            })
        };
        let contest = |said: Vec<(UserId, u8)>| Contest::of(said.into_iter().filter_map(vote).collect());
        let of_task = |entries: &[Entry]| -> Vec<Contest> {
            by_thing(entries).into_values().filter_map(contest).collect()
        };
        let tables = [Subject::Choice, Subject::Verdict].map(|about| self.0.get(&about));
        let tasks = tables.into_iter().flatten().flat_map(Table::tasks).map(of_task);
        tasks.filter(|contests| !contests.is_empty()).collect()
    }
}

impl Table {
    pub fn tasks(&self) -> impl Iterator<Item = &[Entry]> {
        self.0.values().map(Vec::as_slice)
    }

    /// The answers to each thing of which at least two people said something.
    pub fn shared(&self) -> Vec<Task> {
        let of_task = |entries: &[Entry]| -> Task {
            let things = by_thing(entries).into_values();
            let shared = things.filter(|said| said.len() > 1);
            shared
                .map(|said| Counts::of(said.into_iter().map(|(_, value)| value)))
                .collect()
        };
        self.tasks()
            .map(of_task)
            .filter(|task| !task.is_empty())
            .collect()
    }

    /// What two people said of the things that both judged, by task.
    pub fn of_two(&self, first: UserId, second: UserId) -> Vec<Vec<(u8, u8)>> {
        let of_task = |entries: &[Entry]| -> Vec<(u8, u8)> {
            let of = |user| entries.iter().filter(move |entry| entry.user == user);
            let both = of(first).filter_map(|entry| {
                let other = of(second).find(|other| other.thing == entry.thing)?;
                Some((entry.value, other.value))
            });
            both.collect()
        };
        self.tasks()
            .map(of_task)
            .filter(|pairs| !pairs.is_empty())
            .collect()
    }

    /// Where values are ranks: how far the orders agree, for each task that at least two people ranked.
    pub fn taus(&self) -> Vec<Taus> {
        let of_task = |entries: &[Entry]| {
            let mut orders = BTreeMap::<UserId, BTreeMap<Thing, u8>>::new();
            for entry in entries {
                orders
                    .entry(entry.user)
                    .or_default()
                    .insert(entry.thing, entry.value);
            }
            let orders: Vec<Vec<u8>> = orders
                .into_values()
                .map(|ranks| ranks.into_values().collect())
                .collect();
            (orders.len() > 1).then(|| Taus::of(&orders))
        };
        self.tasks().filter_map(of_task).collect()
    }
}

/// Who gave which value to each thing.
pub fn by_thing(entries: &[Entry]) -> BTreeMap<Thing, Vec<(UserId, u8)>> {
    let mut things = BTreeMap::<Thing, Vec<_>>::new();
    for entry in entries {
        things
            .entry(entry.thing)
            .or_default()
            .push((entry.user, entry.value));
    }
    things
}
