//! `cargo xtask run`: the server with a local trainer beside it, on the sample project.

use crate::{build, dist, model, place::Place, say, shell, wasm};
use anyhow::{Context, Result, bail};
use clap::Args;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

#[derive(Args)]
pub struct Options {
    /// Where the database and the adapters are kept.
    #[arg(long, default_value = "laurel-data")]
    data: PathBuf,
    /// The address to serve on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Start the server alone; trainers on other machines may still connect.
    #[arg(long)]
    no_trainer: bool,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    // First what may be missing on this machine, then the minutes of building.
    wasm::Toolchain::ensure(place)?;
    let model = model::ensure(place)?;
    let binaries = build::binaries(place)?;
    let dist = dist::build(place)?;
    fs::create_dir_all(&options.data).with_context(|| format!("make the data folder {:?}", options.data))?;
    let token = options.data.join("worker.token");
    if !options.data.join("laurel.sqlite").is_file() {
        // A token of a database that is gone opens nothing in the new one.
        match fs::remove_file(&token) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove the old token {token:?}"));
            }
            _ => {}
        }
    }
    // Does nothing where there is a project: a first start that was cut off is made good by the next.
    shell::run(
        laurel(&binaries.server, &options.data, &["sample", "load", "--if-empty"])
            .arg("--sample")
            .arg(place.sample()),
    )?;
    if !options.no_trainer && !token.is_file() {
        let words = ["token", "add", "--name", "local trainer", "--scope", "worker"];
        shell::run(
            laurel(&binaries.server, &options.data, &words)
                .arg("--out")
                .arg(&token),
        )?;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || seen.store(true, Ordering::SeqCst)).context("listen for Ctrl-C")?;

    let step = say::spin("Start the server");
    let mut server = laurel(&binaries.server, &options.data, &["serve"]);
    let commit = commit(place);
    server.envs(commit.iter().map(|commit| ("LAUREL_COMMIT", commit)));
    server
        .arg("--dist")
        .arg(&dist)
        .arg("--sample")
        .arg(place.sample());
    let server = server
        .args(["--listen", &options.listen.to_string()])
        .stdout(Stdio::piped());
    let mut server = Process::start("server", server)?;
    let setup_link = server.relay_output()?;
    server.wait_until_ready(options.listen, &stop)?;
    step.done();
    say_how_to_sign_in(
        options.listen,
        setup_link.recv_timeout(Duration::from_secs(1)).ok(),
    );

    let trainer = || {
        let mut trainer = Command::new(&binaries.trainer);
        trainer.envs(commit.iter().map(|commit| ("LAUREL_COMMIT", commit)));
        trainer.args(["work", "--server", &format!("http://{}", options.listen)]);
        trainer.arg("--token-file").arg(&token);
        trainer.arg("--work-dir").arg(options.data.join("trainer"));
        trainer
            .arg("--model")
            .arg(format!("{}={}", model::NAME, model.display()));
        trainer
    };
    let trainer = (!options.no_trainer).then_some(trainer);
    watch(server, trainer, &stop)
}

/// Keeps both processes going until Ctrl-C or until the server ends; a trainer that dies is started again.
fn watch(mut server: Process, trainer: Option<impl Fn() -> Command>, stop: &AtomicBool) -> Result<()> {
    let mut running: Option<Process> = None;
    let mut next_start = Instant::now();
    let mut wait = Duration::from_secs(1);
    while !stop.load(Ordering::SeqCst) {
        if let Some(status) = server.child.try_wait()? {
            bail!("the server ended ({status}); its last lines above say why");
        }
        if let Some(process) = &mut running
            && let Some(status) = process.child.try_wait()?
        {
            say::line(&format!(
                "The trainer ended ({status}); starting it again in {} s",
                wait.as_secs()
            ));
            running = None;
            next_start = Instant::now() + wait;
            wait = (wait * 2).min(Duration::from_secs(60));
        }
        if let Some(make) = &trainer
            && running.is_none()
            && Instant::now() >= next_start
        {
            running = Some(Process::start("trainer", &mut make())?);
        }
        thread::sleep(Duration::from_millis(100));
    }
    say::line("Stopping: the server finishes its open requests");
    if let Some(trainer) = running {
        trainer.stop()?;
    }
    server.stop()
}

/// The commit that was built, marked where files differ from it; none outside of a clone.
fn commit(place: &Place) -> Option<String> {
    let git = |words: &[&str]| {
        let done = Command::new("git")
            .args(words)
            .current_dir(&place.root)
            .output()
            .ok()?;
        let text = String::from_utf8(done.stdout).ok()?;
        done.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changed.is_empty() {
        true => commit,
        false => format!("{commit}-changed"),
    })
}

fn laurel(program: &Path, data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg("--data").arg(data);
    command
}

fn say_how_to_sign_in(listen: SocketAddr, setup_link: Option<String>) {
    say::line(&format!("\n  Laurel runs at http://{listen}"));
    match setup_link {
        Some(link) => say::line(&format!(
            "  Make the first admin account (the link works once): {link}"
        )),
        None => say::line("  Sign in with the account that you made on the first start."),
    }
    say::line("  Ctrl-C stops it.\n");
}

/// A child process that does not outlive this one.
struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("start the {name}"))?;
        Ok(Self { name, child })
    }

    /// Copies the process's output to ours; the channel gives the set-up link when it comes by.
    fn relay_output(&mut self) -> Result<mpsc::Receiver<String>> {
        let output: ChildStdout = self.child.stdout.take().context("the output is piped")?;
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("{line}");
                let link = line.split_whitespace().find(|word| word.contains("/setup/"));
                if let Some(link) = link {
                    let quotes = |c: char| "\"'`.,".contains(c);
                    // Nobody listens any more after the greeting.
                    let _ = send.send(link.trim_matches(quotes).to_owned());
                }
            }
        });
        Ok(receive)
    }

    fn wait_until_ready(&mut self, listen: SocketAddr, stop: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(listen) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} ended at once ({status})", self.name);
            }
            if stop.load(Ordering::SeqCst) || Instant::now() > deadline {
                bail!("the {} did not become ready", self.name);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks the process to end, waits for it, and ends it by force after a while.
    fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It may have ended by itself: Ctrl-C in a terminal reaches the whole group.
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        say::line(&format!("The {} did not stop in 20 s; ending it", self.name));
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `GET /readyz` answers 200.
fn answers(listen: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&listen, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
