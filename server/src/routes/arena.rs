//! The arena: a battle begins, is watched while both contenders answer, and ends with a vote or without one. A person sees
//! their own battles alone, and no contender's name before the vote.

use crate::{
    chats::{AtWork, Watching},
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::{Admin, CurrentUser, OwnWatcher},
    quality::standings,
    routes::{
        chat,
        events::{Events, event},
    },
    state::AppState,
    store::{self, battles, chat_jobs, members},
};
use axum::{
    Json,
    extract::State,
    response::sse::{KeepAlive, Sse},
};
use futures_util::{StreamExt, stream};
use laurel_protocol::{
    ApiError, ArenaResults, ArenaState, Battle, BattleEvent, BattleId, BattleStatus, BattleVote, CloseBattle,
    ErrorCode, FinishReason, JobId, JobStatus, NewBattle, ProjectId, UserId, Waiting,
};
use std::time::Instant;

/// What a person is told of a trainer's failure: its own words may name a contender.
const FAILED: &str = "The trainer could not answer: ask again, or begin anew with a shorter conversation. \
                      The server's log says why.";

/// Where this person stands: the battle that is open, or the last one.
#[utoipa::path(get, path = "/projects/{id}/arena", tag = "arena", params(("id" = i64, Path)),
    responses((status = 200, body = ArenaState), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub async fn state(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(project): Path<ProjectId>,
) -> Result<Json<ArenaState>, Failure> {
    members::require_visible(&app.db, project, &caller.user).await?;
    let mut state = battles::state(&app.db, project, caller.user.id).await?;
    if let Some(battle) = &mut state.battle {
        enliven(&app, battle).await?;
    }
    Ok(Json(state))
}

/// Begins a battle with a message, or goes on with the conversation of a decided one: two contenders are drawn.
#[utoipa::path(post, path = "/projects/{id}/arena", tag = "arena", params(("id" = i64, Path)),
    request_body = NewBattle, responses((status = 200, body = Battle), (status = 409, body = ApiError),
    (status = 422, body = ApiError), (status = 429, body = ApiError)))]
pub async fn begin(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(project): Path<ProjectId>,
    Body(new): Body<NewBattle>,
) -> Result<Json<Battle>, Failure> {
    new.validate()?;
    require_room(&app)?;
    let now = clock::now();
    let id = battles::begin(&app.db, &app.chats, project, &new, &caller.person(), now).await?;
    app.events.work_arrived();
    Ok(Json(standing(&app, id, caller.user.id).await?))
}

/// Asks a trainer again, where none is asked: after a failure or a restart.
#[utoipa::path(post, path = "/battles/{id}/ask", tag = "arena", params(("id" = i64, Path)),
    responses((status = 200, body = Battle), (status = 409, body = ApiError), (status = 429, body = ApiError)))]
pub async fn ask_again(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<BattleId>,
) -> Result<Json<Battle>, Failure> {
    require_room(&app)?;
    battles::ask_again(&app.db, &app.chats, id, &caller.person(), clock::now()).await?;
    app.events.work_arrived();
    Ok(Json(standing(&app, id, caller.user.id).await?))
}

/// A battle as it stands, again and again until both answers are there or the try has ended. A try that nobody watches for
/// ten seconds is given up; what is complete stays.
#[utoipa::path(get, path = "/battles/{id}/events", tag = "arena", params(("id" = i64, Path)),
    responses((status = 200, body = BattleEvent, content_type = "text/event-stream")))]
pub async fn events(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    watcher: OwnWatcher,
    Path(id): Path<BattleId>,
) -> Result<Events, Failure> {
    let user = caller.user.id;
    battles::get(&app.db, id, user).await?;
    let turn = app.chats.at_work_on(id);
    let follower = Follower {
        watching: turn.and_then(|turn| app.chats.watch(turn.job, user)),
        app,
        id,
        user,
        watcher,
        has_told: false,
        is_over: false,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let battle = follower.next().await?;
        Some((Ok(event(&BattleEvent { battle })), follower))
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

/// Counts the vote, and tells who the contenders were. The same vote sent again, by its key, counts once.
#[utoipa::path(post, path = "/battles/{id}/vote", tag = "arena", params(("id" = i64, Path)),
    request_body = BattleVote, responses((status = 200, body = Battle), (status = 409, body = ApiError),
    (status = 422, body = ApiError)))]
pub async fn vote(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<BattleId>,
    Body(vote): Body<BattleVote>,
) -> Result<Json<Battle>, Failure> {
    let project = battles::vote(&app.db, id, &vote, &caller.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(Json(standing(&app, id, caller.user.id).await?))
}

/// Stops a battle that waits for answers, or skips the vote with a reason. Nothing that was said is kept.
#[utoipa::path(post, path = "/battles/{id}/close", tag = "arena", params(("id" = i64, Path)),
    request_body = CloseBattle, responses((status = 200, body = Battle), (status = 409, body = ApiError),
    (status = 422, body = ApiError)))]
