//! PEFT's files: `adapter_config.json` and `adapter_model.safetensors`, in and out.
//!
//! Keys are `base_model.model.` + the module's path + the weight's name, as in PEFT 0.2x; a score head is
//! stored as `modules_to_save` stores it.

use super::{Adapter, Module, SCORE, Weight, ia3, lora_a, lora_b, targets};
use crate::model::Model;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use laurel_protocol::adapter::AdapterConfig;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// What the adapter is for, in PEFT's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskType {
    /// A policy.
    CausalLm,
    /// A reward model: one score at the last token.
    SeqCls,
}

/// What kind of adapter a folder holds, whatever model it is for.
pub fn read_config(dir: &Path) -> Result<AdapterConfig> {
    let adapter = read(dir, &Device::Cpu).with_context(|| format!("load adapter {dir:?}"))?;
    Ok(adapter.config)
}

impl Adapter {
    /// Reads an adapter, frozen, and checks it against the model's layers.
    pub fn load_peft(dir: &Path, model: &Model) -> Result<Self> {
        let mut adapter = read(dir, &model.device).with_context(|| format!("load adapter {dir:?}"))?;
        adapter
            .check_fits(model)
            .with_context(|| format!("adapter {dir:?} does not fit the model"))?;
        // From the weights: the file may say it by a pattern, by "all-linear", or for some of the blocks only.
        let changed = model
            .linears()
            .map(|linear| (linear.path.as_str(), adapter.modules.contains_key(&linear.path)));
        let found = names_of(changed);
        match &mut adapter.config {
            AdapterConfig::Lora { target_modules, .. } | AdapterConfig::Ia3 { target_modules } => {
                *target_modules = found;
            }
        }
        Ok(adapter)
    }

    /// Writes both files. The folder must exist.
    pub fn save_peft(&self, dir: &Path, base_model_name: &str, task_type: TaskType) -> Result<()> {
        let tensors: BTreeMap<String, Tensor> = self
            .weights()
            .into_iter()
            .map(|(name, weight)| Ok((format!("{PREFIX}{name}"), self.stored(&name, weight.tensor())?)))
            .collect::<Result<_>>()?;
        let file = dir.join(WEIGHTS_FILE);
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(&tensors, Some(metadata), &file)
            .with_context(|| format!("write {file:?}"))?;
        let config = self.peft_config(base_model_name, task_type);
        let file = dir.join(CONFIG_FILE);
        fs::write(&file, serde_json::to_string_pretty(&config)? + "\n")
            .with_context(|| format!("write {file:?}"))
    }

    /// PEFT keeps IA3's factors as a column, or as a row where they scale inputs.
    fn stored(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let tensor = tensor.detach();
        let Some(path) = name.strip_suffix(".ia3_l") else {
            return Ok(tensor);
        };
        let row = self.modules.get(path).is_some_and(scales_inputs);
        Ok(tensor.unsqueeze(if row { 0 } else { 1 })?)
    }

    fn peft_config(&self, base_model_name: &str, task_type: TaskType) -> Value {
        // The default names layers of all families.
        let mut targets = targets(&self.config);
        targets.retain(|target| self.modules.keys().any(|path| is_named(path, target)));
        let mut config = json!({
            "auto_mapping": null,
            "base_model_name_or_path": base_model_name,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "modules_to_save": match self.score { Some(_) => json!(["score"]), None => Value::Null },
            "revision": null,
            "target_modules": targets,
            "task_type": match task_type { TaskType::CausalLm => "CAUSAL_LM", TaskType::SeqCls => "SEQ_CLS" },
        });
        let own = match &self.config {
            AdapterConfig::Lora { rank, alpha, .. } => json!({
                "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
                "init_lora_weights": true, "use_rslora": false, "use_dora": false, "lora_bias": false,
                "rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": null, "layers_pattern": null,
            }),
            AdapterConfig::Ia3 { .. } => json!({
                "peft_type": "IA3", "init_ia3_weights": true,
                "feedforward_modules": names_of(self.modules.iter().map(|(path, m)| (path.as_str(), scales_inputs(m)))),
            }),
        };
        if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
            config.extend(own);
        }
        config
    }

    fn check_fits(&self, model: &Model) -> Result<()> {
        let mut known = 0;
        for linear in model.linears() {
            let Some(module) = self.modules.get(&linear.path) else {
                continue;
            };
            known += 1;
            let (n_out, n_in) = linear.weight.dims2()?;
            let fits = match module {
                Module::Lora { a, b, .. } => {
                    let (a, b) = (a.tensor().dims(), b.tensor().dims());
                    a.len() == 2 && b.len() == 2 && a[1] == n_in && b[0] == n_out && a[0] == b[1]
                }
                Module::Ia3 {
                    factors,
                    feed_forward,
                } => factors.tensor().dims() == [if *feed_forward { n_in } else { n_out }],
            };
            ensure!(
                fits,
                "the weights of {:?} have other shapes than the model's layer",
                linear.path
            );
        }
        if known != self.modules.len() {
            let has = |path: &String| model.linears().any(|linear| linear.path == *path);
            let stranger = self.modules.keys().find(|path| !has(path));
            bail!("the model has no layer {:?}", stranger.map_or("", String::as_str));
        }
        if let Some(score) = &self.score {
            let shape = score.tensor().dims();
            ensure!(
                shape == [1, model.config.hidden],
                "the score head has the shape {shape:?}"
            );
        }
        Ok(())
    }
}

