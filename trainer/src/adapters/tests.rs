//! Adapters' files: what is written comes back, in PEFT's words, and what is not understood is refused by its name.

use super::*;
use crate::model::tiny;
use candle_core::Device;
use laurel_protocol::adapter::{ByPattern, Ia3Config, ModuleNames};
use serde_json::{Value, json};
use std::{collections::HashMap, fs, path::Path};

fn config(options: &str) -> AdapterConfig {
    let config: AdapterConfig = serde_json::from_str(&format!("{{{options}}}")).unwrap();
    assert_eq!(config.validate(), Ok(()));
    config
}

/// Some of each kind, and each option.
fn configs() -> Vec<AdapterConfig> {
    let options = [
        r#""type": "lora""#,
        r#""type": "lora", "rank": 4, "alpha": 8, "use_rslora": true, "dropout": 0.1"#,
        r#""type": "lora", "use_dora": true, "target_modules": "all-linear", "exclude_modules": ["o_proj"]"#,
        r#""type": "lora", "rank_pattern": {"v_proj": 2, "1.*": 8}, "alpha_pattern": {"self_attn.*": 3}"#,
        r#""type": "lora", "use_dora": true, "use_rslora": true, "target_modules": ".*\\.1\\..*_proj""#,
        r#""type": "lora", "target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]"#,
        r#""type": "lora", "init_lora_weights": "gaussian", "exclude_modules": ".*mlp.*""#,
        r#""type": "ia3""#,
        r#""type": "ia3", "target_modules": ["k_proj", "up_proj"], "feedforward_modules": ["up_proj"]"#,
        r#""type": "ia3", "target_modules": "all-linear", "feedforward_modules": ["0.mlp.down_proj"]"#,
    ];
    options.map(config).to_vec()
}

fn saved(config: &AdapterConfig, model: &Model) -> (tempfile::TempDir, Adapter) {
    let mut adapter = Adapter::init(config, model, &Rng::new(2)).unwrap();
    adapter.add_score(model, &Rng::new(2)).unwrap();
    tiny::disturb(&adapter, 0.1);
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path(), "tiny", TaskType::SeqCls).unwrap();
    (dir, adapter)
}

fn numbers(adapter: &Adapter) -> Vec<(String, Vec<f32>)> {
    let flat = |weight: &Weight| weight.tensor().flatten_all().unwrap().to_vec1().unwrap();
    let weights = adapter.weights().into_iter();
    weights.map(|(name, weight)| (name, flat(weight))).collect()
}

/// What the weights do not tell: LoRA's factors, and on which side of a layer IA3's are.
fn rules(adapter: &Adapter) -> Vec<f64> {
    let rules = adapter.modules.values().map(|module| match module {
        Module::Lora { scaling, .. } => *scaling,
        Module::Ia3 { feed_forward, .. } => f64::from(u8::from(*feed_forward)),
    });
    rules.collect()
}

fn config_of(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join(CONFIG_FILE)).unwrap()).unwrap()
}

fn write_config(dir: &Path, config: &Value) {
    fs::write(dir.join(CONFIG_FILE), config.to_string()).unwrap();
}

fn refusal(dir: &Path, model: &Model) -> String {
    format!("{:#}", Adapter::load_peft(dir, model).err().unwrap())
}

#[test]
fn saved_adapters_come_back_exactly_and_are_written_in_the_same_words() {
    let model = tiny::model(0);
    for config in configs() {
        let (dir, adapter) = saved(&config, &model);
        let loaded = Adapter::load_peft(dir.path(), &model).unwrap();
        assert_eq!(numbers(&loaded), numbers(&adapter), "{config:?}");
        assert_eq!(rules(&loaded), rules(&adapter), "{config:?}");
        let again = tempfile::tempdir().unwrap();
        loaded.save_peft(again.path(), "tiny", TaskType::SeqCls).unwrap();
        for name in [CONFIG_FILE, WEIGHTS_FILE, Head::Score.file()] {
            let bytes = |dir: &Path| fs::read(dir.join(name)).unwrap();
            assert_eq!(bytes(dir.path()), bytes(again.path()), "{name} of {config:?}");
        }
    }
}

