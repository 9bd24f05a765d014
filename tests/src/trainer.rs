//! A real trainer process that works for a test's server.

use crate::{
    process::{Process, given},
    server::TestServer,
};
use anyhow::Result;
use laurel_protocol::DEFAULT_MODEL;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub struct TestTrainer {
    process: Process,
    url: String,
    token: PathBuf,
    folder: PathBuf,
}

impl TestTrainer {
    pub fn start(server: &TestServer) -> Result<Self> {
        let token = server.worker_token()?;
        let folder = server.folder().to_owned();
        Ok(Self {
            process: work(&server.url(), &token, &folder)?,
            url: server.url(),
            token,
            folder,
        })
    }

    /// `kill -9`, then a new process that finds what the old one left on disk.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = work(&self.url, &self.token, &self.folder)?;
        Ok(())
    }

    pub fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }
}

fn work(url: &str, token: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(given("LAUREL_TRAINER_BIN")?);
    command
        .args(["work", "--server", url])
        .arg("--token-file")
        .arg(token);
    command
        .arg("--model")
        .arg(format!("{DEFAULT_MODEL}={}", given("LAUREL_MODEL")?.display()));
    // Checkpoints lie in the working folder unless told otherwise: keep them with the test.
    command.current_dir(folder);
    Process::start("the trainer", &mut command, &folder.join("trainer.log"))
}
