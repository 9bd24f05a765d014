//! Merging: a base model with an adapter in it, as files that other programs load. A trainer makes them and hands them in.

use crate::{
    completion::JobStatus,
    error::{Check, Validation},
    ids::{AdapterId, MergeId, ProjectId, Timestamp},
};
use serde::{Deserialize, Serialize};

/// What the merged model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MergeFormat {
    /// A folder as transformers and vLLM load it.
    Safetensors,
    /// One file for llama.cpp. A reward model cannot be written so.
    Gguf,
}

/// `POST /adapters/{id}/merges`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewMerge {
    pub format: MergeFormat,
}

/// A merge, from its order to the end of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Merge {
    pub id: MergeId,
    pub project_id: ProjectId,
    pub adapter_id: AdapterId,
    pub format: MergeFormat,
    pub status: JobStatus,
    /// What its trainer is at, in the trainer's words.
    pub stage: String,
    /// Bytes handed in.
    pub n_done: u64,
    /// Of so many; 0 until the trainer knows.
    pub n_total: u64,
    pub worker: Option<String>,
    pub error: Option<String>,
    /// What came out, once done.
    pub result: Option<Merged>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Since when the files are gone again.
    pub deleted_at: Option<Timestamp>,
}

impl Merge {
    /// Whether its files can be had.
    pub fn is_there(&self) -> bool {
        self.status == JobStatus::Done && self.deleted_at.is_none()
    }
}

/// `POST /worker/jobs/{job}/merged`, after the last byte of the last file: what was handed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Merged {
    pub files: Vec<MergedFile>,
    /// Type of the weights.
    pub dtype: String,
    /// A sentence: how near the files, read back, are to base and adapter.
    pub check: String,
    /// What whoever uses the files should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MergedFile {
    pub name: String,
    pub size_bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

impl Merged {
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    pub fn validate(&self) -> Validation {
        let mut names: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        names.sort();
        names.dedup();
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words = self.notes.iter().chain([&self.dtype, &self.check]);
        let n_bytes: usize = words.map(String::len).sum();
        Check::default()
            .ensure(
                !names.is_empty() && names.len() == self.files.len() && names.len() <= 200,
                "files",
                "must be 1 to 200 files, each named once",
            )
            .ensure(
                self.files.iter().all(|file| is_file_name(&file.name)),
                "files",
                "must have names of letters, digits, dots, dashes and underscores",
            )
            .ensure(
                self.files.iter().all(|file| is_hash(&file.sha256)),
                "files",
                "must each have a SHA-256 in hex",
            )
            .ensure(n_bytes <= 16 * 1024, "notes", "must be 16 KiB of text at most")
            .finish()
    }
}

/// Whether a file of this name may be handed in: no path, and nothing hidden.
pub fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_plain)
}

/// The name as a part of a file's name: "DPO 3" is `dpo-3`.
pub fn file_part(name: &str) -> String {
    let mut part = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '.' | '_' => part.push(c),
            _ if part.ends_with('-') => {}
            _ => part.push('-'),
        }
    }
    let part = part.trim_matches(['-', '.']);
    match part.chars().take(60).collect::<String>() {
        part if part.is_empty() => "adapter".to_owned(),
        part => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_no_path() {
        for name in ["model.gguf", "model-00001-of-00002.safetensors", "vocab.json"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "..\\a", ".hidden", "ä", &"a".repeat(101)] {
            assert!(!is_file_name(name), "{name}");
        }
    }

    #[test]
    fn any_name_of_an_adapter_gives_a_part_of_a_files_name() {
        assert_eq!(file_part("DPO 3"), "dpo-3");
        assert_eq!(file_part("../ ~ Zürich v1.2"), "z-rich-v1.2");
        assert_eq!(file_part("한국어"), "adapter");
        assert!(is_file_name(&file_part(&"x y".repeat(99))));
    }

    #[test]
    fn files_that_are_handed_in_are_named_once_and_hashed() {
        let file = |name: &str| MergedFile {
            name: name.into(),
            size_bytes: 1,
            sha256: "ab".repeat(32),
        };
        let merged = |files| Merged {
            files,
            dtype: "f16".into(),
            check: String::new(),
            notes: Vec::new(),
        };
        assert!(merged(vec![file("a"), file("b")]).validate().is_ok());
        let unhashed = MergedFile {
            sha256: "x".into(),
            ..file("a")
        };
        for bad in [
            vec![],
            vec![file("a"), file("a")],
            vec![file("../a")],
            vec![unhashed],
        ] {
            assert!(merged(bad).validate().is_err());
        }
    }
}
