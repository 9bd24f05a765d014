//! Where things lie: the working tree, the cache folder that outlives it, and the build folders.

use anyhow::{Context, Result};
use std::{env, path::PathBuf};

/// The folders that every command works with.
pub struct Place {
    /// The root of the repository.
    pub root: PathBuf,
    /// Models, toolchain parts and compiled libraries; shared by all clones of one user.
    pub cache: PathBuf,
    /// Cargo's target folder for everything native.
    pub native_target: PathBuf,
    /// Cargo's target folder for the front end: another compiler may be at work there.
    pub wasm_target: PathBuf,
}

impl Place {
    pub fn find() -> Result<Self> {
        // Cargo names the clone that it runs for; what was compiled in may be another that shares the target folder.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(manifest)
            .parent()
            .context("xtask lies in the repository")?
            .to_owned();
        let cache = match (env::var_os("LAUREL_CACHE"), env::var_os("XDG_CACHE_HOME")) {
            (Some(dir), _) => PathBuf::from(dir),
            (None, Some(dir)) => PathBuf::from(dir).join("laurel"),
            (None, None) => {
                let home = env::home_dir().context("no home folder: set LAUREL_CACHE")?;
                home.join(".cache").join("laurel")
            }
        };
        let native_target = env::var_os("CARGO_TARGET_DIR")
            .map(|dir| root.join(dir))
            .unwrap_or_else(|| cache.join("target"));
        let wasm_target = cache.join("target-wasm");
        std::fs::create_dir_all(&cache).with_context(|| format!("make the cache folder {cache:?}"))?;
        Ok(Self {
            root,
            cache,
            native_target,
            wasm_target,
        })
    }

    /// The built front end. It stays with the clone: two clones may hold different sources.
    pub fn dist(&self) -> PathBuf {
        self.root.join("target").join("dist")
    }

    /// The binaries that this clone built, safe from another clone that shares the target folder.
    pub fn bin(&self) -> PathBuf {
        self.root.join("target").join("bin")
    }

    pub fn model(&self) -> PathBuf {
        self.cache.join("models").join(crate::model::FILE)
    }

    pub fn sample(&self) -> PathBuf {
        self.root.join("assets").join("sample")
    }
}
