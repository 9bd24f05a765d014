//! An adapter's model card: `README.md` as the Hugging Face hub has it, written from the facts. Whoever publishes it fills in
//! the licence.

use laurel_protocol::{
    AdapterConfig, AdapterFacts, AncestorRole, DEFAULT_MODEL, MetricPoint, RewardSource, RoundKind, Split,
};
use serde_json::json;
use std::fmt::Write as _;

/// The figures that the front matter has, in the order in which they say most.
const FIGURES: [&str; 10] = [
    "accuracy",
    "margin",
    "loss",
    "calibration_error",
    "reward",
    "kl",
    "rlhf_reward",
    "length",
    "eos_rate",
    "entropy",
];

/// The whole card.
pub fn card(facts: &AdapterFacts) -> String {
    let mut text = front_matter(facts);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n# {}\n\n{}\n\n## Intended use\n\n{}\n\n## Training data\n\n{}\n\n## Evaluation\n\n{}\n\n## How it was made\n\n\
         {}\n\n## Limits\n\n{}\n",
        in_line(&facts.adapter.name),
        what_it_is(facts),
        intended_use(facts),
        training_data(facts),
        evaluation(facts.evaluation.as_ref()),
        how(facts),
        limits(facts),
    );
    text
}

/// The base model as the hub names it, as far as that is known.
pub fn hub_id(base_model: &str) -> &str {
    match base_model {
        DEFAULT_MODEL => "HuggingFaceTB/SmolLM2-135M-Instruct",
        other => other,
    }
}

fn is_reward_model(facts: &AdapterFacts) -> bool {
    !facts.adapter.kind.makes_policy()
}

fn dataset(facts: &AdapterFacts) -> String {
    format!(
        "laurel-snapshot-{}",
        &facts.snapshot.hash[..12.min(facts.snapshot.hash.len())]
    )
}

/// YAML between two lines of dashes. A JSON string is a YAML string too, whatever stands in it.
fn front_matter(facts: &AdapterFacts) -> String {
    let task = match is_reward_model(facts) {
        true => "text-classification",
        false => "text-generation",
    };
    let shape = match &facts.spec.adapter {
        AdapterConfig::Lora(_) => "lora",
        AdapterConfig::Ia3(_) => "ia3",
    };
    let mut text = format!(
        "---\n# license: fill in, for example apache-2.0; the licence of the base model may bind it\nbase_model: {}\n\
         base_model_relation: adapter\nlibrary_name: peft\npipeline_tag: {task}\ntags:\n- laurel\n- {}\n- {shape}\n",
        json!(hub_id(&facts.base_model)),
        facts.adapter.kind.as_str(),
    );
    if is_reward_model(facts) {
        text += "- reward-model\n";
    }
    let dataset = json!(dataset(facts));
    let _ = writeln!(text, "datasets:\n- {dataset}");
    let figures: Vec<_> = figures(facts.evaluation.as_ref()).collect();
    if !figures.is_empty() {
        let _ = write!(
            text,
            "model-index:\n- name: {}\n  results:\n  - task:\n      type: {task}\n    dataset:\n      name: {}\n      \
             type: {dataset}\n    metrics:\n",
            json!(facts.adapter.name),
            json!(format!("Laurel, {}", facts.project_name)),
        );
        for (name, value) in figures {
            let _ = writeln!(text, "    - type: {name}\n      value: {}", json!(value));
        }
    }
    text + "---\n"
}

fn figures(point: Option<&MetricPoint>) -> impl Iterator<Item = (&'static str, f64)> {
    let values = point.map(|point| point.values.clone()).unwrap_or_default();
    FIGURES
        .into_iter()
        .filter_map(move |name| Some((name, *values.get(name)?)))
        .filter(|(_, value)| value.is_finite())
}

/// A text of a person's within a line of Markdown: neither markup nor a line of its own.
fn in_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '&' | '~' => {
                line.extend(['\\', c])
            }
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
    line
}

fn what_it_is(facts: &AdapterFacts) -> String {
    let base = in_line(hub_id(&facts.base_model));
    let how = match facts.adapter.kind {
        RoundKind::Sft => "trained to imitate answers that people chose or wrote (supervised fine-tuning)",
        RoundKind::Dpo => {
            "trained on people's choices between answers (direct preference optimisation and its relatives)"
        }
        RoundKind::Ppo => "trained on its own answers with a reward (reinforcement learning)",
        RoundKind::Reward => {
            "trained to score answers so that those which people chose score higher. It is a reward model and writes no \
             text"
        }
    };
    format!(
        "An adapter for `{base}`, {how}. Made with Laurel in the project “{}”.",
        in_line(&facts.project_name)
    )
}

