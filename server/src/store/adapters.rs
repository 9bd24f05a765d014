//! Adapters: the list of what rounds have made, and what a trainer needs to load one. The files themselves lie in
//! the data folder, see [`crate::adapter_files`].

use super::{Db, Error, Result, projects, text};
use crate::{adapter_files::Installed, version};
use laurel_protocol::{Adapter, AdapterId, AdapterRef, MadeWith, ProjectId, RoundId, RoundKind, Timestamp};
use sqlx::SqliteConnection;

/// The project's adapters, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<Adapter>> {
    projects::require(db, project).await?;
    let rows: Vec<AdapterRow> = sqlx::query_as(
        "select id, project_id, name, kind, round_id, parent_id, hash, size_bytes, files,
                template_hash, base_weights_hash, created_at, deleted_at
         from adapter where project_id = ?1 order by id desc",
    )
    .bind(project.0)
    .fetch_all(db.read())
    .await?;
    rows.into_iter().map(Adapter::try_from).collect()
}

/// An adapter by its number, or `NotFound`.
pub async fn get(db: &Db, id: AdapterId) -> Result<Adapter> {
    let row: Option<AdapterRow> = sqlx::query_as(
        "select id, project_id, name, kind, round_id, parent_id, hash, size_bytes, files,
                template_hash, base_weights_hash, created_at, deleted_at
         from adapter where id = ?1",
    )
    .bind(id.0)
    .fetch_optional(db.read())
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

/// Hashes of all adapters of all projects that have their files: the folders that a backup needs.
pub async fn hashes(db: &Db) -> Result<Vec<String>> {
    let hashes = sqlx::query_scalar("select distinct hash from adapter where deleted_at is null")
        .fetch_all(db.read())
        .await?;
    Ok(hashes)
}

/// What a leased job says about an adapter: the one that it starts from or samples with, or its reward model.
pub(super) async fn reference(
    conn: &mut SqliteConnection,
    id: Option<AdapterId>,
) -> Result<Option<AdapterRef>> {
    let Some(id) = id else {
        return Ok(None);
    };
    let (hash, files): (String, String) = sqlx::query_as("select hash, files from adapter where id = ?1")
        .bind(id.0)
        .fetch_one(conn)
        .await?;
    Ok(Some(AdapterRef {
        id,
        hash,
        files: text::from_json(&files)?,
    }))
}

/// What kind the adapter is, `None` when the project has no such adapter, or not its files any more.
pub(super) async fn kind_in_project(
    conn: &mut SqliteConnection,
    id: AdapterId,
    project: ProjectId,
) -> Result<Option<RoundKind>> {
    let kind: Option<String> = sqlx::query_scalar(
        "select kind from adapter where id = ?1 and project_id = ?2 and deleted_at is null",
    )
    .bind(id.0)
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    kind.map(|kind| text::from_name(&kind)).transpose()
}

/// The base model that the adapter was trained on.
pub(super) async fn base_model(conn: &mut SqliteConnection, id: AdapterId) -> Result<String> {
    let name = sqlx::query_scalar(
        "select j.base_model from adapter a join round r on r.id = a.round_id join job j on j.id = r.job_id
         where a.id = ?1",
    )
    .bind(id.0)
    .fetch_one(conn)
    .await?;
    Ok(name)
}

/// Where an adapter comes from.
pub(super) struct Maker<'a> {
    pub project: ProjectId,
    pub round: RoundId,
    pub name: &'a str,
    pub kind: RoundKind,
    pub parent: Option<AdapterId>,
}

/// Enters an adapter whose files are in their place already.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    maker: &Maker<'_>,
    installed: &Installed,
    made_with: &MadeWith,
    now: Timestamp,
) -> Result<AdapterId> {
    let id: i64 = sqlx::query_scalar(
        "insert into adapter (project_id, round_id, name, kind, parent_id, hash, size_bytes, files,
                              template_hash, base_weights_hash, trainer_code, server_code, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) returning id",
    )
    .bind(maker.project.0)
    .bind(maker.round.0)
    .bind(maker.name)
    .bind(maker.kind.as_str())
    .bind(maker.parent.map(|parent| parent.0))
    .bind(&installed.hash)
    .bind(installed.size_bytes.cast_signed())
    .bind(text::to_json(&installed.files)?)
    .bind(&made_with.template_hash)
    .bind(&made_with.base_weights_hash)
    .bind(&made_with.code)
    .bind(version::own())
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(AdapterId(id))
}

#[derive(sqlx::FromRow)]
struct AdapterRow {
    id: i64,
    project_id: i64,
    name: String,
    kind: String,
    round_id: i64,
    parent_id: Option<i64>,
    hash: String,
    size_bytes: i64,
    files: String,
    template_hash: Option<String>,
    base_weights_hash: Option<String>,
    created_at: i64,
    deleted_at: Option<i64>,
}

impl TryFrom<AdapterRow> for Adapter {
    type Error = Error;

    fn try_from(row: AdapterRow) -> Result<Self> {
        Ok(Self {
            id: AdapterId(row.id),
            project_id: ProjectId(row.project_id),
            name: row.name,
            kind: text::from_name(&row.kind)?,
            round_id: RoundId(row.round_id),
            parent: row.parent_id.map(AdapterId),
            hash: row.hash,
            size_bytes: text::count(row.size_bytes),
            files: text::from_json(&row.files)?,
            template_hash: row.template_hash,
            base_weights_hash: row.base_weights_hash,
            created_at: Timestamp(row.created_at),
            deleted_at: text::time(row.deleted_at),
        })
    }
}
