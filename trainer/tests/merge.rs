//! `merge` against transformers and PEFT: the merged files of every family, read back, give the log-probabilities that
//! `parity/families.py` computed in f64 with the adapter apart. What is kept, refused and left behind.

#![allow(clippy::unwrap_used)]

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, gguf_file::Content},
};
use laurel_protocol::adapter::{AdapterConfig, Ia3Config, LoraConfig};
use laurel_trainer::{
    adapters::{Adapter, TaskType, WEIGHTS_FILE},
    data::Tokenizer,
    merge::{Options, Report, WeightType, merge},
    model::{Model, tiny},
    rng::Rng,
    rounds::cli::id_logps,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const FAMILIES: [&str; 8] = [
    "llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3",
];

fn parity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity")
}

fn folder(family: &str) -> PathBuf {
    parity().join("families").join(family)
}

fn merged(model: &Path, adapter: &Path, out: &Path, dtype: Option<WeightType>) -> anyhow::Result<Report> {
    let options = Options {
        dtype,
        device: Device::Cpu,
        adapter_name: None,
    };
    merge(model, adapter, out, &options, &mut |_| Ok(()))
}

fn error_of(model: &Path, adapter: &Path, out: &Path, dtype: Option<WeightType>) -> String {
    format!("{:#}", merged(model, adapter, out, dtype).unwrap_err())
}

/// The largest difference to what transformers and PEFT say with the adapter apart.
fn difference_to_peft(family: &str, model: &Path) -> f64 {
    let text = fs::read_to_string(folder(family).join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let model =
        Model::load(model, &Device::Cpu, DType::F32).unwrap_or_else(|error| panic!("{family}: {error:#}"));
    let shared = expected["shared"].as_u64().unwrap() as usize;
    let mut largest: f64 = 0.0;
    for at in 0..2 {
        let ids: Vec<u32> = serde_json::from_value(expected["ids"][at].clone()).unwrap();
        let theirs: Vec<f64> = serde_json::from_value(expected["adapted_logps"][at].clone()).unwrap();
        let ours = id_logps(&model, None, &ids, shared).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            largest = largest.max((f64::from(*ours) - theirs).abs());
        }
    }
    assert!(largest.is_finite());
    largest
}

#[test]
fn merged_folders_say_what_peft_says_with_the_adapter_apart() {
    let dir = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let out = dir.path().join(family);
        let report = merged(&folder(family), &folder(family).join("adapter"), &out, None).unwrap();
        assert_eq!(report.dtype, "f32", "{family}");
        assert!(report.verification.merged.largest < 1e-4, "{family}: {report:?}");
        assert!(report.verification.written.largest < 1e-4, "{family}: {report:?}");
        let difference = difference_to_peft(family, &out);
        assert!(difference < 1e-4, "{family}: off by {difference:.1e}");
        let card = fs::read_to_string(out.join("README.md")).unwrap();
        assert!(
            card.contains(&report.adapter_sha256) && card.contains(family),
            "{card}"
        );
    }
}

/// Every GGUF file to a folder and to a GGUF file.
#[test]
fn merged_gguf_files_say_what_peft_says_with_the_adapter_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut n_files = 0;
    for family in FAMILIES {
        let file = folder(family).join("model.gguf");
        if !file.exists() {
            continue;
        }
        n_files += 1;
        for name in [family.to_owned(), format!("{family}.gguf")] {
            let out = dir.path().join(&name);
            let report = merged(
                &file,
                &folder(family).join("adapter"),
                &out,
                Some(WeightType::F32),
            )
            .unwrap();
            assert!(report.verification.written.largest < 1e-4, "{name}: {report:?}");
            // That of Gemma 2 holds queries scaled for a reader that takes head_dim, so the adapter is another one there.
            if family != "gemma2" {
                let difference = difference_to_peft(family, &out);
                assert!(difference < 1e-4, "{name}: off by {difference:.1e}");
            }
        }
    }
    assert_eq!(n_files, 6);
}

