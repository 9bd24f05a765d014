//! The files of merges in the data folder. A trainer hands them in piece by piece into `uploads/<job>/merged/`; once they are
//! whole and have the hashes that it named, they move to `merged/<merge>/` together.

use crate::{
    adapter_files,
    store::{Error, Result, text},
};
use laurel_protocol::{FieldError, JobId, MergeId, Merged, MergedFile};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where the files gather.
pub fn upload_folder(data: &Path, job: JobId) -> PathBuf {
    adapter_files::upload_folder(data, job).join("merged")
}

/// Where the files of a merge lie.
pub fn folder(data: &Path, merge: MergeId) -> PathBuf {
    data.join("merged").join(merge.to_string())
}

/// Checks what the job handed in against what its trainer says of it, and puts it into its place. Doing it again gives
/// the same. Blocks; call it off the async threads.
pub fn install(data: &Path, job: JobId, merge: MergeId, merged: &Merged) -> Result<()> {
    let (uploads, place) = (upload_folder(data, job), folder(data, merge));
    let from = if uploads.is_dir() { &uploads } else { &place };
    let named: BTreeSet<_> = merged.files.iter().map(|file| file.name.clone()).collect();
    let there: BTreeSet<_> = names(from)?.into_iter().collect();
    if let Some(stranger) = there.difference(&named).next() {
        return Err(refused(stranger, "was handed in and is not named"));
    }
    for file in &merged.files {
        check(from, file)?;
    }
    if from == &place {
        return Ok(());
    }
    if place.exists() {
        // Of a trainer that was killed between this call and the next.
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(data.join("merged"))?;
    adapter_files::sync_folder(&uploads)?;
    fs::rename(&uploads, &place)?;
    adapter_files::sync_folder(&data.join("merged"))?;
    Ok(())
}

fn check(folder: &Path, file: &MergedFile) -> Result<()> {
    let path = folder.join(&file.name);
    let size = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(&file.name, "was not handed in"));
        }
        Err(error) => return Err(error.into()),
    };
    if size != file.size_bytes {
        return Err(refused(&file.name, "is not whole: hand in the rest of it"));
    }
    let hash = hash_file(&path)?;
    match hash.eq_ignore_ascii_case(&file.sha256) {
        true => Ok(()),
        false => Err(refused(&file.name, "has another hash: hand it in again")),
    }
}

/// SHA-256 of a file's bytes, in hex.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(text::hex(&hash.finalize()))
}

/// Takes the files of a merge away.
pub fn remove(data: &Path, merge: MergeId) -> io::Result<()> {
    match fs::remove_dir_all(folder(data, merge)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away what no merge has (any more). At start.
pub fn sweep(data: &Path, known: &HashSet<MergeId>) -> io::Result<()> {
    let all = data.join("merged");
    for name in names(&all)? {
        if !name.parse().is_ok_and(|id| known.contains(&id)) {
            fs::remove_dir_all(all.join(name))?;
        }
    }
    Ok(())
}

/// Names of what is in a folder; none where it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect()
}

fn refused(file: &str, reason: &str) -> Error {
    Error::Invalid(vec![FieldError::new(file, reason)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(7);
    const MERGE: MergeId = MergeId(3);

    fn handed_in(bytes: &[u8]) -> (tempfile::TempDir, Merged) {
        let data = tempfile::tempdir().unwrap();
        let folder = upload_folder(data.path(), JOB);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("model.gguf"), bytes).unwrap();
        let file = MergedFile {
            name: "model.gguf".into(),
            size_bytes: 4,
            sha256: text::sha256_hex(b"GGUF"),
        };
        let merged = Merged {
            files: vec![file],
            dtype: "f16".into(),
            check: String::new(),
            notes: Vec::new(),
        };
        (data, merged)
    }

    #[test]
    fn whole_files_move_to_their_place_and_a_second_call_finds_them_there() {
        let (data, merged) = handed_in(b"GGUF");
        for _ in 0..2 {
            install(data.path(), JOB, MERGE, &merged).unwrap();
            let kept = fs::read(folder(data.path(), MERGE).join("model.gguf")).unwrap();
            assert_eq!(kept, b"GGUF");
        }
        sweep(data.path(), &HashSet::from([MERGE])).unwrap();
        assert!(folder(data.path(), MERGE).is_dir());
        sweep(data.path(), &HashSet::new()).unwrap();
        assert!(!folder(data.path(), MERGE).exists());
    }

    #[test]
    fn a_part_another_content_and_a_stranger_are_refused() {
        for bytes in [b"GGU".as_slice(), b"GGUX", b"GGUFF"] {
            let (data, merged) = handed_in(bytes);
            let refused = install(data.path(), JOB, MERGE, &merged);
            assert!(matches!(refused, Err(Error::Invalid(_))), "{bytes:?}");
            assert!(!folder(data.path(), MERGE).exists());
        }
        let (data, merged) = handed_in(b"GGUF");
        fs::write(upload_folder(data.path(), JOB).join("more"), "x").unwrap();
        assert!(install(data.path(), JOB, MERGE, &merged).is_err());
    }
}