#[test]
fn options_are_written_in_the_words_of_peft() {
    let model = tiny::model(0);
    let text = r#""type": "lora", "rank": 4, "alpha": 8, "dropout": 0.1, "use_rslora": true, "use_dora": true,
        "init_lora_weights": "gaussian", "rank_pattern": {"v_proj": 2, "1.*": 8}, "alpha_pattern": {"q_proj": 3},
        "target_modules": "all-linear", "exclude_modules": ["o_proj"], "layers_to_transform": [1]"#;
    let (dir, _) = saved(&config(text), &model);
    let mut written = config_of(dir.path());
    let expected = json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "lora_dropout": 0.1, "use_rslora": true, "use_dora": true,
        "init_lora_weights": "gaussian", "rank_pattern": {"v_proj": 2, "1.*": 8}, "alpha_pattern": {"q_proj": 3.0},
        "target_modules": ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"],
        "exclude_modules": ["o_proj"], "layers_to_transform": [1],
    });
    let written = written.as_object_mut().unwrap();
    written.retain(|option, _| expected.get(option).is_some());
    assert_eq!(json!(written), expected);
    // A pattern that comes first counts, and so the order is kept.
    let text = fs::read_to_string(dir.path().join(CONFIG_FILE)).unwrap();
    assert!(text.find("v_proj\": 2") < text.find("1.*\": 8"), "{text}");
    let tensors = candle_core::safetensors::load(dir.path().join(WEIGHTS_FILE), &Device::Cpu).unwrap();
    let shape = |name: &str| {
        tensors[&format!("base_model.model.model.layers.1.{name}")]
            .dims()
            .to_vec()
    };
    assert_eq!(shape("mlp.down_proj.lora_magnitude_vector"), [16]);
    assert_eq!(shape("self_attn.v_proj.lora_A.weight"), [2, 16]);
    assert_eq!(shape("mlp.down_proj.lora_B.weight"), [16, 8]);
    assert!(tensors.keys().all(|name| !name.contains("layers.0")));
}

#[test]
fn keys_are_those_of_peft() {
    let (dir, _) = saved(&AdapterConfig::default(), &tiny::model(0));
    let tensors = candle_core::safetensors::load(dir.path().join(WEIGHTS_FILE), &Device::Cpu).unwrap();
    assert!(tensors.contains_key("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"));
    assert_eq!(tensors["base_model.model.score.weight"].dims(), [1, 16]);
}

#[test]
fn a_reward_models_head_is_read_from_either_file() {
    let model = tiny::model(0);
    let (dir, adapter) = saved(&AdapterConfig::default(), &model);
    let weights = dir.path().join(WEIGHTS_FILE);
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    let score = tensors.remove("base_model.model.score.weight").unwrap();
    let both = fs::read(&weights).unwrap();
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let loaded = Adapter::load_peft(dir.path(), &model).unwrap();
    assert_eq!(numbers(&loaded), numbers(&adapter));
    fs::write(&weights, both).unwrap();
    Head::Score.write(dir.path(), &(score * 2.0).unwrap()).unwrap();
    let error = refusal(dir.path(), &model);
    assert!(error.contains("different score heads"), "{error}");
    fs::remove_file(dir.path().join(Head::Score.file())).unwrap();
    assert_eq!(
        numbers(&Adapter::load_peft(dir.path(), &model).unwrap()),
        numbers(&adapter)
    );
}

#[test]
fn a_head_of_another_width_is_refused() {
    let model = tiny::model(0);
    let (dir, mut adapter) = saved(&AdapterConfig::default(), &model);
    let head = Tensor::zeros((1, 5), DType::F32, &Device::Cpu).unwrap();
    Head::Score.write(dir.path(), &head).unwrap();
    let file = dir.path().join(Head::Score.file());
    let error = format!("{:#}", adapter.load_score(&file, &model).unwrap_err());
    assert!(error.contains("[1, 5]"), "{error}");
}

