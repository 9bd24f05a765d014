//! The safetensors files of a Hugging Face folder, mapped into memory: a tensor is copied out when it is asked for,
//! so that no second copy of the model ever exists.
//!
//! The file that `model.safetensors.index.json` gives for a tensor must be there and hold it. A file that is cut off,
//! or whose header does not fit its bytes, is refused by name before any tensor is read.
#![allow(unsafe_code)]

use super::StoredTensor;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A folder's files of weights.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    Index::read(folder)?.files(folder)
}

/// The tensors of a folder, by name.
pub struct Shards {
    files: Vec<(PathBuf, Mmap)>,
    places: BTreeMap<String, Place>,
}

/// Where a tensor lies.
struct Place {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Shards {
    pub fn open(folder: &Path) -> Result<Self> {
        let index = Index::read(folder)?;
        let mut shards = Self {
            files: Vec::new(),
            places: BTreeMap::new(),
        };
        for path in index.files(folder)? {
            shards.add(path)?;
        }
        index.check(&shards)?;
        Ok(shards)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let file = File::open(&path).with_context(|| format!("open {path:?}"))?;
        ensure!(file.metadata()?.len() > 0, "{path:?} is empty");
        // SAFETY: a map is as unchanging as its file. Whoever writes into a model file while it is being loaded gets
        // wrong weights or a crash, as with any program that maps it.
        let map = unsafe { Mmap::map(&file) }.with_context(|| format!("map {path:?}"))?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| anyhow::anyhow!("{path:?} {}", what_is_wrong(&error)))?;
        let (at, data) = (self.files.len(), header + 8);
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            let place = Place {
                file: at,
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: data + from..data + to,
            };
            ensure!(
                self.places.insert(name.clone(), place).is_none(),
                "{path:?} and another file both hold the tensor {name:?}"
            );
        }
        self.files.push((path, map));
        Ok(())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    pub fn stored(&self) -> Vec<StoredTensor> {
        let stored = |(name, place): (&String, &Place)| StoredTensor {
            name: name.clone(),
            shape: place.shape.clone(),
            dtype: format!("{:?}", place.dtype).to_lowercase(),
            n_bytes: place.bytes.len(),
        };
        self.places.iter().map(stored).collect()
    }

    /// Copies a tensor out, in the type it is stored in.
    pub fn read(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(place) = self.places.get(name) else {
            return Ok(None);
        };
        let (path, map) = &self.files[place.file];
        let dtype = match place.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => bail!(
                "the tensor {name:?} in {path:?} is in {other:?}; give a model in f32, bf16 or f16, or a GGUF file"
            ),
        };
        let tensor = Tensor::from_raw_buffer(&map[place.bytes.clone()], dtype, &place.shape, &Device::Cpu)
            .with_context(|| format!("read the tensor {name:?} of {path:?}"))?;
        forget(map, &place.bytes);
        Ok(Some(tensor))
    }
}

/// Takes pages that have been read out of this process's memory; they stay in the system's cache. Without it the whole
/// file would count as memory in use.
fn forget(map: &Mmap, bytes: &Range<usize>) {
    // SAFETY: the map is of a file and only read: what is read again comes from the file again.
    #[cfg(unix)]
    let _ =
        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

fn what_is_wrong(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => {
            "is not complete, or its header lies about its size: get it again".to_owned()
        }
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeader(_)
        | SafeTensorError::InvalidHeaderDeserialization(_) => {
            "is no safetensors file: its header cannot be read".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("has a header that lies: the tensor {name:?} does not lie where it says")
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            "has a header that lies: a tensor's shape does not fit its bytes".to_owned()
        }
        other => format!("cannot be read: {other}"),
    }
}

/// Which files make up the model.
enum Index {
    /// `model.safetensors` alone, which wins as in transformers.
    Single,
    /// By tensor.
    Listed(BTreeMap<String, String>),
    /// All `model*.safetensors`.
    Unlisted,
}

impl Index {
    fn read(folder: &Path) -> Result<Self> {
        if folder.join(SINGLE).exists() {
            return Ok(Self::Single);
        }
        let path = folder.join(INDEX);
        if !path.exists() {
            return Ok(Self::Unlisted);
        }
        #[derive(serde::Deserialize)]
        struct File {
            weight_map: BTreeMap<String, String>,
        }
        let text = fs::read(&path).with_context(|| format!("read {path:?}"))?;
        let file: File =
            serde_json::from_slice(&text).with_context(|| format!("{path:?} is no index of shards"))?;
        Ok(Self::Listed(file.weight_map))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        match self {
            Self::Single => Ok(vec![folder.join(SINGLE)]),
            Self::Listed(map) => {
                let names: BTreeSet<&String> = map.values().collect();
                let path = |name: &String| {
                    let is_plain = Path::new(name)
                        .file_name()
                        .is_some_and(|own| own == name.as_str());
                    ensure!(
                        is_plain,
                        "{INDEX} names the shard {name:?}, which is no file of the folder"
                    );
                    let path = folder.join(name);
                    ensure!(
                        path.exists(),
                        "the shard {name:?} that {INDEX} names is missing in {folder:?}"
                    );
                    Ok(path)
                };
                names.into_iter().map(path).collect()
            }
            Self::Unlisted => {
                let mut files = Vec::new();
                for entry in fs::read_dir(folder).with_context(|| format!("list {folder:?}"))? {
                    let name = entry?.file_name().to_string_lossy().into_owned();
                    if name.starts_with("model") && name.ends_with(".safetensors") {
                        files.push(folder.join(name));
                    }
                }
                files.sort();
                ensure!(!files.is_empty(), "no model*.safetensors in {folder:?}");
                Ok(files)
            }
        }
    }