fn intended_use(facts: &AdapterFacts) -> String {
    let project = in_line(&facts.project_name);
    match is_reward_model(facts) {
        true => format!(
            "Ranking answers to prompts like those of the project “{project}”, and as the reward of a further round. \
             A difference of two scores of the same prompt is the log-odds that people prefer the one; a single \
             score means nothing by itself."
        ),
        false => format!(
            "Answering prompts like those of the project “{project}”, with the base model and the chat template below. \
             Whoever uses it elsewhere should evaluate it there."
        ),
    }
}

fn training_data(facts: &AdapterFacts) -> String {
    let n_rows = facts.snapshot.n_rows;
    let n_prompts = n_rows.saturating_sub(facts.n_annotated_rows);
    let mut text = format!(
        "{n_rows} rows, frozen as snapshot {} with SHA-256 `{}`: {} that follow from annotations, {n_prompts} prompts. ",
        facts.snapshot.id, facts.snapshot.hash, facts.n_annotated_rows
    );
    let n: u64 = facts.annotators.iter().map(|one| one.n_annotations).sum();
    match facts.annotators.len() {
        0 => text += "No annotation is among it.",
        people => {
            let _ = write!(
                text,
                "{n} annotations by {people} people, under the pseudonyms that exports use:\n\n"
            );
            text += "| annotator | annotations | rows |\n|---|---:|---:|\n";
            for one in &facts.annotators {
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} |",
                    one.annotator, one.n_annotations, one.n_rows
                );
            }
        }
    }
    text.trim_end().to_owned()
}

fn evaluation(point: Option<&MetricPoint>) -> String {
    let figures: Vec<_> = figures(point).collect();
    let (Some(point), false) = (point, figures.is_empty()) else {
        return "The round reported no figures.".to_owned();
    };
    let of = match point.split {
        Split::Eval => "rows that were held out by prompt",
        Split::Train => "rows that it trained on, for none were held out: they say nothing about others",
    };
    let mut text = format!(
        "After step {}, on {of}:\n\n| figure | value |\n|---|---:|\n",
        point.step
    );
    for (name, value) in figures {
        let _ = writeln!(text, "| {} | {value:.4} |", in_line(name));
    }
    text.trim_end().to_owned()
}

fn how(facts: &AdapterFacts) -> String {
    let unknown = || "not recorded".to_owned();
    let code = |version: &Option<String>| version.as_ref().map_or_else(unknown, |text| format!("`{text}`"));
    let hash = |hash: &Option<String>| hash.as_ref().map_or_else(unknown, |text| format!("`{text}`"));
    let from = facts.ancestors.iter().filter(|near| near.depth == 1);
    let mut text = format!(
        "| | |\n|---|---|\n| base model | `{}` |\n| base weights | {} (Laurel's hash of shape and first numbers) |\n\
         | chat template | {}, SHA-256 {} |\n| loss | {} |\n| seed | {} |\n| weights | SHA-256 `{}` |\n\
         | trainer | {} |\n| server | {} |\n",
        in_line(&facts.base_model),
        hash(&facts.adapter.base_weights_hash),
        facts.template.as_str(),
        hash(&facts.adapter.template_hash),
        facts.spec.hyper.loss.as_str(),
        facts.spec.seed,
        facts.adapter.hash,
        code(&facts.trainer_code),
        code(&facts.server_code),
    );
    for near in from {
        let role = match near.role {
            AncestorRole::Start => "began from",
            AncestorRole::Reward => "scored by",
        };
        let _ = writeln!(
            text,
            "| {role} | {}, SHA-256 `{}` |",
            in_line(&near.name),
            near.hash
        );
    }
    if let Some(source) = &facts.spec.reward
        && *source != RewardSource::Adapter
    {
        let _ = writeln!(
            text,
            "| reward | `{}` |",
            json!(source).to_string().replace('|', "\\|")
        );
    }
    let _ = write!(
        text,
        "\nThe same weights again, bit for bit on the CPU: unpack the kit of this adapter's page, put the base model beside \
         it as its file `HOW_TO.md` says, and run `{}`.",
        facts.command
    );
    text
}

fn limits(facts: &AdapterFacts) -> String {
    let mut text = "- It has learnt what the people above preferred in the project's prompts, in their language, with the \
                    project's guidelines. It may fail elsewhere, and has their tastes and mistakes.\n\
                    - It keeps the base model's limits: it may say what is false, biased or harmful.\n"
        .to_owned();
    if facts.n_annotated_rows < 1000 {
        let _ = writeln!(
            text,
            "- {} annotated rows are few: figures on the held-out part of them are uncertain.",
            facts.n_annotated_rows
        );
    }
    match is_reward_model(facts) {
        true => {
            text += "- Optimised against for long, a reward model is exploited: watch what people say, not its score alone."
        }
        false => text += "- It was not checked for safety.",
    }
    text
}
