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
    shell::run(shell::cargo(place).args(["build", "-p", "laurel-server", "-p", "laurel-trainer", "--bins"]))?;
    let binaries = Binaries::keep(place)?;
    step.done();
    Ok(binaries)
}

/// This program stays out of builds of the whole workspace: the libraries that it shares with the others would be
/// built once more, with the features that it needs of them.
pub const ALL_BUT_XTASK: [&str; 3] = ["--workspace", "--exclude", "xtask"];

/// The programs together with the tests. Libraries are built with the features that the packages of one call ask
/// for together: one call for both, since two would build the large ones twice.
pub fn binaries_and_tests(place: &Place) -> Result<Binaries> {
    let step = say::step("Build the server, the trainer and the tests");
    shell::run(
        shell::cargo(place)
            .arg("build")
            .args(ALL_BUT_XTASK)
            .args(["--bins", "--tests"]),
    )?;
    let binaries = Binaries::keep(place)?;
    step.done();
    Ok(binaries)
}

impl Binaries {
    fn keep(place: &Place) -> Result<Self> {
        let built = place.native_target.join("debug");
        Ok(Self {
            server: keep(&built.join("laurel"), &place.bin())?,
            trainer: keep(&built.join("laurel-trainer"), &place.bin())?,
        })
    }
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
