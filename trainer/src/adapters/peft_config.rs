//! PEFT's `adapter_config.json`, in and out: options in the words of PEFT 0.21.
//!
//! What an option that is not known here does to the weights cannot be known either, so a file that sets one is refused
//! by the option's name.

use super::{
    Adapter, Module,
    select::{Selection, is_named, target_modules, target_names},
};
use crate::model::Model;
use anyhow::{Context, Result, bail, ensure};
use laurel_protocol::adapter::{
    AdapterConfig, ByPattern, Ia3Config, LoraConfig, LoraInit, ModuleNames, is_all_linear,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub const CONFIG_FILE: &str = "adapter_config.json";

/// What the adapter is for, in PEFT's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskType {
    /// A policy.
    CausalLm,
    /// A reward model: one score at the last token.
    SeqCls,
}

/// Options that are read, those that only tell where an adapter comes from, and those that matter for training in PEFT
/// alone.
const KNOWN: [&str; 27] = [
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "feedforward_modules",
    "modules_to_save",
    "init_lora_weights",
    "init_ia3_weights",
    "bias",
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// The value of an option. Patterns keep their order, which a [`Value`] would not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Entry {
    Plain(Value),
    Ranks(ByPattern<u32>),
    Alphas(ByPattern<f64>),
}

/// Ways to begin that leave the base model as it is.
const PLAIN_INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Reads the file's text. `target_modules` and the like are as the file words them.
pub(super) fn read(text: &str) -> Result<(AdapterConfig, Value)> {
    let peft: Value = serde_json::from_str(text).with_context(|| format!("{CONFIG_FILE} is not JSON"))?;
    let options = peft
        .as_object()
        .with_context(|| format!("{CONFIG_FILE} is not a JSON object"))?;
    let read = || match peft["peft_type"].as_str() {
        Some("LORA") => Ok(AdapterConfig::Lora(read_lora(text, &peft)?)),
        Some("IA3") => Ok(AdapterConfig::Ia3(Ia3Config {
            target_modules: names(&peft, "target_modules")?,
            exclude_modules: names(&peft, "exclude_modules")?,
            // The weights' shapes tell it.
            feedforward_modules: None,
        })),
        Some(other) => bail!("peft_type is {other:?}; supported are \"LORA\" and \"IA3\""),
        None => bail!("peft_type is missing"),
    };
    let config = read().and_then(|config| {
        refuse_unsupported(options)?;
        Ok(config)
    });
    Ok((config.context(CONFIG_FILE)?, peft))
}

/// Patterns in the file's order, which decides where several fit; a [`Value`] sorts them.
#[derive(Deserialize)]
struct Patterns {
    rank_pattern: Option<ByPattern<u32>>,
    alpha_pattern: Option<ByPattern<f64>>,
}

fn read_lora(text: &str, peft: &Value) -> Result<LoraConfig> {
    let patterns: Patterns = serde_json::from_str(text).context("rank_pattern or alpha_pattern")?;
    let rank = peft["r"].as_u64().context("\"r\", the rank, is missing")?;
    let flag = |option: &str| peft[option].as_bool().unwrap_or(false);
    let layers_to_transform = match &peft["layers_to_transform"] {
        Value::Null => Vec::new(),
        Value::Number(block) => vec![block.as_u64().context("layers_to_transform")? as u32],
        several => serde_json::from_value(several.clone()).context("layers_to_transform")?,
    };
    Ok(LoraConfig {
        rank: u32::try_from(rank).context("\"r\", the rank, is too large")?,
        alpha: peft["lora_alpha"].as_f64().context("\"lora_alpha\" is missing")?,
        dropout: peft["lora_dropout"].as_f64().unwrap_or(0.0),
        use_rslora: flag("use_rslora"),
        use_dora: flag("use_dora"),
        init_lora_weights: match peft["init_lora_weights"].as_str() {
            Some("gaussian") => LoraInit::Gaussian,
            _ => LoraInit::Kaiming,
        },
        rank_pattern: patterns.rank_pattern.unwrap_or_default(),
        alpha_pattern: patterns.alpha_pattern.unwrap_or_default(),
        target_modules: names(peft, "target_modules")?,
        exclude_modules: names(peft, "exclude_modules")?,
        layers_to_transform,
    })
}

fn names(peft: &Value, option: &str) -> Result<ModuleNames> {
    match &peft[option] {
        Value::Null => Ok(ModuleNames::default()),
        given => serde_json::from_value(given.clone())
            .with_context(|| format!("{option} is neither a list of names nor a regular expression")),
    }
}

