//! Merging: base model and adapter in, one set of weights out, as a Hugging Face folder or a GGUF file.
//!
//! [`merge`] is done only when the files, read back from the disk, say what base and adapter say apart: in f32 but
//! for the order of sums, in other types within what the type's rounding may do.
//! Memory: the base in f32, and the layers that the adapter changes once more.

mod base;
mod card;
pub mod cli;
mod folder;
mod gguf;
mod hf_config;
mod layer;
mod metadata;
mod place;
mod verify;
mod vocabulary;

pub use verify::Difference;

use crate::{
    adapters::{Adapter, WEIGHTS_FILE, effective},
    data::{Tokenizer, template::hex},
    hub,
    model::{Config, Linear, Model},
    rounds,
};
use anyhow::{Context, Result, bail, ensure};
use base::Base;
use candle_core::{DType, Device, Tensor};
use laurel_protocol::adapter::AdapterConfig;
use place::Draft;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The type of the weights that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    F32,
    F16,
    Bf16,
    /// 8 bits a weight, in blocks of 32 (GGUF files only).
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// The type that each tensor has in the base (GGUF files only).
    Keep,
}

pub struct Options {
    /// None: the base's own type; where it is quantised, f16 in a folder and q8_0 in a GGUF file.
    pub dtype: Option<WeightType>,
    pub device: Device,
    /// What the adapter is called in the card and the metadata; none: as its folder.
    pub adapter_name: Option<String>,
}

/// What was written, and how near it is to base and adapter.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub out: PathBuf,
    /// "folder" or "gguf".
    pub format: &'static str,
    pub base_model: String,
    pub base_weights_hash: String,
    pub adapter: String,
    pub adapter_kind: String,
    pub adapter_sha256: String,
    pub is_reward_model: bool,
    /// Type of the weights written, or of those changed.
    pub dtype: String,
    pub n_tensors: usize,
    pub n_changed: usize,
    pub size_bytes: u64,
    pub verification: Verification,
    /// What whoever uses the files should know.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verification {
    pub n_positions: usize,
    /// Base alone against base and adapter: what there is to keep.
    pub adapter: Difference,
    /// Base and adapter against the merged weights in f32.
    pub merged: Difference,
    /// Base and adapter against the files, read back.
    pub written: Difference,
    /// What [`Self::written`] may be at most.
    pub allowed: Allowed,
}

/// How far two ways to compute the same model may be apart.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Allowed {
    pub largest: f64,
    pub divergence: f64,
}