pub async fn close(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<BattleId>,
    Body(close): Body<CloseBattle>,
) -> Result<Json<Battle>, Failure> {
    battles::close(&app.db, id, &close, &caller.person(), clock::now()).await?;
    if let Some(turn) = app
        .chats
        .at_work_on(id)
        .filter(|turn| !turn.told.status.is_over())
    {
        chat::give_up(&app, turn.job).await?;
    }
    Ok(Json(standing(&app, id, caller.user.id).await?))
}

/// Who wins how often: battles, and apart from them the tasks of completion jobs.
#[utoipa::path(get, path = "/projects/{id}/arena/results", tag = "arena", params(("id" = i64, Path)),
    responses((status = 200, body = ArenaResults), (status = 404, body = ApiError)))]
pub async fn results(
    State(app): State<AppState>,
    _: Admin,
    Path(project): Path<ProjectId>,
) -> Result<Json<ArenaResults>, Failure> {
    let [live, offline] = battles::results::read(&app.db, project).await?;
    // Hundreds of fits: not on the threads that answer everybody.
    let fitted = tokio::task::spawn_blocking(move || ArenaResults {
        live: standings::of(&live.met, live.n_both_bad),
        offline: standings::of(&offline.met, offline.n_both_bad),
    });
    Ok(Json(fitted.await.map_err(Failure::internal)?))
}

/// Keeps the answers of the battle that this job wrote; true as well where it wrote none.
pub(super) async fn keep_answers(app: &AppState, job: JobId) -> store::Result<bool> {
    match app.chats.written(job) {
        Some(written) => battles::keep_answers(&app.db, &written, clock::now()).await,
        None => Ok(true),
    }
}

fn require_room(app: &AppState) -> Result<(), Failure> {
    match app.chats.has_room() {
        true => Ok(()),
        false => Err(Failure::new(
            ErrorCode::RateLimited,
            "Too many turns wait for a trainer: try again when some have been answered.",
        )),
    }
}

async fn standing(app: &AppState, id: BattleId, user: UserId) -> store::Result<Battle> {
    let mut battle = battles::get(&app.db, id, user).await?;
    enliven(app, &mut battle).await?;
    Ok(battle)
}

/// Adds what lies in memory alone: the answers while they are written, and what they wait for.
async fn enliven(app: &AppState, battle: &mut Battle) -> store::Result<()> {
    if battle.status != BattleStatus::Asked {
        return Ok(());
    }
    let Some(AtWork {
        job,
        base_model,
        told,
    }) = app.chats.at_work_on(battle.id)
    else {
        return Ok(());
    };
    let shown = told.answers.iter().map(|answer| {
        let truncated = answer.finish_reason == Some(FinishReason::Length);
        battles::shown(&answer.text, truncated)
    });
    battle.answers = shown.collect();
    battle.is_at_work = !told.status.is_over();
    if let Some(error) = &told.error {
        tracing::warn!(battle.id = %battle.id, %error, "Battle {} was not answered", battle.id);
        battle.error = Some(FAILED.to_owned());
    }
    if told.status == JobStatus::Queued {
        battle.waiting = Some(Waiting {
            n_ahead: app.chats.n_ahead(job),
            is_busy: !chat_jobs::busy_with(&app.db, battle.project_id).await?.is_empty(),
            has_trainer: app.chats.has_trainer(&base_model, Instant::now()),
            base_model,
        });
    }
    Ok(())
}

struct Follower {
    app: AppState,
    id: BattleId,
    user: UserId,
    /// None where no trainer is asked: then it is told once as it stands.
    watching: Option<Watching>,
    watcher: OwnWatcher,
    has_told: bool,
    is_over: bool,
}

impl Follower {
    /// The battle once something has changed; none after its end, or when the watcher may not watch any more.
    async fn next(&mut self) -> Option<Battle> {
        if self.is_over || *self.app.stopping.borrow() {
            return None;
        }
        if std::mem::replace(&mut self.has_told, true)
            && let Some(watching) = &mut self.watching
        {
            tokio::select! {
                changed = watching.told.changed() => changed.ok()?,
                _ = self.app.stopping.changed() => return None,
                () = tokio::time::sleep(chat::LOOK) => {}
            }
        }
        if !self.watcher.may_still_watch(self.user).await {
            return None;
        }
        if let Some(watching) = &mut self.watching {
            watching.told.borrow_and_update();
        }
        let battle = standing(&self.app, self.id, self.user).await;
        let battle = battle
            .inspect_err(|error| tracing::warn!(%error, "A battle could not be told"))
            .ok()?;
        self.is_over = !battle.is_at_work;
        Some(battle)
    }
}
