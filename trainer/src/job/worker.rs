//! One worker: takes a leased job to its end, with one base model in memory at a time, and answers turns of chats between
//! two steps of other work.

use super::{
    chat,
    client::{Client, JobClient, LeaseLost},
    completions,
    ends::settled,
    heart::{Heart, Wishes},
    merge, round, scoring,
};
use crate::{
    adapters::{Adapter, CONFIG_FILE, Head, WEIGHTS_FILE},
    data::{Tokenizer, template::hex},
    model::{Facts, Model},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use laurel_protocol::{AdapterRef, ChatWork, LeaseRequest, LeasedJob, Outcome, Precision, Sampling, Work};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// The base model in memory, kept for the next job. The tokenizer gets each job's own template.
pub struct Loaded {
    name: String,
    precision: Precision,
    model: Model,
    facts: Facts,
    tokenizer: Tokenizer,
}

pub struct Worker {
    pub client: Client,
    pub models: BTreeMap<String, PathBuf>,
    pub work_dir: PathBuf,
    pub device: Device,
    /// Of completion jobs.
    pub precision: Precision,
    pub loaded: Option<Loaded>,
    /// How it asks for work.
    pub request: LeaseRequest,
}

impl Worker {
    /// Runs one job to its end and reports the end.
    pub fn work(&mut self, job: &LeasedJob, quit: &Arc<AtomicBool>) -> Result<()> {
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
        let Some(end) = settled(job, end, quit) else {
            tracing::info!(job.id = %job.job_id, "Left job {} to whoever takes it next", job.job_id);
            return Ok(());
        };
        match client.post_raw("finish", &end) {
            Ok(_) if end == Outcome::Paused => {
                // The checkpoints stay for whenever it is resumed.
                tracing::info!(job.id = %job.job_id, "Job {} is paused", job.job_id);
                return Ok(());
            }
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
        if let (
            Work::Merge {
                merge_id: _,
                format,
                name,
            },
            Some(reference),
        ) = (&job.work, &job.adapter)
        {
            // A merge reads the base by itself, in f32: one base model in memory at a time.
            self.loaded = None;
            return merge::run(&merge::Task {
                client,
                model: path,
                adapter: &fetch_files(&self.work_dir, client, reference)?,
                name,
                format: *format,
                device: &self.device,
                folder,
                wishes,
            });
        }
        let precision = match &job.work {
            Work::Merge { .. } => bail!("the server named no adapter to merge"),
            Work::Completions { .. } | Work::Scoring { .. } => self.precision,
            Work::Round { spec, .. } => spec.hyper.precision,
            // What lies in memory answers.
            Work::Chat { .. } => match &self.loaded {
                Some(loaded) if loaded.name == job.base_model => loaded.precision,
                _ => self.precision,
            },
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
        let worker: &Self = self;
        let Some(loaded) = &worker.loaded else {
            bail!("no model is loaded")
        };
        if let Work::Chat { sides, sampling } = &job.work {
            return worker.chat(job, client, loaded, sides, sampling, wishes);
        }
        let talk = || worker.answer_waiting(loaded, wishes);
        // A template's own complaint has no secrets of this machine: an admin sees it whole.
        let tokenizer = loaded
            .tokenizer
            .with_template(&job.template)
            .map_err(|error| anyhow!("{error:#}"))?;
        let adapter = match &job.adapter {
            Some(reference) => Some(fetch(&self.work_dir, client, reference, &loaded.model)?),
            None => None,
        };
        let reward_adapter = match &job.reward_adapter {
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
                &talk,
            ),
            Work::Chat { .. } | Work::Merge { .. } => bail!("this work was done before"),
            Work::Scoring { .. } => scoring::run(&scoring::Task {
                client,
                model: &loaded.model,
                precision: loaded.precision,
                tokenizer: &tokenizer,
                adapter: job.adapter.as_ref().zip(adapter.as_ref()),
                folder: &worker.work_dir.join("features"),
                wishes,
                talk: &talk,
            }),
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
                reward_adapter: reward_adapter.as_ref(),
                spec,
                snapshot_hash,
                sample_prompts,
                folder,
                references: &self.work_dir.join("references"),
                attempt: job.attempt,
                wishes,
                talk: &talk,
            }),
        }
    }

    /// Answers turns of chats that wait for the base model in memory, between two steps of other work. That work goes on
    /// whatever comes of them.
    fn answer_waiting(&self, loaded: &Loaded, during: &Wishes) {
        let request = LeaseRequest {
            models: vec![loaded.name.clone()],
            wait_seconds: 0,
            chat_only: true,
            ..self.request.clone()
        };
        while !during.stop() {
            match self.client.lease(&request) {
                Ok(Some(job)) => self.answer(&job, loaded, &during.quit),
                Ok(None) => return,
                Err(error) => return tracing::warn!("No turn of a chat: {error:#}"),
            }
        }
    }

    fn answer(&self, job: &LeasedJob, loaded: &Loaded, quit: &Arc<AtomicBool>) {
        let client = self.client.with_lease(job);
        let wishes = Wishes {
            quit: quit.clone(),
            ..Wishes::default()
        };
        let heart = Heart::start(client.clone(), job.lease_seconds, wishes.clone());
        let end = match &job.work {
            Work::Chat { sides, sampling } => self.chat(job, &client, loaded, sides, sampling, &wishes),
            Work::Completions { .. } | Work::Round { .. } | Work::Scoring { .. } | Work::Merge { .. } => {
                Err(anyhow!("only a turn of a chat was asked for"))
            }
        };
        drop(heart);
        if let Some(end) = settled(job, end, quit)
            && let Err(error) = client.post_raw("finish", &end)
        {
            tracing::warn!(job.id = %job.job_id, "The end of job {} was not taken: {error:#}", job.job_id);
        }
    }

    fn chat(
        &self,
        job: &LeasedJob,
        client: &JobClient,
        loaded: &Loaded,
        sides: &[ChatWork],
        sampling: &Sampling,
        wishes: &Wishes,
    ) -> Result<Option<Outcome>> {
        let tokenizer = loaded
            .tokenizer
            .with_template(&job.template)
            .map_err(|error| anyhow!("{error:#}"))?;
        let mut known: Vec<&str> = Vec::new();
        let mut adapters = Vec::new();
        let mut chosen = Vec::new();
        for side in sides {
            let Some(reference) = &side.adapter else {
                chosen.push(None);
                continue;
            };
            let at = known.iter().position(|hash| *hash == reference.hash);
            if at.is_none() {
                known.push(&reference.hash);
                adapters.push(fetch(&self.work_dir, client, reference, &loaded.model)?);
            }
            chosen.push(Some(at.unwrap_or(adapters.len() - 1)));
        }
        chat::run(&chat::Task {
            client,
            model: &loaded.model,
            tokenizer: &tokenizer,
            sides,
            adapters: &adapters,
            chosen: &chosen,
            sampling,
            wishes,
        })
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
        Work::Chat { .. } => "chat".to_owned(),
        Work::Scoring { .. } => "scoring".to_owned(),
        Work::Merge { .. } => "merge".to_owned(),
    };
    format!("job-{}-{data}", job.job_id)
}

/// The adapter from the work folder, or from the server into it.
fn fetch(work_dir: &Path, client: &JobClient, reference: &AdapterRef, model: &Model) -> Result<Adapter> {
    Adapter::load_peft(&fetch_files(work_dir, client, reference)?, model)
}

/// The folder of the adapter's files in the work folder, fetched from the server where they are not there.
fn fetch_files(work_dir: &Path, client: &JobClient, reference: &AdapterRef) -> Result<PathBuf> {
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
    Ok(folder)
}
