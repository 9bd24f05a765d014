//! Running other programs: their failure becomes an error that names the command.

use crate::{place::Place, say};
use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsStr,
    io::{IsTerminal, stderr, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Runs to the end; the program's output goes to the terminal.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", show(command)))?;
    if !status.success() {
        bail!("failed ({status}): {}", show(command));
    }
    Ok(())
}

/// Runs to the end behind a spinner; the program's output is shown only when it fails.
pub fn run_quietly(name: &str, command: &mut Command) -> Result<()> {
    let step = say::spin(name);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", show(command)))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("failed ({}): {}", output.status, show(command));
    }
    step.done();
    Ok(())
}

/// Runs a download to its end: on a terminal the program's own progress bar shows, elsewhere it is quiet.
/// `quiet` are the arguments that keep it from drawing the bar.
pub fn download(name: &str, command: &mut Command, quiet: &[&str]) -> Result<()> {
    if !(stdout().is_terminal() && stderr().is_terminal()) {
        return run_quietly(name, command.args(quiet));
    }
    let step = say::step(name);
    run(command.stdin(Stdio::null()))?;
    step.done();
    Ok(())
}

/// What the program prints, or an error when it fails.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", show(command)))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("failed ({}): {}\n{reason}", output.status, show(command));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether the program runs and exits with success.
pub fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first of these programs that is in PATH.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// The cargo that runs this program, building into the native target folder.
pub fn cargo(place: &Place) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(&place.root)
        .env("CARGO_TARGET_DIR", &place.native_target);
    command
}

/// Installs Debian packages, as root; `what_for` tells the reader why.
pub fn apt_install(packages: &[&str], what_for: &str) -> Result<()> {
    let list = packages.join(" ");
    if find(&["apt-get"]).is_none() || !is_root() {
        bail!("{what_for} needs the Debian packages {list}; install them (or their like) and start again");
    }
    apt_update()?;
    run_quietly(
        &format!("Install {list} (apt-get install), for {what_for}"),
        Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Whether apt can install a package of this name. A fresh machine's lists are empty: as root they are read first.
pub fn apt_knows(package: &str) -> bool {
    let listed = || {
        read(Command::new("apt-cache").args(["policy", package]))
            .is_ok_and(|policy| policy.contains("Candidate:") && !policy.contains("Candidate: (none)"))
    };
    if listed() {
        return true;
    }
    let may_update = find(&["apt-get"]).is_some() && is_root();
    may_update && apt_update().is_ok() && listed()
}

/// Reads the lists of Debian packages, once in the life of this program.
fn apt_update() -> Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    run_quietly(
        "Read the list of Debian packages (apt-get update)",
        Command::new("apt-get").arg("update"),
    )?;
    let _ = DONE.set(());
    Ok(())
}

pub fn is_root() -> bool {
    read(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

/// Removes a folder if it is there.
pub fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {dir:?}"))
        }
        _ => Ok(()),
    }
}

fn show(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
