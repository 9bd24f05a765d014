//! The settings of a project as a form, for a new one and for changes.

mod arena;
mod checks;
mod questions;
mod selection;

use crate::{
    components::{
        action::Action,
        field::{Errors, Field, area_field, number, select_field, switch_field, text_field},
    },
    error::AppError,
    words::t,
};
use laurel_protocol::{
    Adapter, Arena, Checks, DEFAULT_MODEL, LabelType, Project, ProjectSettings, Questions, Selection,
    Template,
};
use leptos::prelude::*;
use std::{future::Future, pin::Pin};

const NAME: Field = Field {
    name: "name",
    label: "Name",
    help: "",
    hook: "project-name",
};
const LABEL_TYPE: Field = Field {
    name: "label_type",
    label: "Label type",
    help: "What is asked about the completions of a task. Fixed once there are tasks.",
    hook: "label-type",
};
const PER_TASK: Field = Field {
    name: "completions_per_task",
    label: "Completions per task",
    help: "2 for pick, 3 to 8 for rank and best-worst, 1 to 8 for rate. Fixed once there are tasks.",
    hook: "completions-per-task",
};
const OVERLAP: Field = Field {
    name: "overlap",
    label: "People per task",
    help: "How many people judge each task, 1 to 10.",
    hook: "overlap",
};
const STRENGTH: Field = Field {
    name: "ask_strength",
    label: "Ask how much better",
    help: "In four steps, after each strict choice.",
    hook: "ask-strength",
};
const TRUNCATED: Field = Field {
    name: "leave_out_truncated",
    label: "Leave out cut-off completions",
    help: "Those that reached the token limit are not offered to annotators.",
    hook: "leave-out-truncated",
};
const MODEL: Field = Field {
    name: "base_model",
    label: "Base model",
    help: "Its name, as the trainers know it.",
    hook: "base-model",
};
const TEMPLATE: Field = Field {
    name: "template",
    label: "Chat template",
    help: "Turns a conversation into the text that the model reads, in completions and rounds. Fixed once there are tasks.",
    hook: "template",
};
const JINJA: Field = Field {
    name: "jinja",
    label: "Jinja template",
    help: "As in a model's tokenizer_config.json: it gets messages, add_generation_prompt, bos_token and eos_token.",
    hook: "template-jinja",
};
const GUIDELINES: Field = Field {
    name: "guidelines",
    label: "Guidelines",
    help: "Markdown. Annotators read them beside each task: say what makes an answer better.",
    hook: "guidelines-text",
};

type Save = Pin<Box<dyn Future<Output = Result<Project, AppError>>>>;

/// What a new project starts with.
pub fn defaults() -> ProjectSettings {
    ProjectSettings {
        name: String::new(),
        guidelines: String::new(),
        label_type: LabelType::Pick,
        completions_per_task: 2,
        overlap: 1,
        ask_strength: false,
        questions: Questions::default(),
        checks: Checks::default(),
        arena: Arena::default(),
        selection: Selection::default(),
        leave_out_truncated: false,
        base_model: DEFAULT_MODEL.to_owned(),
        template: Template::Model,
    }
}

