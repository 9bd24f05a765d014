//! The audit log: pages for people, JSON Lines for programs.

use crate::{
    error::Failure,
    extract::Query,
    guards::Admin,
    routes::lines,
    state::AppState,
    store::{
        self,
        audit::{self, Order},
    },
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use laurel_protocol::{ApiError, AuditFilter, AuditId, AuditPage, FieldError, ProjectId, Timestamp, Verb};
use serde::Deserialize;

/// The query as it comes: what cannot be read is named with its field.
#[derive(Deserialize)]
pub struct Asked {
    project: Option<ProjectId>,
    who: Option<String>,
    verb: Option<String>,
    since: Option<Timestamp>,
    after: Option<AuditId>,
    #[serde(default = "fifty")]
    limit: u32,
    order: Option<String>,
    format: Option<String>,
}

fn fifty() -> u32 {
    50
}

/// Who changed what: a page, oldest first unless `order=newest`; with `format=jsonl` all of it, streamed,
/// one entry a line.
#[utoipa::path(get, path = "/audit", tag = "accounts",
    params(("project" = Option<i64>, Query), ("who" = Option<String>, Query), ("verb" = Option<Verb>, Query),
           ("since" = Option<i64>, Query), ("after" = Option<i64>, Query), ("limit" = Option<u32>, Query),
           ("order" = Option<String>, Query), ("format" = Option<String>, Query)),
    responses((status = 200, body = AuditPage), (status = 422, body = ApiError)))]
pub async fn list(
    State(app): State<AppState>,
    _: Admin,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let filter = asked.filter()?;
    let order = one_of(
        "order",
        asked.order.as_deref(),
        [("oldest", Order::Oldest), ("newest", Order::Newest)],
    )?;
    let as_lines = one_of(
        "format",
        asked.format.as_deref(),
        [("json", false), ("jsonl", true)],
    )?;
    if as_lines {
        return Ok(stream_lines(&app, filter, asked.after));
    }
    let limit = asked.limit.clamp(1, 200);
    let page: AuditPage = audit::page(&app.db, &filter, order, asked.after, limit).await?;
    Ok(Json(page).into_response())
}

impl Asked {
    fn filter(&self) -> Result<AuditFilter, Failure> {
        let known =
            |name: &str| Verb::from_name(name).ok_or_else(|| refused("verb", "is no verb of the log"));
        Ok(AuditFilter {
            project: self.project,
            who: self.who.clone(),
            verb: self.verb.as_deref().map(known).transpose()?,
            since: self.since,
        })
    }
}

/// What the name stands for; the first where there is none.
fn one_of<T: Copy, const N: usize>(
    field: &str,
    name: Option<&str>,
    known: [(&str, T); N],
) -> Result<T, Failure> {
    let name = name.unwrap_or(known[0].0);
    let found = known.iter().find(|(own, _)| *own == name);
    let names = known.map(|(own, _)| own).join(" or ");
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| refused(field, &format!("must be {names}")))
}

fn refused(field: &str, reason: &str) -> Failure {
    Failure::invalid(vec![FieldError::new(field, reason)])
}

fn stream_lines(app: &AppState, filter: AuditFilter, after: Option<AuditId>) -> Response {
    let lines = audit::Lines::begin(&app.db, filter, after);
    let mut response = lines::answer(stream::try_unfold(lines, |mut lines| async move {
        let page = lines.next_page().await?;
        Ok::<_, store::Error>(page.map(|page| (Bytes::from(page), lines)))
    }));
    let name = HeaderValue::from_static("attachment; filename=\"laurel-audit.jsonl\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    response
}
