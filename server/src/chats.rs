//! Turns of chats and battles, in memory: what was said, the answers so far, and who watches. A turn that nobody watches is
//! given up; one that has ended is forgotten soon. The queue itself is the database's, see [`crate::store::chat_jobs`].

use laurel_protocol::{BattleId, ChatAnswer, JobId, JobStatus, NewChatTurn, UserId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Turns that have not ended, of all people together.
const MAX_OPEN: usize = 16;
/// A browser that lost its connection comes back within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a turn is kept for whoever has not seen it.
const KEPT: Duration = Duration::from_secs(60);
/// A trainer that waits for work asks again within half of this, and one at work reports more often.
const AT_WORK: Duration = Duration::from_secs(60);

/// What a watcher is told, beside the place in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub status: JobStatus,
    pub answers: Vec<ChatAnswer>,
    pub error: Option<String>,
}

struct Turn {
    by: UserId,
    base_model: String,
    asked: NewChatTurn,
    /// The battle that it answers, unless it is a chat's.
    battle: Option<BattleId>,
    /// As its trainer named it.
    template_hash: Option<String>,
    told: watch::Sender<Told>,
    n_watchers: usize,
    /// Since when nobody watches, or it has ended.
    since: Instant,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.told.borrow().status.is_over()
    }
}

#[derive(Clone, Default)]
pub struct Chats {
    turns: Arc<Mutex<BTreeMap<JobId, Turn>>>,
    /// When a trainer of each base model was last heard of.
    trainers: Arc<Mutex<BTreeMap<String, Instant>>>,
}

/// What became of a battle's answers.
pub struct Written {
    pub battle: BattleId,
    pub answers: Vec<ChatAnswer>,
    pub template_hash: Option<String>,
}

/// The turn that answers a battle.
pub struct AtWork {
    pub job: JobId,
    pub base_model: String,
    pub told: Told,
}

/// Somebody watches as long as this lives.
pub struct Watching {
    chats: Chats,
    job: JobId,
    pub told: watch::Receiver<Told>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(turn) = self.chats.turns().get_mut(&self.job) {
            turn.n_watchers -= 1;
            turn.since = Instant::now();
        }
    }
}

impl Chats {
    fn turns(&self) -> MutexGuard<'_, BTreeMap<JobId, Turn>> {
        // No call leaves the map half changed: a panic elsewhere has harmed nothing.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more turn.
    pub fn has_room(&self) -> bool {
        self.turns().values().filter(|turn| !turn.is_over()).count() < MAX_OPEN
    }

    pub fn add(
        &self,
        job: JobId,
        by: UserId,
        base_model: &str,
        asked: &NewChatTurn,
        battle: Option<BattleId>,
    ) {
        let told = Told {
            status: JobStatus::Queued,
            answers: vec![ChatAnswer::default(); asked.sides.len()],
            error: None,
        };
        let turn = Turn {
            by,
            base_model: base_model.to_owned(),
            asked: asked.clone(),
            battle,
            template_hash: None,
            told: watch::Sender::new(told),
            n_watchers: 0,
            since: Instant::now(),
        };
        self.turns().insert(job, turn);
    }

    /// What was asked; none where the turn is not of this run of the server.
    pub fn asked(&self, job: JobId) -> Option<NewChatTurn> {
        self.turns().get(&job).map(|turn| turn.asked.clone())
    }

    /// The stream of a turn for the one who began it.
    pub fn watch(&self, job: JobId, who: UserId) -> Option<Watching> {
        let mut turns = self.turns();
        let turn = turns.get_mut(&job).filter(|turn| turn.by == who)?;
        turn.n_watchers += 1;
        Some(Watching {
            chats: self.clone(),
            job,
            told: turn.told.subscribe(),
        })
    }

    pub fn is_by(&self, job: JobId, who: UserId) -> bool {
        self.turns().get(&job).is_some_and(|turn| turn.by == who)
    }

