//! Backups: the database as it was at one moment and the adapters that it names, with a manifest of every file's hash. Made while
//! the server runs, checked before anything is restored, and whole or not there.

use crate::{
    adapter_files,
    merged_files::hash_file,
    store::{
        Db, adapters,
        audit::{self, Actor},
        db, integrity,
    },
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use laurel_protocol::{Timestamp, Verb};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The manifest's name in the backup.
pub const MANIFEST: &str = "manifest.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the program that wrote it.
    pub laurel: String,
    /// The number of the database's last migration.
    pub schema: i64,
    pub made_at: Timestamp,
    /// By path, with slashes.
    pub files: BTreeMap<String, Kept>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub size_bytes: u64,
    /// Hex.
    pub sha256: String,
}

impl Manifest {
    pub fn size_bytes(&self) -> u64 {
        self.files.values().map(|file| file.size_bytes).sum()
    }
}

/// Writes a backup of `data` to the folder `out`, which must not be there yet. What fails leaves nothing.
pub async fn write(db: &Db, data: &Path, out: &Path, now: Timestamp) -> Result<Manifest> {
    ensure!(
        !out.exists(),
        "{} is there already: name another folder",
        out.display()
    );
    whole_or_not(out, async |partial| {
        // The database first: the files of every adapter that it names were in their place before it named them.
        let file = partial.join(db::FILE);
        db.copy_to(&file).await?;
        File::open(&file)?.sync_all()?;
        adapter_files::copy(data, &adapters::hashes(db).await?, partial)?;
        let found = integrity::check(&file).await?;
        let manifest = Manifest {
            laurel: crate::version::own(),
            schema: found.schema,
            made_at: now,
            files: files(partial)?,
        };
        require_adapters(&found, &manifest)
            .context("an adapter was deleted meanwhile: make the backup again")?;
        let mut file = File::create(partial.join(MANIFEST))?;
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        adapter_files::sync_folder(partial)?;
        Ok(manifest)
    })
    .await
}

/// Checks a backup from end to end.
pub async fn verify(backup: &Path) -> Result<Manifest> {
    let manifest = read_manifest(backup)?;
    let found = files(backup).with_context(|| format!("read {}", backup.display()))?;
    for (path, kept) in &manifest.files {
        match found.get(path) {
            None => bail!("{path} is missing from the backup: use another one"),
            Some(there) if there != kept => bail!(
                "{path} is damaged ({} bytes, SHA-256 {}, where the manifest has {} bytes, {}): use another backup",
                there.size_bytes,
                there.sha256,
                kept.size_bytes,
                kept.sha256
            ),
            Some(_) => {}
        }
    }
    if let Some(stranger) = found.keys().find(|path| !manifest.files.contains_key(*path)) {
        bail!(
            "{stranger} is not in the manifest: was a server started on the backup? Remove it, or use another one"
        );
    }
    let database = integrity::check(&backup.join(db::FILE))
        .await
        .with_context(|| format!("check the database of {}", backup.display()))?;
    ensure!(
        database.schema == manifest.schema,
        "the database has schema {}, the manifest says {}: use another backup",
        database.schema,
        manifest.schema
    );
    require_adapters(&database, &manifest)?;
    Ok(manifest)
}

/// Makes the data folder `to` from a backup that is whole. What fails leaves nothing.
pub async fn restore(from: &Path, to: &Path, now: Timestamp) -> Result<Manifest> {
    require_empty(to)?;
    let manifest = verify(from).await?;
    if to.exists() {
        fs::remove_dir(to).with_context(|| format!("make room for {}", to.display()))?;
    }
    whole_or_not(to, async |partial| {
        for (path, kept) in &manifest.files {
            let target = partial.join(path);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(from.join(path), &target)?;
            File::open(&target)?.sync_all()?;
            ensure!(
                hash_file(&target)? == kept.sha256,
                "{path} came out damaged: look at the disks"
            );
        }
        // An older schema is brought up to date here, so that the log can say what happened.
        let db = Db::open(partial).await?;
        let detail = json!({"made_at": manifest.made_at, "schema": manifest.schema});
        audit::note_taken(&db, Actor::CommandLine, Verb::BackupRestored, None, detail, now).await?;
        db.close().await;
        adapter_files::sync_folder(partial)?;
        Ok(manifest.clone())
    })
    .await
}

fn require_empty(to: &Path) -> Result<()> {
    let entries = match fs::read_dir(to) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("look into {}", to.display())),
    };
    ensure!(
        entries.is_none(),
        "{} is not empty: restore into a new folder, and start the server on that",
        to.display()
    );
    Ok(())
}

fn read_manifest(backup: &Path) -> Result<Manifest> {
    let file = backup.join(MANIFEST);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{} has no {MANIFEST}: it is no backup, or one of an earlier Laurel, which is a data folder by itself",
            backup.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let manifest: Manifest = serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged: use another backup", file.display()))?;
    let is_inside = |path: &String| {
        !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
    };
    ensure!(
        manifest.files.keys().all(is_inside) && manifest.files.contains_key(db::FILE),
        "{} is damaged: use another backup",
        file.display()
    );
    Ok(manifest)
}

/// Every adapter that the database names must be there, its weights as their folder's name says.
fn require_adapters(found: &integrity::Found, manifest: &Manifest) -> Result<()> {
    for (hash, files) in &found.adapters {
        for name in files {
            let path = format!("adapters/{hash}/{name}");
            let kept = manifest
                .files
                .get(&path)
                .ok_or_else(|| anyhow!("{path} is missing"))?;
            ensure!(
                name != adapter_files::WEIGHTS || kept.sha256 == *hash,
                "{path} has other weights than its name says"
            );
        }
    }
    Ok(())
}

/// All files of a folder but the manifest, hashed.
fn files(folder: &Path) -> Result<BTreeMap<String, Kept>> {
    let mut found = BTreeMap::new();
    add_files(folder, "", &mut found)?;
    found.remove(MANIFEST);
    Ok(found)
}

fn add_files(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Kept>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            add_files(&entry.path(), &format!("{path}/"), found)?;
        } else {
            let kept = Kept {
                size_bytes: entry.metadata()?.len(),
                sha256: hash_file(&entry.path())?,
            };
            found.insert(path, kept);
        }
    }
    Ok(())
}

/// Has a folder made under another name, and named `out` once it is whole, so that nobody takes a part for it.
async fn whole_or_not<T>(out: &Path, make: impl AsyncFnOnce(&Path) -> Result<T>) -> Result<T> {
    // Without a slash at its end: what is made lies beside it.
    let out = &out.components().collect::<PathBuf>();
    let mut partial = out.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
    let made = match make(&partial).await {
        Ok(made) => fs::rename(&partial, out)
            .map(|()| made)
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        // The first error counts; what cannot be removed is removed by the next try.
        let _ = fs::remove_dir_all(&partial);
        let full = is_full(&error);
        let error = error.context(format!("write {}", out.display()));
        match full {
            true => error.context("the disk is full, or a file may not grow so large: make room, or name another disk; nothing was left"),
            false => error,
        }
    })
}

/// Whether a disk, a quota or a limit on files is behind an error, also where SQLite tells it in its own words.
fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let words = cause.to_string();
        matches!(
            kind,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
        ) || words.contains("database or disk is full")
            || words.contains("disk I/O error")
    })
}
