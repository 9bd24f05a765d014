//! A project, the prompts in it, and the figures of its front page.

use crate::{
    arena::Arena,
    checks::Checks,
    error::{Check, Validation},
    ids::{CompletionId, ProjectId, PromptId, Timestamp, UserId},
    message::Message,
    questions::Questions,
    selection::Selection,
    template::Template,
};
use serde::{Deserialize, Serialize};

/// How annotators judge the completions of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// Two completions: A, B, tie, or both bad.
    Pick,
    /// Three to eight completions in order, ties allowed.
    Rank,
    /// The best and the worst of three to eight.
    BestWorst,
    /// One to eight completions, each rated by itself on the project's dimensions.
    Rate,
}

impl LabelType {
    /// With fewer completions there is no task.
    pub fn min_completions(self) -> u8 {
        match self {
            Self::Pick => 2,
            Self::Rank | Self::BestWorst => 3,
            Self::Rate => 1,
        }
    }
}

/// What an admin sets for a project. `POST /projects`, `PUT /projects/{id}/settings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectSettings {
    pub name: String,
    /// Markdown, shown to annotators.
    #[serde(default)]
    pub guidelines: String,
    pub label_type: LabelType,
    /// Completions judged together: 2 for pick, 3 to 8 for rank and best-worst, 1 to 8 for rate.
    pub completions_per_task: u8,
    /// How many people judge each task, 1 to 10.
    #[serde(default = "one")]
    pub overlap: u8,
    /// Pick only: ask how much better the winner is, in four steps.
    #[serde(default)]
    pub ask_strength: bool,
    /// What is asked beside the judgement.
    #[serde(default)]
    pub questions: Questions,
    /// What annotators are checked by.
    #[serde(default)]
    pub checks: Checks,
    /// Live battles of hidden contenders.
    #[serde(default)]
    pub arena: Arena,
    /// Which open tasks come first.
    #[serde(default)]
    pub selection: Selection,
    /// Leave completions that were cut off by the token limit out of tasks.
    #[serde(default)]
    pub leave_out_truncated: bool,
    /// Name of the base model as the trainers know it.
    #[serde(default = "default_model")]
    pub base_model: String,
    /// The chat template of its completions and rounds.
    #[serde(default)]
    pub template: Template,
}

fn one() -> u8 {
    1
}

/// The model that `cargo xtask run` sets up.
pub const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

fn default_model() -> String {
    DEFAULT_MODEL.to_owned()
}

impl ProjectSettings {
    pub fn validate(&self) -> Validation {
        let k = self.completions_per_task;
        let n_chars = self.name.trim().chars().count();
        let mut check = Check::default();
        check
            .ensure(
                (1..=100).contains(&n_chars),
                "name",
                "must have 1 to 100 characters",
            )
            .ensure(
                self.guidelines.len() <= 32 * 1024,
                "guidelines",
                "are longer than 32 KiB",
            )
            .ensure((1..=10).contains(&self.overlap), "overlap", "must be 1 to 10")
            .ensure(
                self.label_type != LabelType::Pick || k == 2,
                "completions_per_task",
                "must be 2 for the label type pick",
            )
            .ensure(
                !matches!(self.label_type, LabelType::Rank | LabelType::BestWorst) || (3..=8).contains(&k),
                "completions_per_task",
                "must be 3 to 8 for the label types rank and best-worst",
            )
            .ensure(
                self.label_type != LabelType::Rate || (1..=8).contains(&k),
                "completions_per_task",
                "must be 1 to 8 for the label type rate",
            )
            .ensure(
                self.label_type != LabelType::Rate || !self.questions.dimensions.is_empty(),
                "questions.dimensions",
                "must name what is rated",
            )
            .ensure(
                self.label_type == LabelType::Rank || !self.questions.acceptable_line,
                "questions.acceptable_line",
                "works with the label type rank only",
            )
            .ensure(
                !self.ask_strength || self.label_type == LabelType::Pick,
                "ask_strength",
                "works with the label type pick only",
            )
            .ensure(
                self.label_type != LabelType::Rate || !self.selection.active,
                "selection.active",
                "works with the label types pick, rank and best-worst only",
            )
            .ensure(!self.base_model.trim().is_empty(), "base_model", "must be named");
        self.questions.check(&mut check);
        self.checks.check(&mut check);
        self.selection.check(&mut check);
        let mut errors = check.finish().err().unwrap_or_default();
        errors.extend(self.template.validate().err().unwrap_or_default());
        errors.extend(self.arena.validate(self.label_type).err().unwrap_or_default());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Project {
    pub id: ProjectId,
    pub settings: ProjectSettings,
    /// The guidelines as sanitised HTML.
    pub guidelines_html: String,
    pub created_at: Timestamp,
    pub counts: ProjectCounts,
}

/// Where a project stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectCounts {
    pub n_prompts: u64,
    pub n_completions: u64,
    pub n_tasks: u64,
    /// Tasks that have as many annotations as their overlap wants.
    pub n_tasks_done: u64,
    /// Annotations that stand (not withdrawn, not replaced).
    pub n_annotations: u64,
    /// Strict preferences that follow from them; ties are counted apart.
    pub n_comparisons: u64,
    pub n_ties: u64,
    pub n_skips: u64,
}

/// One annotator's share of a project. Part of `GET /projects/{id}/annotators`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnotatorFigures {
    pub user: UserId,
    pub name: String,
    pub n_annotations: u64,
    pub n_skips: u64,
    /// Median of the active seconds per annotation.
    pub median_seconds: Option<f64>,
    /// Pick projects: share of strict picks that went to the completion shown first; 0.5 is unbiased.
    pub first_position_share: Option<f64>,
    /// Gold items given, skipped ones included.
    pub n_gold: u64,
    pub n_gold_right: u64,
    /// Tasks answered a second time, the completions in another order.
    pub n_repeats: u64,
    /// Of these, the same was said.
    pub n_repeats_same: u64,
    /// Of these, the same position was chosen, so the other completion.
    pub n_repeats_same_position: u64,
}

