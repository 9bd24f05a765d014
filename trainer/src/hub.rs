//! Models by their id on the Hugging Face hub: `org/name`, `org/name@revision`, `org/name/file.gguf` or
//! `org/name:file.gguf`. A local path of that name wins. Files come through the crate `hf-hub` into Hugging Face's own
//! cache (`HF_HOME`), an interrupted download goes on where it broke off, and what has a SHA-256 on the hub is checked
//! against it. What is in the cache is used without asking the hub.
//!
//! `HF_ENDPOINT` names another hub, `HF_TOKEN` opens private and gated models.

use anyhow::{Context, Result, anyhow, bail, ensure};
use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        RepoInfo,
        sync::{Api, ApiBuilder, ApiError},
    },
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// What a folder needs beside its weights, where the hub has it.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// A model on this machine.
#[derive(Debug, PartialEq)]
pub struct Located {
    pub path: PathBuf,
    /// What it is called in an adapter's files: a file's or folder's name, or the hub id.
    pub name: String,
}

/// Finds a model by its path, or gets it by its hub id.
pub fn locate(model: &Path) -> Result<Located> {
    Hub::from_env().locate(model)
}

/// The same for a path that is relative to a folder.
pub fn locate_in(folder: &Path, model: &Path) -> Result<Located> {
    let inside = folder.join(model);
    match inside.exists() {
        true => Ok(local(&inside)),
        false => locate(model),
    }
}

fn local(path: &Path) -> Located {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Located {
        path: path.to_owned(),
        name: name.unwrap_or_default(),
    }
}

/// A hub id with what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id {
    /// `org/name`
    repo: String,
    revision: String,
    /// A GGUF file; without one the safetensors of the whole folder.
    file: Option<String>,
}

impl Id {
    fn parse(text: &str) -> Option<Self> {
        let (id, file) = match text.split_once(':') {
            Some((id, file)) => (id.to_owned(), Some(file.to_owned())),
            None => match text.splitn(3, '/').collect::<Vec<_>>().as_slice() {
                [org, name, file] => (format!("{org}/{name}"), Some((*file).to_owned())),
                _ => (text.to_owned(), None),
            },
        };
        let (repo, revision) = match id.split_once('@') {
            Some((repo, revision)) => (repo.to_owned(), revision.to_owned()),
            None => (id, "main".to_owned()),
        };
        let (org, name) = repo.split_once('/')?;
        let plain = |text: &str, more: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c);
            !text.is_empty() && !text.starts_with('.') && !text.contains("..") && text.chars().all(known)
        };
        let file_fits = file
            .as_ref()
            .is_none_or(|file| plain(file, "/+ ") && file.to_lowercase().ends_with(".gguf"));
        (plain(org, "") && plain(name, "") && plain(&revision, "/") && file_fits).then_some(Self {
            repo,
            revision,
            file,
        })
    }
}

struct Hub {
    endpoint: String,
    cache: Cache,
    token: Option<String>,
    offline: bool,
}