fn refuse_unsupported(options: &Map<String, Value>) -> Result<()> {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    for (option, value) in options {
        ensure!(
            KNOWN.contains(&option.as_str()) || !is_set(value),
            "the option {option} is not supported, and the file sets it: {}",
            short(value)
        );
    }
    match options.get("bias") {
        None | Some(Value::Null) => {}
        Some(bias) => ensure!(
            bias == "none",
            "the option bias is not supported unless it is \"none\", and the file says {bias}: biases of the base \
             model are not trained"
        ),
    }
    if let Some(Value::String(init)) = options.get("init_lora_weights") {
        ensure!(
            PLAIN_INITS.contains(&init.as_str()),
            "the option init_lora_weights is {init:?}, which changes the base model's weights: save the adapter in PEFT \
             with path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        );
    }
    let saved = options.get("modules_to_save").and_then(Value::as_array);
    let strangers = saved.into_iter().flatten().find(|name| {
        // PEFT itself names both for every reward model; ours have the second alone.
        *name != "score" && *name != "classifier"
    });
    match strangers {
        Some(name) => bail!("the option modules_to_save is supported for \"score\" alone, not for {name}"),
        None => Ok(()),
    }
}

/// A value in an error's one line.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Adapter {
    /// Words the layers by the weights, unless the file's own words say the same: it may have named them by a list of
    /// other families' layers as well, or by an expression that fits more than there is.
    pub(super) fn word_layers(&mut self, model: &Model) {
        let changed = model
            .linears()
            .map(|linear| (linear.path.as_str(), self.modules.contains_key(&linear.path)));
        let found = ModuleNames::List(names_of(changed));
        let says_the_same = self.says_its_layers(model);
        match &mut self.config {
            AdapterConfig::Lora(lora) => {
                let plain = lora.exclude_modules.is_empty() && lora.layers_to_transform.is_empty();
                let by_expression =
                    matches!(&lora.target_modules, ModuleNames::Pattern(text) if !is_all_linear(text));
                if says_the_same && (by_expression || !plain) {
                    return;
                }
                lora.target_modules = found;
                lora.exclude_modules = ModuleNames::default();
                lora.layers_to_transform = Vec::new();
            }
            AdapterConfig::Ia3(ia3) => {
                *ia3 = Ia3Config {
                    target_modules: found,
                    exclude_modules: ModuleNames::default(),
                    feedforward_modules: Some(ModuleNames::List(names_of(model.linears().map(|linear| {
                        let module = self.modules.get(&linear.path);
                        (linear.path.as_str(), module.is_some_and(Module::scales_inputs))
                    })))),
                };
            }
        }
    }

    /// Whether the configuration's words select the layers that the adapter has.
    fn says_its_layers(&self, model: &Model) -> bool {
        // An expression of Python that is not understood here says nothing.
        let Ok(selection) = Selection::of(&self.config) else {
            return false;
        };
        model.linears().all(|linear| {
            let taken = selection.takes(&linear.path);
            taken.is_ok_and(|taken| taken == self.modules.contains_key(&linear.path))
        })
    }

    pub(super) fn peft_config(&self, base_model_name: &str, task_type: TaskType) -> BTreeMap<String, Entry> {
        let common = json!({
            "auto_mapping": null,
            "base_model_name_or_path": base_model_name,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "modules_to_save": match self.score { Some(_) => json!(["score"]), None => Value::Null },
            "revision": null,
            "target_modules": self.target_words(),
            "task_type": match task_type { TaskType::CausalLm => "CAUSAL_LM", TaskType::SeqCls => "SEQ_CLS" },
        });
        let own = match &self.config {
            AdapterConfig::Lora(lora) => lora_options(lora),
            AdapterConfig::Ia3(ia3) => json!({
                "peft_type": "IA3", "init_ia3_weights": true,
                "feedforward_modules": self.feedforward_words(),
                "exclude_modules": words(&ia3.exclude_modules),
            }),
        };
        let mut config = BTreeMap::new();
        for options in [common, own] {
            if let Value::Object(options) = options {
                config.extend(
                    options
                        .into_iter()
                        .map(|(name, value)| (name, Entry::Plain(value))),
                );
            }
        }
        // Earlier versions of PEFT do not know it.
        if matches!(config.get("exclude_modules"), Some(Entry::Plain(Value::Null))) {
            config.remove("exclude_modules");
        }
        if let AdapterConfig::Lora(lora) = &self.config {
            config.insert("rank_pattern".to_owned(), Entry::Ranks(lora.rank_pattern.clone()));
            config.insert(
                "alpha_pattern".to_owned(),
                Entry::Alphas(lora.alpha_pattern.clone()),
            );
        }
        config
    }

    fn target_words(&self) -> Value {
        if let ModuleNames::Pattern(text) = target_modules(&self.config)
            && !is_all_linear(text)
        {
            return json!(text);
        }
        let mut targets = target_names(&self.config);
        if !matches!(target_modules(&self.config), ModuleNames::List(names) if !names.is_empty()) {
            // The default names layers of all families.
            targets.retain(|target| self.modules.keys().any(|path| is_named(path, target)));
        }
        if let AdapterConfig::Ia3(_) = &self.config {
            // PEFT wants those whose input is scaled among the targets, in the same words.
            for name in self.feedforward_words() {
                if !targets.contains(&name) {
                    targets.push(name);
                }
            }
        }
        json!(targets)
    }

    /// The layers whose input IA3 scales.
    fn feedforward_words(&self) -> Vec<String> {
        names_of(
            self.modules
                .iter()
                .map(|(path, m)| (path.as_str(), m.scales_inputs())),
        )
    }
}

fn lora_options(lora: &LoraConfig) -> Value {
    json!({
        "peft_type": "LORA", "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "bias": "none",
        "init_lora_weights": match lora.init_lora_weights {
            LoraInit::Kaiming => json!(true),
            LoraInit::Gaussian => json!("gaussian"),
        },
        "use_rslora": lora.use_rslora, "use_dora": lora.use_dora, "lora_bias": false,
        "exclude_modules": words(&lora.exclude_modules),
        "layers_to_transform": match lora.layers_to_transform.as_slice() { [] => Value::Null, blocks => json!(blocks) },
        "layers_pattern": null,
    })
}

fn words(names: &ModuleNames) -> Value {
    if names.is_empty() {
        Value::Null
    } else {
        json!(names)
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