/// PEFT's way to name the layers that are marked: by the last part of the path where all of that name are, else by
/// the whole path. PEFT takes a layer whose path is an entry or ends with a point and an entry.
fn names_of<'a>(layers: impl Iterator<Item = (&'a str, bool)>) -> Vec<String> {
    let mut by_name: Vec<(&str, Vec<(&str, bool)>)> = Vec::new();
    for (path, marked) in layers {
        let name = path.rsplit('.').next().unwrap_or(path);
        match by_name.iter_mut().find(|(known, _)| *known == name) {
            Some((_, paths)) => paths.push((path, marked)),
            None => by_name.push((name, vec![(path, marked)])),
        }
    }
    let names = by_name.into_iter().flat_map(|(name, paths)| {
        if paths.iter().all(|(_, marked)| *marked) {
            return vec![name.to_owned()];
        }
        let marked = paths.iter().filter(|(_, marked)| *marked);
        marked.map(|(path, _)| (*path).to_owned()).collect()
    });
    names.collect()
}

/// Whether a path is an entry or ends with a point and the entry.
fn is_named(path: &str, entry: &str) -> bool {
    path == entry || path.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

fn scales_inputs(module: &Module) -> bool {
    matches!(
        module,
        Module::Ia3 {
            feed_forward: true,
            ..
        }
    )
}

/// Whether IA3 scales a layer's inputs, by the shape that PEFT gives its factors: a row for inputs, a column for
/// outputs. A list of `feedforward_modules` must agree.
fn is_row(path: &str, factors: &Tensor, listed: &Value) -> Result<bool> {
    let row = match factors.dims() {
        [_, 1] => false,
        [1, _] => true,
        other => bail!("the factors of {path:?} have the shape {other:?}, neither a row nor a column"),
    };
    if let Value::Array(names) = listed {
        let mut names = names.iter().filter_map(Value::as_str);
        let listed = names.any(|name| is_named(path, name));
        ensure!(
            row == listed,
            "the factors of {path:?} have the shape {:?}, against the list of feedforward_modules",
            factors.dims()
        );
    }
    Ok(row)
}

fn read(dir: &Path, device: &Device) -> Result<Adapter> {
    let text = fs::read_to_string(dir.join(CONFIG_FILE)).with_context(|| format!("read {CONFIG_FILE}"))?;
    let peft: Value = serde_json::from_str(&text).with_context(|| format!("{CONFIG_FILE} is not JSON"))?;
    for setting in ["use_rslora", "use_dora", "fan_in_fan_out", "lora_bias"] {
        ensure!(
            !peft[setting].as_bool().unwrap_or(false),
            "the setting {setting} is not supported"
        );
    }
    for setting in ["rank_pattern", "alpha_pattern"] {
        let empty = peft[setting].as_object().is_none_or(serde_json::Map::is_empty);
        ensure!(empty, "the setting {setting} is not supported");
    }
    let target_modules = Vec::new();
    let config = match peft["peft_type"].as_str() {
        Some("LORA") => AdapterConfig::Lora {
            rank: peft["r"]
                .as_u64()
                .context("adapter_config.json has no rank \"r\"")? as u32,
            alpha: peft["lora_alpha"]
                .as_f64()
                .context("adapter_config.json has no \"lora_alpha\"")?,
            target_modules,
        },
        Some("IA3") => AdapterConfig::Ia3 { target_modules },
        other => bail!("adapters of type {other:?} are not supported"),
    };
    let tensors = candle_core::safetensors::load(dir.join(WEIGHTS_FILE), device)
        .with_context(|| format!("read {WEIGHTS_FILE}: is it complete?"))?;
    collect(config, tensors, &peft["feedforward_modules"])
}

fn collect(config: AdapterConfig, tensors: HashMap<String, Tensor>, feed_forward: &Value) -> Result<Adapter> {
    let mut weights = BTreeMap::new();
    for (key, tensor) in tensors {
        let Some(name) = key.strip_prefix(PREFIX) else {
            bail!("the weight {key:?} is not named as PEFT names weights");
        };
        weights.insert(name.to_owned(), tensor.to_dtype(DType::F32)?.contiguous()?);
    }
    let score = weights.remove(SCORE).map(Weight::Frozen);
    let mut modules = BTreeMap::new();
    while let Some((name, tensor)) = weights.pop_first() {
        let (path, module) = match &config {
            AdapterConfig::Lora { rank, alpha, .. } => {
                let Some(path) = name.strip_suffix(".lora_A.weight") else {
                    bail!("the weight {name:?} is not one of a LoRA adapter");
                };
                debug_assert_eq!(name, lora_a(path));
                let Some(b) = weights.remove(&lora_b(path)) else {
                    bail!("the weight {:?} is missing", lora_b(path));
                };
                let rows = tensor.dims().first().copied().unwrap_or(0);
                ensure!(
                    rows > 0 && rows == *rank as usize,
                    "the weight {name:?} has rank {rows}, but {CONFIG_FILE} says \"r\": {rank}"
                );
                let module = Module::Lora {
                    a: Weight::Frozen(tensor),
                    b: Weight::Frozen(b),
                    scaling: alpha / f64::from(*rank),
                };
                (path.to_owned(), module)
            }
            AdapterConfig::Ia3 { .. } => {
                let Some(path) = name.strip_suffix(".ia3_l") else {
                    bail!("the weight {name:?} is not one of an IA3 adapter");
                };
                debug_assert_eq!(name, ia3(path));
                let module = Module::Ia3 {
                    feed_forward: is_row(path, &tensor, feed_forward)?,
                    factors: Weight::Frozen(tensor.flatten_all()?),
                };
                (path.to_owned(), module)
            }
        };
        modules.insert(path, module);
    }
    ensure!(!modules.is_empty(), "{WEIGHTS_FILE} holds no adapter weights");
    Ok(Adapter {
        config,
        modules,
        score,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::tiny, rng::Rng};

    fn saved(config: &AdapterConfig, model: &Model) -> (tempfile::TempDir, Adapter) {
        let mut adapter = Adapter::init(config, model, &Rng::new(2)).unwrap();
        adapter.add_score(model, &Rng::new(2)).unwrap();
        tiny::disturb(&adapter, 0.1);
        let dir = tempfile::tempdir().unwrap();
        adapter.save_peft(dir.path(), "tiny", TaskType::SeqCls).unwrap();
        (dir, adapter)
    }

    #[test]
    fn saved_adapters_come_back_exactly() {
        let model = tiny::model(0);
        let ia3 = AdapterConfig::Ia3 {
            target_modules: vec![],
        };
        for config in [AdapterConfig::default(), ia3] {
            let (dir, adapter) = saved(&config, &model);
            let loaded = Adapter::load_peft(dir.path(), &model).unwrap();
            let numbers = |adapter: &Adapter| -> Vec<(String, Vec<f32>)> {
                let flat = |weight: &Weight| weight.tensor().flatten_all().unwrap().to_vec1().unwrap();
                adapter
                    .weights()
                    .into_iter()
                    .map(|(name, weight)| (name, flat(weight)))
                    .collect()
            };
            assert_eq!(numbers(&loaded), numbers(&adapter));
        }
    }

    fn config_of(dir: &Path) -> Value {
        serde_json::from_slice(&fs::read(dir.join(CONFIG_FILE)).unwrap()).unwrap()
    }

    /// Writes the adapter again as a round that goes on from it would.
    fn saved_again(dir: &Path, model: &Model) -> Value {
        let again = tempfile::tempdir().unwrap();
        let adapter = Adapter::load_peft(dir, model).unwrap().trainable_copy().unwrap();
        adapter
            .save_peft(again.path(), "tiny", TaskType::CausalLm)
            .unwrap();
        config_of(again.path())
    }

    #[test]
    fn layers_that_a_pattern_named_stay_the_adapters_layers() {
        let model = tiny::model(0);
        let mut adapter = Adapter::init(&AdapterConfig::default(), &model, &Rng::new(2)).unwrap();
        adapter
            .modules
            .retain(|path, _| path.ends_with("q_proj") || path == "model.layers.1.self_attn.v_proj");
        let dir = tempfile::tempdir().unwrap();
        adapter.save_peft(dir.path(), "tiny", TaskType::CausalLm).unwrap();
        let mut config = config_of(dir.path());
        config["target_modules"] = json!(".*(q_proj|1.self_attn.v_proj)");
        fs::write(dir.path().join(CONFIG_FILE), config.to_string()).unwrap();
        let expected = json!(["q_proj", "model.layers.1.self_attn.v_proj"]);
        assert_eq!(saved_again(dir.path(), &model)["target_modules"], expected);
    }

    #[test]
    fn feedforward_modules_are_read_and_written() {
        let model = tiny::model(0);
        let config = AdapterConfig::Ia3 {
            target_modules: vec!["k_proj".into(), "up_proj".into()],
        };
        let mut adapter = Adapter::init(&config, &model, &Rng::new(2)).unwrap();
        for (path, module) in &mut adapter.modules {
            if path.ends_with("up_proj") {
                *module = Module::Ia3 {
                    factors: Weight::Frozen(Tensor::ones(16, DType::F32, &Device::Cpu).unwrap()),
                    feed_forward: true,
                };
            }
        }
        let dir = tempfile::tempdir().unwrap();
        adapter.save_peft(dir.path(), "tiny", TaskType::CausalLm).unwrap();
        assert_eq!(config_of(dir.path())["feedforward_modules"], json!(["up_proj"]));
        let loaded = Adapter::load_peft(dir.path(), &model).unwrap();
        assert!(scales_inputs(&loaded.modules["model.layers.0.mlp.up_proj"]));
        let mut config = config_of(dir.path());
        config["feedforward_modules"] = json!(["k_proj"]);
        fs::write(dir.path().join(CONFIG_FILE), config.to_string()).unwrap();
        assert!(Adapter::load_peft(dir.path(), &model).is_err());
    }

    #[test]
    fn keys_are_those_of_peft() {
        let (dir, _) = saved(&AdapterConfig::default(), &tiny::model(0));
        let tensors = candle_core::safetensors::load(dir.path().join(WEIGHTS_FILE), &Device::Cpu).unwrap();
        assert!(tensors.contains_key("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"));
        assert_eq!(tensors["base_model.model.score.weight"].dims(), [1, 16]);
    }

    #[test]
    fn a_rank_that_is_not_that_of_the_weights_is_refused() {
        let model = tiny::model(0);
        let (dir, _) = saved(&AdapterConfig::default(), &model);
        for rank in [0, 8] {
            let mut config = config_of(dir.path());
            config["r"] = json!(rank);
            fs::write(dir.path().join(CONFIG_FILE), config.to_string()).unwrap();
            let error = format!("{:#}", Adapter::load_peft(dir.path(), &model).err().unwrap());
            assert!(error.contains(&format!("\"r\": {rank}")), "{error}");
        }
    }

    #[test]
    fn truncated_and_foreign_adapters_are_refused() {
        let model = tiny::model(0);
        let (dir, _) = saved(&AdapterConfig::default(), &model);
        let file = dir.path().join(WEIGHTS_FILE);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let error = format!("{:#}", Adapter::load_peft(dir.path(), &model).err().unwrap());
        assert!(error.contains(WEIGHTS_FILE), "{error}");
        let renamed = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        let strange = HashMap::from([("something.else".to_owned(), renamed)]);
        candle_core::safetensors::save(&strange, &file).unwrap();
        assert!(Adapter::load_peft(dir.path(), &model).is_err());
    }
}
