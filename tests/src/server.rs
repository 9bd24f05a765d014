//! A real server on a free port with a data folder of its own.

use crate::{
    api::{self, Api},
    process::{Process, free_port, given, output},
    wait::{until, within},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct horse battery";

pub struct TestServer {
    // Dropped in this order: the process before its folder.
    process: Process,
    program: PathBuf,
    port: u16,
    lease_seconds: u32,
    data: PathBuf,
    folder: TempDir,
}

impl TestServer {
    pub fn start() -> Result<Self> {
        Self::with_leases(60)
    }

    /// A server whose trainers lose a job after so many silent seconds.
    pub fn with_leases(lease_seconds: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        Self::begin(folder, data, lease_seconds)
    }

    /// A server on a data folder that stays when it ends.
    pub fn over(data: &Path) -> Result<Self> {
        Self::begin(tempfile::tempdir()?, data.to_owned(), 60)
    }

    fn begin(folder: TempDir, data: PathBuf, lease_seconds: u32) -> Result<Self> {
        let program = given("LAUREL_BIN")?;
        let port = free_port()?;
        let process = serve(&program, (folder.path(), &data), port, lease_seconds)?;
        let mut server = Self {
            process,
            program,
            port,
            lease_seconds,
            data,
            folder,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// A server on what is restored from a backup.
    pub fn restored_from(backup: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut restore = Command::new(given("LAUREL_BIN")?);
        restore.arg("restore").arg("--from").arg(backup);
        output(restore.arg("--data").arg(folder.path().join("data")))?;
        let data = folder.path().join("data");
        Self::begin(folder, data, 60)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The number of the process that runs now.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9`, then the same again on the same port and data.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.restart()
    }

    /// `kill -9`: from here on nothing answers.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// A new process on the same port and data, after the old one was killed.
    pub fn restart(&mut self) -> Result<()> {
        self.process = serve(
            &self.program,
            (self.folder.path(), &self.data),
            self.port,
            self.lease_seconds,
        )?;
        self.wait_until_ready()
    }

    /// The path of the page that makes the first admin account, from what the server printed.
    pub fn setup_path(&self) -> Result<String> {
        within(10, "the set-up link in the server's log", || {
            let log = self.process.log()?;
            Ok(log.find("/setup/").map(|at| {
                let is_path = |c: &char| c.is_ascii_alphanumeric() || "/-_".contains(*c);
                log[at..].chars().take_while(is_path).collect()
            }))
        })
    }

    /// Runs `laurel WORDS --data …` beside the server.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--data").arg(&self.data);
        command
    }

    /// An admin's script access, made by the command line.
    pub fn admin(&self) -> Result<Api> {
        self.add_user(ADMIN, "admin")?;
        self.script_access(ADMIN)
    }

    /// An annotator's script access.
    pub fn annotator(&self, name: &str) -> Result<Api> {
        self.add_user(name, "annotator")?;
        self.script_access(name)
    }

    pub fn add_user(&self, name: &str, role: &str) -> Result<()> {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        let mut add = self.command(&["user", "add", "--name", name, "--role", role]);
        output(add.arg("--password-file").arg(&password))?;
        Ok(())
    }

    /// The file of a worker token, made by the first call.
    pub fn worker_token(&self) -> Result<PathBuf> {
        self.token("worker", None)
    }

    /// The script access of an account that there is.
    pub fn script_access(&self, name: &str) -> Result<Api> {
        let file = self.token("script", Some(name))?;
        let secret = fs::read_to_string(file)?;
        Ok(Api::new(&self.url(), Some(secret.trim())))
    }

    fn token(&self, scope: &str, user: Option<&str>) -> Result<PathBuf> {
        let name = format!("{scope}-{}", user.unwrap_or("trainer"));
        let file = self.folder.path().join(format!("{name}.token"));
        if file.exists() {
            return Ok(file);
        }
        let mut add = self.command(&["token", "add", "--name", &name, "--scope", scope]);
        if let Some(user) = user {
            add.args(["--user", user]);
        }
        output(add.arg("--out").arg(&file))?;
        Ok(file)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let ready = format!("{}/readyz", self.url());
        until(60, "the server to become ready", || {
            self.process.must_run()?;
            Ok(api::get_status(&ready) == Some(200))
        })
        .context("start the server")
    }
}

/// `log` is the folder of its log.
fn serve(program: &Path, (log, data): (&Path, &Path), port: u16, lease_seconds: u32) -> Result<Process> {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--lease-seconds", &lease_seconds.to_string()]);
    command.arg("--data").arg(data);
    command.arg("--dist").arg(given("LAUREL_DIST")?);
    command.arg("--sample").arg(given("LAUREL_SAMPLE")?);
    Process::start("the server", &mut command, &log.join("server.log"))
}
