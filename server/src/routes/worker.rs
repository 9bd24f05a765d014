//! The worker part: lease a job, report on it, hand in completions and adapter files, finish.

use crate::{
    adapter_files, clock,
    error::Failure,
    extract::{Body, Path},
    guards::{Leased, Worker},
    routes::{arena, chat},
    state::AppState,
    store::{self, completion_jobs, completions, jobs, leases, merges, metrics, rounds},
};
use axum::{
    Json,
    body::Body as Upload,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use laurel_protocol::*;
use std::time::Duration;
use tokio::{io::AsyncWriteExt, time::Instant};

/// Tells the watchers of a job that it has news.
pub async fn notify(app: &AppState, job: &jobs::Job) -> store::Result<()> {
    match job.kind {
        jobs::JobKind::Completions => {
            let id = completion_jobs::id_of(&app.db, job.id).await?;
            app.events.completion_job(job.project_id, id);
        }
        jobs::JobKind::Round => app
            .events
            .round(job.project_id, rounds::id_of(&app.db, job.id).await?),
        // The state of a scoring goes with the counts; whoever watches merges asks anew then.
        jobs::JobKind::Scoring | jobs::JobKind::Merge => app.events.counts(job.project_id),
        // Its end is told by whoever ends it.
        jobs::JobKind::Chat if !job.status.is_over() => app.chats.set(job.id, job.status, None),
        jobs::JobKind::Chat => {}
    }
    Ok(())
}

/// Tells of jobs whose trainers fell silent, and clears away what no job wants any more.
pub async fn took_back(app: &AppState, released: &[jobs::Job]) {
    for job in released {
        tracing::warn!(job.id = %job.id, "The trainer of job {} fell silent", job.id);
        if let Err(error) = notify(app, job).await {
            tracing::warn!(%error, job.id = %job.id, "The watchers of job {} were not told", job.id);
        }
        if job.status.is_over() {
            discard_uploads(app, job.id).await;
            if job.kind == jobs::JobKind::Chat {
                let why = (job.status == JobStatus::Failed)
                    .then(|| "No trainer could answer: see the trainer's log.".to_owned());
                if let Err(error) = chat::end(app, job.id, job.status, why).await {
                    tracing::warn!(%error, job.id = %job.id, "The turn {} was not ended", job.id);
                }
            }
        }
    }
    if released.iter().any(|job| job.status == JobStatus::Queued) {
        app.events.work_arrived();
    }
}

/// Leftovers cost space and nothing else: the next start clears away what stays.
pub async fn discard_uploads(app: &AppState, job: JobId) {
    let data = app.settings.data.clone();
    let gone = tokio::task::spawn_blocking(move || adapter_files::discard_uploads(&data, job)).await;
    if let Ok(Err(error)) = gone {
        tracing::warn!(%error, job.id = %job, "The uploads of job {job} could not be removed");
    }
}

/// Hands out the oldest job that waits, or answers 204 when none came in time.
#[utoipa::path(post, path = "/worker/lease", tag = "worker", request_body = LeaseRequest,
    responses((status = 200, body = LeasedJob), (status = 204)))]
pub async fn lease(
    State(app): State<AppState>,
    Worker(trainer): Worker,
    Body(request): Body<LeaseRequest>,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + Duration::from_secs(request.wait_seconds.min(30).into());
    for model in &request.models {
        app.chats.heard_of_trainer(model, Instant::now().into());
    }
    let mut stopping = app.stopping.clone();
    loop {
        let arrived = app.events.work().notified();
        let leased = leases::lease(
            &app.db,
            &app.chats,
            &trainer,
            &request,
            app.settings.lease_seconds,
            clock::now(),
        )
        .await?;
        took_back(&app, &leased.released).await;
        if let Some((leased, job)) = leased.job {
            notify(&app, &job).await?;
            return Ok(Json(leased).into_response());
        }
        if Instant::now() >= deadline || *stopping.borrow() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        // A lease that runs out elsewhere makes no noise: look again every two seconds.
        let next_look = deadline.min(Instant::now() + Duration::from_secs(2));
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep_until(next_look) => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Progress, figures, log lines, samples; renews the lease.
#[utoipa::path(post, path = "/worker/jobs/{job}/report", tag = "worker", params(("job" = i64, Path)),
    request_body = Report, responses((status = 200, body = Directive), (status = 409, body = ApiError)))]
pub async fn report(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Body(report): Body<Report>,
) -> Result<Json<Directive>, Failure> {
    let (job, mut directive) = metrics::report(&app.db, &lease, &report, clock::now()).await?;
    app.chats.heard_of_trainer(&job.base_model, Instant::now().into());
    directive.chat = job.kind != jobs::JobKind::Chat && app.chats.waits_for(&job.base_model);
    if report != Report::default() {
        notify(&app, &job).await?;
    }
    Ok(Json(directive))
}

/// Finished completions; renews the lease.
#[utoipa::path(post, path = "/worker/jobs/{job}/completions", tag = "worker", params(("job" = i64, Path)),
    request_body = FinishedCompletions, responses((status = 200, body = Directive), (status = 409, body = ApiError)))]
