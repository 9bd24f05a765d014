//! `laurel serve`: opens the data folder, prints the one-time link while there is no admin, and answers until it is
//! told to stop.

use crate::{
    adapter_files,
    chats::Chats,
    clock,
    events::Events,
    listen::{self, Patience},
    merged_files,
    reports::{self, Reports},
    router,
    routes::{chat, merges as merges_route, planned, quality, webhooks, worker},
    state::{AppState, Settings},
    store::{
        self, Db, accounts, adapters,
        audit::{Actor, Person},
        chat_jobs, invites, jobs, leases, merges, snapshots,
    },
    webhooks::Reach,
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use laurel_protocol::Role;
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::SignalKind,
    sync::{mpsc, watch},
};
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub struct Options {
    /// Folder of the database and the adapters; made when it is not there.
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "LAUREL_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The built front end (`cargo xtask wasm`).
    #[arg(long, env = "LAUREL_DIST")]
    dist: Option<PathBuf>,
    /// The sample project's folder.
    #[arg(long, env = "LAUREL_SAMPLE")]
    sample: Option<PathBuf>,
    /// The address that browsers use, where it differs (behind a proxy); https makes cookies secure.
    #[arg(long, env = "LAUREL_PUBLIC_URL")]
    public_url: Option<String>,
    /// Seconds without a sign of life after which a trainer's job is given to another.
    #[arg(long, env = "LAUREL_LEASE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    lease_seconds: u32,
    /// Seconds that an annotator may hold a task.
    #[arg(long, env = "LAUREL_ASSIGNMENT_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    assignment_seconds: u32,
    /// Days after which merged files, which can be made again, are deleted; without it they stay until an admin deletes
    /// them.
    #[arg(long, env = "LAUREL_KEEP_MERGED_DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    keep_merged_days: Option<u32>,
    /// A proxy whose X-Forwarded-For names the client, for the limit on sign-ins; may be given several times, or
    /// with commas. Without it the header counts for nothing.
    #[arg(
        long,
        env = "LAUREL_TRUSTED_PROXY",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<IpAddr>,
    /// Lets webhooks lead to this machine and to private networks too, for receivers that are there.
    #[arg(long, env = "LAUREL_WEBHOOK_PRIVATE")]
    webhook_private: bool,
    /// Form of the log lines; what is logged is set by RUST_LOG (info where it is not set).
    #[arg(long, env = "LAUREL_LOG", value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

pub async fn run(options: Options) -> Result<()> {
    start_log(options.log);
    let db = Db::open(&options.data).await?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let url = options
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let (stop, stopping) = watch::channel(false);
    leases::resume(&db, options.lease_seconds, clock::now()).await?;
    snapshots::clear_unfinished(&db).await?;
    chat_jobs::clear(&db).await?;
    clear_uploads(&db, &options.data).await;
    clear_files(&db, &options.data).await;
    let state = AppState {
        db: db.clone(),
        settings: Arc::new(Settings {
            data: options.data,
            sample: options.sample,
            dist: options.dist,
            public_url: options.public_url,
            lease_seconds: options.lease_seconds,
            assignment_seconds: options.assignment_seconds,
            keep_merged_days: options.keep_merged_days,
            trusted_proxies: options.trusted_proxy,
            reach: match options.webhook_private {
                true => Reach::Private,
                false => Reach::Public,
            },
        }),
        events: Events::default(),
        chats: Chats::default(),
        sign_ins: Arc::default(),
        reports: Reports::default(),
        plans: Default::default(),
        stopping,
    };
    println!("Laurel listens on {url}");
    if accounts::needs_setup(&db).await? {
        let (_, secret) = invites::invite(&db, Role::Admin, None::<Person>, clock::now()).await?;
        println!("Make the admin account (this link works once): {url}/setup/{secret}");
    }
    let signals = signals()?;
    let sweeper = tokio::spawn(sweep(state.clone()));
    let looker = tokio::spawn(look_ahead(state.clone()));
    let sender = tokio::spawn(webhooks::keep_sending(state.clone()));
    let expiry = tokio::spawn(expire(state.clone()));
    let begin_to_stop = || {
        // Nobody listens to it once every stream has ended.
        let _ = stop.send(true);
    };
    listen::serve(
        listener,
        router::router(state),
        Patience::default(),
        signals,
        begin_to_stop,
    )
    .await;
    sweeper.abort();
    looker.abort();
    sender.abort();
    expiry.abort();
    // A request that was cut off may hold a connection; what was committed is on disk either way.
    if tokio::time::timeout(Duration::from_secs(2), db.close())
        .await
        .is_err()
    {
        tracing::warn!("The database was left without closing it");
    }
    Ok(())
}

/// Throws away what trainers had uploaded for rounds that ended while nobody could clear up.
async fn clear_uploads(db: &Db, data: &Path) {
    let cleared = match jobs::open(db).await {
        Ok(open) => adapter_files::sweep_uploads(data, &open).map_err(store::Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = cleared {
        tracing::warn!(%error, "Old uploads could not be removed");
    }
}

/// Takes away files that nothing names any more, and notes merges that lost theirs: a backup is without them.
async fn clear_files(db: &Db, data: &Path) {
    let cleared = async {
        let known = adapters::hashes(db).await?.into_iter().collect();
        adapter_files::sweep(data, &known)?;
        let mut there = HashSet::new();
        for merge in merges::there(db).await? {
            if merged_files::folder(data, merge.id).is_dir() {
                there.insert(merge.id);
            } else {
                merges::delete(
                    db,
                    merge.id,
                    "the files were not there",
                    Actor::Server,
                    clock::now(),
                )
                .await?;
            }
        }
        merged_files::sweep(data, &there)?;
        Ok::<_, store::Error>(())
    };
    if let Err(error) = cleared.await {
        tracing::warn!(%error, "Old files could not be removed");
    }
}

/// Looks every hour for merged files whose time is up.
async fn expire(app: AppState) {
    let mut every = tokio::time::interval(Duration::from_secs(3600));
    loop {
        every.tick().await;
        if let Err(error) = merges_route::expire(&app).await {
            tracing::warn!(%error, "Merged files could not be looked through");
        }
    }
}

/// Takes jobs back whose trainers fell silent, gives up turns of chats that nobody watches, and starts planned
/// rounds whose time has come.
async fn sweep(app: AppState) {
    let mut every = tokio::time::interval(Duration::from_secs(2));
    loop {
        every.tick().await;
        match leases::sweep(&app.db, clock::now()).await {
            Ok(released) => worker::took_back(&app, &released).await,
            Err(error) => tracing::warn!(%error, "Jobs could not be looked through"),
        }
        chat::tidy(&app).await;
        planned::start_due(&app).await;
    }
}

/// Figures of large projects that take long, before anybody asks for them.
async fn look_ahead(app: AppState) {
    let mut every = tokio::time::interval(reports::AGREEMENT_EVERY);
    loop {
        every.tick().await;
        if quality::look_ahead(&app).await.is_err() {
            tracing::warn!("Agreement over time could not be looked at");
        }
    }
}

fn start_log(form: LogForm) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
}

/// Ctrl-C and SIGTERM as they come.
fn signals() -> Result<mpsc::Receiver<()>> {
    let (send, signals) = mpsc::channel(2);
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal = tokio::signal::unix::signal(kind).context("listen for signals")?;
        let send = send.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if send.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(signals)
}
