//! `cargo xtask screenshots`: the pictures of the README, taken from the running app.

use crate::{place::Place, say, shell, test::Built};
use anyhow::Result;

pub fn run(place: &Place) -> Result<()> {
    let built = Built::make(place)?;
    let step = say::step("Take the screenshots");
    let folder = place.root.join("docs").join("screenshots");
    shell::run(built.program(place, "screenshots").arg(folder))?;
    step.done();
    Ok(())
}