/// Merges the adapter of the PEFT folder `adapter` into the model at `model`, a path or a hub id; writes the folder `out`, or the file
/// where its name ends with `.gguf`. `say` hears what is going on,
/// and ends it by an error. On an error nothing is left.
pub fn merge(
    model: &Path,
    adapter: &Path,
    out: &Path,
    options: &Options,
    say: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Report> {
    place::check(out)?;
    let to_gguf = place::is_gguf(out);
    let located = hub::locate(model)?;
    // A model from the hub lies in a folder that is named by a revision.
    let hub_id = (located.path != model).then_some(located.name);
    let model = located.path.as_path();
    say("Read base and adapter")?;
    let loaded = Model::load(model, &options.device, DType::F32)?;
    let source = Base::open(model)?;
    let adapter_path = adapter;
    let adapter = Adapter::load_peft(adapter, &loaded)?;
    ensure!(
        !(to_gguf && adapter.score.is_some()),
        "the adapter is a reward model, whose score head a GGUF file cannot hold; merge it to a folder, which \
         transformers reads as a sequence classifier"
    );
    let written_type = written_type(&source, options.dtype, to_gguf)?;
    if !to_gguf {
        written_type.float()?;
    }
    let config = loaded.config.clone();
    // A base without a tokenizer, or with one that is not known here, can be merged where none has to be written.
    let tokenizer = Tokenizer::load(model).ok();
    let score = adapter.score.as_ref().map(|score| score.tensor().detach());
    let sequences = verify::sequences(&loaded, tokenizer.as_ref())?;

    say("Compute with base and adapter apart")?;
    let run = |model: &Model, adapter| verify::run(model, adapter, score.as_ref(), &sequences);
    let (plain, apart) = (run(&loaded, None)?, run(&loaded, Some(&adapter))?);
    let base_weights_hash = rounds::base_weights_hash(&loaded)?;
    say("Compute with the merged weights")?;
    let together = merged_model(&loaded, &adapter)?;
    drop(loaded);
    let merged = apart.difference(&run(&together, None)?)?;
    drop(together);
    WeightType::F32
        .allowed(&apart, &config)
        .check(&merged)
        .context("the merged weights, in f32, are another model than base and adapter")?;

    say("Write the merged weights")?;
    let draft = Draft::begin(out)?;
    let mut notes = Vec::new();
    let names = Names {
        base: hub_id.unwrap_or_else(|| source.name()),
        adapter: match &options.adapter_name {
            Some(name) => name.clone(),
            None => base::name_of(adapter_path),
        },
        adapter_sha256: sha256(&adapter_path.join(WEIGHTS_FILE))?,
    };
    let counts = match to_gguf {
        true => gguf::write(
            &source,
            &config,
            &adapter,
            written_type,
            &names,
            &draft.path,
            &mut notes,
        )?,
        false => folder::write(
            &source,
            &config,
            &adapter,
            written_type.float()?,
            &draft.path,
            &mut notes,
        )?,
    };

    say("Read it back and compare")?;
    let again =
        Model::load(&draft.path, &options.device, DType::F32).context("read the merged model back")?;
    let score = match &score {
        Some(_) => Some(written_score(&draft.path)?.to_device(&options.device)?),
        None => None,
    };
    let written = apart.difference(&verify::run(&again, None, score.as_ref(), &sequences)?)?;
    drop(again);
    let verification = Verification {
        n_positions: apart.n_positions(),
        adapter: apart.difference(&plain)?,
        merged,
        written,
        allowed: written_type.allowed(&apart, &config),
    };
    verification.allowed.check(&written).with_context(|| {
        format!(
            "what was written in {} is, read back, another model than base and adapter; nothing was kept",
            written_type.name()
        )
    })?;
    if let Ok(written) = Tokenizer::load(&draft.path) {
        if let Some(tokenizer) = &tokenizer {
            verify::same_tokenizer(tokenizer, &written)?;
        }
    } else {
        ensure!(
            tokenizer.is_none(),
            "the tokenizer that was written cannot be read back"
        );
    }
    let mut report = Report {
        out: out.to_owned(),
        format: if to_gguf { "gguf" } else { "folder" },
        base_model: names.base,
        base_weights_hash,
        adapter: names.adapter,
        adapter_kind: kind(&adapter.config),
        adapter_sha256: names.adapter_sha256,
        is_reward_model: adapter.score.is_some(),
        dtype: written_type.name().to_owned(),
        n_tensors: counts.n_tensors,
        n_changed: counts.n_changed,
        size_bytes: 0,
        verification,
        notes,
    };
    if verification.written.divergence > verification.adapter.divergence {
        report.notes.push(format!(
            "Rounding to {} moves the probabilities more ({:.1e} nats) than the adapter does ({:.1e} nats).",
            written_type.name(),
            verification.written.divergence,
            verification.adapter.divergence
        ));
    }
    if !to_gguf {
        card::write(&report, &draft.path)?;
    }
    report.size_bytes = size(&draft.path)?;
    draft.publish()?;
    Ok(report)
}

/// Who is merged into whom, for metadata and the model card.
pub struct Names {
    pub base: String,
    pub adapter: String,
    pub adapter_sha256: String,
}

fn merged_model(model: &Model, adapter: &Adapter) -> Result<Model> {
    model.map_linears(|linear| match adapter.modules.get(&linear.path) {
        None => Ok(linear.clone()),
        Some(module) => {
            let (weight, bias) =
                effective(&linear.weight.to_dtype(DType::F32)?, linear.bias.as_ref(), module)?;
            Ok(Linear {
                path: linear.path.clone(),
                weight: weight.into(),
                bias,
            })
        }
    })
}

impl WeightType {
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Keep => "keep",
        }
    }

    /// As a type of a folder's weights.
    fn float(self) -> Result<DType> {
        match self {
            Self::F32 => Ok(DType::F32),
            Self::F16 => Ok(DType::F16),
            Self::Bf16 => Ok(DType::BF16),
            Self::Q8_0 | Self::Keep => bail!(
                "a folder holds weights in f32, f16 or bf16, not in quantised types; name one of these, or a file \
                 that ends with .gguf"
            ),
        }
    }

    /// How far what is written in this type may be from base and adapter. In f32 only the order of sums differs, which
    /// shows more in wide models; in other types the weights are rounded. Scores have a scale of their own.
    fn allowed(self, said: &verify::Said, config: &Config) -> Allowed {
        let wide = (config.hidden as f64 / 1024.0).max(1.0);
        let (largest, divergence) = match self {
            Self::F32 => (1e-3 * wide, 1e-5 * wide),
            Self::F16 => (f64::INFINITY, 1e-3),
            Self::Bf16 | Self::Q8_0 => (f64::INFINITY, 0.05),
            Self::Keep => (f64::INFINITY, 0.5),
        };
        match (said.largest_score(), self) {
            (None, _) => Allowed { largest, divergence },
            (Some(score), Self::F32) => Allowed {
                largest: largest * score.max(1.0),
                divergence,
            },
            (Some(score), Self::F16) => Allowed {
                largest: 0.02 * score.max(1.0),
                divergence,
            },
            (Some(score), _) => Allowed {
                largest: 0.2 * score.max(1.0),
                divergence,
            },
        }
    }
}

