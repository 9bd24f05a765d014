//! `cargo xtask parity`: the exported file trains in TRL unchanged, and the adapter gives the same
//! log-probabilities in PEFT; merged models give those of base and adapter apart in transformers and, where its
//! package can be installed, in llama.cpp; OpenAI's Python client works with `laurel-trainer serve`.
//!
//! A small run through the real server and trainer makes the export and the adapter; `check.py`, `merge.py` and
//! `openai_client.py` in `tests/parity` use the peers' own libraries. They are several GB, so this is no part of `cargo xtask test`.

use crate::{place::Place, say, shell, test::Built};
use anyhow::{Context, Result};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// llama.cpp as a Python package that is built already, for the common platforms.
const LLAMA_CPP: &str = "xllamacpp==2026.10.11549";

#[derive(Args)]
pub struct Options {
    /// A Python environment that has the packages already; else one is made in the cache folder.
    #[arg(long)]
    venv: Option<PathBuf>,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    let folder = place.root.join("tests").join("parity");
    let venv = venv(place, options.venv.as_deref())?;
    let built = Built::make(place)?;
    let out = place.root.join("target").join("parity");
    shell::remove_dir(&out)?;
    fs::create_dir_all(&out).with_context(|| format!("make {out:?}"))?;

    let step = say::step("Label, train and export a small data set with Laurel");
    shell::run(built.program(place, "parity_run").arg(&out))?;
    step.done();

    let step = say::step("Compare with TRL and PEFT");
    let mut python = Command::new(venv.join("bin").join("python"));
    built.name_in(&mut python);
    shell::run(python.arg(folder.join("check.py")).arg(&out))?;
    step.done();

    let step = say::step("Merge, and compare with PEFT and llama.cpp");
    let mut python = Command::new(venv.join("bin").join("python"));
    built.name_in(&mut python);
    shell::run(python.arg(folder.join("merge.py")).arg(&out))?;
    step.done();

    let step = say::step("Ask the endpoint with OpenAI's client");
    let mut python = Command::new(venv.join("bin").join("python"));
    built.name_in(&mut python);
    shell::run(python.arg(folder.join("openai_client.py")))?;
    step.done();
    Ok(())
}

/// The Python environment with the peers in it: the one given, else one in the cache folder.
pub fn venv(place: &Place, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(venv) = given {
        return Ok(venv.to_owned());
    }
    let requirements = place.root.join("tests").join("parity").join("requirements.txt");
    let (venv, is_new) = ensure_venv(place, "parity-venv", &requirements)?;
    let mut pip = Command::new(venv.join("bin").join("python"));
    if is_new && !shell::works(pip.args(["-m", "pip", "install", "--no-deps", LLAMA_CPP])) {
        say::line("  llama.cpp's package is not to be had for this machine: it takes no part");
    }
    Ok(venv)
}

/// The Python environment with Label Studio in it: the one given, else one in the cache folder.
pub fn label_studio(place: &Place, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(venv) = given {
        return Ok(venv.to_owned());
    }
    let peers = place.root.join("tests").join("bench").join("peers");
    let (venv, _) = ensure_venv(place, "label-studio-venv", &peers.join("label_studio.txt"))?;
    Ok(venv)
}

/// An environment with these packages in the cache folder, and whether they were installed now.
fn ensure_venv(place: &Place, name: &str, requirements: &Path) -> Result<(PathBuf, bool)> {
    let venv = place.cache.join(name);
    let wanted = fs::read_to_string(requirements).with_context(|| format!("read {requirements:?}"))?;
    let stamp = venv.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok((venv, false));
    }
    let python = shell::find(&["python3", "python"]).context("the peers need Python 3")?;
    shell::run_quietly(
        "Make a Python environment",
        Command::new(python).args(["-m", "venv"]).arg(&venv),
    )?;
    let step = say::step("Install the peers' Python packages (may be several GB)");
    let mut pip = Command::new(venv.join("bin").join("python"));
    shell::run(
        pip.args(["-m", "pip", "install", "--requirement"])
            .arg(requirements),
    )?;
    fs::write(stamp, wanted)?;
    step.done();
    Ok((venv, true))
}