#[test]
fn layers_that_an_expression_named_stay_the_adapters_layers() {
    let model = tiny::model(0);
    let mut adapter = Adapter::init(&AdapterConfig::default(), &model, &Rng::new(2)).unwrap();
    adapter
        .modules
        .retain(|path, _| path.ends_with("q_proj") || path == "model.layers.1.self_attn.v_proj");
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path(), "tiny", TaskType::CausalLm).unwrap();
    let mut config = config_of(dir.path());
    let layers = |config: &Value| {
        write_config(dir.path(), config);
        let adapter = Adapter::load_peft(dir.path(), &model).unwrap();
        match adapter.trainable_copy().unwrap().config {
            AdapterConfig::Lora(lora) => lora.target_modules,
            AdapterConfig::Ia3(_) => panic!("a LoRA"),
        }
    };
    let expression = ".*(q_proj|1.self_attn.v_proj)";
    config["target_modules"] = json!(expression);
    assert_eq!(layers(&config), ModuleNames::from(expression));
    // One that fits more than there is, or is not understood, is replaced by names.
    let names = ModuleNames::from(["q_proj", "model.layers.1.self_attn.v_proj"].as_slice());
    for expression in [".*(q_proj|v_proj)", "(?a).*q_proj", "all-linear"] {
        config["target_modules"] = json!(expression);
        assert_eq!(layers(&config), names);
    }
}

#[test]
fn feedforward_modules_are_read_and_written() {
    let model = tiny::model(0);
    let ia3 = AdapterConfig::Ia3(Ia3Config {
        target_modules: ModuleNames::from(["k_proj", "up_proj"].as_slice()),
        feedforward_modules: Some(ModuleNames::from(["1.mlp.up_proj"].as_slice())),
        ..Ia3Config::default()
    });
    let adapter = Adapter::init(&ia3, &model, &Rng::new(2)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path(), "tiny", TaskType::CausalLm).unwrap();
    let mut config = config_of(dir.path());
    let path = "model.layers.1.mlp.up_proj";
    assert_eq!(config["feedforward_modules"], json!([path]));
    // PEFT wants them among the targets, in the same words.
    assert_eq!(config["target_modules"], json!(["k_proj", "up_proj", path]));
    let loaded = Adapter::load_peft(dir.path(), &model).unwrap();
    let scales_inputs = |path: &str| loaded.modules[path].scales_inputs();
    assert!(scales_inputs(path) && !scales_inputs("model.layers.0.mlp.up_proj"));
    config["feedforward_modules"] = json!(["k_proj"]);
    write_config(dir.path(), &config);
    assert!(refusal(dir.path(), &model).contains("feedforward_modules"));
}

#[test]
fn a_rank_that_is_not_that_of_the_weights_is_refused() {
    let model = tiny::model(0);
    let (dir, _) = saved(&AdapterConfig::default(), &model);
    let mut config = config_of(dir.path());
    for rank in [0, 8] {
        config["r"] = json!(rank);
        write_config(dir.path(), &config);
        let error = refusal(dir.path(), &model);
        assert!(error.contains(&format!("\"r\": {rank}")), "{error}");
    }
    config["rank_pattern"] = json!({"k_proj": 3, ".*": 16});
    write_config(dir.path(), &config);
    let error = refusal(dir.path(), &model);
    assert!(
        error.contains("rank_pattern") && error.contains("k_proj"),
        "{error}"
    );
}

#[test]
fn options_that_are_not_supported_are_refused_by_their_name() {
    let model = tiny::model(0);
    let (dir, _) = saved(&AdapterConfig::default(), &model);
    let plain = config_of(dir.path());
    let cases = [
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["lm_head"])),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"])),
        ("trainable_token_indices", json!([3])),
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("olora")),
        ("use_qalora", json!(true)),
        ("arrow_config", json!({"top_k": 2})),
        ("alora_invocation_tokens", json!([1])),
        ("an_option_of_tomorrow", json!(1)),
        ("peft_type", json!("ADALORA")),
        ("rank_pattern", json!({"q_proj": "two"})),
        ("alpha_pattern", json!({"(q_proj": 2})),
        ("layers_to_transform", json!("1")),
    ];
    for (option, value) in cases {
        let mut config = plain.clone();
        config[option] = value;
        write_config(dir.path(), &config);
        let error = refusal(dir.path(), &model);
        assert!(
            error.contains(option) && !error.contains('\n'),
            "{option}: {error}"
        );
    }
    let mut config = plain;
    config["init_lora_weights"] = json!("eva");
    config["modules_to_save"] = json!(["classifier", "score"]);
    config["megatron_core"] = json!("megatron.core");
    config["layers_to_transform"] = json!(null);
    config["use_bdlora"] = json!(null);
    config["loftq_config"] = json!({});
    write_config(dir.path(), &config);
    assert!(Adapter::load_peft(dir.path(), &model).is_ok());
}

