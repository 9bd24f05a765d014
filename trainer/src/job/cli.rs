//! The subcommand `work`: lease, run, hand in, again, until it is told to stop.

use super::{
    client::{Client, TokenRefused},
    heart::Wishes,
    worker::Worker,
};
use crate::{data::jinja, device, hub};
use anyhow::{Context, Result};
use laurel_protocol::{LeaseRequest, Precision};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::atomic::Ordering, thread, time::Duration};

/// Lease rounds, completion jobs and turns of chats from a server and run them.
#[derive(clap::Args)]
pub struct WorkArgs {
    /// The server's address, for example http://127.0.0.1:8080
    #[arg(long, env = "LAUREL_SERVER")]
    server: String,
    /// File with a worker token
    #[arg(long, env = "LAUREL_TOKEN_FILE")]
    token_file: PathBuf,
    /// A base model that this trainer has, NAME=PATH or NAME=HUB_ID; may be given several times
    #[arg(long = "model", required = true, value_parser = named_path)]
    models: Vec<(String, PathBuf)>,
    /// Folder for checkpoints and adapters
    #[arg(long, default_value = "laurel-work")]
    work_dir: PathBuf,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
    /// What completion jobs and chats hold the base model in: f32, bf16 or quantized (rounds say it themselves)
    #[arg(long, default_value = "f32", value_parser = precision)]
    precision: Precision,
}

pub(crate) fn precision(text: &str) -> Result<Precision, String> {
    serde_json::from_value(text.into()).map_err(|_| "must be f32, bf16 or quantized".to_owned())
}

pub(crate) fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("must be NAME=PATH".to_owned()),
    }
}

pub fn run(args: &WorkArgs) -> Result<()> {
    let token =
        fs::read_to_string(&args.token_file).with_context(|| format!("read {:?}", args.token_file))?;
    let mut models = BTreeMap::new();
    for (name, path) in &args.models {
        let located = hub::locate(path).with_context(|| format!("find the model {name}"))?;
        models.insert(name.clone(), located.path);
    }
    fs::create_dir_all(&args.work_dir)
        .with_context(|| format!("make the work folder {:?}", args.work_dir))?;
    let device = device::open(&args.device)?;
    let wishes = Wishes::default();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // The first asks for an orderly end, a second one ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, wishes.quit.clone())?;
        signal_hook::flag::register(signal, wishes.quit.clone())?;
    }
    let request = LeaseRequest {
        worker: hostname::get().map_or_else(
            |_| "trainer".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ),
        device: device::name(&device),
        models: args.models.iter().map(|(name, _)| name.clone()).collect(),
        wait_seconds: 10,
        chat_only: false,
    };
    let mut worker = Worker {
        client: Client::new(&args.server, token.trim(), wishes.quit.clone()),
        models,
        work_dir: args.work_dir.clone(),
        device,
        precision: args.precision,
        loaded: None,
        request,
    };
    tracing::info!(server = args.server, "Waiting for work from {}", args.server);
    let mut pause = Duration::from_millis(250);
    while !wishes.quit.load(Ordering::SeqCst) {
        match worker.client.lease(&worker.request) {
            Ok(Some(job)) => {
                pause = Duration::from_millis(250);
                worker.work(&job, &wishes.quit)?;
                if jinja::has_given_up() {
                    tracing::warn!(
                        "A chat template still runs that was given up: starting this program anew"
                    );
                    return start_anew();
                }
            }
            Ok(None) => pause = Duration::from_millis(250),
            Err(error) if error.is::<TokenRefused>() => return Err(error),
            Err(error) => {
                tracing::warn!("No lease: {error:#}");
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
    tracing::info!("Stopped");
    Ok(())
}

/// Puts a fresh process in this one's place: the only way to be rid of a thread that does not end.
fn start_anew() -> Result<()> {
    let program = std::env::current_exe().context("find this program's file")?;
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
    #[cfg(unix)]
    return Err(std::os::unix::process::CommandExt::exec(&mut command)).context("start this program anew");
    #[cfg(not(unix))]
    anyhow::bail!("end of this process: start it anew ({command:?})");
}