/// What `POST /projects/{id}/prompts?skip_bad_lines=false` did with a JSON Lines body, each line
/// `{"prompt": "text"}` or `{"prompt": [{"role", "content"} …]}`, with a `"priority"` of -100 to 100 if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportReport {
    /// Prompts, or gold items, stored. 0 when a line was bad and bad lines were not to be skipped.
    pub n_imported: u64,
    /// Those that the project already had.
    pub n_duplicates: u64,
    pub n_bad: u64,
    /// The first hundred bad lines.
    pub bad_lines: Vec<BadLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BadLine {
    /// 1 is the first line.
    pub line: u64,
    pub reason: String,
}

/// A prompt as listed. `GET /projects/{id}/prompts?after=<id>&limit=<1..200>&search=<text>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Prompt {
    pub id: PromptId,
    pub messages: Vec<Message>,
    pub n_completions: u64,
    /// Its tasks come before those of lower ones.
    pub priority: i32,
}

/// The priority of a prompt lies between this and its negative.
pub const MAX_PRIORITY: i32 = 100;

/// `PUT /projects/{id}/prompts/priority`: which tasks come first. It holds for the tasks of these prompts, those to come as
/// well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptPriority {
    /// 1 to 10 000.
    pub prompts: Vec<PromptId>,
    /// -100 to 100; higher ones first, 0 at first.
    pub priority: i32,
}

impl PromptPriority {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(!self.prompts.is_empty(), "prompts", "must name at least one")
            .ensure(self.prompts.len() <= 10_000, "prompts", "are more than 10000")
            .ensure(
                (-MAX_PRIORITY..=MAX_PRIORITY).contains(&self.priority),
                "priority",
                "must be -100 to 100",
            )
            .finish()
    }
}

/// What a priority was set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PriorityReport {
    pub n_prompts: u64,
    /// Tasks of these prompts that want answers still.
    pub n_open_tasks: u64,
}

/// One page of a listing; ask again with `after=next` until `next` is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptPage {
    pub prompts: Vec<Prompt>,
    pub next: Option<PromptId>,
}

/// A stored completion with where it came from. `GET /prompts/{id}/completions`, admins only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Completion {
    pub id: CompletionId,
    pub prompt_id: PromptId,
    pub text: String,
    pub html: String,
    /// 0 where a person wrote or imported it.
    pub n_tokens: u32,
    /// Null where a person wrote or imported it.
    pub origin: Option<crate::completion::CompletionOrigin>,
    /// Who wrote or imported it, if a person did.
    pub author: Option<String>,
    /// It came with a gold item.
    #[serde(default)]
    pub imported: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(label_type: LabelType, completions_per_task: u8) -> ProjectSettings {
        ProjectSettings {
            name: "p".into(),
            guidelines: String::new(),
            label_type,
            completions_per_task,
            overlap: 1,
            ask_strength: false,
            questions: Questions::default(),
            checks: Checks::default(),
            arena: Arena::default(),
            selection: Selection::default(),
            leave_out_truncated: false,
            base_model: DEFAULT_MODEL.into(),
            template: Template::Model,
        }
    }

    #[test]
    fn completions_per_task_follow_the_label_type() {
        assert!(settings(LabelType::Pick, 2).validate().is_ok());
        assert!(settings(LabelType::Pick, 3).validate().is_err());
        assert!(settings(LabelType::Rank, 8).validate().is_ok());
        assert!(settings(LabelType::Rank, 2).validate().is_err());
        assert!(settings(LabelType::Rank, 9).validate().is_err());
    }

    #[test]
    fn a_project_without_a_template_has_its_models_and_an_empty_one_is_refused() {
        let text = r#"{"name": "p", "label_type": "pick", "completions_per_task": 2}"#;
        let settings: ProjectSettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.template, Template::Model);
        let empty = ProjectSettings {
            template: Template::Jinja(String::new()),
            ..settings
        };
        assert_eq!(empty.validate().unwrap_err()[0].field, "template");
    }

    #[test]
    fn a_project_hands_tasks_out_as_they_were_made_unless_told_and_a_share_is_a_share() {
        let text = r#"{"name": "p", "label_type": "pick", "completions_per_task": 2}"#;
        let settings: ProjectSettings = serde_json::from_str(text).unwrap();
        assert!(!settings.selection.active);
        let selection = Selection {
            active: true,
            explore_percent: 101,
        };
        let wrong = ProjectSettings {
            selection,
            ..settings
        };
        assert_eq!(
            wrong.validate().unwrap_err()[0].field,
            "selection.explore_percent"
        );
    }

    #[test]
    fn a_project_that_rates_names_what_it_rates() {
        let rate = |dimensions: &[&str]| ProjectSettings {
            questions: Questions {
                dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
                ..Questions::default()
            },
            ..settings(LabelType::Rate, 1)
        };
        assert!(rate(&["helpful", "harmless"]).validate().is_ok());
        for bad in [&[][..], &["helpful", "helpful"], &[""], &[" x"]] {
            let errors = rate(bad).validate().unwrap_err();
            assert_eq!(errors[0].field, "questions.dimensions", "{bad:?}");
        }
    }

    #[test]
    fn only_pick_asks_for_strength() {
        let rank = ProjectSettings {
            ask_strength: true,
            ..settings(LabelType::Rank, 4)
        };
        assert_eq!(rank.validate().unwrap_err()[0].field, "ask_strength");
    }
}
