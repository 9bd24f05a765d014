//! Bad input to the real program: each ends with one line that says what is wrong, a non-zero exit, and nothing written
//! or overwritten. The model is a tiny random one with a vocabulary of letters.

#![allow(clippy::unwrap_used)]

use laurel_protocol::round::{LogLevel, MetricPoint, RoundSpec};
use laurel_trainer::{
    data::{Label, PreferencePair, Row, Tokenizer, read_rows},
    model::Model,
    report::{Directive, Progress, Reporter},
    rounds::{self, Input, RoundOutcome},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// A folder with a model, data and the spec of a supervised round.
struct Scene(tempfile::TempDir);

const ROWS: &str = r#"{"prompt": "one and", "completion": " two"}
{"prompt": "two and", "completion": " three"}
{"prompt": "three and", "completion": " four"}
{"prompt": "four and", "completion": " five"}
"#;
const PAIR: &str = r#"{"prompt": "one and", "chosen": " two", "rejected": " ten"}"#;
const EQUAL: &str = r#"{"prompt": "one and", "chosen": " two", "rejected": " two"}"#;

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let tiny = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/families/llama2");
        fs::create_dir(scene.path("model")).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(tiny.join(file), scene.path("model").join(file)).unwrap();
        }
        scene.write("model/tokenizer.json", tokenizer(0).to_string());
        scene.write("model/tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
        scene.write("data.jsonl", ROWS);
        scene.spec(json!({}));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The spec with these fields on top.
    fn spec(&self, on_top: Value) {
        let mut spec = json!({
            "kind": "sft", "model": "model", "data": "data.jsonl", "seed": 1,
            "adapter": {"type": "lora", "rank": 2, "alpha": 4},
            "hyper": {"batch_size": 2, "checkpoint_every": 1, "held_out": 0, "max_length": 64},
        });
        let fields = on_top.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        self.write("spec.json", spec.to_string());
    }

    /// A DPO round on these rows.
    fn preferences(&self, rows: &str) {
        self.spec(json!({ "kind": "dpo" }));
        self.write("data.jsonl", rows);
    }

    fn round(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_laurel-trainer"));
        command.current_dir(self.0.path());
        command
            .args(["round", "spec.json", "--out", "run", "--device", "cpu"])
            .output()
            .unwrap()
    }

    /// The round's complaint: it must be all that it says, but for what its memory would be, and all that it does.
    fn refused(&self) -> String {
        let begun = Instant::now();
        let output = self.round();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(output.status.code().is_some(), "killed by a signal: {said}");
        assert!(!self.path("run").exists(), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
        let complaint = match said.split_once('\n') {
            Some((memory, rest)) if memory.starts_with("Memory: ") => rest,
            _ => said.as_str(),
        };
        let line = complaint
            .strip_suffix('\n')
            .and_then(|line| line.strip_prefix("laurel-trainer: "));
        let line = line.unwrap_or_else(|| panic!("not one line: {said}"));
        assert!(!line.contains('\n') && line.len() < 500, "{said}");
        line.to_owned()
    }

    /// What a round that runs says on its way.
    fn done(&self) -> String {
        let output = self.round();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("run/report.json")).unwrap()).unwrap()
    }
}

