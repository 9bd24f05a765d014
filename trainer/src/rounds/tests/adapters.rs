//! Rounds on adapters with options: they resume bit for bit, dropout is theirs alone, and heads lie where they should.

use super::*;
use crate::adapters::{Adapter, CONFIG_FILE, Head, TaskType};
use laurel_protocol::adapter::LoraConfig;

fn adapted(kind: RoundKind, config: LoraConfig) -> RoundSpec {
    RoundSpec {
        adapter: AdapterConfig::Lora(LoraConfig {
            rank: 4,
            alpha: 16.0,
            ..config
        }),
        ..spec(kind)
    }
}

fn with_dropout(dropout: f64) -> LoraConfig {
    LoraConfig {
        dropout,
        ..LoraConfig::default()
    }
}

/// The weights that come of a round.
fn trained(spec: &RoundSpec, model: &Model, start: Option<&Adapter>) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    let input = Input {
        starting_adapter: start,
        ..input(spec, model, out.path())
    };
    run(input, &mut Silent).unwrap();
    weights(out.path())
}

fn files(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join("adapter")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn rounds_with_dropout_and_dora_go_on_to_the_same_weights_bit_for_bit() {
    let model = tiny::biased_model(0);
    let config = LoraConfig {
        use_dora: true,
        use_rslora: true,
        ..with_dropout(0.2)
    };
    for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
        let spec = adapted(kind, config.clone());
        let whole = trained(&spec, &model, None);
        let (stopped, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(input(&spec, &model, stopped.path()), &mut StopAfter(5)).unwrap();
        let round = || run(input(&spec, &model, killed.path()), &mut PanicAt(5));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(round)).is_err());
        for parts in [stopped, killed] {
            run(input(&spec, &model, parts.path()), &mut Silent).unwrap();
            assert_eq!(whole, weights(parts.path()), "{kind:?}");
        }
    }
}

#[test]
fn dropout_changes_a_round_by_its_seed_and_no_dropout_is_none() {
    let model = tiny::model(0);
    let spec = |dropout| adapted(RoundKind::Sft, with_dropout(dropout));
    let (none, some) = (
        trained(&spec(0.0), &model, None),
        trained(&spec(0.2), &model, None),
    );
    assert_eq!(none, trained(&self::spec(RoundKind::Sft), &model, None));
    assert_ne!(none, some);
    assert_eq!(some, trained(&spec(0.2), &model, None));
}

#[test]
fn dropout_is_the_rounds_and_not_the_starting_adapters() {
    let model = tiny::model(0);
    let start = |dropout| {
        let config = adapted(RoundKind::Sft, with_dropout(dropout)).adapter;
        Adapter::init(&config, &model, &Rng::new(3)).unwrap()
    };
    let (with, without) = (adapted(RoundKind::Sft, with_dropout(0.3)), spec(RoundKind::Sft));
    let first = trained(&without, &model, Some(&start(0.3)));
    assert_eq!(first, trained(&without, &model, Some(&start(0.0))));
    let second = trained(&with, &model, Some(&start(0.0)));
    assert_ne!(first, second);
    let out = tempfile::tempdir().unwrap();
    let input = Input {
        starting_adapter: Some(&start(0.0)),
        ..input(&with, &model, out.path())
    };
    run(input, &mut Silent).unwrap();
    let config = fs::read(out.path().join("adapter").join(CONFIG_FILE)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["lora_dropout"], 0.3);
}

/// What loads plain LoRA alone (vLLM, llama.cpp) refuses modules that are saved whole.
#[test]
fn policies_are_plain_adapters_and_a_reward_model_has_its_head_in_both_files() {
    let model = tiny::model(0);
    let out = tempfile::tempdir().unwrap();
    run(input(&spec(RoundKind::Reward), &model, out.path()), &mut Silent).unwrap();
    assert_eq!(
        files(out.path()),
        [CONFIG_FILE, crate::adapters::WEIGHTS_FILE, Head::Score.file()]
    );
    let reward = Adapter::load_peft(&out.path().join("adapter"), &model).unwrap();
    let beside = Head::Score
        .read_beside(&out.path().join("adapter"), &model.device)
        .unwrap();
    let head = |tensor: &candle_core::Tensor| tensor.to_vec2::<f32>().unwrap();
    assert_eq!(
        head(&beside.unwrap()),
        head(reward.score.as_ref().unwrap().tensor())
    );
    for kind in [RoundKind::Sft, RoundKind::Dpo] {
        let out = tempfile::tempdir().unwrap();
        let spec = spec(kind);
        let input = Input {
            starting_adapter: Some(&reward),
            ..input(&spec, &model, out.path())
        };
        run(input, &mut Silent).unwrap();
        assert_eq!(files(out.path()), [CONFIG_FILE, crate::adapters::WEIGHTS_FILE]);
        let file = out.path().join("adapter").join(crate::adapters::WEIGHTS_FILE);
        let tensors = candle_core::safetensors::load(file, &model.device).unwrap();
        assert!(
            tensors
                .keys()
                .all(|name| name.contains(".lora_A.") || name.contains(".lora_B."))
        );
        let config = fs::read(out.path().join("adapter").join(CONFIG_FILE)).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (&config["task_type"], &config["modules_to_save"]),
            (&"CAUSAL_LM".into(), &serde_json::Value::Null)
        );
    }
    let dir = tempfile::tempdir().unwrap();
    reward.save_peft(dir.path(), "tiny", TaskType::SeqCls).unwrap();
    assert_eq!(
        weights(out.path()),
        fs::read(dir.path().join(crate::adapters::WEIGHTS_FILE)).unwrap()
    );
}
