//! Reports of progress that were made a short while ago, and what goes into new ones: every lead who looks at a large
//! project while people label would ask for a new one with each answer. Agreement over time takes longest, a second or two
//! of a large project, so that it is looked at in between, and nobody waits for it.

use crate::{quality::progress::OverTime, store::progress::Days};
use axum::body::Bytes;
use laurel_protocol::{Period, ProgressQuery, ProjectId, ProjectProgress, StoredProject, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Of a smaller project each report is made anew.
pub const LARGE: u64 = 20_000;
const MAX_AGE_MS: i64 = 60 * 1000;
/// Agreement over time of a large project is looked at again after so long, if answers have come.
pub const AGREEMENT_EVERY: Duration = Duration::from_secs(10 * 60);
/// If it is older, whoever asks waits for a new one.
const MAX_AGREEMENT_AGE_MS: i64 = 2 * AGREEMENT_EVERY.as_millis() as i64;
/// Reading all texts may take so long each time.
const LONG_MS: i64 = 100;
const MAX_TEXTS_AGE_MS: i64 = 10 * 60 * 1000;
/// Reports that are kept.
const MAX_KEPT: usize = 64;

type Key = (ProjectId, ProgressQuery);

#[derive(Clone, Default)]
pub struct Reports {
    kept: Arc<Mutex<HashMap<Key, ProjectProgress>>>,
    /// By project, with how often its answers had changed.
    agreement: Arc<Mutex<HashMap<ProjectId, (i64, OverTime)>>>,
    pub days: Days,
    written: Arc<Mutex<HashMap<(ProjectId, Question), Written>>>,
    texts: Arc<Mutex<Option<Texts>>>,
}

/// What the projects' texts took then.
type Texts = (Timestamp, Vec<StoredProject>);

/// What else is asked of a project that takes seconds where it is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    Quality(Period),
    Annotators,
}

/// An answer as it was sent.
struct Written {
    as_of: Timestamp,
    json: Bytes,
}

impl Reports {
    /// Agreement over time of a project whose answers changed so often; as long as none has changed since it was looked
    /// at, it is as good as new.
    pub fn agreement(&self, project: ProjectId, n_changes: i64, now: Timestamp) -> Option<OverTime> {
        let known = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, over_time) = known.get(&project)?;
        let is_same = *then == n_changes;
        let is_recent = (0..MAX_AGREEMENT_AGE_MS).contains(&(now.0 - over_time.as_of.0));
        (is_same || is_recent).then(|| OverTime {
            as_of: if is_same { now } else { over_time.as_of },
            windows: over_time.windows.clone(),
        })
    }

    /// Whether an answer has changed since agreement was looked at.
    pub fn is_behind(&self, project: ProjectId, n_changes: i64) -> bool {
        let known = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&project).is_none_or(|(then, _)| *then != n_changes)
    }

    pub fn keep_agreement(&self, project: ProjectId, n_changes: i64, over_time: &OverTime) {
        let mut known = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(project, (n_changes, over_time.clone()));
    }

    /// What the projects' texts take, if it was told less than ten minutes ago.
    pub fn texts(&self, now: Timestamp) -> Option<Vec<StoredProject>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let (as_of, projects) = texts.as_ref()?;
        let is_young = (0..MAX_TEXTS_AGE_MS).contains(&(now.0 - as_of.0));
        is_young.then(|| projects.clone())
    }

    /// Keeps it, if it took long to read.
    pub fn keep_texts(&self, begun: Timestamp, now: Timestamp, projects: &[StoredProject]) {
        if now.0 - begun.0 >= LONG_MS {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            *texts = Some((now, projects.to_vec()));
        }
    }

    /// What was answered to this question less than a minute ago.
    pub fn written(&self, project: ProjectId, question: Question, now: Timestamp) -> Option<Bytes> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.get(&(project, question))?;
        is_young(known.as_of, now).then(|| known.json.clone())
    }

    /// Keeps an answer about a project of so many annotations, if it is a large one.
    pub fn keep_written(
        &self,
        (project, n_annotations): (ProjectId, u64),
        question: Question,
        as_of: Timestamp,
        json: &Bytes,
    ) {
        if n_annotations < LARGE {
            return;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, other| is_young(other.as_of, as_of));
        if written.len() < MAX_KEPT {
            let json = json.clone();
            written.insert((project, question), Written { as_of, json });
        }
    }

    /// The one that was made for this question, if it is good enough still.
    pub fn recent(
        &self,
        project: ProjectId,
        query: ProgressQuery,
        now: Timestamp,
    ) -> Option<ProjectProgress> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let report = kept.get(&(project, query))?;
        is_recent(report, now).then(|| report.clone())
    }

    pub fn keep(&self, project: ProjectId, query: ProgressQuery, report: &ProjectProgress) {
        if report.n_annotations < LARGE {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, other| is_recent(other, report.as_of));
        if kept.len() < MAX_KEPT {
            kept.insert((project, query), report.clone());
        }
    }
}

