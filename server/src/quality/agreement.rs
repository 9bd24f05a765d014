//! How far people agree: every measure that fits what was asked, each with its interval; by pairs of people; and of each
//! person with all others. Tasks are what the intervals draw anew, for the answers within one hang together.

use super::{
    alpha::{Coincidences, Distance, krippendorff_alpha},
    counts::{Met, Task, percent_agreement},
    kappa::{Judged, cohen_kappa, fleiss_kappa, usual_n_raters},
    sample::Sample,
    table::{Entry, Table, Tables, by_thing},
    tau::mean_tau,
};
use laurel_protocol::{AgreementFigure, Estimate, Measure, PairAgreement, Subject, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Pairs of people that are told of, by subject.
const MAX_PAIRS: usize = 20;

pub fn figures(tables: &Tables) -> Vec<AgreementFigure> {
    let of_table = |(about, table): (&Subject, &Table)| {
        let shared = Sample::merged(table.shared());
        let of_measure = |measure: &Measure| figure(about, *measure, table, &shared);
        measures(about).iter().map(of_measure).collect::<Vec<_>>()
    };
    tables.0.iter().flat_map(of_table).collect()
}

/// Percent agreement and the alpha that fits the kind of answer, of what tells best whether people agree.
pub fn main_figures(tables: &Tables) -> Vec<AgreementFigure> {
    let of_table = |(about, table): (&Subject, &Table)| {
        let alpha = match about {
            Subject::Rating { .. } => Measure::AlphaOrdinal,
            _ => Measure::AlphaNominal,
        };
        let shared = Sample::merged(table.shared());
        [Measure::Percent, alpha].map(|measure| figure(about, measure, table, &shared))
    };
    tables.main().flat_map(of_table).collect()
}

/// What fits the kind of answer: categories, an order, or steps of a scale.
fn measures(about: &Subject) -> &'static [Measure] {
    match about {
        Subject::Choice | Subject::Best | Subject::Worst | Subject::Verdict => {
            &[Measure::Percent, Measure::FleissKappa, Measure::AlphaNominal]
        }
        Subject::Order => &[Measure::KendallTauB, Measure::AlphaOrdinal],
        Subject::Rating { .. } => &[Measure::Percent, Measure::AlphaOrdinal, Measure::AlphaInterval],
    }
}

fn figure(about: &Subject, measure: Measure, table: &Table, shared: &Sample<Task>) -> AgreementFigure {
    let alpha = |distance| {
        let coincidences = shared.map(Coincidences::of);
        let estimate = coincidences.estimate(|tasks, times| krippendorff_alpha(tasks, times, distance));
        (shared.n_items(), estimate)
    };
    let (n_tasks, estimate) = match measure {
        Measure::Percent => (shared.n_items(), shared.map(Met::of).estimate(percent_agreement)),
        Measure::AlphaNominal => alpha(Distance::Nominal),
        Measure::AlphaOrdinal => alpha(Distance::Ordinal),
        Measure::AlphaInterval => alpha(Distance::Interval),
        Measure::FleissKappa => fleiss(table),
        Measure::KendallTauB => {
            let taus = Sample::new(table.taus());
            (taus.n_items(), taus.estimate(mean_tau))
        }
    };
    AgreementFigure {
        about: about.clone(),
        measure,
        n_tasks,
        estimate,
    }
}

/// Over the things that as many people judged as judge most.
fn fleiss(table: &Table) -> (u64, Option<Estimate>) {
    let tasks = table.shared();
    let Some(n_raters) = usual_n_raters(&tasks) else {
        return (0, None);
    };
    let judged = tasks.iter().map(|task| Judged::by(n_raters, task));
    let judged = Sample::new(judged.filter(|judged| !judged.is_empty()).collect());
    (judged.n_items(), judged.estimate(fleiss_kappa))
}

/// Cohen's kappa of the pairs of people with the most tasks in common.
pub fn pairs(tables: &Tables) -> Vec<PairAgreement> {
    let of_table = |(about, table): (&Subject, &Table)| {
        let of_two = |(first, second): (UserId, UserId)| {
            let tasks = Sample::merged(table.of_two(first, second));
            PairAgreement {
                about: about.clone(),
                first,
                second,
                n_tasks: tasks.n_items(),
                kappa: tasks.estimate(cohen_kappa),
            }
        };
        nearest(table).into_iter().map(of_two).collect::<Vec<_>>()
    };
    tables.main().flat_map(of_table).collect()
}

