//! `cargo xtask check-cuda`: compiles the trainer for NVIDIA GPUs on a machine that has none.
//!
//! NVIDIA's compiler comes from Python packages, into an environment of its own in the cache folder; nothing is run
//! on a GPU. The build goes to a target folder of its own: another set of features would rebuild everything else.

use crate::{place::Place, say, shell};
use anyhow::{Context, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Of one release: the compiler, its headers and the libraries that candle links to.
const PACKAGES: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.*",
    "nvidia-cuda-crt==13.0.*",
    "nvidia-nvvm==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
    "nvidia-cuda-nvrtc==13.0.*",
    "nvidia-cuda-cccl==13.0.*",
    "nvidia-curand",
    "nvidia-cublas==13.0.*",
];
/// What the kernels are compiled for: Hopper.
const COMPUTE_CAPABILITY: &str = "90";

pub fn run(place: &Place) -> Result<()> {
    let compiler = ensure_compiler(place)?;
    check(place, &compiler)
}

/// Part of the quick checks where an earlier `check-cuda` has left the compiler in the cache.
pub fn run_if_there(place: &Place) -> Result<()> {
    match is_there(place) {
        true => check(place, &compiler(place)?),
        false => Ok(()),
    }
}

fn check(place: &Place, compiler: &Path) -> Result<()> {
    let step = say::step("Compile the trainer for CUDA");
    let mut cargo = shell::cargo(place);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(compiler.join("bin")).chain(env::split_paths(&path));
    cargo
        .args(["check", "--package", "laurel-trainer", "--features", "cuda"])
        .env("CARGO_TARGET_DIR", place.cache.join("target-cuda"))
        .env("CUDA_HOME", compiler)
        .env("CUDA_PATH", compiler)
        .env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY)
        .env("PATH", env::join_paths(folders)?);
    shell::run(&mut cargo)?;
    step.done();
    Ok(())
}

fn environment(place: &Place) -> PathBuf {
    place.cache.join("cuda-venv")
}

/// Written when the installation is complete.
fn stamp(place: &Place) -> PathBuf {
    environment(place).join("packages.txt")
}

fn is_there(place: &Place) -> bool {
    fs::read_to_string(stamp(place)).is_ok_and(|installed| installed == PACKAGES.join("\n"))
}

fn ensure_compiler(place: &Place) -> Result<PathBuf> {
    if is_there(place) {
        return compiler(place);
    }
    let environment = environment(place);
    let python = shell::find(&["python3", "python"])
        .context("NVIDIA's compiler is installed by Python's pip: install Python 3 and start again")?;
    shell::run_quietly(
        "Make a Python environment",
        Command::new(python).args(["-m", "venv"]).arg(&environment),
    )?;
    let mut pip = Command::new(environment.join("bin").join("python"));
    shell::run_quietly(
        "Install NVIDIA's compiler (about 1 GB)",
        pip.args(["-m", "pip", "install"]).args(PACKAGES),
    )?;
    fs::write(stamp(place), PACKAGES.join("\n"))?;
    compiler(place)
}

/// The folder that the packages share: `lib/python3.N/site-packages/nvidia/cu13`.
fn compiler(place: &Place) -> Result<PathBuf> {
    let library = environment(place).join("lib");
    let versions = fs::read_dir(&library).with_context(|| format!("list {library:?}"))?;
    versions
        .filter_map(|entry| entry.ok())
        .map(|entry| entry.path().join("site-packages/nvidia/cu13"))
        .find(|folder| folder.join("bin/nvcc").is_file())
        .with_context(|| format!("no nvcc below {library:?}: remove that environment and start again"))
}
