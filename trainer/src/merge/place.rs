//! Where the merged model goes: written beside its place under another name, put there whole, and never over
//! something else. What an earlier run left unfinished is removed.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Refuses a place that holds something, and one whose folder is missing.
pub fn check(target: &Path) -> Result<()> {
    let parent = parent(target);
    ensure!(
        parent.is_dir(),
        "there is no folder {parent:?} to write {target:?} into"
    );
    let Ok(found) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    if found.is_dir() && !is_gguf(target) && fs::read_dir(target)?.next().is_none() {
        return Ok(());
    }
    bail!("{target:?} exists already: name another place, or remove it first")
}

/// Whether the name asks for a GGUF file; else it is a folder.
pub fn is_gguf(target: &Path) -> bool {
    target
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// What is written beside the place until it is complete. Dropped unfinished, it leaves nothing.
pub struct Draft {
    pub path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Makes the draft of a file or, for a folder, the empty folder.
    pub fn begin(target: &Path) -> Result<Self> {
        check(target)?;
        let name = target
            .file_name()
            .with_context(|| format!("{target:?} names no place"))?;
        let path = parent(target).join(format!(".{}.unfinished", name.to_string_lossy()));
        remove(&path).with_context(|| format!("remove {path:?}, which an earlier run left"))?;
        let draft = Self {
            path,
            target: target.to_owned(),
        };
        if !is_gguf(target) {
            fs::create_dir(&draft.path).with_context(|| format!("create {:?}", draft.path))?;
        }
        Ok(draft)
    }

    /// The draft is complete: it gets its place once all of it is on disk.
    pub fn publish(self) -> Result<()> {
        let (path, target) = (&self.path, &self.target);
        let publish = || -> Result<()> {
            if path.is_dir() {
                for entry in fs::read_dir(path)? {
                    File::open(entry?.path())?.sync_all()?;
                }
            }
            File::open(path)?.sync_all()?;
            check(target)?;
            fs::rename(path, target)?;
            Ok(File::open(parent(target))?.sync_all()?)
        };
        publish().with_context(|| format!("write {target:?}"))
    }
}

impl Drop for Draft {
    /// After [`Draft::publish`] there is nothing under this name.
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("{:?} could not be removed: {error}", self.path);
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("model.gguf"), dir.path().join("model"));
        fs::write(&file, "mine").unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("notes"), "mine").unwrap();
        for target in [&file, &folder] {
            let error = Draft::begin(target).err().unwrap().to_string();
            assert!(error.contains("exists already"), "{error}");
        }
        assert!(Draft::begin(&dir.path().join("no/such/model")).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_draft_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        fs::create_dir(&target).unwrap();
        // An earlier run was killed.
        fs::create_dir(dir.path().join(".model.unfinished")).unwrap();
        fs::write(dir.path().join(".model.unfinished/old"), "old").unwrap();
        let draft = Draft::begin(&target).unwrap();
        fs::write(draft.path.join("new"), "new").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        let draft = Draft::begin(&target).unwrap();
        fs::write(draft.path.join("new"), "new").unwrap();
        draft.publish().unwrap();
        let names = |dir: &Path| -> Vec<_> {
            let entries = fs::read_dir(dir).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(
            (names(dir.path()), names(&target)),
            (vec!["model".into()], vec!["new".into()])
        );
    }
}
