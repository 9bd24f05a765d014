//! `cargo xtask seed --large`: a data folder with a project of a size that shows what is slow.

use crate::{build, place::Place, say, shell};
use anyhow::{Result, ensure};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Args)]
pub struct Options {
    /// 100 000 prompts, 400 000 completions, 300 000 annotations, 200 rounds, 5 million metric points (1 to 2 GB)
    #[arg(long, required = true)]
    large: bool,
    /// A new folder for `laurel serve --data`
    #[arg(long)]
    data: PathBuf,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    ensure!(options.large, "say --large: there is no other size");
    let taken = fs::read_dir(&options.data).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !taken,
        "{} has files in it: name a new folder",
        options.data.display()
    );
    fill(place, &options.data)
}

/// The kept one of the cache folder, made where it is missing.
pub fn kept(place: &Place) -> Result<PathBuf> {
    let data = place.cache.join("seed-large");
    if !data.is_dir() {
        say::line("Seeding a large project once (minutes, 1 to 2 GB in the cache folder) …");
        // Under another name until it is whole.
        let half = place.cache.join("seed-large.half");
        if half.is_dir() {
            fs::remove_dir_all(&half)?;
        }
        fill(place, &half)?;
        fs::rename(&half, &data)?;
    }
    Ok(data)
}

fn fill(place: &Place, data: &Path) -> Result<()> {
    let binaries = build::binaries_and_tests(place)?;
    let mut seed = Command::new(place.native_target.join("debug").join("seed"));
    seed.current_dir(&place.root)
        .env("LAUREL_BIN", binaries.server)
        .env("LAUREL_DIST", place.dist())
        .env("LAUREL_SAMPLE", place.sample())
        .arg(std::path::absolute(data)?);
    shell::run(&mut seed)
}
