//! Reports of progress that were made a short while ago. Of a large project one takes a second or two, and every lead
//! who looks at it while people label would ask for a new one with each answer.

use laurel_protocol::{ProgressQuery, ProjectId, ProjectProgress, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of a smaller project each report is made anew.
const LARGE: u64 = 20_000;
const MAX_AGE_MS: i64 = 60 * 1000;
/// Reports that are kept.
const MAX_KEPT: usize = 64;

type Key = (ProjectId, ProgressQuery);

#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<HashMap<Key, ProjectProgress>>>);

impl Reports {
    /// The one that was made for this question, if it is good enough still.
    pub fn recent(
        &self,
        project: ProjectId,
        query: ProgressQuery,
        now: Timestamp,
    ) -> Option<ProjectProgress> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report = kept.get(&(project, query))?;
        is_recent(report, now).then(|| report.clone())
    }

    pub fn keep(&self, project: ProjectId, query: ProgressQuery, report: &ProjectProgress) {
        if report.n_annotations < LARGE {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, other| is_recent(other, report.as_of));
        if kept.len() < MAX_KEPT {
            kept.insert((project, query), report.clone());
        }
    }
}

/// A clock that was put back makes none recent.
fn is_recent(report: &ProjectProgress, now: Timestamp) -> bool {
    (0..MAX_AGE_MS).contains(&(now.0 - report.as_of.0))
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
        assert_eq!(reports.0.lock().unwrap().len(), MAX_KEPT);
        reports.keep(ProjectId(200), query, &report(LARGE, 100_000));
        assert_eq!(reports.0.lock().unwrap().len(), 1);
    }
}
