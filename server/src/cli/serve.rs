//! `laurel serve`: opens the data folder, prints the one-time link while there is no admin, and answers until it is
//! told to stop.

use crate::{
    clock,
    events::Events,
    router,
    routes::worker,
    state::{AppState, Settings},
    store::{Db, accounts, jobs},
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use laurel_protocol::Role;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpListener, signal::unix::SignalKind, sync::watch};
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
    /// Form of the log lines.
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
    let state = AppState {
        db: db.clone(),
        settings: Arc::new(Settings {
            data: options.data,
            sample: options.sample,
            dist: options.dist,
            public_url: options.public_url,
            lease_seconds: options.lease_seconds,
            assignment_seconds: options.assignment_seconds,
        }),
        events: Events::default(),
        sign_ins: Arc::default(),
        stopping,
    };
    println!("Laurel listens on {url}");
    if accounts::needs_setup(&db).await? {
        let (_, secret) = accounts::invite(&db, Role::Admin, None, clock::now()).await?;
        println!("Make the admin account (this link works once): {url}/setup/{secret}");
    }
    let sweeper = tokio::spawn(sweep(state.clone()));
    let service = router::router(state).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            wait_for_signal().await;
            tracing::info!("Stopping");
            let _ = stop.send(true);
        })
        .await
        .context("serve")?;
    sweeper.abort();
    db.close().await;
    Ok(())
}

/// Takes jobs back whose trainers fell silent.
async fn sweep(app: AppState) {
    let mut every = tokio::time::interval(Duration::from_secs(2));
    loop {
        every.tick().await;
        match jobs::sweep(&app.db, clock::now()).await {
            Ok(released) => {
                for job in &released {
                    tracing::warn!(job.id = %job.id, "The trainer of job {} fell silent", job.id);
                    let _ = worker::notify(&app, job).await;
                }
                if !released.is_empty() {
                    app.events.work_arrived();
                }
            }
            Err(error) => tracing::warn!(%error, "Jobs could not be looked through"),
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

async fn wait_for_signal() {
    let terminate = async {
        match tokio::signal::unix::signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
