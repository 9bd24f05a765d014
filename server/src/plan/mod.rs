//! What a round would take and what speaks against its data, before it is started. Pure: the project's data and what
//! earlier rounds took in (`store/plan_data.rs` reads them), a [`RoundPlan`] out (`routes/plans.rs` hands it on).

mod concerns;
pub mod duplicates;
mod estimates;
mod kept;
mod rows;

pub use self::kept::{Kept, Version};

use self::rows::Rows;
use crate::quality::{self, Judgements, share::share};
use laurel_protocol::{
    AdapterId, AnnotationId, AnnotatorFigures, CompletionId, LastWorker, NewRound, PlanRow, PromptId,
    RoundId, RoundPlan, RoundSize, RoundSpec, Share, Timestamp, UserId, WeakAnnotator,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A comparison of the project, a tie or not.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    pub annotation: AnnotationId,
    pub user: UserId,
    pub prompt: PromptId,
    pub chosen: CompletionId,
    pub rejected: CompletionId,
    pub tie: bool,
    /// No completion was put above the chosen one, and it is acceptable: a round may imitate it.
    pub is_best: bool,
}

/// A completion of a comparison, or a demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub n_characters: u32,
    /// Counted by the trainer that sampled it; 0 where a person wrote it.
    pub n_tokens: u32,
    pub is_cut_off: bool,
    pub made_by: Maker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Maker {
    Base,
    Adapter(AdapterId),
    Person,
}

#[derive(Clone, Copy, Debug)]
pub struct Demonstration {
    pub user: UserId,
    pub prompt: PromptId,
    pub completion: CompletionId,
}

/// What people's answers in the project look like, whatever is trained.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// How often the answer shown first was the best, and would be by chance.
    pub first_is_best: Option<(Share, f64)>,
    pub weak: Vec<WeakAnnotator>,
}

/// The data of a project that rounds are made of, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub comparisons: Vec<Compared>,
    pub demonstrations: Vec<Demonstration>,
    pub answers: HashMap<CompletionId, Answer>,
    /// Characters of each prompt.
    pub prompts: HashMap<PromptId, u32>,
    /// Those that PPO rounds answer, in their order.
    pub to_answer: Vec<PromptId>,
    /// Of prompts that have near-duplicates, the group that they are in.
    pub groups: HashMap<PromptId, u32>,
    pub generators: HashMap<AdapterId, String>,
    pub people: People,
    pub as_of: Timestamp,
}

/// An earlier round of the same base model, newest first in a list.
#[derive(Clone, Debug)]
pub struct Earlier {
    pub id: RoundId,
    pub name: String,
    pub spec: RoundSpec,
    pub n_steps: u64,
    /// Of a round that one trainer ran from its first step to its last.
    pub seconds: Option<f64>,
    pub size: Option<RoundSize>,
    pub n_rows: u64,
}

/// What is asked of the database for one plan, beside the data.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub earlier: Vec<Earlier>,
    pub worker: Option<LastWorker>,
    pub n_jobs_ahead: u64,
    pub first_rows: Vec<PlanRow>,
    pub start: Option<Start>,
}

/// The adapter that the round would start from, and the prompts that made it and those before it.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: String,
    pub seen: HashSet<PromptId>,
    /// Seed and share of the rounds that made them: with the same ones, and the same prompts, the same are held out.
    pub splits: Vec<(u64, f64)>,
}

/// A person's strict verdicts follow the strengths of the answers less often than this: half of them do by chance.
const RELIABLE: f64 = 0.65;
/// Gold items that a share of right ones is told from.
const ENOUGH_GOLD: u64 = 5;

impl People {
    /// `gold_percent`: so many of a hundred gold items must be right.
    pub fn of(judgements: &Judgements, figures: &[AnnotatorFigures], gold_percent: u8) -> Self {
        let all: Vec<_> = judgements.judged.iter().collect();
        let habits = quality::habits::of(&all);
        let reliabilities = quality::reliabilities(judgements);
        let weak = figures.iter().filter_map(|person| {
            let reliability = reliabilities.get(&person.user).copied();
            let reliability = reliability.filter(|value| *value < RELIABLE);
            let enough = person.n_gold >= ENOUGH_GOLD
                && 100 * person.n_gold_right < u64::from(gold_percent) * person.n_gold;
            let gold = share(person.n_gold_right, person.n_gold).filter(|_| enough);
            (reliability.is_some() || gold.is_some()).then(|| WeakAnnotator {
                user: person.user,
                name: person.name.clone(),
                reliability,
                gold,
            })
        });
        Self {
            first_is_best: habits.first_is_best.zip(habits.first_by_chance),
            weak: weak.collect(),
        }
    }
}

impl Data {
    /// Groups the prompts by near-duplicates.
    pub fn group(&mut self, texts: Vec<(PromptId, String)>) {
        let (ids, texts): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
        let groups = duplicates::groups(&texts);
        let grouped = ids.into_iter().zip(groups);
        self.groups = grouped.filter_map(|(id, group)| Some((id, group?))).collect();
    }
}

pub fn plan(data: &Data, new: &NewRound, around: Surroundings) -> RoundPlan {
    let rows = Rows::of(data, &new.spec);
    let n_held_out = rows.n_held_out(&new.spec);
    let tokens = estimates::tokens(data, &rows, &new.spec, &around.earlier);
    let concerns = concerns::of(data, &rows, new, around.start.as_ref());
    RoundPlan {
        n_rows: rows.len() as u64,
        n_prompts: rows.prompts.len() as u64,
        n_held_out,
        n_ties_left_out: rows.n_ties_left_out,
        n_steps: rows.n_steps(&new.spec),
        seconds: estimates::seconds(&rows, &new.spec, &tokens, &around.earlier),
        memory_bytes: estimates::memory(&new.spec, &around.earlier),
        tokens,
        worker: around.worker,
        n_jobs_ahead: around.n_jobs_ahead,
        concerns,
        first_rows: around.first_rows,
        as_of: data.as_of,
    }
}

/// The different prompts of some.
fn distinct(prompts: impl Iterator<Item = PromptId>) -> BTreeSet<PromptId> {
    prompts.collect()
}