/// Byte-level BPE of 48 tokens.
fn write_tokenizer(dir: &Path) {
    let mut vocab: HashMap<String, u32> = HashMap::new();
    for (id, token) in ["<pad>", "<s>", "</s>"]
        .into_iter()
        .map(str::to_owned)
        .enumerate()
    {
        vocab.insert(token, id as u32);
    }
    for token in ('a'..='z')
        .chain('0'..='9')
        .chain(['Ġ', 'Ċ'])
        .map(String::from)
        .chain(["th".into(), "Ġth".into()])
    {
        let id = vocab.len() as u32;
        vocab.insert(token, id);
    }
    let special = ["<pad>", "<s>", "</s>"].map(|token| {
        serde_json::json!({"id": vocab[token], "content": token, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false})
    });
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [["t", "h"], ["Ġ", "th"]]},
    });
    fs::write(dir.join("tokenizer.json"), json.to_string()).unwrap();
    let config = serde_json::json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
        "chat_template": "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}"});
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// The family's folder with a tokenizer.
fn with_tokenizer(family: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(folder(family).join(file), dir.path().join(file)).unwrap();
    }
    write_tokenizer(dir.path());
    dir
}

#[test]
fn folders_become_gguf_files_that_say_what_peft_says() {
    let out = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let base = with_tokenizer(family);
        let file = out.path().join(format!("{family}.gguf"));
        let report = merged(base.path(), &folder(family).join("adapter"), &file, None).unwrap();
        let difference = difference_to_peft(family, &file);
        assert!(difference < 1e-4, "{family}: off by {difference:.1e}");
        let is_windowed = ["mistral", "qwen2", "gemma3", "phi3"].contains(&family);
        assert_eq!(
            report.notes.len(),
            usize::from(is_windowed),
            "{family}: {:?}",
            report.notes
        );
        let tokenizer = Tokenizer::load(&file).unwrap();
        let folder = Tokenizer::load(base.path()).unwrap();
        let text = "the path 12 months\n<s>a";
        assert_eq!(tokenizer.encode(text).unwrap(), folder.encode(text).unwrap());
        assert_eq!(
            (tokenizer.stop_ids(), tokenizer.template_hash()),
            (folder.stop_ids(), folder.template_hash())
        );
    }
}

fn adapter_of(model: &Model, config: &AdapterConfig, score: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut adapter = Adapter::init(config, model, &Rng::new(3)).unwrap();
    let mut task = TaskType::CausalLm;
    if score {
        adapter.add_score(model, &Rng::new(3)).unwrap();
        task = TaskType::SeqCls;
    }
    tiny::disturb(&adapter, 0.2);
    adapter.save_peft(dir.path(), "tiny", task).unwrap();
    dir
}

/// On layers with biases in Qwen 2, on fused layers in Phi-3, on inputs of the last layer.
#[test]
fn ia3_is_merged_into_weights_and_biases() {
    let out = tempfile::tempdir().unwrap();
    let all = [
        "q_proj",
        "k_proj",
        "v_proj",
        "qkv_proj",
        "o_proj",
        "gate_proj",
        "down_proj",
    ];
    let ia3 = AdapterConfig::Ia3(Ia3Config {
        target_modules: all.as_slice().into(),
        ..Ia3Config::default()
    });
    let dora = AdapterConfig::Lora(LoraConfig {
        rank: 2,
        use_dora: true,
        use_rslora: true,
        ..LoraConfig::default()
    });
    for (family, config) in FAMILIES
        .into_iter()
        .flat_map(|family| [(family, &ia3), (family, &dora)])
    {
        let base = with_tokenizer(family);
        let model = Model::load(base.path(), &Device::Cpu, DType::F32).unwrap();
        let adapter = adapter_of(&model, config, false);
        let apart = Adapter::load_peft(adapter.path(), &model).unwrap();
        let ids: Vec<u32> = (3..40).collect();
        let wanted = id_logps(&model, Some(&apart), &ids, 1).unwrap();
        let kind = if config == &ia3 { "ia3" } else { "dora" };
        for name in [format!("{family}-{kind}"), format!("{family}-{kind}.gguf")] {
            let file = out.path().join(&name);
            merged(base.path(), adapter.path(), &file, Some(WeightType::F32)).unwrap();
            let written = Model::load(&file, &Device::Cpu, DType::F32).unwrap();
            let found = id_logps(&written, None, &ids, 1).unwrap();
            let largest = wanted
                .iter()
                .zip(&found)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(largest < 1e-4, "{name}: off by {largest:.1e}");
        }
    }
}

fn only_queries() -> AdapterConfig {
    AdapterConfig::Lora(LoraConfig {
        rank: 2,
        alpha: 8.0,
        target_modules: ["q_proj", "qkv_proj"].as_slice().into(),
        ..LoraConfig::default()
    })
}

