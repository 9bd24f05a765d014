//! What an adapter was made with, in a file beside an offline round's adapter: a reward model scores a policy's tokens only
//! where both have the same base weights, tokenizer and chat template.

use super::base_weights_hash;
use crate::{checkpoint, data::Tokenizer, model::Model, version};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

const FILE: &str = "made_with.json";

/// SHA-256, hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeWith {
    base_weights_hash: String,
    tokenizer_hash: String,
    template_hash: String,
    /// Who made it: not compared, for later code makes the same from the same.
    #[serde(default)]
    code: Option<String>,
}

impl MadeWith {
    pub fn of(model: &Model, tokenizer: &Tokenizer) -> Result<Self> {
        Ok(Self {
            base_weights_hash: base_weights_hash(model)?,
            tokenizer_hash: tokenizer.vocabulary_hash(),
            template_hash: tokenizer.template_hash(),
            code: Some(version::own()),
        })
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        checkpoint::write_file(&folder.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Refuses an adapter that says it was made with something else. One from elsewhere says nothing.
    pub fn check_same(&self, folder: &Path) -> Result<()> {
        let Ok(bytes) = fs::read(folder.join(FILE)) else {
            return Ok(());
        };
        let other: Self = serde_json::from_slice(&bytes).with_context(|| format!("read {FILE}"))?;
        let parts = [
            (self.base_weights_hash == other.base_weights_hash, "base weights"),
            (self.tokenizer_hash == other.tokenizer_hash, "tokenizer"),
            (self.template_hash == other.template_hash, "chat template"),
        ];
        for (same, what) in parts {
            ensure!(
                same,
                "it was trained with another {what} than this round's model has"
            );
        }
        Ok(())
    }
}
