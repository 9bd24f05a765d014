//! `cargo xtask screenshots`: the pictures of the README, taken from the running app.

use crate::{place::Place, say, shell, test::Built};
use anyhow::Result;

pub fn run(place: &Place) -> Result<()> {
    let built = Built::make(place)?;
    let step = say::step("Take the screenshots");
    let mut cargo = shell::cargo(place);
    built.name_in(&mut cargo);
    cargo.args(["run", "-p", "laurel-tests", "--bin", "screenshots", "--"]);
    shell::run(cargo.arg(place.root.join("docs").join("screenshots")))?;
    step.done();
    Ok(())
}
