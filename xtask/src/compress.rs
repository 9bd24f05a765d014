//! Writes `FILE.br` and `FILE.gz` beside each file of a folder that is worth compressing, at the best level:
//! done once here, so that the server never spends time on it.

use crate::{dist::files_below, say};
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use std::{ffi::OsString, fs, io::Write, path::Path};

const WORTH_IT: [&str; 7] = ["html", "js", "wasm", "css", "svg", "json", "webmanifest"];
/// A smaller file fits in one packet anyway.
const MIN_SIZE_BYTES: usize = 1024;

pub fn folder(folder: &Path) -> Result<()> {
    let step = say::spin("Compress the front end (brotli, gzip)");
    let files = files_below(folder)?;
    for (at, file) in files.iter().enumerate() {
        step.progress(at as u64, files.len() as u64);
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        if !WORTH_IT.contains(&extension.as_ref()) {
            continue;
        }
        let contents = fs::read(file).with_context(|| format!("read {file:?}"))?;
        if contents.len() >= MIN_SIZE_BYTES {
            fs::write(with_suffix(file, ".br"), brotli(&contents)?)?;
            fs::write(with_suffix(file, ".gz"), gzip(&contents)?)?;
        }
    }
    step.done();
    Ok(())
}

fn brotli(contents: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let params = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: contents.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &contents[..], &mut packed, &params)?;
    Ok(packed)
}

fn gzip(contents: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(contents)?;
    Ok(encoder.finish()?)
}

fn with_suffix(file: &Path, suffix: &str) -> OsString {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name
}
