//! Features of completions on disk, in one file for each model with its adapter: computed once, and kept through restarts,
//! so that a scoring whose trainer was killed goes on where it was.
//!
//! The file is a head and then records of one size, each with a check of its own. What a killed trainer wrote half is cut
//! off when the file is opened next.

use super::features::Key;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"laurelf1";
const HEAD: u64 = 12;
const CHECK: usize = 8;
/// Files of so many models are kept, those written last.
const N_KEPT: usize = 4;

pub struct Cache {
    file: File,
    path: PathBuf,
    width: usize,
    known: HashMap<Key, Vec<f32>>,
}

impl Cache {
    /// Opens the file of what `name` stands for, with the records that are `wanted`; of other files the oldest go.
    pub fn open(folder: &Path, name: &str, width: usize, wanted: &HashSet<Key>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {folder:?}"))?;
        let path = folder.join(format!("{name}.features"));
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = open.with_context(|| format!("open {path:?}"))?;
        let mut cache = Self {
            file,
            path,
            width,
            known: HashMap::new(),
        };
        let whole = cache
            .read(wanted)
            .with_context(|| format!("read {:?}", cache.path))?;
        cache.file.set_len(whole).context("cut off what is not whole")?;
        cache.file.seek(SeekFrom::End(0))?;
        if whole == 0 {
            cache.file.write_all(MAGIC)?;
            cache.file.write_all(&(width as u32).to_le_bytes())?;
        }
        clear_old(folder, &cache.path)?;
        Ok(cache)
    }

    pub fn get(&self, key: &Key) -> Option<&[f32]> {
        self.known.get(key).map(Vec::as_slice)
    }

    /// Keeps the features of a sequence, here and on disk.
    pub fn add(&mut self, key: Key, features: Vec<f32>) -> Result<()> {
        ensure!(
            features.len() == self.width,
            "{} features instead of {}",
            features.len(),
            self.width
        );
        let mut record = key.to_vec();
        record.extend(features.iter().flat_map(|x| x.to_le_bytes()));
        record.extend(check(&record));
        self.file
            .write_all(&record)
            .with_context(|| format!("write {:?}", self.path))?;
        self.known.insert(key, features);
        Ok(())
    }

    /// Takes in the wanted records, and says how many bytes of the file are whole.
    fn read(&mut self, wanted: &HashSet<Key>) -> Result<u64> {
        let mut reader = BufReader::new(&self.file);
        let mut head = [0; HEAD as usize];
        let expected = [MAGIC.as_slice(), &(self.width as u32).to_le_bytes()].concat();
        if reader.read_exact(&mut head).is_err() || head.as_slice() != expected {
            return Ok(0);
        }
        let mut whole = HEAD;
        let mut record = vec![0; size_of::<Key>() + 4 * self.width + CHECK];
        while reader.read_exact(&mut record).is_ok() {
            let (body, sum) = record.split_at(record.len() - CHECK);
            if check(body) != sum {
                break;
            }
            whole += record.len() as u64;
            let (key, features) = body.split_at(size_of::<Key>());
            let key: Key = key.try_into().expect("split off at a key's length");
            if wanted.contains(&key) {
                let number =
                    |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
                self.known
                    .insert(key, features.chunks_exact(4).map(number).collect());
            }
        }
        Ok(whole)
    }
}

fn check(body: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::digest(body);
    std::array::from_fn(|at| hash[at])
}

fn clear_old(folder: &Path, kept: &Path) -> Result<()> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {folder:?}"))? {
        let path = entry?.path();
        if path != kept && path.extension().is_some_and(|extension| extension == "features") {
            others.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    others.sort();
    let n_old = others.len().saturating_sub(N_KEPT - 1);
    for (_, path) in &others[..n_old] {
        fs::remove_file(path).with_context(|| format!("remove {path:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: u8) -> Key {
        [at; 32]
    }

    fn open(folder: &Path, name: &str) -> Cache {
        let wanted = (0..20).map(key).collect();
        Cache::open(folder, name, 3, &wanted).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back_and_what_was_written_half_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path(), "m");
        cache.add(key(1), vec![1.0, -2.5, 3e-9]).unwrap();
        cache.add(key(2), vec![4.0, 5.0, 6.0]).unwrap();
        drop(cache);
        let path = dir.path().join("m.features");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut cache = open(dir.path(), "m");
        assert_eq!(cache.get(&key(1)), Some([1.0, -2.5, 3e-9].as_slice()));
        assert_eq!(cache.get(&key(2)), None);
        cache.add(key(2), vec![7.0, 8.0, 9.0]).unwrap();
        drop(cache);
        assert_eq!(
            open(dir.path(), "m").get(&key(2)),
            Some([7.0, 8.0, 9.0].as_slice())
        );
    }

    #[test]
    fn a_record_that_was_changed_and_a_file_of_another_width_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "m").add(key(1), vec![1.0, 2.0, 3.0]).unwrap();
        let path = dir.path().join("m.features");
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(dir.path(), "m").get(&key(1)), None);
        open(dir.path(), "m").add(key(1), vec![1.0, 2.0, 3.0]).unwrap();
        let wide = Cache::open(dir.path(), "m", 2, &HashSet::from([key(1)])).unwrap();
        assert_eq!(wide.get(&key(1)), None);
    }

    #[test]
    fn only_what_is_wanted_is_held_and_only_the_newest_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d", "e", "f"] {
            open(dir.path(), name).add(key(30), vec![0.0; 3]).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), N_KEPT);
        assert_eq!(open(dir.path(), "f").get(&key(30)), None);
        let wanted = HashSet::from([key(30)]);
        assert!(
            Cache::open(dir.path(), "f", 3, &wanted)
                .unwrap()
                .get(&key(30))
                .is_some()
        );
    }
}
