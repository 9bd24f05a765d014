//! The data of projects as it was read for a plan. The form asks again with every change of a field, and the data is the
//! same unless somebody labels meanwhile; that of a large project serves for a minute even then.

use super::Data;
use laurel_protocol::{ProjectId, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of a smaller project the newest data is read each time.
const LARGE: usize = 5_000;
const MAX_AGE_MS: i64 = 60 * 1000;
const MAX_KEPT: usize = 8;

/// What changes when the data does: the newest comparison, how many there are, the newest prompt and annotation.
pub type Version = [i64; 4];

type ByProject = HashMap<ProjectId, (Version, Arc<Data>)>;

#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<ByProject>>);

impl Kept {
    pub fn get(&self, project: ProjectId, version: Version, now: Timestamp) -> Option<Arc<Data>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, data) = kept.get(&project)?;
        let is_recent = (0..MAX_AGE_MS).contains(&(now.0 - data.as_of.0));
        let is_large = data.comparisons.len() + data.prompts.len() >= LARGE;
        // Names and who is weak may change without a new version.
        (is_recent && (*known == version || is_large)).then(|| data.clone())
    }

    pub fn keep(&self, project: ProjectId, version: Version, data: Arc<Data>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            let oldest = kept
                .iter()
                .min_by_key(|(_, (_, data))| data.as_of)
                .map(|(id, _)| *id);
            oldest.map(|id| kept.remove(&id));
        }
        kept.insert(project, (version, data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::PromptId;

    #[test]
    fn a_small_projects_data_serves_until_it_changes_and_a_large_ones_for_a_minute() {
        let kept = Kept::default();
        let data = |n: i64| {
            Arc::new(Data {
                prompts: (0..n).map(|id| (PromptId(id), 1)).collect(),
                as_of: Timestamp(1000),
                ..Data::default()
            })
        };
        kept.keep(ProjectId(1), [1; 4], data(3));
        kept.keep(ProjectId(2), [1; 4], data(LARGE as i64));
        let has = |project, version, now| {
            kept.get(ProjectId(project), [version; 4], Timestamp(now))
                .is_some()
        };
        assert_eq!(
            [has(1, 1, 1000), has(1, 2, 1000), has(1, 1, 61_000)],
            [true, false, false]
        );
        assert_eq!([has(2, 2, 60_999), has(2, 2, 61_000)], [true, false]);
        assert!(!has(3, 1, 1000));
    }
}
