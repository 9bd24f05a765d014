//! `cargo xtask bench …`: measurements; each prints one line of JSON on standard output.

use crate::{place::Place, shell, test::Built};
use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// First contentful paint of the labelling page on a throttled connection, and its size.
    Page,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    match options.what {
        What::Page => {
            let built = Built::make(place)?;
            shell::run(&mut built.program(place, "bench_page"))
        }
    }
}