impl Allowed {
    fn check(&self, found: &Difference) -> Result<()> {
        let checks = [
            (
                "the largest difference of a log-probability or score",
                found.largest,
                self.largest,
            ),
            ("the mean divergence", found.divergence, self.divergence),
        ];
        for (what, found, allowed) in checks {
            ensure!(
                found <= allowed,
                "{what} is {found:.1e}, where {allowed:.0e} is allowed"
            );
        }
        Ok(())
    }
}

fn written_type(base: &Base, asked: Option<WeightType>, to_gguf: bool) -> Result<WeightType> {
    let own = base.dtype()?.map(|dtype| match dtype {
        DType::F16 => WeightType::F16,
        DType::BF16 => WeightType::Bf16,
        _ => WeightType::F32,
    });
    Ok(match (asked, own) {
        (None | Some(WeightType::Keep), Some(own)) => own,
        (None, None) if to_gguf => WeightType::Q8_0,
        // A quantised weight is a product of f16 numbers: f16 loses less of it than bf16.
        (None, None) => WeightType::F16,
        (Some(asked), _) => asked,
    })
}

/// The score head as it was written, in f32.
fn written_score(dir: &Path) -> Result<Tensor> {
    for file in crate::model::weight_files(dir)? {
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu)?;
        if let Some(score) = tensors.remove("score.weight") {
            return Ok(score.to_dtype(DType::F32)?);
        }
    }
    bail!("the score head was not written")
}

fn kind(config: &AdapterConfig) -> String {
    match config {
        AdapterConfig::Lora(lora) => {
            let kind = if lora.use_dora { "DoRA" } else { "LoRA" };
            format!("{kind}, rank {}, alpha {}", lora.rank, lora.alpha)
        }
        AdapterConfig::Ia3(_) => "IA3".to_owned(),
    }
}

fn sha256(file: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut reader = fs::File::open(file).with_context(|| format!("open {file:?}"))?;
    io::copy(&mut reader, &mut hash).with_context(|| format!("read {file:?}"))?;
    Ok(hex(&hash.finalize()))
}

fn size(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(fs::metadata(path)?.len());
    }
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        total += size(&entry?.path())?;
    }
    Ok(total)
}