struct Raw {
    content: Content,
    file: fs::File,
}

impl Raw {
    fn open(path: &Path) -> Self {
        let mut file = fs::File::open(path).unwrap();
        let content = Content::read(&mut file).unwrap();
        Self { content, file }
    }

    fn tensor(&mut self, name: &str) -> (GgmlDType, Vec<u8>) {
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu).unwrap();
        (tensor.dtype(), tensor.data().unwrap().into_owned())
    }
}

#[test]
fn a_gguf_file_keeps_its_metadata_and_byte_for_byte_what_the_adapter_does_not_change() {
    let base = folder("phi3").join("model.gguf");
    let model = Model::load(&base, &Device::Cpu, DType::F32).unwrap();
    let adapter = adapter_of(&model, &only_queries(), false);
    let out = tempfile::tempdir().unwrap();
    let types = [
        (WeightType::F16, GgmlDType::F16),
        (WeightType::Bf16, GgmlDType::BF16),
        (WeightType::Q8_0, GgmlDType::Q8_0),
        (WeightType::Keep, GgmlDType::F16),
    ];
    for (asked, expected) in types {
        let file = out.path().join(format!("{asked:?}.gguf"));
        let report = merged(&base, adapter.path(), &file, Some(asked)).unwrap();
        let (mut before, mut after) = (Raw::open(&base), Raw::open(&file));
        let names: Vec<String> = before.content.tensor_infos.keys().cloned().collect();
        assert_eq!(after.content.tensor_infos.len(), names.len());
        let mut n_changed = 0;
        for name in names {
            let (old, new) = (before.tensor(&name), after.tensor(&name));
            match name.contains("attn_qkv") {
                true => {
                    n_changed += 1;
                    assert_eq!(new.0, expected, "{name}");
                    assert_ne!(new.1, old.1, "{name}");
                }
                false => assert!(new == old, "{name} has changed"),
            }
        }
        assert_eq!((n_changed, report.n_changed), (2, 2));
        for (key, value) in &before.content.metadata {
            if !key.starts_with("general.") {
                assert_eq!(format!("{:?}", after.content.metadata[key]), format!("{value:?}"));
            }
        }
        let finetune = after.content.metadata["general.finetune"].to_string().unwrap();
        assert_eq!(*finetune, report.adapter);
    }
}

#[test]
fn a_folder_in_bf16_stays_bf16_and_keeps_the_tensors_that_the_adapter_does_not_change() {
    let base = with_tokenizer("qwen3");
    let weights = base.path().join("model.safetensors");
    let narrow: HashMap<String, Tensor> = candle_core::safetensors::load(&weights, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap()))
        .collect();
    candle_core::safetensors::save(&narrow, &weights).unwrap();
    let model = Model::load(base.path(), &Device::Cpu, DType::F32).unwrap();
    let adapter = adapter_of(&model, &only_queries(), false);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("merged");
    let report = merged(base.path(), adapter.path(), &out, None).unwrap();
    assert_eq!((report.dtype.as_str(), report.n_changed), ("bf16", 2));
    let check = report.verification;
    assert!(
        check.merged.largest < 1e-4 && check.written.divergence < check.adapter.divergence / 10.0,
        "{check:?}"
    );
    let after = candle_core::safetensors::load(out.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(after.len(), narrow.len());
    for (name, tensor) in &narrow {
        let bits = |tensor: &Tensor| -> Vec<f32> {
            let flat = tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
            flat.to_vec1().unwrap()
        };
        assert_eq!(after[name].dtype(), DType::BF16);
        assert_eq!(
            bits(tensor) == bits(&after[name]),
            !name.contains("q_proj"),
            "{name}"
        );
    }
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "bfloat16");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(
            fs::read(out.join(file)).unwrap(),
            fs::read(base.path().join(file)).unwrap()
        );
    }
}