    /// Whether a turn waits that a trainer of this base model could answer.
    pub fn waits_for(&self, base_model: &str) -> bool {
        let turns = self.turns();
        let waits = |turn: &Turn| turn.told.borrow().status == JobStatus::Queued;
        turns
            .values()
            .any(|turn| turn.base_model == base_model && waits(turn))
    }

    /// Turns that wait before this one.
    pub fn n_ahead(&self, job: JobId) -> u32 {
        let turns = self.turns();
        let waits = |turn: &Turn| turn.told.borrow().status == JobStatus::Queued;
        let n = turns.range(..job).filter(|(_, turn)| waits(turn)).count();
        n.try_into().unwrap_or(u32::MAX)
    }

    /// Takes what a trainer has written so far.
    pub fn write(&self, job: JobId, answers: Vec<ChatAnswer>, template_hash: Option<String>) {
        self.change(job, |told| told.answers = answers);
        if let Some(turn) = self.turns().get_mut(&job) {
            turn.template_hash = template_hash;
        }
    }

    /// What was written for a battle; none where the turn is a chat's.
    pub fn written(&self, job: JobId) -> Option<Written> {
        let turns = self.turns();
        let turn = turns.get(&job)?;
        Some(Written {
            battle: turn.battle?,
            answers: turn.told.borrow().answers.clone(),
            template_hash: turn.template_hash.clone(),
        })
    }

    /// The latest turn of a battle that is known.
    pub fn at_work_on(&self, battle: BattleId) -> Option<AtWork> {
        let turns = self.turns();
        let (job, turn) = turns.iter().rfind(|(_, turn)| turn.battle == Some(battle))?;
        Some(AtWork {
            job: *job,
            base_model: turn.base_model.clone(),
            told: turn.told.borrow().clone(),
        })
    }

    /// Notes a sign of life of a trainer.
    pub fn heard_of_trainer(&self, base_model: &str, now: Instant) {
        let mut trainers = self.trainers.lock().unwrap_or_else(PoisonError::into_inner);
        trainers.retain(|_, heard| now.saturating_duration_since(*heard) < AT_WORK);
        trainers.insert(base_model.to_owned(), now);
    }

    /// Whether a trainer of this base model is at work.
    pub fn has_trainer(&self, base_model: &str, now: Instant) -> bool {
        let trainers = self.trainers.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = trainers.get(base_model);
        heard.is_some_and(|heard| now.saturating_duration_since(*heard) < AT_WORK)
    }

    /// Notes that a trainer took it, lost it, or has ended it. One that is taken up anew begins anew.
    pub fn set(&self, job: JobId, status: JobStatus, error: Option<String>) {
        self.change(job, |told| {
            if status == JobStatus::Queued {
                told.answers.fill(ChatAnswer::default());
            }
            (told.status, told.error) = (status, error);
        });
        if status.is_over()
            && let Some(turn) = self.turns().get_mut(&job)
        {
            turn.since = Instant::now();
        }
    }

    fn change(&self, job: JobId, change: impl FnOnce(&mut Told)) {
        if let Some(turn) = self.turns().get(&job).filter(|turn| !turn.is_over()) {
            turn.told.send_modify(change);
        }
    }

