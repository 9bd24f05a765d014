//! The subcommand `work`: lease, run, hand in, again, until it is told to stop.

use super::{
    client::{Client, JobClient, LeaseLost, TokenRefused},
    completions,
    heart::{Heart, Wishes},
    round,
};
use crate::{
    adapters::{Adapter, CONFIG_FILE, Head, WEIGHTS_FILE},
    data::{Tokenizer, jinja, template::hex},
    device, hub,
    model::{Facts, Model},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use laurel_protocol::{AdapterRef, LeaseRequest, LeasedJob, Outcome, Precision, Work};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

/// Lease rounds and completion jobs from a server and run them.
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
    /// What completion jobs hold the base model in: f32, bf16 or quantized (rounds say it themselves)
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

/// The end to report after a piece of work that came to `end`; `None` leaves the job to whoever leases it next.
pub fn outcome(wishes: &Wishes, end: Outcome) -> Option<Outcome> {
    if wishes.lost.load(Ordering::SeqCst) {
        return None;
    }
    if wishes.abort.load(Ordering::SeqCst) {
        return Some(Outcome::Aborted);
    }
    if wishes.quit.load(Ordering::SeqCst) {
        None
    } else {
        Some(end)
    }
}

/// One sentence about a failure: what was tried last. Why it failed stands in this program's log, for it may name
/// paths and addresses that are nobody's business elsewhere.
fn for_an_admin(error: &anyhow::Error) -> String {
    let tried = error.to_string();
    let tried = tried.lines().next().unwrap_or_default();
    match error.source() {
        Some(_) => format!("Failed at: {tried}. The trainer's log says why."),
        None => tried.to_owned(),
    }
}

/// The base model in memory, kept for the next job. The tokenizer gets each job's own template.
struct Loaded {
    name: String,
    precision: Precision,
    model: Model,
    facts: Facts,
    tokenizer: Tokenizer,
}

struct Worker {
    client: Client,
    models: BTreeMap<String, PathBuf>,
    work_dir: PathBuf,
    device: Device,
    /// Of completion jobs.
    precision: Precision,
    loaded: Option<Loaded>,
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
    };
    let mut worker = Worker {
        client: Client::new(&args.server, token.trim(), wishes.quit.clone()),
        models,
        work_dir: args.work_dir.clone(),
        device,
        precision: args.precision,
        loaded: None,
    };
    tracing::info!(server = args.server, "Waiting for work from {}", args.server);
    let mut pause = Duration::from_millis(250);
    while !wishes.quit.load(Ordering::SeqCst) {
        match worker.client.lease(&request) {
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
    bail!("end of this process: start it anew ({command:?})");
}

impl Worker {
    /// Runs one job to its end and reports the end.
    fn work(&mut self, job: &LeasedJob, quit: &std::sync::Arc<std::sync::atomic::AtomicBool>) -> Result<()> {
        let client = self.client.with_lease(job);
        let wishes = Wishes {
            quit: quit.clone(),
            ..Wishes::default()
        };
        let folder = self.work_dir.join(folder_name(job));
        tracing::info!(job.id = %job.job_id, attempt = job.attempt, "Took job {}", job.job_id);
        let heart = Heart::start(client.clone(), job.lease_seconds, wishes.clone());
        let end = self.run(job, &client, &folder, &wishes);
        drop(heart);
        let end = match end {
            Ok(end) => end,
            Err(error) if error.is::<LeaseLost>() => None,
            Err(error) if quit.load(Ordering::SeqCst) => {
                tracing::warn!(job.id = %job.job_id, "Job {} is left as it is: {error:#}", job.job_id);
                None
            }
            Err(error) => {
                tracing::error!(job.id = %job.job_id, "Job {} failed: {error:#}", job.job_id);
                Some(Outcome::Failed {
                    error: for_an_admin(&error),
                })
            }
        };
        let Some(end) = end else {
            tracing::info!(job.id = %job.job_id, "Left job {} to whoever takes it next", job.job_id);
            return Ok(());
        };
        match client.post_raw("finish", &end) {
            Ok(_) => tracing::info!(job.id = %job.job_id, "Job {} has ended", job.job_id),
            // Whoever has the job now may be working in this very folder.
            Err(error) if error.is::<LeaseLost>() => return Ok(()),
            Err(error) => {
                // The checkpoints stay: whoever leases the job next on this machine goes on from them.
                tracing::error!("The end of job {} was not taken: {error:#}", job.job_id);
                return Ok(());
            }
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {folder:?}"))?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        job: &LeasedJob,
        client: &JobClient,
        folder: &Path,
        wishes: &Wishes,
    ) -> Result<Option<Outcome>> {
        let path = self
            .models
            .get(&job.base_model)
            .with_context(|| format!("this trainer has no model named {}", job.base_model))?;
        let precision = match &job.work {
            Work::Completions { .. } => self.precision,
            Work::Round { spec, .. } => spec.hyper.precision,
        };
        if self
            .loaded
            .as_ref()
            .is_none_or(|loaded| loaded.name != job.base_model || loaded.precision != precision)
        {
            self.loaded = None; // one base model in memory at a time
            self.loaded = Some(Loaded {
                name: job.base_model.clone(),
                precision,
                model: Model::load_in(path, &self.device, precision)?,
                facts: Facts::read(path)?,
                tokenizer: Tokenizer::read(path)?,
            });
        }
        let Some(loaded) = &self.loaded else {
            bail!("no model is loaded")
        };
        // A template's own complaint has no secrets of this machine: an admin sees it whole.
        let tokenizer = loaded
            .tokenizer
            .with_template(&job.template)
            .map_err(|error| anyhow!("{error:#}"))?;
        let adapter = match &job.adapter {
            Some(reference) => Some(fetch(&self.work_dir, client, reference, &loaded.model)?),
            None => None,
        };
        match &job.work {
            Work::Completions { sampling, .. } => completions::run(
                client,
                &loaded.model,
                &tokenizer,
                adapter.as_ref(),
                sampling,
                wishes,
            ),
            Work::Round {
                spec,
                snapshot_hash,
                sample_prompts,
                ..
            } => round::run(&round::Task {
                client,
                model: &loaded.model,
                facts: &loaded.facts,
                tokenizer: &tokenizer,
                base_model: &job.base_model,
                adapter: adapter.as_ref(),
                spec,
                snapshot_hash,
                sample_prompts,
                folder,
                wishes,
            }),
        }
    }
}

/// Job numbers begin anew with another database: the data's hash keeps two servers' rounds apart.
fn folder_name(job: &LeasedJob) -> String {
    let data = match &job.work {
        Work::Round { snapshot_hash, .. } => snapshot_hash
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(12)
            .collect(),
        Work::Completions { .. } => "completions".to_owned(),
    };
    format!("job-{}-{data}", job.job_id)
}

/// The adapter from the work folder, or from the server into it.
fn fetch(work_dir: &Path, client: &JobClient, reference: &AdapterRef, model: &Model) -> Result<Adapter> {
    ensure!(
        reference.hash.len() == 64 && reference.hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "the server named an adapter without a proper hash"
    );
    let folder = work_dir.join("adapters").join(&reference.hash);
    let file = folder.join(WEIGHTS_FILE);
    let is_whole = fs::read(&file).is_ok_and(|bytes| hex(&Sha256::digest(bytes)) == reference.hash);
    if !is_whole {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {folder:?}"))?;
        }
        let part = work_dir.join("adapters").join(format!("{}.part", reference.hash));
        fs::create_dir_all(&part).with_context(|| format!("make {part:?}"))?;
        let heads = [Head::Score, Head::Value].map(Head::file);
        let has = |name: &str| reference.files.iter().any(|file| file == name);
        let heads = heads.into_iter().filter(|name| has(name));
        for name in [CONFIG_FILE, WEIGHTS_FILE].into_iter().chain(heads) {
            let bytes = client.adapter_file(reference.id, name)?;
            if name == WEIGHTS_FILE {
                let hash = hex(&Sha256::digest(&bytes));
                ensure!(
                    hash == reference.hash,
                    "the adapter that arrived has another hash: {hash}"
                );
            }
            fs::write(part.join(name), bytes).with_context(|| format!("write {name}"))?;
        }
        fs::rename(&part, &folder).with_context(|| format!("put the adapter into {folder:?}"))?;
    }
    Adapter::load_peft(&folder, model)
}
