//! PEFT's files, in and out: `adapter_model.safetensors` here, `adapter_config.json` in [`super::peft_config`].
//!
//! Keys are `base_model.model.` + the module's path + the weight's name, as in PEFT 0.2x. A score head is stored twice:
//! as `modules_to_save` stores it, so that PEFT loads a reward model, and in a file of its own.

use super::{
    Adapter, CONFIG_FILE, Head, Module, SCORE, TaskType, VALUE, Weight, ia3, lora_a, lora_b, lora_magnitude,
    peft_config, select::Ranks,
};
use crate::model::Model;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use laurel_protocol::adapter::AdapterConfig;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

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
        adapter.word_layers(model);
        Ok(adapter)
    }

    /// Writes both files, and the heads'. The folder must exist.
    pub fn save_peft(&self, dir: &Path, base_model_name: &str, task_type: TaskType) -> Result<()> {
        let tensors: BTreeMap<String, Tensor> = self
            .weights()
            .into_iter()
            // PEFT knows no value head: it has its own file alone.
            .filter(|(name, _)| name != VALUE)
            .map(|(name, weight)| Ok((format!("{PREFIX}{name}"), self.stored(&name, weight.tensor())?)))
            .collect::<Result<_>>()?;
        let file = dir.join(WEIGHTS_FILE);
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(&tensors, Some(metadata), &file)
            .with_context(|| format!("write {file:?}"))?;
        if let Some(score) = &self.score {
            Head::Score.write(dir, score.tensor())?;
        }
        if let Some(value) = &self.value {
            Head::Value.write(dir, value.tensor())?;
        }
        let config = self.peft_config(base_model_name, task_type);
        let file = dir.join(CONFIG_FILE);
        fs::write(&file, serde_json::to_string_pretty(&config)? + "\n")
            .with_context(|| format!("write {file:?}"))
    }

    /// Takes a score head from a file of its own in place of the one that it has.
    pub fn load_score(&mut self, file: &Path, model: &Model) -> Result<()> {
        self.score = Some(Weight::Frozen(Head::Score.read(file, &model.device)?));
        self.check_heads(model)
            .with_context(|| format!("the head {file:?} does not fit the model"))
    }

    /// PEFT keeps IA3's factors as a column, or as a row where they scale inputs.
    fn stored(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let tensor = tensor.detach();
        let Some(path) = name.strip_suffix(".ia3_l") else {
            return Ok(tensor);
        };
        let row = self.modules.get(path).is_some_and(Module::scales_inputs);
        Ok(tensor.unsqueeze(if row { 0 } else { 1 })?)
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
                Module::Lora { a, b, magnitude, .. } => {
                    let has_length = magnitude.as_ref().is_none_or(|m| m.tensor().dims() == [n_out]);
                    let (a, b) = (a.tensor().dims(), b.tensor().dims());
                    has_length
                        && a.len() == 2
                        && b.len() == 2
                        && a[1] == n_in
                        && b[0] == n_out
                        && a[0] == b[1]
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
        self.check_heads(model)
    }

    fn check_heads(&self, model: &Model) -> Result<()> {
        for (name, head) in [("score", &self.score), ("value", &self.value)] {
            let Some(head) = head else { continue };
            let shape = head.tensor().dims();
            ensure!(
                shape == [1, model.config.hidden],
                "the {name} head has the shape {shape:?}"
            );
        }
        Ok(())
    }
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
        let listed = names.any(|name| path.ends_with(name));
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
    let (config, peft) = peft_config::read(&text)?;
    let tensors = candle_core::safetensors::load(dir.join(WEIGHTS_FILE), device)
        .with_context(|| format!("read {WEIGHTS_FILE}: is it complete?"))?;
    let mut adapter = collect(config, tensors, &peft["feedforward_modules"])?;
    adapter.value = Head::Value.read_beside(dir, device)?.map(Weight::Frozen);
    let Some(beside) = Head::Score.read_beside(dir, device)? else {
        return Ok(adapter);
    };
    if let Some(score) = &adapter.score {
        let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        ensure!(
            numbers(score.tensor())? == numbers(&beside)?,
            "{WEIGHTS_FILE} and {} hold different score heads: remove the one that is not meant",
            Head::Score.file()
        );
    }
    adapter.score = Some(Weight::Frozen(beside));
    Ok(adapter)
}

fn collect(config: AdapterConfig, tensors: HashMap<String, Tensor>, feed_forward: &Value) -> Result<Adapter> {
    let mut weights = BTreeMap::new();
    for (key, tensor) in tensors {
        let Some(name) = key.strip_prefix(PREFIX) else {
            bail!("the weight {key:?} is not named as PEFT names weights");
        };
        ensure!(
            !name.contains(".lora_embedding_"),
            "adapters of embeddings are not supported, and the file has one: {name:?}"
        );
        weights.insert(name.to_owned(), tensor.to_dtype(DType::F32)?.contiguous()?);
    }
    let score = weights.remove(SCORE).map(Weight::Frozen);
    let modules = match &config {
        AdapterConfig::Lora(lora) => collect_lora(weights, &Ranks::of(lora)?, lora.use_dora)?,
        AdapterConfig::Ia3(_) => collect_ia3(weights, feed_forward)?,
    };
    ensure!(!modules.is_empty(), "{WEIGHTS_FILE} holds no adapter weights");
    Ok(Adapter {
        config,
        modules,
        score,
        value: None,
    })
}

fn collect_lora(
    mut weights: BTreeMap<String, Tensor>,
    ranks: &Ranks<'_>,
    use_dora: bool,
) -> Result<BTreeMap<String, Module>> {
    let mut modules = BTreeMap::new();
    // A comes before B and the magnitude.
    while let Some((name, a)) = weights.pop_first() {
        let Some(path) = name.strip_suffix(".lora_A.weight") else {
            bail!("the weight {name:?} is not one of a LoRA adapter with these options");
        };
        debug_assert_eq!(name, lora_a(path));
        let mut take = |name: String| {
            let found = weights.remove(&name);
            found.with_context(|| format!("the weight {name:?} is missing"))
        };
        let b = Weight::Frozen(take(lora_b(path))?);
        let magnitude = match use_dora {
            true => Some(Weight::Frozen(take(lora_magnitude(path))?)),
            false => None,
        };
        let rows = a.dims().first().copied().unwrap_or(0);
        let rank = ranks.rank(path)?;
        ensure!(
            rows > 0 && rows == rank as usize,
            "the weight {name:?} has rank {rows}, but {CONFIG_FILE} says {}",
            ranks.origin(path)?
        );
        let module = Module::Lora {
            a: Weight::Frozen(a),
            b,
            magnitude,
            scaling: ranks.scaling(path)?,
        };
        modules.insert(path.to_owned(), module);
    }
    Ok(modules)
}

fn collect_ia3(weights: BTreeMap<String, Tensor>, feed_forward: &Value) -> Result<BTreeMap<String, Module>> {
    let mut modules = BTreeMap::new();
    for (name, tensor) in weights {
        let Some(path) = name.strip_suffix(".ia3_l") else {
            bail!("the weight {name:?} is not one of an IA3 adapter");
        };
        debug_assert_eq!(name, ia3(path));
        let module = Module::Ia3 {
            feed_forward: is_row(path, &tensor, feed_forward)?,
            factors: Weight::Frozen(tensor.flatten_all()?),
        };
        modules.insert(path.to_owned(), module);
    }
    Ok(modules)
}