/// `adapters` are the project's, none at first. `save` sends the settings once they pass the checks; `done` gets the project
/// that came out.
pub fn form(
    start: ProjectSettings,
    adapters: Signal<Vec<Adapter>>,
    button: &'static str,
    save: impl Fn(ProjectSettings) -> Save + 'static,
    done: Callback<Project>,
) -> AnyView {
    let text = |value: String| RwSignal::new(value);
    let name = text(start.name);
    let guidelines = text(start.guidelines);
    let label_type = text(label_type_name(start.label_type).to_owned());
    let per_task = text(start.completions_per_task.to_string());
    let overlap = text(start.overlap.to_string());
    let model = text(start.base_model);
    let template = text(start.template.as_str().to_owned());
    let jinja = text(match start.template {
        Template::Jinja(source) => source,
        _ => String::new(),
    });
    let (strength, truncated) = (
        RwSignal::new(start.ask_strength),
        RwSignal::new(start.leave_out_truncated),
    );
    let asked = questions::Fields::new(&start.questions);
    let checked = checks::Fields::new(&start.checks);
    let contested = arena::Fields::new(&start.arena);
    let selected = selection::Fields::new(&start.selection);
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    // What depends on the type follows it, so that a change of the type alone is a valid form.
    let chosen = Memo::new(move |_| label_type.with(|name| label_type_from(name)));
    Effect::new(move |before: Option<LabelType>| {
        let now = chosen.get();
        if before.is_some_and(|before| before != now) {
            let (n, dimensions) = match now {
                LabelType::Pick => ("2", ""),
                LabelType::Rank | LabelType::BestWorst => ("4", ""),
                LabelType::Rate => ("1", "helpful"),
            };
            per_task.set(n.to_owned());
            strength.set(false);
            asked.line.set(false);
            if now == LabelType::Rate {
                selected.active.set(false);
            }
            if asked.dimensions.with_untracked(String::is_empty) {
                asked.dimensions.set(dimensions.to_owned());
            }
        }
        now
    });
    let read = move || -> Result<ProjectSettings, Vec<laurel_protocol::FieldError>> {
        let settings = ProjectSettings {
            name: name.get_untracked().trim().to_owned(),
            guidelines: guidelines.get_untracked(),
            label_type: chosen.get_untracked(),
            completions_per_task: number(per_task, PER_TASK.name).map_err(|error| vec![error])?,
            overlap: number(overlap, OVERLAP.name).map_err(|error| vec![error])?,
            ask_strength: strength.get_untracked(),
            questions: asked.read().map_err(|error| vec![error])?,
            checks: checked.read().map_err(|error| vec![error])?,
            arena: contested.read().map_err(|error| vec![error])?,
            selection: selected.read().map_err(|error| vec![error])?,
            leave_out_truncated: truncated.get_untracked(),
            base_model: model.get_untracked().trim().to_owned(),
            template: Template::from_name(&template.get_untracked())
                .unwrap_or_else(|| Template::Jinja(jinja.get_untracked())),
        };
        settings.validate()?;
        Ok(settings)
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match read() {
            Err(reasons) => errors.set(reasons),
            Ok(settings) => {
                errors.set(Vec::new());
                action.run(save(settings), move |project| done.run(project));
            }
        }
    };
    let types = vec![
        ("pick".to_owned(), t("Pick: the better of two").to_owned()),
        ("rank".to_owned(), t("Rank: three to eight in order").to_owned()),
        (
            "best_worst".to_owned(),
            t("Best-worst: the best and the worst of three to eight").to_owned(),
        ),
        ("rate".to_owned(), t("Rate: each by itself").to_owned()),
    ];
    view! {
        <form class="form" on:submit=submit novalidate>
            {text_field(NAME, "text", name, errors)}
            <div class="field-row">
                {select_field(LABEL_TYPE, types, label_type, errors)}
                {text_field(PER_TASK, "number", per_task, errors)}
                {text_field(OVERLAP, "number", overlap, errors)}
            </div>
            <div hidden=move || chosen.get() != LabelType::Pick>{switch_field(STRENGTH, strength)}</div>
            {questions::fieldset(asked, chosen.into(), errors)}
            {checks::fieldset(checked, errors)}
            {arena::fieldset(contested, adapters, errors)}
            <div hidden=move || chosen.get() == LabelType::Rate>{selection::fieldset(selected, errors)}</div>
            {switch_field(TRUNCATED, truncated)}
            <div class="field-row">
                {text_field(MODEL, "text", model, errors)}
                {select_field(TEMPLATE, template_names(), template, errors)}
            </div>
            <div hidden=move || template.with(|name| name != "jinja")>{area_field(JINJA, 8, jinja, errors)}</div>
            {area_field(GUIDELINES, 10, guidelines, errors)}
            {action.error_line()}
            <div class="actions">
                <button class="button button-main" data-test="save-project" disabled=move || action.busy()>
                    {button}
                </button>
            </div>
        </form>
    }
    .into_any()
}

fn template_names() -> Vec<(String, String)> {
    let words = |choice: &Template| match choice {
        Template::Model => t("The model's own"),
        Template::Alpaca => "Alpaca",
        Template::AlpacaLf => t("Alpaca, LLaMA-Factory's form"),
        Template::Chatml => "ChatML",
        Template::Plain => t("None: texts as they are"),
        Template::Jinja(_) => t("Your own"),
    };
    let own = Template::Jinja(String::new());
    let choices = Template::NAMED.iter().chain([&own]);
    choices
        .map(|choice| (choice.as_str().to_owned(), words(choice).to_owned()))
        .collect()
}

fn label_type_name(label_type: LabelType) -> &'static str {
    match label_type {
        LabelType::Pick => "pick",
        LabelType::Rank => "rank",
        LabelType::BestWorst => "best_worst",
        LabelType::Rate => "rate",
    }
}

fn label_type_from(name: &str) -> LabelType {
    match name {
        "rank" => LabelType::Rank,
        "best_worst" => LabelType::BestWorst,
        "rate" => LabelType::Rate,
        _ => LabelType::Pick,
    }
}