/// Digits one by one, special tokens, and the chat template, of the default model.
#[test]
fn the_default_models_tokenizer_is_written_as_tokenizer_json() {
    let cached = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        cache.join("laurel/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let base = std::env::var_os("LAUREL_MODEL").map_or_else(cached, PathBuf::from);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("merged");
    let report = merged(
        &base,
        &parity().join("golden/adapter"),
        &folder,
        Some(WeightType::F32),
    )
    .unwrap();
    assert!(report.verification.written.largest < 5e-4, "{report:?}");
    let (before, after) = (Tokenizer::load(&base).unwrap(), Tokenizer::load(&folder).unwrap());
    let text = "In 2024, 13% of <|im_start|>user\nCafé 你好  \t x**2 isn't<|im_end|>";
    assert_eq!(before.encode(text).unwrap(), after.encode(text).unwrap());
    assert_eq!(before.template_hash(), after.template_hash());
    assert_eq!(before.stop_ids(), after.stop_ids());
    // The numbers that PyTorch computed with the adapter apart.
    let golden: Value =
        serde_json::from_slice(&fs::read(parity().join("golden/golden.json")).unwrap()).unwrap();
    let pair = &golden["pairs"][0];
    let ids = |side: &str| -> Vec<u32> { serde_json::from_value(pair[side].clone()).unwrap() };
    let (prompt, chosen) = (ids("prompt"), ids("chosen"));
    let model = Model::load(&folder, &Device::Cpu, DType::F32).unwrap();
    let ours = id_logps(&model, None, &[prompt.clone(), chosen].concat(), prompt.len()).unwrap();
    let sum: f64 = ours.into_iter().map(f64::from).sum();
    let theirs = golden["policy"]["chosen"][0].as_f64().unwrap();
    assert!(
        (sum - theirs).abs() < 1e-4 * theirs.abs(),
        "{sum} against {theirs}"
    );
}

#[test]
fn a_reward_model_becomes_a_sequence_classifier_in_a_folder_and_no_gguf_file() {
    let base = with_tokenizer("llama3");
    let model = Model::load(base.path(), &Device::Cpu, DType::F32).unwrap();
    let adapter = adapter_of(&model, &AdapterConfig::default(), true);
    let dir = tempfile::tempdir().unwrap();
    let error = error_of(base.path(), adapter.path(), &dir.path().join("reward.gguf"), None);
    assert!(
        error.contains("reward model") && error.contains("folder"),
        "{error}"
    );
    let out = dir.path().join("reward");
    let report = merged(base.path(), adapter.path(), &out, None).unwrap();
    assert!(
        report.is_reward_model && report.verification.written.largest < 1e-4,
        "{report:?}"
    );
    assert!(report.verification.adapter.largest > 1e-2, "{report:?}");
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"][0], "LlamaForSequenceClassification");
    let tensors = candle_core::safetensors::load(out.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(tensors["score.weight"].dims(), [1, 24]);
    assert!(!tensors.contains_key("lm_head.weight"));
}

/// Each in a line that says what is wrong, and with nothing left behind.
#[test]
fn what_cannot_be_merged_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (out, file) = (dir.path().join("merged"), dir.path().join("merged.gguf"));
    let (base, adapter) = (folder("llama3"), folder("llama3").join("adapter"));
    let refused = |what: &str, error: String| assert!(error.contains(what), "{error}");

    refused(
        "other shapes",
        error_of(&base, &folder("mistral").join("adapter"), &out, None),
    );
    refused(
        "no layer",
        error_of(&base, &folder("gemma3").join("adapter"), &out, None),
    );
    refused("no tokenizer.json", error_of(&base, &adapter, &file, None));
    refused(
        "f32, f16 or bf16",
        error_of(&base, &adapter, &out, Some(WeightType::Q8_0)),
    );
    refused(
        "no folder",
        error_of(&base, &adapter, &dir.path().join("no/such/merged"), None),
    );
    refused(
        "no model",
        error_of(&dir.path().join("none"), &adapter, &out, None),
    );

    let cut = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", WEIGHTS_FILE] {
        let bytes = fs::read(adapter.join(name)).unwrap();
        let end = if name == WEIGHTS_FILE {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        fs::write(cut.path().join(name), &bytes[..end]).unwrap();
    }
    refused(WEIGHTS_FILE, error_of(&base, cut.path(), &out, None));

    // Fails when half of the files are written.
    let large = with_tokenizer("llama3");
    let weights = large.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    let embedding = (&tensors["model.embed_tokens.weight"] * 1e6).unwrap();
    tensors.insert("model.embed_tokens.weight".to_owned(), embedding);
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    refused(
        "f16 cannot hold",
        error_of(large.path(), &adapter, &out, Some(WeightType::F16)),
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    fs::write(&file, "mine").unwrap();
    refused("exists already", error_of(large.path(), &adapter, &file, None));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