impl Hub {
    fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: set("HF_TOKEN").or_else(|| cache.token()),
            cache,
            offline: set("HF_HUB_OFFLINE").is_some_and(|value| value != "0"),
        }
    }

    fn locate(&self, model: &Path) -> Result<Located> {
        if model.exists() {
            return Ok(local(model));
        }
        let id = model.to_str().and_then(Id::parse).with_context(|| {
            format!(
                "no model at {model:?}: give a GGUF file, a Hugging Face folder or a hub id such as org/name"
            )
        })?;
        let path = self
            .get(&id)
            .with_context(|| format!("no model at {model:?}, so it was taken for a hub id"))?;
        let name = match &id.file {
            Some(file) => file.clone(),
            None => id.repo,
        };
        Ok(Located { path, name })
    }

    fn get(&self, id: &Id) -> Result<PathBuf> {
        match &id.file {
            Some(file) => self.get_file(id, &id.revision, file),
            None => self.get_folder(id),
        }
    }

    fn repo(id: &Id, revision: &str) -> Repo {
        Repo::with_revision(id.repo.clone(), RepoType::Model, revision.to_owned())
    }

    fn api(&self) -> Result<Api> {
        let api = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.trim_end_matches('/').to_owned())
            .with_token(self.token.clone())
            .with_user_agent("laurel-trainer", env!("CARGO_PKG_VERSION"))
            // The bar draws nothing where standard error is no terminal.
            .with_progress(true)
            .build();
        api.map_err(|error| anyhow!("make a client of the hub: {error}"))
    }

    fn check_online(&self, id: &Id) -> Result<()> {
        ensure!(
            !self.offline,
            "{} is not in the cache at {:?}, and HF_HUB_OFFLINE forbids to ask the hub",
            id.repo,
            self.cache.path()
        );
        Ok(())
    }

    /// One file, from the cache or the hub; checked once, when it has come.
    fn get_file(&self, id: &Id, revision: &str, file: &str) -> Result<PathBuf> {
        if let Some(path) = self.cache.repo(Self::repo(id, revision)).get(file) {
            check_if_unchecked(&path)?;
            return Ok(path);
        }
        self.check_online(id)?;
        let repo = self.api()?.repo(Self::repo(id, revision));
        let metadata = self
            .api()?
            .metadata(&repo.url(file))
            .map_err(|error| self.refusal(id, file, &error))?;
        let blob = self
            .cache
            .repo(Self::repo(id, revision))
            .blob_path(metadata.etag());
        let mark = unchecked(&blob);
        fs::create_dir_all(blob.parent().context("a blob lies in a folder")?)
            .and_then(|()| fs::write(&mark, ""))
            .with_context(|| format!("write into the cache at {:?}", self.cache.path()))?;
        tracing::info!("Getting {file} of {} from {}", id.repo, self.endpoint);
        let path = repo
            .download(file)
            .map_err(|error| self.refusal(id, file, &error))?;
        check_if_unchecked(&path)?;
        Ok(path)
    }

    /// The configuration, the tokenizer and the safetensors, all of one commit.
    fn get_folder(&self, id: &Id) -> Result<PathBuf> {
        let cached = self.cache.repo(Self::repo(id, &id.revision));
        if let Some(config) = cached.get("config.json") {
            let folder = config.parent().context("a file lies in a folder")?;
            if has_all_weights(folder) {
                for entry in fs::read_dir(folder).with_context(|| format!("list {folder:?}"))? {
                    check_if_unchecked(&entry?.path())?;
                }
                return Ok(folder.to_owned());
            }
        }
        self.check_online(id)?;
        let info: RepoInfo = self
            .api()?
            .repo(Self::repo(id, &id.revision))
            .info()
            .map_err(|error| self.refusal(id, "", &error))?;
        let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
        let is_weights = |name: &str| {
            let listed = name.starts_with("model") && name.ends_with(".safetensors") && !name.contains('/');
            listed && (name == "model.safetensors" || !has("model.safetensors"))
        };
        let mut weights: Vec<&str> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        weights.retain(|name| is_weights(name));
        weights.sort_unstable();
        ensure!(
            has("config.json") && !weights.is_empty(),
            "{} on the hub has no config.json with model*.safetensors beside it; for a GGUF file name it: {}:FILE.gguf",
            id.repo,
            id.repo
        );
        let mut folder = PathBuf::new();
        // The weights come last: a folder that has them has everything.
        for name in SMALL_FILES.into_iter().filter(|name| has(name)).chain(weights) {
            let path = self.get_file(id, &info.sha, name)?;
            folder = path.parent().context("a file lies in a folder")?.to_owned();
        }
        cached
            .create_ref(&info.sha)
            .with_context(|| format!("write into the cache at {:?}", self.cache.path()))?;
        Ok(folder)
    }

    /// What went wrong, in a sentence that says what to do.
    fn refusal(&self, id: &Id, file: &str, error: &ApiError) -> anyhow::Error {
        let what = match file {
            "" => id.repo.clone(),
            file => format!("{file} of {}", id.repo),
        };
        let ApiError::RequestError(request) = error else {
            return match error {
                ApiError::LockAcquisition(path) => {
                    anyhow!("another process is getting {what}: wait for it, or remove {path:?}")
                }
                ApiError::IoError(error) => anyhow!(
                    "the download of {what} broke off ({error}): the same command again goes on from there"
                ),
                error => anyhow!("the hub's answer about {what} cannot be understood: {error}"),
            };
        };
        match request.as_ref() {
            ureq::Error::StatusCode(401 | 403) => anyhow!(
                "the hub does not give {what} to everybody: set HF_TOKEN, and accept the model's terms on its page; \
                 an id that does not exist is answered alike"
            ),
            ureq::Error::StatusCode(404) => {
                anyhow!("the hub has no {what} at revision {}", id.revision)
            }
            ureq::Error::StatusCode(status) => {
                anyhow!("the hub answered with status {status} when asked for {what}: try again later")
            }
            error => anyhow!(
                "the hub at {} cannot be reached ({error}): check the connection, or give a local path",
                self.endpoint
            ),
        }
    }
}

/// Whether all safetensors that make up a cached model are there.
fn has_all_weights(folder: &Path) -> bool {
    if folder.join("model.safetensors").exists() {
        return true;
    }
    let Ok(text) = fs::read_to_string(folder.join("model.safetensors.index.json")) else {
        return false;
    };
    let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(map) = index["weight_map"].as_object() else {
        return false;
    };
    let mut shards = map.values().filter_map(|shard| shard.as_str());
    shards.all(|shard| folder.join(shard).exists())
}

/// Lies beside a blob until its checksum was found right.
fn unchecked(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".unchecked");
    name.into()
}

/// Checks a file of the cache that has not been checked yet. Large files are named by their SHA-256; others by git's
/// hash, and of those only the length was checked. A wrong one is removed, so that the next try gets it anew.
fn check_if_unchecked(path: &Path) -> Result<()> {
    let blob = fs::canonicalize(path).with_context(|| format!("find {path:?} in the cache"))?;
    let mark = unchecked(&blob);
    if !mark.exists() {
        return Ok(());
    }
    let name = blob.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let hash = sha256(&blob).with_context(|| format!("read {blob:?}"))?;
        if hash != name {
            for broken in [path, &blob] {
                fs::remove_file(broken).with_context(|| format!("remove {broken:?}"))?;
            }
            bail!(
                "{:?} came with the SHA-256 {hash} instead of {name}: it is corrupt and was removed, try again",
                path.file_name().unwrap_or_default()
            );
        }
    }
    fs::remove_file(&mark).with_context(|| format!("remove {mark:?}"))
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crate::data::template::hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
