//! Chats, and what battles of the arena share with them: a turn is queued, its answers are streamed while a trainer writes them, and it is given up when asked to or
//! when nobody watches any more.

use crate::{
    chats::{Told, Watching},
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::{Admin, Leased, Watcher},
    routes::events::{Events, event},
    state::AppState,
    store::{self, chat_jobs, leases, projects},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::sse::{KeepAlive, Sse},
};
use futures_util::{StreamExt, stream};
use laurel_protocol::{
    ApiError, ChatEvent, ChatReport, ChatTurn, Directive, ErrorCode, JobId, JobStatus, NewChatTurn, ProjectId,
};
use std::time::{Duration, Instant};

/// A turn that waits is told anew so often: what is before it changes without a notice.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Queues a turn of a chat before all other work. Nothing of it is stored: follow its events to see the answers.
#[utoipa::path(post, path = "/projects/{id}/chat", tag = "chat", params(("id" = i64, Path)),
    request_body = NewChatTurn, responses((status = 200, body = ChatTurn), (status = 422, body = ApiError),
    (status = 429, body = ApiError)))]
pub async fn start(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(project): Path<ProjectId>,
    Body(turn): Body<NewChatTurn>,
) -> Result<Json<ChatTurn>, Failure> {
    turn.validate()?;
    if !app.chats.has_room() {
        let detail = "Too many turns wait for a trainer: try again when some have been answered.";
        return Err(Failure::new(ErrorCode::RateLimited, detail));
    }
    let job = chat_jobs::create(&app.db, &app.chats, project, &turn, admin.user.id, clock::now()).await?;
    app.events.work_arrived();
    let watching = app
        .chats
        .watch(job, admin.user.id)
        .ok_or_else(Failure::not_found)?;
    let told = watching.told.borrow().clone();
    Ok(Json(standing(&app, project, job, told).await?))
}

/// A turn as it stands, again and again until it has ended. A turn that nobody watches for ten seconds is given up.
#[utoipa::path(get, path = "/projects/{id}/chat/{turn}/events", tag = "chat",
    params(("id" = i64, Path), ("turn" = i64, Path)),
    responses((status = 200, body = ChatEvent, content_type = "text/event-stream")))]
pub async fn events(
    State(app): State<AppState>,
    Admin(admin): Admin,
    watcher: Watcher,
    Path((project, job)): Path<(ProjectId, JobId)>,
) -> Result<Events, Failure> {
    projects::require(&app.db, project).await?;
    let watching = app
        .chats
        .watch(job, admin.user.id)
        .ok_or_else(Failure::not_found)?;
    let follower = Follower {
        app,
        project,
        job,
        watching,
        watcher,
        has_told: false,
        is_over: false,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let turn = follower.next().await?;
        Some((Ok(event(&ChatEvent { turn })), follower))
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

/// Stops a turn: the answers stay as far as they are.
#[utoipa::path(delete, path = "/projects/{id}/chat/{turn}", tag = "chat",
    params(("id" = i64, Path), ("turn" = i64, Path)), responses((status = 204)))]
pub async fn stop(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path((project, job)): Path<(ProjectId, JobId)>,
) -> Result<StatusCode, Failure> {
    projects::require(&app.db, project).await?;
    if !app.chats.is_by(job, admin.user.id) {
        return Err(Failure::not_found());
    }
    give_up(&app, job).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answers so far; renews the lease.
#[utoipa::path(post, path = "/worker/jobs/{job}/chat", tag = "worker", params(("job" = i64, Path)),
    request_body = ChatReport, responses((status = 200, body = Directive), (status = 409, body = ApiError)))]
pub async fn report(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Body(report): Body<ChatReport>,
) -> Result<Json<Directive>, Failure> {
    let job = leases::renew(&app.db, &lease, clock::now()).await?;
    let asked = app.chats.asked(job.id).ok_or_else(Failure::not_found)?;
    report.validate(asked.sides.len())?;
    app.chats.heard_of_trainer(&job.base_model, Instant::now());
    app.chats.write(job.id, report.answers, report.template_hash);
    Ok(Json(job.directive()))
}

/// Gives up turns that nobody watches.
pub async fn tidy(app: &AppState) {
    for job in app.chats.tidy(Instant::now()) {
        if let Err(error) = give_up(app, job).await {
            tracing::warn!(%error, job.id = %job, "The turn {job} of a chat was not given up");
        }
    }
}

/// At once while it waits, else by its trainer.
pub(super) async fn give_up(app: &AppState, job: JobId) -> store::Result<()> {
    match chat_jobs::abort(&app.db, job, clock::now()).await {
        Ok(status) if status.is_over() => end(app, job, status, None).await,
        // Its trainer is told.
        Ok(_) => Ok(()),
        // It has ended in between, and its row has gone.
        Err(store::Error::NotFound) => {
            app.chats.set(job, JobStatus::Aborted, None);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Tells the end of a turn and takes it out of the queue.
pub async fn end(app: &AppState, job: JobId, status: JobStatus, error: Option<String>) -> store::Result<()> {
    app.chats.set(job, status, error);
    chat_jobs::remove(&app.db, job).await
}

async fn standing(app: &AppState, project: ProjectId, job: JobId, told: Told) -> store::Result<ChatTurn> {
    let waits = told.status == JobStatus::Queued;
    Ok(ChatTurn {
        id: job,
        status: told.status,
        n_ahead: if waits { app.chats.n_ahead(job) } else { 0 },
        busy_with: match waits {
            true => chat_jobs::busy_with(&app.db, project).await?,
            false => Vec::new(),
        },
        answers: told.answers,
        error: told.error,
    })
}

struct Follower {
    app: AppState,
    project: ProjectId,
    job: JobId,
    watching: Watching,
    watcher: Watcher,
    has_told: bool,
    is_over: bool,
}

impl Follower {
    /// The turn once something has changed; none after its end, or when the watcher may not watch any more.
    async fn next(&mut self) -> Option<ChatTurn> {
        if self.is_over || *self.app.stopping.borrow() {
            return None;
        }
        if std::mem::replace(&mut self.has_told, true) {
            tokio::select! {
                changed = self.watching.told.changed() => changed.ok()?,
                _ = self.app.stopping.changed() => return None,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        if !self.watcher.may_still_watch().await {
            return None;
        }
        let told = self.watching.told.borrow_and_update().clone();
        self.is_over = told.status.is_over();
        let turn = standing(&self.app, self.project, self.job, told).await;
        turn.inspect_err(|error| tracing::warn!(%error, "A turn of a chat could not be told"))
            .ok()
    }
}
