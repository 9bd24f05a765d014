//! The files of adapters in the data folder. A trainer's uploads gather in `uploads/<job>/`; when the round ends
//! they are checked and put into `adapters/<hash>/` as a whole, on disk before the database hears of them.

use crate::store::{Error, Result, text};
use laurel_protocol::{FieldError, JobId};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What a trainer may upload: PEFT's files, and heads in files of their own.
pub const CONFIG: &str = "adapter_config.json";
pub const WEIGHTS: &str = "adapter_model.safetensors";
pub const README: &str = "README.md";
/// Of a reward model, and of a value model.
const HEADS: [&str; 2] = ["score.safetensors", "value.safetensors"];
const ALL: [&str; 5] = [README, CONFIG, WEIGHTS, HEADS[0], HEADS[1]];

/// Held from the moment when an adapter's files are put into their place until the database names them, and while files
/// are deleted: two adapters with the same weights share theirs.
pub static CHANGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The largest file that is accepted.
pub const MAX_BYTES: u64 = 2 << 30;

/// The largest header of a safetensors file, as its own library has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An adapter whose files lie in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// SHA-256 of the weights.
    pub hash: String,
    /// Of the weights.
    pub size_bytes: u64,
    pub files: Vec<String>,
}

/// The name as one of those that an adapter has: no other path is ever opened.
pub fn known_name(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|known| *known == name)
}

/// Where the uploads of a job gather.
pub fn upload_folder(data: &Path, job: JobId) -> PathBuf {
    data.join("uploads").join(job.to_string())
}

/// Where a file of an adapter lies.
pub fn path(data: &Path, hash: &str, name: &'static str) -> PathBuf {
    data.join("adapters").join(hash).join(name)
}

/// Checks what the job uploaded and puts it into its place. Doing it again gives the same: the uploads stay until
/// [`discard_uploads`]. Blocks; call it off the async threads.
pub fn install(data: &Path, job: JobId) -> Result<Installed> {
    let uploads = upload_folder(data, job);
    let config = read_upload(&uploads, CONFIG)?;
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&config)
        .map_err(|_| refused(CONFIG, "is not a JSON object"))?;
    let size_bytes = check_safetensors(&uploads, WEIGHTS)?;
    for head in HEADS.into_iter().filter(|head| uploads.join(head).is_file()) {
        check_safetensors(&uploads, head)?;
    }
    let hash = hash_file(&uploads.join(WEIGHTS))?;
    let files: Vec<String> = ALL
        .into_iter()
        .filter(|name| uploads.join(name).is_file())
        .map(str::to_owned)
        .collect();

    let folder = data.join("adapters").join(&hash);
    if folder.is_dir() {
        // The same weights as an earlier adapter (or this call came before): they must mean the same.
        for name in [CONFIG, HEADS[0], HEADS[1]] {
            let sides = (
                read_if_there(&folder.join(name))?,
                read_if_there(&uploads.join(name))?,
            );
            // Earlier trainers sent no heads apart from the weights.
            if let (Some(earlier), Some(now)) = sides
                && earlier != now
            {
                return Err(refused(
                    name,
                    "differs from that of an earlier adapter with the same weights",
                ));
            }
        }
        let present = |name: &String| folder.join(name).is_file();
        return Ok(Installed {
            hash,
            size_bytes,
            files: files.into_iter().filter(present).collect(),
        });
    }
    let building = data.join("adapters").join(format!("{hash}.of-{job}"));
    if building.exists() {
        fs::remove_dir_all(&building)?;
    }
    fs::create_dir_all(&building)?;
    for name in &files {
        // Links, not moves: a call that is repeated after a crash finds its uploads.
        fs::hard_link(uploads.join(name), building.join(name))?;
    }
    sync_folder(&building)?;
    fs::rename(&building, &folder)?;
    sync_folder(&data.join("adapters"))?;
    Ok(Installed {
        hash,
        size_bytes,
        files,
    })
}