/// Bytes that the model's 48 rows have room for, and `n_more` tokens that they have not.
fn tokenizer(n_more: usize) -> Value {
    let letters = ('a'..='z').chain("ĠĊ:.,#".chars()).map(String::from);
    let more = (0..n_more).map(|n| format!("more{n}"));
    let vocabulary: serde_json::Map<_, _> = letters.chain(more).zip((0..).map(Value::from)).collect();
    let special = |(at, text): (usize, &str)| {
        json!({
            "id": vocabulary.len() + at, "content": text, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let added = ["</s>", "<|im_start|>", "<|im_end|>"];
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added.into_iter().enumerate().map(special).collect::<Vec<_>>(),
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_model_that_is_cut_off_or_misshapen() {
    let scene = Scene::new();
    let weights = fs::read(scene.path("model/model.safetensors")).unwrap();
    scene.write("model/model.safetensors", &weights[..weights.len() / 2]);
    assert_says(&scene.refused(), &["model.safetensors", "is not complete"]);

    let scene = Scene::new();
    let text = fs::read_to_string(scene.path("model/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["intermediate_size"] = json!(config["intermediate_size"].as_u64().unwrap() + 8);
    scene.write("model/config.json", config.to_string());
    assert_says(&scene.refused(), &["has the shape", "the configuration wants"]);

    let scene = Scene::new();
    fs::remove_file(scene.path("model/config.json")).unwrap();
    assert_says(&scene.refused(), &["config.json"]);
}

#[test]
fn a_tokenizer_of_another_model_or_none() {
    let scene = Scene::new();
    scene.write("model/tokenizer.json", tokenizer(20).to_string());
    let said = scene.refused();
    assert_says(&said, &["52 tokens", "48 rows", "different models"]);

    let scene = Scene::new();
    scene.write("model/tokenizer_config.json", r#"{"eos_token": "<end>"}"#);
    assert_says(&scene.refused(), &["EOS", "<end>", "vocabulary"]);

    let scene = Scene::new();
    fs::remove_file(scene.path("model/tokenizer.json")).unwrap();
    assert_says(&scene.refused(), &["tokenizer.json"]);
}

#[test]
fn data_that_is_missing_empty_or_no_file() {
    let scene = Scene::new();
    scene.write("data.jsonl", "");
    assert_says(&scene.refused(), &["data.jsonl", "has no rows"]);
    fs::remove_file(scene.path("data.jsonl")).unwrap();
    assert_says(&scene.refused(), &["data.jsonl", "No such file"]);
    fs::create_dir(scene.path("data.jsonl")).unwrap();
    assert_says(&scene.refused(), &["data.jsonl", "is a folder"]);
}

#[test]
fn lines_that_are_no_rows_are_named_by_their_number() {
    let good = r#"{"prompt": "a", "completion": " b"}"#;
    for (bad, reason) in [
        (r#"{"prompt": "a", "completion": "#, "not JSON"),
        (r#"{"prompt": 7, "completion": " b"}"#, "\"prompt\" is neither"),
        (
            r#"{"prompt": [{"role": "tool", "content": "x"}]}"#,
            "\"prompt\" is neither",
        ),
        (
            r#"{"prompt": "a", "completion": [{"role": "user", "content": "x"}]}"#,
            "must all be",
        ),
        (r#"{"question": "a"}"#, "the columns are none of"),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c", "margin": NaN}"#,
            "not JSON",
        ),
        ("[1, 2]", "one object a line"),
    ] {
        let scene = Scene::new();
        scene.write("data.jsonl", format!("{good}\n\n{bad}\n"));
        assert_says(&scene.refused(), &["data.jsonl", "line 3", reason]);
    }
    let scene = Scene::new();
    scene.write(
        "data.jsonl",
        [good.as_bytes(), b"\n{\"prompt\": \"\xff\"}\n"].concat(),
    );
    assert_says(&scene.refused(), &["line 2", "not UTF-8"]);
}

#[test]
fn byte_order_marks_and_windows_lines_are_read() {
    let scene = Scene::new();
    scene.write("data.jsonl", format!("\u{feff}{}", ROWS.replace('\n', "\r\n")));
    scene.done();
    assert_eq!(scene.report()["n_train_rows"], 4);
}

#[test]
fn a_pair_of_equal_sides_is_left_out_and_counted() {
    let scene = Scene::new();
    scene.preferences(&format!("{EQUAL}\n{PAIR}\n"));
    let said = scene.done();
    assert_says(&said, &["1 rows whose two completions are equal are left out"]);
    assert_eq!(scene.report()["n_left_out_rows"], 1);

    let scene = Scene::new();
    scene.preferences(EQUAL);
    assert_says(&scene.refused(), &["no row is left", "completions are equal"]);
}

#[test]
fn a_row_of_a_hundred_thousand_tokens_is_left_out_and_counted() {
    let scene = Scene::new();
    // One word without an end, and many words.
    for long in ["a".repeat(100_000), "ab ".repeat(34_000)] {
        let row = json!({ "prompt": "one", "completion": long });
        scene.write("data.jsonl", format!("{row}\n"));
        let said = scene.refused();
        assert_says(&said, &["no row is left", "more than 64 tokens"]);
    }
    let row = json!({ "prompt": "a".repeat(100_000), "completion": "b" });
    scene.write("data.jsonl", format!("{row}\n{ROWS}"));
    let said = scene.done();
    assert_says(&said, &["1 rows of more than 64 tokens are left out"]);
    assert_eq!(scene.report()["n_left_out_rows"], 1);
}

#[test]
fn margins_that_are_asked_for_and_are_not_there() {
    let scene = Scene::new();
    let margin = json!({ "kind": "reward", "hyper": { "margin": "column", "batch_size": 2, "held_out": 0 } });
    scene.spec(margin);
    scene.write("data.jsonl", format!("{PAIR}\n"));
    assert_says(
        &scene.refused(),
        &["1 rows have no number in the column \"margin\""],
    );
    let negative = PAIR.replace('}', ", \"margin\": -0.5}");
    scene.write("data.jsonl", format!("{negative}\n"));
    assert_says(&scene.done(), &["1 rows have a margin below 0"]);
}

#[test]
fn templates_without_an_end() {
    let doubling =
        "{% set it = namespace(s='ab') %}{% for i in range(60) %}{% set it.s = it.s ~ it.s %}{% endfor %}";
    for (jinja, reason) in [
        ("{% for i in range(10**9) %}x{% endfor %}", "range"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "does not end",
        ),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "recursion limit",
        ),
        (
            "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
            "writes more than 4 MiB",
        ),
        (doubling, "MiB of memory"),
        ("{% if %}", "line 1 of the template"),
        (
            "{{ raise_exception('only system turns, please') }}",
            "only system turns, please",
        ),
    ] {
        let scene = Scene::new();
        scene.spec(json!({ "template": { "jinja": jinja } }));
        assert_says(&scene.refused(), &["chat template", reason]);
    }
}

#[test]
fn templates_that_do_not_fit_the_rows() {
    let scene = Scene::new();
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let row = json!({ "messages": [turn("user", "one"), turn("assistant", "two")] });
    scene.write("data.jsonl", format!("{row}\n"));
    assert_says(&scene.refused(), &["row 1", "no chat template"]);

    // It tells prompts that await an answer from others by their first word.
    let fickle = "{{ 'b' if add_generation_prompt else 'a' }}{{ messages[0].content }}</s>";
    scene.spec(json!({ "template": { "jinja": fickle } }));
    assert_says(&scene.refused(), &["row 1", "renders the prompt differently"]);

    scene.spec(json!({ "template": "vicuna" }));
    assert_says(&scene.refused(), &["alpaca_lf", "x.jinja"]);
    scene.spec(json!({ "template": { "file": "nowhere.jinja" } }));
    assert_says(&scene.refused(), &["nowhere.jinja"]);
}

#[test]
fn specs_with_strange_fields() {
    let scene = Scene::new();
    for (field, value) in [
        ("epochs", json!(3)),
        ("hyper", json!({ "epoch": 3 })),
        ("hyper", json!({ "learning_rate": -1 })),
        ("adapter", json!({ "type": "lora", "rank": 0, "alpha": 4 })),
        ("kind", json!("dqn")),
    ] {
        scene.spec(json!({ field: value }));
        assert_says(&scene.refused(), &[field]);
    }
    scene.spec(json!({ "kind": "ppo" }));
    assert_says(
        &scene.refused(),
        &["reward_adapter", "what else scores the answers"],
    );
    scene.write("spec.json", "{");
    assert_says(&scene.refused(), &["spec.json", "not JSON"]);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let scene = Scene::new();
    fs::create_dir(scene.path("run")).unwrap();
    scene.write("run/metrics.jsonl", "mine");
    let output = scene.round();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_says(&said, &["metrics.jsonl", "choose an empty folder"]);
    assert_eq!(
        fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap(),
        "mine"
    );
    assert_eq!(fs::read_dir(scene.path("run")).unwrap().count(), 1);
}

/// Asks the round to stop after a step.
struct StopAt(u64);

impl Reporter for StopAt {
    fn log(&mut self, _: LogLevel, _: &str) {}
    fn metrics(&mut self, _: &MetricPoint) {}
    fn progress(&mut self, progress: Progress) -> Directive {
        match progress.step >= self.0 {
            true => Directive::Stop,
            false => Directive::GoOn,
        }
    }
}

/// Runs the scene's round up to a step, as the program would.
fn run_to(scene: &Scene, step: u64) {
    let spec: Value = serde_json::from_slice(&fs::read(scene.path("spec.json")).unwrap()).unwrap();
    let spec: RoundSpec = serde_json::from_value(spec).unwrap();
    let model = Model::load(
        &scene.path("model"),
        &candle_core::Device::Cpu,
        candle_core::DType::F32,
    )
    .unwrap();
    let tokenizer = Tokenizer::load(&scene.path("model")).unwrap();
    let rows = read_rows(fs::read(scene.path("data.jsonl")).unwrap().as_slice()).unwrap();
    let pairs = rows.iter().map(|row| {
        let Row::Example(row) = row else { panic!("{row:?}") };
        let example = tokenizer.demonstration(row).unwrap();
        PreferencePair {
            prompt: example.prompt,
            chosen: example.completion,
            rejected: Vec::new(),
            group: example.group,
            label: Label::default(),
        }
    });
    let input = Input {
        spec: &spec,
        model: &model,
        base_model: "model",
        starting_adapter: None,
        rows: pairs.collect(),
        out: &scene.path("run"),
        environment: None,
        probes: None,
        references: None,
    };
    let outcome = rounds::run(input, &mut StopAt(step)).unwrap();
    assert_eq!(outcome, RoundOutcome::Stopped);
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_earlier_one_and_the_round_goes_on_from_it() {
    let whole = Scene::new();
    whole.done();
    let scene = Scene::new();
    run_to(&scene, 1);
    let checkpoint = scene.path("run/checkpoints/step-00000001");
    let before = files(&checkpoint);

    // A file may have 1 KiB: as on a full disk, writing a longer one fails half-way.
    let command = "trap '' XFSZ; ulimit -f 2; exec \"$0\" round spec.json --out run --device cpu";
    let output = Command::new("sh")
        .args(["-c", command, env!("CARGO_BIN_EXE_laurel-trainer")])
        .current_dir(scene.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    let last = said.lines().last().unwrap();
    assert_says(last, &["laurel-trainer: write checkpoint", "step-00000002"]);
    assert_eq!(files(&checkpoint), before);
    assert!(!scene.path("run/adapter").exists());

    assert_says(&scene.done(), &["Going on from the checkpoint at step 1"]);
    let adapter = "run/adapter/adapter_model.safetensors";
    assert_eq!(
        fs::read(scene.path(adapter)).unwrap(),
        fs::read(whole.path(adapter)).unwrap()
    );
}

/// A PPO round on plain texts whose reward is as given.
fn ppo(scene: &Scene, on_top: Value) {
    scene.write("data.jsonl", ROWS);
    let mut fields = json!({
        "kind": "ppo",
        "reward": {"type": "length", "target": 2},
        "hyper": {"batch_size": 2, "held_out": 0, "max_steps": 1, "max_length": 64, "ppo": {"max_new_tokens": 4}},
    });
    fields
        .as_object_mut()
        .unwrap()
        .extend(on_top.as_object().unwrap().clone());
    scene.spec(fields);
}

#[test]
fn a_reward_that_cannot_score() {
    let scene = Scene::new();
    ppo(&scene, json!({"reward": {"type": "adapter"}}));
    assert_says(&scene.refused(), &["\"reward_adapter\" must name"]);
    ppo(&scene, json!({"reward_adapter": "adapter"}));
    assert_says(&scene.refused(), &["\"reward_adapter\" is not used"]);
    ppo(&scene, json!({"reward": {"type": "regex", "pattern": "("}}));
    assert_says(&scene.refused(), &["expression \"(\" cannot be read"]);

    let families = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/families");
    let with = |family: &str| {
        let adapter = families.join(family).join("adapter");
        ppo(
            &scene,
            json!({"reward": {"type": "adapter"}, "reward_adapter": adapter}),
        );
    };
    with("llama2");
    assert_says(&scene.refused(), &["no score head", "no reward model"]);
    with("llama3");
    assert_says(&scene.refused(), &["does not fit the model"]);
}

#[test]
fn a_reward_adapter_of_another_template_or_base() {
    let scene = Scene::new();
    scene.write("data.jsonl", [PAIR, PAIR].join("\n"));
    scene.spec(json!({"kind": "reward", "hyper": {"batch_size": 2, "held_out": 0, "max_length": 64}}));
    scene.done();
    fs::rename(scene.path("run"), scene.path("reward")).unwrap();
    let reward = json!({"reward": {"type": "adapter"}, "reward_adapter": "reward/adapter"});
    ppo(&scene, reward.clone());
    assert!(scene.done().contains("prompts to train on"));
    fs::remove_dir_all(scene.path("run")).unwrap();

    let made_with = scene.path("reward/adapter/made_with.json");
    let text = fs::read_to_string(&made_with).unwrap();
    for (field, what) in [
        ("base_weights_hash", "base weights"),
        ("tokenizer_hash", "tokenizer"),
        ("template_hash", "chat template"),
    ] {
        let mut other: Value = serde_json::from_str(&text).unwrap();
        other[field] = "0".repeat(64).into();
        fs::write(&made_with, other.to_string()).unwrap();
        assert_says(&scene.refused(), &["trained with another", what]);
    }
}

#[test]
fn prompts_that_cannot_be_answered() {
    let scene = Scene::new();
    ppo(&scene, json!({}));
    scene.write("data.jsonl", "");
    assert_says(&scene.refused(), &["has no rows"]);
    scene.write("data.jsonl", format!("{{\"prompt\": \"{}\"}}", "a".repeat(60)));
    assert_says(
        &scene.refused(),
        &["no row is left", "whose prompt has more than 52 tokens"],
    );
    let mixed = "{\"prompt\": \"a\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}]}";
    scene.write("data.jsonl", mixed);
    scene.spec(json!({
        "kind": "ppo", "reward": {"type": "length", "target": 2}, "template": "chatml",
        "hyper": {"held_out": 0, "max_length": 64, "ppo": {"max_new_tokens": 4}},
    }));
    assert_says(
        &scene.refused(),
        &["row 2", "messages in some rows and texts in others"],
    );
}

#[test]
fn a_reward_service_that_is_not_there_ends_the_round_without_an_adapter() {
    let scene = Scene::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}/score");
    ppo(
        &scene,
        json!({"reward": {"type": "http", "url": url, "timeout_seconds": 2}}),
    );
    let output = scene.round();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("the reward service at 127.0.0.1") && said.contains("cannot be reached"),
        "{said}"
    );
    assert!(!scene.path("run/adapter").exists());
}
