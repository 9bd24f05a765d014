//! `cargo xtask test`: set-up, quick checks, then every test with nextest.
//!
//! The flows in `tests/` find what they need in the environment: `LAUREL_BIN`, `LAUREL_TRAINER_BIN`,
//! `LAUREL_DIST`, `LAUREL_MODEL`, `LAUREL_SAMPLE`, `LAUREL_AXE`, `LAUREL_CHROMIUM`, `LAUREL_CHROMEDRIVER`.

use crate::{
    axe, browser,
    build::{self, Binaries},
    check, cuda, dist, model,
    place::Place,
    say, shell, wasm,
};
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::Command};

#[derive(Args)]
pub struct Options {
    /// Leave out formatting, clippy and the arrows.
    #[arg(long)]
    no_check: bool,
    /// Handed to nextest, for example `-- -E 'binary(learn)'`.
    #[arg(last = true)]
    nextest: Vec<String>,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    let step = say::step("Set up what the tests need");
    wasm::Toolchain::ensure(place)?;
    ensure_nextest()?;
    browser::ensure()?;
    axe::ensure(place)?;
    model::ensure(place)?;
    step.done();
    if !options.no_check {
        check::run(place)?;
        cuda::run_if_there(place)?;
    }
    let built = Built::make(place)?;
    say::line("▸ Run the tests");
    let mut nextest = shell::cargo(place);
    nextest.args(["nextest", "run"]).args(build::ALL_BUT_XTASK);
    built.name_in(&mut nextest);
    shell::run(nextest.args(&options.nextest))
}

/// All that a flow over real processes needs, built and found.
pub struct Built {
    binaries: Binaries,
    dist: PathBuf,
    model: PathBuf,
    sample: PathBuf,
    axe: PathBuf,
    browser: browser::Browser,
}

impl Built {
    pub fn make(place: &Place) -> Result<Self> {
        Ok(Self {
            model: model::ensure(place)?,
            sample: place.sample(),
            axe: axe::ensure(place)?,
            browser: browser::ensure()?,
            binaries: build::binaries_and_tests(place)?,
            dist: dist::build(place)?,
        })
    }

    /// A program of the crate `tests`, with the paths in its environment.
    pub fn program(&self, place: &Place, name: &str) -> Command {
        let mut command = Command::new(place.native_target.join("debug").join(name));
        self.name_in(command.current_dir(&place.root));
        command
    }

    /// Puts the paths into the environment of the flows.
    pub fn name_in(&self, command: &mut Command) {
        command
            .env("LAUREL_BIN", &self.binaries.server)
            .env("LAUREL_TRAINER_BIN", &self.binaries.trainer)
            .env("LAUREL_DIST", &self.dist)
            .env("LAUREL_MODEL", &self.model)
            .env("LAUREL_SAMPLE", &self.sample)
            .env("LAUREL_AXE", &self.axe)
            .env("LAUREL_CHROMIUM", &self.browser.chromium)
            .env("LAUREL_CHROMEDRIVER", &self.browser.driver);
    }
}

/// The newest version of the test runner that is known to build with the compiler of this workspace.
const NEXTEST: &str = "0.9.143";

/// The test runner: it keeps the heavy flows one after the other.
pub fn ensure_nextest() -> Result<()> {
    if shell::works(Command::new("cargo").args(["nextest", "--version"])) {
        return Ok(());
    }
    let step = say::step("Install cargo-nextest, the test runner (cargo install, some minutes)");
    shell::run(Command::new("cargo").args(["install", "--locked", "cargo-nextest", "--version", NEXTEST]))?;
    step.done();
    Ok(())
}
