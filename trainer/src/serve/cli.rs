//! The subcommand `serve`: loads the model and its adapters, listens, and ends on Ctrl-C or SIGTERM.

use super::{Named, Served, routes};
use crate::{
    adapters::Adapter,
    data::{TokenTexts, Tokenizer, template},
    device,
    generate::{Bounds, Live, MOST_SLOTS, SLOTS},
    hub, memory,
    model::Model,
};
use anyhow::{Context, Result, bail, ensure};
use laurel_protocol::Precision;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, sync::watch};

/// What is under way may take so long after the first signal.
const GRACE: Duration = Duration::from_secs(10);

/// Serve a model and adapters of it behind OpenAI's API.
#[derive(clap::Args)]
pub struct ServeArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// What requests call the model; its file's, folder's or hub name by default
    #[arg(long)]
    name: Option<String>,
    /// A PEFT folder, and what requests call it; may be repeated
    #[arg(long = "adapter", value_name = "NAME=A", value_parser = crate::job::cli::named_path)]
    adapters: Vec<(String, PathBuf)>,
    /// model, alpaca, alpaca_lf, chatml, plain, or a file with a Jinja template
    #[arg(long, default_value = "model")]
    template: String,
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// A file with the keys that are let in, one a line; without it everybody is
    #[arg(long)]
    api_key_file: Option<PathBuf>,
    /// Sequences that are computed at once
    #[arg(long, default_value_t = SLOTS)]
    slots: usize,
    /// Completions that may wait for a slot; more are refused with 429
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// Tokens of a prompt and its completion together at most; the model's context by default
    #[arg(long)]
    context: Option<usize>,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
    /// What the base model is held in: f32, bf16 or quantized
    #[arg(long, default_value = "f32", value_parser = crate::job::cli::precision)]
    precision: Precision,
}

pub fn run(args: &ServeArgs) -> Result<()> {
    let keys = match &args.api_key_file {
        Some(path) => read_keys(path)?,
        None => Vec::new(),
    };
    let served = Arc::new(load(args, keys)?);
    let runtime = tokio::runtime::Runtime::new().context("start the threads that answer")?;
    let end = runtime.block_on(listen(served.clone(), args.listen));
    // The channels of what was not done close, and the threads that answer say so.
    served.live.end();
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

fn load(args: &ServeArgs, keys: Vec<[u8; 32]>) -> Result<Served> {
    ensure!(
        (1..=MOST_SLOTS).contains(&args.slots),
        "--slots must be 1 to {MOST_SLOTS}"
    );
    let located = hub::locate(&args.model)?;
    let base = args.name.clone().unwrap_or_else(|| {
        let name = located.name.strip_suffix(".gguf");
        name.unwrap_or(&located.name).to_owned()
    });
    let mut models = vec![Named {
        name: base,
        adapter: None,
    }];
    for (at, (name, _)) in args.adapters.iter().enumerate() {
        let is_new = models.iter().all(|model| model.name != *name);
        ensure!(is_new, "two models are called {name:?}");
        models.push(Named {
            name: name.clone(),
            adapter: Some(at),
        });
    }
    let tokenizer = Tokenizer::read(&located.path)?.with_template(&template::named(&args.template)?)?;
    let model = Model::load_in(&located.path, &device::open(&args.device)?, args.precision)?;
    let longest = model.config.max_positions;
    let context = args.context.unwrap_or(longest);
    ensure!(
        (2..=longest).contains(&context),
        "--context must be 2 to {longest}, what the model reads"
    );
    let mut adapters = Vec::new();
    for (name, path) in &args.adapters {
        adapters.push(Adapter::load_peft(path, &model).with_context(|| format!("load the adapter {name}"))?);
    }
    let bounds = Bounds {
        slots: args.slots,
        queue: args.queue,
        context,
    };
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    let live = Live::start(&model, &adapters, &tokenizer, bounds)?;
    let config = &model.config;
    let of_token = 2 * size_of::<f32>() * config.n_layers * config.n_kv_heads * config.head_dim;
    tracing::info!(
        "{} sequences of {context} tokens at once: their cache takes up to {}",
        args.slots,
        memory::bytes(args.slots * context * of_token),
    );
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(Served {
        texts: Arc::new(TokenTexts::owning(&tokenizer)),
        vocab: model.config.vocab,
        started: started.map_or(0, |time| time.as_secs()),
        live,
        tokenizer,
        models,
        keys,
    })
}

/// A key a line.
fn read_keys(path: &Path) -> Result<Vec<[u8; 32]>> {
    let text = fs::read_to_string(path).with_context(|| format!("read the keys in {path:?}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<[u8; 32]> = lines.map(|key| Sha256::digest(key.as_bytes()).into()).collect();
    ensure!(!keys.is_empty(), "{path:?} has no key in it");
    Ok(keys)
}

async fn listen(served: Arc<Served>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen at {address}"))?;
    let address = listener.local_addr()?;
    if served.keys.is_empty() && !address.ip().is_loopback() {
        tracing::warn!(
            "Everybody who reaches {address} may use this server: --api-key-file lets in whoever has a key"
        );
    }
    let (signals, heard) = watch::channel(0);
    tokio::spawn(count_signals(signals));
    let (mut first, mut second, third) = (heard.clone(), heard.clone(), heard);
    let draining = served.clone();
    let server = axum::serve(listener, routes::router(served.clone())).with_graceful_shutdown(async move {
        let _ = first.wait_for(|n| *n > 0).await;
        tracing::info!("Ending: what is under way has {} seconds", GRACE.as_secs());
        draining.live.drain();
    });
    println!("Listening on http://{address}/v1");
    std::io::stdout().flush()?;
    let give_up = async {
        let _ = second.wait_for(|n| *n > 0).await;
        let _ = tokio::time::timeout(GRACE, second.wait_for(|n| *n > 1)).await;
    };
    let broken = async {
        while !served.live.has_ended() || *third.borrow() > 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        ended = server => Ok(ended?),
        () = give_up => Ok(()),
        () = broken => bail!("the engine has ended"),
    }
}

/// Ctrl-C and, where there is such a thing, SIGTERM.
async fn count_signals(heard: watch::Sender<u32>) {
    #[cfg(unix)]
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("SIGTERM cannot be heard: {error}");
            return std::future::pending().await;
        }
    };
    loop {
        #[cfg(unix)]
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { std::future::pending().await },
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        heard.send_modify(|n| *n += 1);
    }
}