/// Throws the uploads of a job away, once they are installed or the job is over.
pub fn discard_uploads(data: &Path, job: JobId) -> io::Result<()> {
    match fs::remove_dir_all(upload_folder(data, job)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the files of an adapter away.
pub fn remove(data: &Path, hash: &str) -> io::Result<()> {
    match fs::remove_dir_all(data.join("adapters").join(hash)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away files of adapters that the database does not name (any more): a server that was killed while it deleted
/// them. At start.
pub fn sweep(data: &Path, known: &HashSet<String>) -> io::Result<()> {
    for name in names(&data.join("adapters"))? {
        let is_hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash && !known.contains(&name) {
            fs::remove_dir_all(data.join("adapters").join(name))?;
        }
    }
    Ok(())
}

/// Throws away what belongs to no open job: uploads, and adapters that were being put together. At start, before any
/// trainer is answered.
pub fn sweep_uploads(data: &Path, open: &HashSet<JobId>) -> io::Result<()> {
    let is_open = |job: &str| job.parse::<JobId>().is_ok_and(|job| open.contains(&job));
    for name in names(&data.join("uploads"))? {
        if !is_open(&name) {
            fs::remove_dir_all(data.join("uploads").join(name))?;
        }
    }
    for name in names(&data.join("adapters"))? {
        if name.rsplit_once(".of-").is_some_and(|(_, job)| !is_open(job)) {
            fs::remove_dir_all(data.join("adapters").join(name))?;
        }
    }
    Ok(())
}

/// Names of the folders in a folder; none where it is not there.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Copies the adapters of these hashes, each whole, on disk when this returns. Their files never change.
pub fn copy(data: &Path, hashes: &[String], to: &Path) -> io::Result<()> {
    for hash in hashes {
        let (from, to) = (data.join("adapters").join(hash), to.join("adapters").join(hash));
        fs::create_dir_all(&to)?;
        for name in ALL {
            let file = from.join(name);
            if file.is_file() {
                fs::copy(&file, to.join(name))?;
                File::open(to.join(name))?.sync_all()?;
            }
        }
        sync_folder(&to)?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn refused(file: &str, reason: &str) -> Error {
    Error::Invalid(vec![FieldError::new(file, reason)])
}

fn read_upload(uploads: &Path, name: &str) -> Result<Vec<u8>> {
    read_if_there(&uploads.join(name))?.ok_or_else(|| refused(name, "was not uploaded"))
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Checks that the header is sound and that the tensors fill the file exactly. Gives the file's size.
fn check_safetensors(uploads: &Path, name: &str) -> Result<u64> {
    let mut file = match File::open(uploads.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(name, "was not uploaded"));
        }
        Err(error) => return Err(error.into()),
    };
    let broken = |_| refused(name, "is not a safetensors file");
    let size_bytes = file.metadata()?.len();
    let mut n_header = [0_u8; 8];
    file.read_exact(&mut n_header).map_err(broken)?;
    let n_header = u64::from_le_bytes(n_header);
    if n_header > MAX_HEADER_BYTES || n_header.saturating_add(8) > size_bytes {
        return Err(refused(name, "is not a whole safetensors file"));
    }
    let mut header = vec![0_u8; usize::try_from(n_header).unwrap_or(0)];
    file.read_exact(&mut header).map_err(broken)?;
    let mut header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|_| refused(name, "has a header that is not JSON"))?;
    header.remove("__metadata__");
    let mut tensors = header
        .into_values()
        .map(serde_json::from_value::<TensorEntry>)
        .collect::<serde_json::Result<Vec<_>>>()
        .map_err(|_| refused(name, "has a header that is not of tensors"))?;
    if tensors.is_empty() {
        return Err(refused(name, "holds no tensors"));
    }
    tensors.sort_by_key(|tensor| tensor.data_offsets);
    let mut end = 0;
    for tensor in &tensors {
        let (from, to) = tensor.data_offsets;
        let n_values = tensor
            .shape
            .iter()
            .try_fold(1_u64, |n, size| n.checked_mul(*size));
        let n_bytes = n_values.and_then(|n| n.checked_mul(bytes_of(&tensor.dtype)?));
        if from != end || to < from || n_bytes != Some(to - from) {
            return Err(refused(name, "has tensors whose places do not fit their shapes"));
        }
        end = to;
    }
    if end != size_bytes - 8 - n_header {
        return Err(refused(name, "was cut off, or goes on after its last tensor"));
    }
    Ok(size_bytes)
}

fn bytes_of(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" => Some(8),
        _ => None,
    }
}

fn hash_file(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(text::hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_with(weights: &[u8]) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        let uploads = upload_folder(data.path(), JobId(7));
        fs::create_dir_all(&uploads).unwrap();
        fs::write(uploads.join(CONFIG), "{}").unwrap();
        fs::write(uploads.join(WEIGHTS), weights).unwrap();
        data
    }

    fn safetensors(header: &str, n_bytes: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + n_bytes, 1);
        file
    }

    const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn installing_twice_gives_the_same_adapter() {
        let data = data_with(&safetensors(ONE, 8));
        let first = install(data.path(), JobId(7)).unwrap();
        assert_eq!(first, install(data.path(), JobId(7)).unwrap());
        assert_eq!(first.files, [CONFIG, WEIGHTS]);
        assert!(path(data.path(), &first.hash, WEIGHTS).is_file());
    }

    #[test]
    fn broken_weights_are_refused() {
        for broken in [
            safetensors(ONE, 7),
            safetensors(ONE, 9),
            safetensors("{}", 0),
            safetensors(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            safetensors("nonsense", 8),
            vec![1, 2, 3],
            u64::MAX.to_le_bytes().to_vec(),
        ] {
            let data = data_with(&broken);
            assert!(
                matches!(install(data.path(), JobId(7)), Err(Error::Invalid(_))),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn heads_are_installed_with_the_weights_checked_as_they_are_and_never_exchanged() {
        let data = data_with(&safetensors(ONE, 8));
        let head = upload_folder(data.path(), JobId(7)).join("score.safetensors");
        fs::write(&head, safetensors(ONE, 8)).unwrap();
        let first = install(data.path(), JobId(7)).unwrap();
        assert_eq!(first.files, [CONFIG, WEIGHTS, "score.safetensors"]);
        assert!(path(data.path(), &first.hash, "score.safetensors").is_file());
        assert_eq!(first, install(data.path(), JobId(7)).unwrap());
        let refused = |bytes: Vec<u8>| {
            // The installed file is a link to the uploaded one.
            fs::remove_file(&head).unwrap();
            fs::write(&head, bytes).unwrap();
            match install(data.path(), JobId(7)) {
                Err(Error::Invalid(fields)) => fields[0].field == "score.safetensors",
                _ => false,
            }
        };
        let mut other = safetensors(ONE, 8);
        *other.last_mut().unwrap() = 2;
        assert!(refused(safetensors(ONE, 7)) && refused(other));
    }

    #[test]
    fn at_start_only_the_uploads_of_open_jobs_stay() {
        let data = data_with(&safetensors(ONE, 8));
        let installed = install(data.path(), JobId(7)).unwrap();
        for folder in [
            "uploads/8",
            "uploads/strange",
            "adapters/ab.of-8",
            "adapters/ab.of-7",
        ] {
            fs::create_dir_all(data.path().join(folder)).unwrap();
        }
        sweep_uploads(data.path(), &HashSet::from([JobId(7)])).unwrap();
        assert_eq!(names(&data.path().join("uploads")).unwrap(), ["7"]);
        let mut adapters = names(&data.path().join("adapters")).unwrap();
        adapters.sort();
        let mut expected = [installed.hash, "ab.of-7".to_owned()];
        expected.sort();
        assert_eq!(adapters, expected);
        sweep_uploads(&data.path().join("nowhere"), &HashSet::new()).unwrap();
    }

    #[test]
    fn a_missing_upload_is_named() {
        let data = data_with(&safetensors(ONE, 8));
        fs::remove_file(upload_folder(data.path(), JobId(7)).join(CONFIG)).unwrap();
        let Err(Error::Invalid(fields)) = install(data.path(), JobId(7)) else {
            panic!("must be refused");
        };
        assert_eq!(fields[0].field, CONFIG);
    }

    #[test]
    fn only_known_names_are_opened() {
        assert_eq!(known_name("../laurel.sqlite"), None);
        assert_eq!(known_name(WEIGHTS), Some(WEIGHTS));
    }
}