pub async fn completions(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Body(finished): Body<FinishedCompletions>,
) -> Result<Json<Directive>, Failure> {
    let stored = completions::store(&app.db, &lease, &finished, clock::now()).await?;
    app.chats
        .heard_of_trainer(&stored.job.base_model, Instant::now().into());
    notify(&app, &stored.job).await?;
    app.events.counts(stored.job.project_id);
    let chat = app.chats.waits_for(&stored.job.base_model);
    Ok(Json(Directive {
        chat,
        ..stored.directive
    }))
}

/// A file of the adapter that the round made, streamed to disk.
#[utoipa::path(put, path = "/worker/jobs/{job}/adapter/{file}", tag = "worker",
    params(("job" = i64, Path), ("file" = String, Path)), request_body = Vec<u8>,
    responses((status = 204), (status = 413, body = ApiError)))]
pub async fn upload(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Path((job, name)): Path<(JobId, String)>,
    body: Upload,
) -> Result<StatusCode, Failure> {
    leases::renew(&app.db, &lease, clock::now()).await?;
    let name = adapter_files::known_name(&name).ok_or_else(Failure::not_found)?;
    let folder = adapter_files::upload_folder(&app.settings.data, job);
    receive(&folder, name, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn receive(folder: &std::path::Path, name: &str, body: Upload) -> Result<(), Failure> {
    tokio::fs::create_dir_all(folder)
        .await
        .map_err(Failure::internal)?;
    let part = folder.join(format!("{name}.part"));
    let mut file = tokio::fs::File::create(&part).await.map_err(Failure::internal)?;
    let mut size = 0_u64;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Failure::new(ErrorCode::BadRequest, "The upload broke off: send it again."))?;
        size += chunk.len() as u64;
        if size > adapter_files::MAX_BYTES {
            return Err(Failure::new(
                ErrorCode::TooLarge,
                "The file is larger than 2 GiB.",
            ));
        }
        file.write_all(&chunk).await.map_err(Failure::internal)?;
    }
    file.sync_all().await.map_err(Failure::internal)?;
    tokio::fs::rename(&part, folder.join(name))
        .await
        .map_err(Failure::internal)
}

/// Ends the job, or puts it down. A finish that is sent twice is answered alike.
#[utoipa::path(post, path = "/worker/jobs/{job}/finish", tag = "worker", params(("job" = i64, Path)),
    request_body = Outcome, responses((status = 204), (status = 409, body = ApiError)))]
pub async fn finish(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Body(outcome): Body<Outcome>,
) -> Result<StatusCode, Failure> {
    let now = clock::now();
    if leases::is_over(&app.db, &lease).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let job = leases::renew(&app.db, &lease, now).await?;
    if job.kind == jobs::JobKind::Chat {
        return finish_chat(&app, &job, outcome).await;
    }
    match (&outcome, job.kind) {
        (Outcome::Done { made_with }, jobs::JobKind::Round) => {
            let missing = || {
                vec![FieldError::new(
                    "made_with",
                    "must name the template and the base weights",
                )]
            };
            let made_with = made_with.as_ref().ok_or_else(missing)?;
            made_with.validate()?;
            let data = app.settings.data.clone();
            let _files = adapter_files::CHANGE.lock().await;
            let installed = tokio::task::spawn_blocking(move || adapter_files::install(&data, job.id));
            let installed = installed.await.map_err(Failure::internal)??;
            rounds::finish(&app.db, &lease, &installed, made_with, now).await?;
        }
        (Outcome::Done { .. }, jobs::JobKind::Merge) => merges::finish(&app.db, &lease, now).await?,
        (Outcome::Done { .. }, _) => leases::finish(&app.db, &lease, JobStatus::Done, None, now).await?,
        (Outcome::Failed { error }, _) => {
            leases::finish(&app.db, &lease, JobStatus::Failed, Some(error), now).await?
        }
        (Outcome::Aborted, _) => leases::finish(&app.db, &lease, JobStatus::Aborted, None, now).await?,
        (Outcome::Paused, _) => {
            if leases::put_down(&app.db, &lease, now).await? == JobStatus::Queued {
                app.events.work_arrived();
            }
        }
    }
    discard_uploads(&app, job.id).await;
    notify(&app, &job).await?;
    app.events.counts(job.project_id);
    Ok(StatusCode::NO_CONTENT)
}

/// A turn of a chat leaves nothing behind; the answers of a battle are kept before anyone hears of their end.
async fn finish_chat(app: &AppState, job: &jobs::Job, outcome: Outcome) -> Result<StatusCode, Failure> {
    let (status, error) = match outcome {
        Outcome::Done { .. } => match arena::keep_answers(app, job.id).await? {
            true => (JobStatus::Done, None),
            false => (
                JobStatus::Failed,
                Some("The trainer handed in half an answer: see its log.".to_owned()),
            ),
        },
        Outcome::Failed { error } => (JobStatus::Failed, Some(jobs::shortened(&error).into_owned())),
        Outcome::Aborted | Outcome::Paused => (JobStatus::Aborted, None),
    };
    chat::end(app, job.id, status, error).await?;
    Ok(StatusCode::NO_CONTENT)
}
