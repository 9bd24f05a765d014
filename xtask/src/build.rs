//! Building the server and the trainer.

use crate::{place::Place, say, shell};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The built programs.
pub struct Binaries {
    pub server: PathBuf,
    pub trainer: PathBuf,
}

pub fn binaries(place: &Place) -> Result<Binaries> {
    let step = say::step("Build the server and the trainer");
    let mut cargo = shell::cargo(place);
    shell::run(cargo.args(["build", "-p", "laurel-server", "-p", "laurel-trainer", "--bins"]))?;
    let built = place.native_target.join("debug");
    let binaries = Binaries {
        server: keep(&built.join("laurel"), &place.bin())?,
        trainer: keep(&built.join("laurel-trainer"), &place.bin())?,
    };
    step.done();
    Ok(binaries)
}

/// Links (or copies) a built program into this clone, so that a build of another clone that shares the target
/// folder cannot change it under a running test.
fn keep(program: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {folder:?}"))?;
    let to = folder.join(program.file_name().context("a program has a name")?);
    match fs::remove_file(&to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if fs::hard_link(program, &to).is_err() {
        fs::copy(program, &to).with_context(|| format!("copy {program:?}"))?;
    }
    Ok(to)
}