#[test]
fn magnitudes_and_use_dora_go_together_and_have_a_number_for_each_row() {
    let model = tiny::model(0);
    let (dir, _) = saved(&config(r#""type": "lora", "use_dora": true"#), &model);
    let dora = config_of(dir.path());
    let mut plain = dora.clone();
    plain["use_dora"] = json!(false);
    write_config(dir.path(), &plain);
    assert!(refusal(dir.path(), &model).contains("lora_magnitude_vector"));
    write_config(dir.path(), &dora);
    let weights = dir.path().join(WEIGHTS_FILE);
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.k_proj.lora_magnitude_vector";
    let short = tensors[name].narrow(0, 1, 2).unwrap();
    tensors.insert(name.to_owned(), short);
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    assert!(refusal(dir.path(), &model).contains("other shapes"));
    tensors.remove(name);
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    assert!(refusal(dir.path(), &model).contains("is missing"));
}

#[test]
fn truncated_and_foreign_adapters_are_refused() {
    let model = tiny::model(0);
    let (dir, _) = saved(&AdapterConfig::default(), &model);
    let file = dir.path().join(WEIGHTS_FILE);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let error = refusal(dir.path(), &model);
    assert!(error.contains(WEIGHTS_FILE), "{error}");
    for name in [
        "something.else",
        "base_model.model.model.embed_tokens.lora_embedding_A",
    ] {
        let renamed = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        let strange = HashMap::from([(name.to_owned(), renamed)]);
        candle_core::safetensors::save(&strange, &file).unwrap();
        let error = refusal(dir.path(), &model);
        assert!(
            error.contains(name.trim_start_matches("base_model.model.")),
            "{error}"
        );
    }
}

#[test]
fn ranks_blocks_and_patterns_that_fit_nothing_are_refused_before_a_round() {
    let model = tiny::model(0);
    let refused = |options: &str| {
        let error = Adapter::init(&config(options), &model, &Rng::new(2)).err();
        format!("{:#}", error.unwrap())
    };
    let error = refused(r#""type": "lora", "layers_to_transform": [0, 2]"#);
    assert!(error.contains("block 2"), "{error}");
    let error = refused(r#""type": "lora", "rank_pattern": {"qkv_proj": 2}"#);
    assert!(
        error.contains("rank_pattern") && error.contains("qkv_proj"),
        "{error}"
    );
    let error = refused(r#""type": "lora", "target_modules": "q_proj""#);
    assert!(error.contains("match no layer"), "{error}");
    let error = refused(r#""type": "lora", "target_modules": "(q_proj""#);
    assert!(error.contains("no regular expression"), "{error}");
}

#[test]
fn gaussian_beginnings_have_the_deviation_of_peft() {
    let model = tiny::model(0);
    let config = LoraConfig {
        rank: 4,
        init_lora_weights: LoraInit::Gaussian,
        alpha_pattern: ByPattern(vec![("q_proj".to_owned(), 2.0)]),
        ..LoraConfig::default()
    };
    let adapter = Adapter::init(&AdapterConfig::Lora(config), &model, &Rng::new(2)).unwrap();
    let all = numbers(&adapter).into_iter();
    let a: Vec<f32> = all
        .filter(|(name, _)| name.contains("lora_A"))
        .flat_map(|(_, a)| a)
        .collect();
    let deviation = (a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32).sqrt();
    assert!((deviation - 0.25).abs() < 0.02, "{deviation} of {}", a.len());
}