    /// Forgets what ended a while ago, and gives the open turns that nobody watches any more.
    pub fn tidy(&self, now: Instant) -> Vec<JobId> {
        let mut turns = self.turns();
        let age = |turn: &Turn| now.saturating_duration_since(turn.since);
        turns.retain(|_, turn| !turn.is_over() || turn.n_watchers > 0 || age(turn) < KEPT);
        let is_left = |turn: &Turn| !turn.is_over() && turn.n_watchers == 0 && age(turn) >= PATIENCE;
        turns
            .iter()
            .filter(|(_, turn)| is_left(turn))
            .map(|(job, _)| *job)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{ChatSide, Message, Sampling};

    const ADA: UserId = UserId(1);

    fn asked() -> NewChatTurn {
        NewChatTurn {
            sides: vec![ChatSide {
                adapter: None,
                messages: vec![Message::user("hi")],
            }],
            sampling: Sampling::default(),
        }
    }

    #[test]
    fn a_turn_is_given_up_when_its_watcher_has_left_for_a_while() {
        let chats = Chats::default();
        chats.add(JobId(1), ADA, "m", &asked(), None);
        let watching = chats.watch(JobId(1), ADA).unwrap();
        let later = Instant::now() + PATIENCE * 2;
        assert!(chats.tidy(later).is_empty());
        drop(watching);
        assert!(chats.tidy(Instant::now()).is_empty());
        assert_eq!(chats.tidy(later), [JobId(1)]);
        chats.set(JobId(1), JobStatus::Aborted, None);
        assert!(chats.tidy(Instant::now() + KEPT * 2).is_empty());
        assert!(chats.asked(JobId(1)).is_none());
    }

    #[test]
    fn only_who_began_a_turn_watches_it() {
        let chats = Chats::default();
        chats.add(JobId(1), ADA, "m", &asked(), None);
        assert!(chats.watch(JobId(1), UserId(2)).is_none());
        assert!(chats.watch(JobId(2), ADA).is_none());
        assert!(chats.is_by(JobId(1), ADA) && !chats.is_by(JobId(1), UserId(2)));
    }

    #[test]
    fn the_place_in_the_queue_counts_turns_that_wait() {
        let chats = Chats::default();
        for job in [3, 5, 8] {
            chats.add(JobId(job), ADA, "m", &asked(), None);
        }
        assert_eq!(chats.n_ahead(JobId(8)), 2);
        chats.set(JobId(3), JobStatus::Running, None);
        assert_eq!(chats.n_ahead(JobId(8)), 1);
        assert!(chats.waits_for("m") && !chats.waits_for("another"));
    }

    #[test]
    fn a_turn_that_a_trainer_lost_begins_anew_and_one_that_has_ended_stays_as_it_is() {
        let chats = Chats::default();
        chats.add(JobId(1), ADA, "m", &asked(), None);
        let watching = chats.watch(JobId(1), ADA).unwrap();
        let text = |text: &str| {
            vec![ChatAnswer {
                text: text.into(),
                ..ChatAnswer::default()
            }]
        };
        chats.set(JobId(1), JobStatus::Running, None);
        chats.write(JobId(1), text("half"), None);
        chats.set(JobId(1), JobStatus::Queued, None);
        assert_eq!(watching.told.borrow().answers, text(""));
        chats.write(JobId(1), text("whole"), None);
        chats.set(JobId(1), JobStatus::Done, None);
        chats.write(JobId(1), text("late"), None);
        chats.set(JobId(1), JobStatus::Failed, Some("late".into()));
        let told = watching.told.borrow().clone();
        assert_eq!(
            (told.answers, told.status, told.error),
            (text("whole"), JobStatus::Done, None)
        );
    }
    #[test]
    fn a_battle_has_its_latest_turn_and_a_chat_has_none() {
        let chats = Chats::default();
        chats.add(JobId(1), ADA, "m", &asked(), Some(BattleId(7)));
        chats.add(JobId(2), ADA, "m", &asked(), None);
        chats.add(JobId(3), ADA, "m", &asked(), Some(BattleId(7)));
        assert_eq!(chats.at_work_on(BattleId(7)).map(|turn| turn.job), Some(JobId(3)));
        assert!(chats.at_work_on(BattleId(8)).is_none());
        assert!(chats.written(JobId(2)).is_none());
    }

    #[test]
    fn a_trainer_that_is_silent_for_a_minute_is_not_at_work() {
        let (chats, now) = (Chats::default(), Instant::now());
        assert!(!chats.has_trainer("m", now));
        chats.heard_of_trainer("m", now);
        assert!(chats.has_trainer("m", now) && !chats.has_trainer("another", now));
        assert!(!chats.has_trainer("m", now + AT_WORK));
    }
}