    /// Each listed tensor lies where the index says.
    fn check(&self, shards: &Shards) -> Result<()> {
        let Self::Listed(map) = self else { return Ok(()) };
        for (tensor, file) in map {
            let place = shards.places.get(tensor);
            let held_by = place.and_then(|place| shards.files[place.file].0.file_name());
            ensure!(
                held_by.is_some_and(|held_by| held_by == file.as_str()),
                "{INDEX} places the tensor {tensor:?} in {file:?}, which does not hold it"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn tensor(value: f32) -> Tensor {
        Tensor::full(value, (2, 3), &Device::Cpu).unwrap()
    }

    fn save(folder: &Path, file: &str, names: &[&str]) {
        let tensors: HashMap<&str, Tensor> = names.iter().map(|name| (*name, tensor(1.5))).collect();
        candle_core::safetensors::save(&tensors, folder.join(file)).unwrap();
    }

    fn error(folder: &Path) -> String {
        format!("{:#}", Shards::open(folder).err().expect("refused"))
    }

    fn index(folder: &Path, map: serde_json::Value) {
        let text = serde_json::json!({ "weight_map": map }).to_string();
        fs::write(folder.join(INDEX), text).unwrap();
    }

    #[test]
    fn shards_are_read_by_their_index() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "model-1.safetensors", &["a", "b"]);
        save(dir.path(), "model-2.safetensors", &["c"]);
        // Not named, and not read.
        save(dir.path(), "model-old.safetensors", &["a", "d"]);
        index(
            dir.path(),
            serde_json::json!({"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}),
        );
        let shards = Shards::open(dir.path()).unwrap();
        assert_eq!(shards.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        let read = shards.read("c").unwrap().unwrap();
        assert_eq!(read.to_vec2::<f32>().unwrap(), [[1.5; 3]; 2]);
        assert!(shards.read("d").unwrap().is_none());
    }

    #[test]
    fn missing_shards_and_tensors_in_the_wrong_one_are_named() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "model-1.safetensors", &["a"]);
        index(
            dir.path(),
            serde_json::json!({"a": "model-1.safetensors", "b": "model-2.safetensors"}),
        );
        let text = error(dir.path());
        assert!(
            text.contains("model-2.safetensors") && text.contains("missing"),
            "{text}"
        );
        save(dir.path(), "model-2.safetensors", &["c"]);
        let text = error(dir.path());
        assert!(
            text.contains("\"b\"") && text.contains("model-2.safetensors"),
            "{text}"
        );
        index(dir.path(), serde_json::json!({"a": "../model-1.safetensors"}));
        assert!(error(dir.path()).contains("../model-1"));
        fs::write(dir.path().join(INDEX), "[]").unwrap();
        assert!(error(dir.path()).contains(INDEX));
        fs::remove_file(dir.path().join(INDEX)).unwrap();
        save(dir.path(), "model-2.safetensors", &["a"]);
        assert!(error(dir.path()).contains("both hold the tensor \"a\""));
    }

    #[test]
    fn broken_files_are_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), SINGLE, &["a"]);
        let file = dir.path().join(SINGLE);
        let whole = fs::read(&file).unwrap();
        let refused = |bytes: &[u8], reason: &str| {
            fs::write(&file, bytes).unwrap();
            let text = error(dir.path());
            assert!(text.contains(SINGLE) && text.contains(reason), "{text}");
            assert!(!text.contains('\n'), "{text}");
        };
        refused(&whole[..whole.len() - 1], "not complete");
        refused(&whole[..20], "not complete");
        refused(&whole[..4], "no safetensors file");
        refused(b"", "empty");
        refused(&b"pickle me, pickle me not".repeat(9), "no safetensors file");
        let lie = |from: &str, to: &str| {
            let text = String::from_utf8_lossy(&whole[8..whole.len() - 24]).replacen(from, to, 1);
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text.bytes());
            bytes.extend(&whole[whole.len() - 24..]);
            assert_ne!(bytes, whole);
            bytes
        };
        refused(&lie("[2,3]", "[2,4]"), "header that lies");
        refused(&lie("[0,24]", "[8,32]"), "\"a\"");
        refused(&lie("F32", "BF16"), "header that lies");
    }
}
