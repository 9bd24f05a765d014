//! A merge for a server: adapter in, base and adapter as one model out, checked against the two apart before a byte is handed
//! in. The files go piece by piece, so that a broken connection costs one piece.

use super::{client::JobClient, heart::Wishes};
use crate::{
    data::template::hex,
    merge::{self, Options},
};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use laurel_protocol::{
    Directive, LogLevel, LogLine, MergeFormat, Merged, MergedFile, Outcome, Report, Timestamp, file_part,
    is_file_name,
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes that go at once.
const PIECE: u64 = 8 << 20;

pub struct Task<'a> {
    pub client: &'a JobClient,
    /// Where the base model lies.
    pub model: &'a Path,
    /// Where the adapter lies.
    pub adapter: &'a Path,
    /// The adapter's name.
    pub name: &'a str,
    pub format: MergeFormat,
    pub device: &'a Device,
    /// Keeps the files until they are handed in.
    pub folder: &'a Path,
    pub wishes: &'a Wishes,
}

/// Somebody wants it to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

/// Merges and hands in. `None` when it was stopped without an end of its own.
pub fn run(task: &Task<'_>) -> Result<Option<Outcome>> {
    match merged(task) {
        Ok(()) => Ok(super::ends::outcome(
            task.wishes,
            Outcome::Done { made_with: None },
        )),
        Err(error) if error.is::<Stopped>() => Ok(super::ends::stopped(task.wishes)),
        Err(error) => Err(error),
    }
}

fn merged(task: &Task<'_>) -> Result<()> {
    if task.folder.exists() {
        // Of a try that was killed: the same files come out again.
        fs::remove_dir_all(task.folder).with_context(|| format!("clear {:?}", task.folder))?;
    }
    fs::create_dir_all(task.folder).with_context(|| format!("make {:?}", task.folder))?;
    let out = match task.format {
        MergeFormat::Safetensors => task.folder.join("merged"),
        MergeFormat::Gguf => task.folder.join(format!("{}.gguf", file_part(task.name))),
    };
    let options = Options {
        dtype: None,
        device: task.device.clone(),
        adapter_name: Some(task.name.to_owned()),
    };
    let report = merge::merge(task.model, task.adapter, &out, &options, &mut |stage| {
        task.tell(stage, None)
    })?;
    let mut told = Merged {
        files: Vec::new(),
        check: check_words(&report),
        dtype: report.dtype,
        notes: report.notes,
    };
    let files = files(&out, &mut told.notes)?;
    for path in &files {
        told.files.push(described(path)?);
    }
    task.hand_in(&files, &told)?;
    task.client.post_raw("merged", &told)?;
    Ok(())
}

impl Task<'_> {
    /// Says what is going on, and stops where that is wished.
    fn tell(&self, stage: &str, bytes: Option<(u64, u64)>) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = LogLine {
            at: Timestamp(since.as_millis() as i64),
            level: LogLevel::Info,
            text: stage.to_owned(),
        };
        let report = Report {
            step: bytes.map(|(done, _)| done),
            n_steps: bytes.map(|(_, total)| total),
            log: vec![line],
            ..Report::default()
        };
        self.wishes
            .heed(self.client.post::<Directive>("report", &report)?);
        match self.wishes.stop() {
            true => Err(Stopped.into()),
            false => Ok(()),
        }
    }

    fn hand_in(&self, files: &[PathBuf], told: &Merged) -> Result<()> {
        let total = told.size_bytes();
        let mut done = 0;
        for (path, described) in files.iter().zip(&told.files) {
            let mut file = File::open(path).with_context(|| format!("open {path:?}"))?;
            let mut offset = 0;
            loop {
                self.tell("Hand the files in", Some((done + offset, total)))?;
                let mut piece = Vec::new();
                (&mut file).take(PIECE).read_to_end(&mut piece)?;
                let place = format!("merged/{}?offset={offset}", described.name);
                self.client.put(&place, &piece)?;
                offset += piece.len() as u64;
                if offset >= described.size_bytes || piece.is_empty() {
                    break;
                }
            }
            ensure!(offset == described.size_bytes, "{path:?} has changed meanwhile");
            done += offset;
        }
        self.tell("Check what was handed in", Some((done, total)))
    }
}

/// The files of what was written: itself, or those in it.
fn files(out: &Path, notes: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    if !out.is_dir() {
        return Ok(vec![out.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(out).with_context(|| format!("read {out:?}"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && is_file_name(&name) {
            files.push(path);
        } else {
            notes.push(format!("{name} of the base model is left out."));
        }
    }
    files.sort();
    Ok(files)
}

fn described(path: &Path) -> Result<MergedFile> {
    let mut file = File::open(path).with_context(|| format!("open {path:?}"))?;
    let mut hash = Sha256::new();
    let size_bytes = std::io::copy(&mut file, &mut hash).with_context(|| format!("read {path:?}"))?;
    Ok(MergedFile {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        size_bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn check_words(report: &merge::Report) -> String {
    let check = &report.verification;
    match report.is_reward_model {
        true => format!(
            "Read back, scores differ from those of base and adapter apart by {:.1e} at most, at {} positions.",
            check.written.largest, check.n_positions
        ),
        false => format!(
            "Read back, the mean divergence from base and adapter apart is {:.1e} nats (the adapter alone makes {:.1e}), \
             and the likeliest token is the same at {:.1} % of {} positions.",
            check.written.divergence,
            check.adapter.divergence,
            100.0 * check.written.top1_agreement,
            check.n_positions
        ),
    }
}