fn is_recent(report: &ProjectProgress, now: Timestamp) -> bool {
    is_young(report.as_of, now)
}

/// A clock that was put back makes none young.
fn is_young(as_of: Timestamp, now: Timestamp) -> bool {
    (0..MAX_AGE_MS).contains(&(now.0 - as_of.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{Given, Queue};

    const PROJECT: ProjectId = ProjectId(1);

    fn report(n_annotations: u64, as_of: i64) -> ProjectProgress {
        ProjectProgress {
            as_of: Timestamp(as_of),
            n_annotations,
            days: Vec::new(),
            hours: Vec::new(),
            annotators: Vec::new(),
            queue: Queue::default(),
            tasks: Vec::new(),
            agreement: Vec::new(),
            agreement_as_of: Timestamp(as_of),
            given: Given::default(),
        }
    }

    #[test]
    fn a_large_projects_report_serves_for_a_minute_and_for_the_same_question_alone() {
        let reports = Reports::default();
        let query = ProgressQuery::default();
        reports.keep(PROJECT, query, &report(LARGE, 1000));
        let at = |now| reports.recent(PROJECT, query, Timestamp(now)).is_some();
        assert_eq!(
            [at(1000), at(60_999), at(61_000), at(999)],
            [true, true, false, false]
        );
        let week = ProgressQuery { days: 7, ..query };
        assert!(reports.recent(PROJECT, week, Timestamp(1000)).is_none());
        assert!(reports.recent(ProjectId(2), query, Timestamp(1000)).is_none());
    }

    #[test]
    fn agreement_serves_while_no_answer_changes_and_a_while_after_one_did() {
        let reports = Reports::default();
        let looked_at = OverTime {
            as_of: Timestamp(1000),
            windows: Vec::new(),
        };
        reports.keep_agreement(PROJECT, 7, &looked_at);
        let at = |n_changes, now| {
            let known = reports.agreement(PROJECT, n_changes, Timestamp(now));
            known.map(|known| known.as_of.0)
        };
        let late = 1000 + MAX_AGREEMENT_AGE_MS;
        assert_eq!([at(7, 2000), at(7, late)], [Some(2000), Some(late)]);
        assert_eq!([at(8, 2000), at(8, late)], [Some(1000), None]);
        assert!(reports.is_behind(PROJECT, 8) && !reports.is_behind(PROJECT, 7));
    }

    #[test]
    fn what_was_answered_about_a_large_project_serves_for_a_minute() {
        let reports = Reports::default();
        let keep = |project, n| {
            let json = Bytes::from_static(b"[]");
            reports.keep_written(
                (ProjectId(project), n),
                Question::Annotators,
                Timestamp(1000),
                &json,
            );
        };
        keep(1, LARGE);
        keep(2, LARGE - 1);
        let at = |project, question, now| {
            reports
                .written(ProjectId(project), question, Timestamp(now))
                .is_some()
        };
        assert!(at(1, Question::Annotators, 60_999) && !at(1, Question::Annotators, 61_000));
        assert!(!at(1, Question::Quality(Period::default()), 1000));
        assert!(!at(2, Question::Annotators, 1000));
    }

    #[test]
    fn texts_that_were_read_at_once_are_read_again_and_others_serve_for_a_while() {
        let reports = Reports::default();
        reports.keep_texts(Timestamp(0), Timestamp(LONG_MS - 1), &[]);
        assert!(reports.texts(Timestamp(LONG_MS)).is_none());
        reports.keep_texts(Timestamp(0), Timestamp(5000), &[]);
        let at = |now| reports.texts(Timestamp(now)).is_some();
        assert!(at(5000) && at(604_999) && !at(605_000) && !at(4999));
    }

    #[test]
    fn a_small_projects_report_is_made_anew_each_time() {
        let reports = Reports::default();
        let query = ProgressQuery::default();
        reports.keep(PROJECT, query, &report(LARGE - 1, 1000));
        assert!(reports.recent(PROJECT, query, Timestamp(1000)).is_none());
    }

    #[test]
    fn old_reports_make_room_and_new_ones_wait_for_it() {
        let reports = Reports::default();
        let query = ProgressQuery::default();
        for project in 0..100 {
            reports.keep(ProjectId(project), query, &report(LARGE, 1000));
        }
        assert_eq!(reports.kept.lock().unwrap().len(), MAX_KEPT);
        reports.keep(ProjectId(200), query, &report(LARGE, 100_000));
        assert_eq!(reports.kept.lock().unwrap().len(), 1);
    }
}
