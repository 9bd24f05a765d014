//! Heads in files of their own: `score.safetensors` of a reward model, `value.safetensors` of a value model.
//!
//! A head is a row over the last hidden state. Kept apart from the adapter's weights, it leaves those to what reads
//! plain LoRA alone.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// r(x, y), at the last token.
    Score,
    /// V(s), at every token.
    Value,
}

impl Head {
    /// The file beside the adapter's.
    pub fn file(self) -> &'static str {
        match self {
            Self::Score => "score.safetensors",
            Self::Value => "value.safetensors",
        }
    }

    /// The only tensor in it, `(1, hidden)`.
    pub fn tensor(self) -> &'static str {
        match self {
            Self::Score => "score.weight",
            Self::Value => "value.weight",
        }
    }

    /// Writes the head beside the adapter's files.
    pub fn write(self, dir: &Path, weight: &Tensor) -> Result<()> {
        let file = dir.join(self.file());
        let tensors = BTreeMap::from([(self.tensor(), weight.detach())]);
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(&tensors, Some(metadata), &file)
            .with_context(|| format!("write {file:?}"))
    }

    /// The head beside the adapter's files, in f32; none where there is no such file.
    pub fn read_beside(self, dir: &Path, device: &Device) -> Result<Option<Tensor>> {
        let file = dir.join(self.file());
        match file.exists() {
            true => self.read(&file, device).map(Some),
            false => Ok(None),
        }
    }

    /// A head's file, in f32.
    pub fn read(self, file: &Path, device: &Device) -> Result<Tensor> {
        let read = || {
            let mut tensors = candle_core::safetensors::load(file, device).context("is it complete?")?;
            let names: Vec<String> = tensors.keys().cloned().collect();
            let weight = tensors.remove(self.tensor());
            ensure!(
                names.len() == 1,
                "it holds {names:?} instead of {:?} alone",
                self.tensor()
            );
            let weight = weight.with_context(|| format!("it holds {names:?}, no {:?}", self.tensor()))?;
            Ok(weight.to_dtype(DType::F32)?.contiguous()?)
        };
        read().with_context(|| format!("read the head {file:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_exactly_and_one_is_not_taken_for_another() {
        let (dir, device) = (tempfile::tempdir().unwrap(), Device::Cpu);
        assert!(Head::Value.read_beside(dir.path(), &device).unwrap().is_none());
        let weight = Tensor::new(&[[0.1f32, -2.0, 3e-9]], &device).unwrap();
        for head in [Head::Score, Head::Value] {
            head.write(dir.path(), &weight).unwrap();
            let read = head.read_beside(dir.path(), &device).unwrap().unwrap();
            assert_eq!(read.to_vec2::<f32>().unwrap(), weight.to_vec2::<f32>().unwrap());
        }
        let error = Head::Value
            .read(&dir.path().join(Head::Score.file()), &device)
            .unwrap_err();
        assert!(format!("{error:#}").contains("value.weight"), "{error:#}");
    }

    #[test]
    fn a_truncated_head_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(Head::Score.file()), [1, 2, 3]).unwrap();
        let error = Head::Score.read_beside(dir.path(), &Device::Cpu).unwrap_err();
        assert!(format!("{error:#}").contains("score.safetensors"), "{error:#}");
    }
}
