//! The files of a base model, read tensor by tensor under Hugging Face's names: what both writers start from.

use crate::model::{Config, gguf, weight_files};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor, quantized::GgmlDType, quantized::gguf_file::Content};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// Where the base model lies.
pub enum Base {
    /// A Hugging Face folder.
    Folder(PathBuf),
    Gguf(PathBuf, Box<Content>),
}

impl Base {
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut file = BufReader::new(File::open(path).with_context(|| format!("open the model {path:?}"))?);
        let content = Content::read(&mut file)
            .with_context(|| format!("{path:?} is neither a model folder nor a GGUF file"))?;
        Ok(Self::Gguf(path.to_owned(), Box::new(content)))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path, _) => path,
        }
    }

    /// The name by which the model card and the metadata call it: the model's own, else the file's.
    pub fn name(&self) -> String {
        let own = match self {
            Self::Folder(_) => None,
            Self::Gguf(_, content) => content
                .metadata
                .get("general.name")
                .and_then(|name| name.to_string().ok().cloned()),
        };
        own.filter(|name| !name.is_empty())
            .unwrap_or_else(|| name_of(self.path()))
    }

    /// The floating-point type of the matrices; none where the file is quantised.
    pub fn dtype(&self) -> Result<Option<DType>> {
        match self {
            Self::Folder(path) => {
                let first = weight_files(path)?.swap_remove(0);
                let dtype = folder_dtype(&first).with_context(|| format!("read {first:?}"))?;
                Ok(Some(dtype))
            }
            Self::Gguf(_, content) => {
                let matrices = content.tensor_infos.iter();
                let matrix = matrices
                    .filter(|(name, info)| name.starts_with("blk.") && info.shape.rank() == 2)
                    .max_by_key(|(name, _)| *name);
                Ok(matrix.and_then(|(_, info)| match info.ggml_dtype {
                    GgmlDType::F32 => Some(DType::F32),
                    GgmlDType::F16 => Some(DType::F16),
                    GgmlDType::BF16 => Some(DType::BF16),
                    _ => None,
                }))
            }
        }
    }

    /// Calls `visit` with each tensor of the model: those of a folder as they are stored, those of a GGUF file in
    /// f32, in the order of rows that Hugging Face has.
    pub fn each(&self, config: &Config, visit: &mut dyn FnMut(String, Tensor) -> Result<()>) -> Result<()> {
        match self {
            Self::Folder(path) => {
                for file in weight_files(path)? {
                    let tensors = candle_core::safetensors::load(&file, &Device::Cpu)
                        .with_context(|| format!("read {file:?}: is it complete?"))?;
                    let mut tensors: Vec<_> = tensors.into_iter().collect();
                    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
                    for (name, tensor) in tensors {
                        visit(name, tensor)?;
                    }
                }
                Ok(())
            }
            Self::Gguf(path, content) => {
                let mut file = BufReader::new(File::open(path)?);
                let mut names: Vec<&String> = content.tensor_infos.keys().collect();
                names.sort_by_key(|name| content.tensor_infos[*name].offset);
                for name in names.into_iter().filter(|name| *name != gguf::ROPE_DIVISORS) {
                    let Some(hf_name) = gguf::hf_name(config.family, name) else {
                        bail!("the file has the tensor {name:?}, which this decoder does not know");
                    };
                    let tensor = content
                        .tensor(&mut file, name, &Device::Cpu)
                        .and_then(|tensor| tensor.dequantize(&Device::Cpu))
                        .with_context(|| format!("read tensor {name:?}: is the file complete?"))?;
                    let tensor = match gguf::permuted_heads(config, name) {
                        Some(n_heads) => gguf::restore_numbers(&tensor, n_heads)?,
                        None => tensor,
                    };
                    // A GGUF file holds what Gemma's normalisations multiply by, a folder that less one.
                    let tensor = match config.family.is_gemma() && hf_name.ends_with("norm.weight") {
                        true => (tensor - 1.0)?,
                        false => tensor,
                    };
                    visit(hf_name, tensor)?;
                }
                Ok(())
            }
        }
    }
}

/// The last part of a path, without `.gguf`.
pub fn name_of(path: &Path) -> String {
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

/// The type of the largest tensor in a safetensors file, from its header.
fn folder_dtype(file: &Path) -> Result<DType> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut length = [0; 8];
    reader.read_exact(&mut length)?;
    let mut header = Vec::new();
    reader.take(u64::from_le_bytes(length)).read_to_end(&mut header)?;
    let header: serde_json::Map<String, Value> =
        serde_json::from_slice(&header).context("the header is not JSON: is the file complete?")?;
    let largest = header
        .values()
        .filter(|tensor| tensor["shape"].is_array())
        .max_by_key(|tensor| {
            tensor["data_offsets"][1].as_u64().unwrap_or(0) - tensor["data_offsets"][0].as_u64().unwrap_or(0)
        })
        .context("the file has no tensors")?;
    match largest["dtype"].as_str() {
        Some("F32") => Ok(DType::F32),
        Some("F16") => Ok(DType::F16),
        Some("BF16") => Ok(DType::BF16),
        other => bail!("weights of type {other:?} are not supported"),
    }
}
