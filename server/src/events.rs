//! Who changed: a notice that a project or a round has news. Streams read the news itself from the database, so a
//! slow listener misses notices and never facts. Also wakes trainers that wait for work.

use laurel_protocol::{CompletionJobId, ProjectId, RoundId};
use std::sync::Arc;
use tokio::sync::{Notify, broadcast};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Counts(ProjectId),
    CompletionJob(ProjectId, CompletionJobId),
    Round(ProjectId, RoundId),
}

#[derive(Clone)]
pub struct Events {
    notices: broadcast::Sender<Notice>,
    work: Arc<Notify>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            notices: broadcast::channel(1024).0,
            work: Arc::default(),
        }
    }
}

impl Events {
    pub fn counts(&self, project: ProjectId) {
        self.send(Notice::Counts(project));
    }

    pub fn completion_job(&self, project: ProjectId, job: CompletionJobId) {
        self.send(Notice::CompletionJob(project, job));
    }

    pub fn round(&self, project: ProjectId, round: RoundId) {
        self.send(Notice::Round(project, round));
    }

    fn send(&self, notice: Notice) {
        // Nobody listening is no error.
        let _ = self.notices.send(notice);
    }

    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// A job waits: trainers in a long poll look again.
    pub fn work_arrived(&self) {
        self.work.notify_waiters();
    }

    pub fn work(&self) -> &Notify {
        &self.work
    }
}
