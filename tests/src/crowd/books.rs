//! The audit after the work: what the annotators remember against what the server exports.

use super::person::Diary;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The part of a `RankingRow` that matters here.
#[derive(Deserialize)]
struct Row {
    ranks: Vec<Option<u8>>,
    display_order: Vec<usize>,
    comment: String,
    annotator: String,
    prompt_id: i64,
}

/// What was found. Each number but the first three is zero where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub n_acknowledged: usize,
    pub n_stored: usize,
    /// Tasks that have their overlap.
    pub n_finished: usize,
    /// Acknowledged answers that are not there, or say something else.
    pub n_lost: usize,
    /// Answers stored more than once, or by one person twice for one task.
    pub n_double: usize,
    /// Answers that are there and that nobody knows to be acknowledged.
    pub n_unknown: usize,
    /// Tasks handed to more people than their overlap, or to one person twice.
    pub n_handed_twice: usize,
    /// Tasks with more answers than their overlap, or counted as finished without having it.
    pub n_wrong_overlap: usize,
}

impl Findings {
    pub fn is_good(&self) -> bool {
        let wrong = [
            self.n_lost,
            self.n_double,
            self.n_unknown,
            self.n_handed_twice,
            self.n_wrong_overlap,
        ];
        wrong.iter().all(|n| *n == 0)
    }
}

/// `export` is a project's export in the format `ranking`, whose prompts have one task each; `n_done` the tasks that
/// its server counts as done.
pub fn audit(diaries: &[Diary], export: &str, overlap: u8, n_done: u64) -> Result<Findings> {
    let overlap = usize::from(overlap);
    let rows: Vec<Row> = export
        .lines()
        .map(|line| serde_json::from_str(line).context("read a row of the export"))
        .collect::<Result<_>>()?;
    let mut by_mark: HashMap<&str, Vec<&Row>> = HashMap::new();
    let mut by_prompt: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        by_mark.entry(&row.comment).or_default().push(row);
        by_prompt.entry(row.prompt_id).or_default().push(&row.annotator);
    }
    let mut findings = Findings {
        n_stored: rows.len(),
        ..Findings::default()
    };
    let mut acknowledged = HashSet::new();
    for answer in diaries.iter().flat_map(|diary| &diary.answers) {
        findings.n_acknowledged += 1;
        acknowledged.insert(answer.mark.as_str());
        match by_mark.get(answer.mark.as_str()).map(Vec::as_slice) {
            Some([row, more @ ..]) => {
                findings.n_double += more.len();
                findings.n_lost += usize::from(row.first_wins() != Some(answer.is_first));
            }
            _ => findings.n_lost += 1,
        }
    }
    findings.n_unknown = by_mark
        .keys()
        .filter(|mark| !acknowledged.contains(*mark))
        .count();
    for annotators in by_prompt.values_mut() {
        let n = annotators.len();
        annotators.sort_unstable();
        annotators.dedup();
        findings.n_double += n - annotators.len();
        findings.n_wrong_overlap += usize::from(n > overlap);
        findings.n_finished += usize::from(n == overlap);
    }
    findings.n_wrong_overlap += (n_done as usize).abs_diff(findings.n_finished);
    findings.n_handed_twice = handed_twice(diaries, overlap);
    Ok(findings)
}

/// Leases are longer than the run: whoever was handed a task held it to the end or answered it.
fn handed_twice(diaries: &[Diary], overlap: usize) -> usize {
    let mut n_people: HashMap<i64, usize> = HashMap::new();
    let mut n_wrong = 0;
    for diary in diaries {
        let tasks: HashSet<i64> = diary.handed.iter().map(|(task, _)| *task).collect();
        n_wrong += diary.handed.len() - tasks.len();
        for task in tasks {
            *n_people.entry(task).or_default() += 1;
        }
    }
    n_wrong + n_people.values().filter(|n| **n > overlap).count()
}

impl Row {
    /// Whether the completion that was shown first is the better one.
    fn first_wins(&self) -> Option<bool> {
        let rank = |position: usize| {
            self.ranks
                .get(*self.display_order.get(position)?)
                .copied()
                .flatten()
        };
        Some(rank(0)? < rank(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::person::Acknowledged;

    fn row(prompt: i64, annotator: &str, comment: &str) -> String {
        format!(
            r#"{{"ranks":[2,1],"display_order":[1,0],"comment":"{comment}","annotator":"{annotator}","prompt_id":{prompt}}}"#
        )
    }

    fn diary(marks: &[&str], handed: &[(i64, i64)]) -> Diary {
        let answers = marks.iter().map(|mark| Acknowledged {
            mark: (*mark).to_owned(),
            is_first: true,
            ms: 1.0,
            was_resent: false,
        });
        Diary {
            answers: answers.collect(),
            handed: handed.to_vec(),
            ..Diary::default()
        }
    }

    fn found(diaries: &[Diary], rows: &[String], n_done: u64) -> Findings {
        audit(diaries, &rows.join("\n"), 2, n_done).unwrap()
    }

    #[test]
    fn two_people_who_answered_one_task_are_all_that_two_wants() {
        let diaries = [diary(&["a"], &[(1, 1)]), diary(&["b"], &[(1, 2), (2, 3)])];
        let findings = found(&diaries, &[row(7, "x", "a"), row(7, "y", "b")], 1);
        assert!(findings.is_good(), "{findings:?}");
        assert_eq!((findings.n_acknowledged, findings.n_finished), (2, 1));
    }

    #[test]
    fn every_kind_of_mistake_is_found() {
        let one = [diary(&["a"], &[])];
        assert_eq!(found(&one, &[], 0).n_lost, 1);
        let changed = row(7, "x", "a").replace("[2,1]", "[1,2]");
        assert_eq!(found(&one, &[changed], 0).n_lost, 1);
        assert_eq!(found(&one, &[row(7, "x", "a"), row(8, "x", "a")], 0).n_double, 1);
        assert_eq!(found(&[], &[row(7, "x", "a")], 0).n_unknown, 1);
        let both = [row(7, "x", "a"), row(7, "x", "b")];
        assert_eq!(found(&[diary(&["a", "b"], &[])], &both, 1).n_double, 1);
        let three = [row(7, "x", "a"), row(7, "y", "b"), row(7, "z", "c")];
        assert_eq!(
            found(&[diary(&["a", "b", "c"], &[])], &three, 0).n_wrong_overlap,
            1
        );
        assert_eq!(found(&one, &[row(7, "x", "a")], 1).n_wrong_overlap, 1);
        let handed = |assignment| diary(&[], &[(1, assignment)]);
        assert_eq!(
            found(&[handed(1), handed(2), handed(3)], &[], 0).n_handed_twice,
            1
        );
        assert_eq!(found(&[diary(&[], &[(1, 1), (1, 2)])], &[], 0).n_handed_twice, 1);
    }
}
