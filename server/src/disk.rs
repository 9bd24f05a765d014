//! How much lies in the data folder, by what it is.

use crate::{adapter_files::names, store::db};
use std::{collections::HashMap, fs, io, path::Path};

/// What lies in the data folder, in bytes.
#[derive(Debug, Default)]
pub struct Sizes {
    /// The database and the files beside it.
    pub database: u64,
    /// By hash.
    pub adapters: HashMap<String, u64>,
    pub uploads: u64,
}

/// Measures the data folder. Blocks; call it off the async threads.
pub fn sizes(data: &Path) -> io::Result<Sizes> {
    let mut sizes = Sizes::default();
    for end in ["", "-wal", "-shm"] {
        let file = data.join(format!("{}{end}", db::FILE));
        sizes.database += fs::metadata(file).map_or(0, |found| found.len());
    }
    for hash in names(&data.join("adapters"))? {
        let size = folder_size(&data.join("adapters").join(&hash))?;
        sizes.adapters.insert(hash, size);
    }
    sizes.uploads = folder_size(&data.join("uploads"))?;
    Ok(sizes)
}

/// Bytes of all files below a folder. What goes while it is looked at counts nothing.
fn folder_size(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut total = 0;
    for entry in entries {
        let path = entry?.path();
        total += match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => folder_size(&path)?,
            Ok(found) => found.len(),
            Err(_) => 0,
        };
    }
    Ok(total)
}
