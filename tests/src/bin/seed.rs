//! Fills a fresh data folder with a large project, to see how the server and its pages stand it.
//!
//! Usage: seed DATA_FOLDER

use anyhow::{Context, Result, bail};
use laurel_tests::{
    TestServer, seed,
    server::{ADMIN, PASSWORD},
};
use std::{env, path::Path, time::Instant};

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [data] = args.as_slice() else {
        bail!("usage: seed DATA_FOLDER");
    };
    let data = Path::new(data);
    // The server makes the database; nobody may have it open while it is filled.
    let mut server = TestServer::over(data)?;
    server
        .add_user(ADMIN, "admin")
        .context("the folder is in use already")?;
    server.kill()?;
    eprintln!("Writing {:?} into {} …", seed::Size::LARGE, data.display());
    let begun = Instant::now();
    seed::fill(data, seed::Size::LARGE)?;
    eprintln!(
        "Done after {:.0} s: `laurel serve --data {}`, and sign in as \"{ADMIN}\" with \"{PASSWORD}\".",
        begun.elapsed().as_secs_f64(),
        data.display()
    );
    Ok(())
}