fn nearest(table: &Table) -> Vec<(UserId, UserId)> {
    let mut n_common = BTreeMap::<(UserId, UserId), usize>::new();
    for entries in table.tasks() {
        let people: BTreeSet<UserId> = entries.iter().map(|entry| entry.user).collect();
        for first in &people {
            for second in people.iter().filter(|second| *second > first) {
                *n_common.entry((*first, *second)).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<_> = n_common.into_iter().collect();
    pairs.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    pairs.truncate(MAX_PAIRS);
    pairs.into_iter().map(|(pair, _)| pair).collect()
}

/// How often each person and another one said the same of the same thing.
pub fn with_others(tables: &Tables) -> BTreeMap<UserId, Option<Estimate>> {
    let mut by_user = BTreeMap::<UserId, Vec<Met>>::new();
    for (_, table) in tables.main() {
        for entries in table.tasks() {
            for (user, met) in met_in(entries) {
                by_user.entry(user).or_default().push(met);
            }
        }
    }
    let of_person = |(user, met)| (user, Sample::merged(met).estimate(percent_agreement));
    by_user.into_iter().map(of_person).collect()
}

/// In a task, each person with all others.
fn met_in(entries: &[Entry]) -> BTreeMap<UserId, Met> {
    let mut met = BTreeMap::<UserId, Met>::new();
    for said in by_thing(entries).values().filter(|said| said.len() > 1) {
        for (user, value) in said {
            let n_like = said.iter().filter(|(_, other)| other == value).count() as u32;
            let met = met.entry(*user).or_default();
            met.n_pairs += said.len() as u32 - 1;
            met.n_same += n_like - 1;
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::answers::tests::{judged, pick};
    use laurel_protocol::{Choice, Judgement};

    /// Everybody sees another order; 1 and 2 always mean the same answer, 3 always the other one.
    fn picks() -> Tables {
        let task = |n: i64| {
            let (low, high) = match n % 2 {
                0 => (Choice::First, Choice::Second),
                _ => (Choice::Second, Choice::First),
            };
            [
                pick(n, 1, low, &[0, 1]),
                pick(n, 2, high, &[1, 0]),
                pick(n, 3, high, &[0, 1]),
            ]
        };
        Tables::of(&(0..6).flat_map(task).collect::<Vec<_>>())
    }

    #[test]
    fn people_agree_on_answers_and_not_on_places_of_the_screen() {
        let tables = picks();
        let found = figures(&tables);
        assert_eq!(found.len(), 3);
        assert!(
            found
                .iter()
                .all(|figure| figure.about == Subject::Choice && figure.n_tasks == 6)
        );
        assert_eq!(found[0].estimate.unwrap().value, 1.0 / 3.0);
        let of_pairs: Vec<_> = pairs(&tables)
            .into_iter()
            .map(|pair| (pair.first.0, pair.second.0, pair.kappa.unwrap().value))
            .collect();
        assert_eq!(of_pairs, [(1, 2, 1.0), (1, 3, -1.0), (2, 3, -1.0)]);
    }

    #[test]
    fn who_contradicts_everyone_agrees_with_nobody() {
        let found = with_others(&picks());
        let value = |user| found[&UserId(user)].unwrap().value;
        assert_eq!([value(1), value(2), value(3)], [0.5, 0.5, 0.0]);
    }

    #[test]
    fn where_nothing_is_shared_nothing_is_told() {
        let tables = Tables::of(&[
            pick(1, 1, Choice::First, &[0, 1]),
            pick(2, 2, Choice::First, &[0, 1]),
        ]);
        for figure in figures(&tables) {
            assert_eq!((figure.n_tasks, figure.estimate), (0, None), "{figure:?}");
        }
        assert_eq!(pairs(&tables), []);
        assert!(with_others(&tables).values().all(Option::is_none));
    }

    #[test]
    fn a_rank_project_has_orders_and_verdicts() {
        let rank = |task, user, ranks: &[u8]| {
            let judgement = Judgement::Rank {
                ranks: ranks.to_vec(),
            };
            judged(task, user, judgement, &[0, 1, 2])
        };
        let tables = Tables::of(&[
            rank(1, 1, &[1, 2, 3]),
            rank(1, 2, &[1, 3, 2]),
            rank(2, 1, &[1, 1, 2]),
        ]);
        let found = figures(&tables);
        let of = |measure| {
            let found = found.iter().find(|figure| figure.measure == measure).unwrap();
            (found.n_tasks, found.estimate.unwrap().value)
        };
        assert_eq!(of(Measure::KendallTauB), (1, 1.0 / 3.0));
        assert_eq!(of(Measure::Percent), (1, 2.0 / 3.0));
    }
}
