//! What of the disk belongs to what: the database by project as far as it can be told, adapters, merged files.

use super::{Db, Result, adapters, lineage, merges, text};
use crate::disk::Sizes;
use laurel_protocol::{
    Adapter, AdapterId, Merge, ProjectId, Storage, StoredAdapter, StoredMerge, StoredProject,
};
use std::collections::HashMap;

/// All of it, with what was found on the disk and what [`projects`] told.
pub async fn read(
    db: &Db,
    disk: &Sizes,
    projects: Vec<StoredProject>,
    keep_merged_days: Option<u32>,
) -> Result<Storage> {
    let (page_size, n_free): (i64, i64) = sqlx::query_as(
        "select (select page_size from pragma_page_size), (select freelist_count from pragma_freelist_count)",
    )
    .fetch_one(db.read())
    .await?;
    let names: HashMap<ProjectId, String> = projects
        .iter()
        .map(|project| (project.id, project.name.clone()))
        .collect();
    let mut all = Vec::new();
    for project in &projects {
        all.extend(adapters::list(db, project.id).await?);
    }
    let merges = merges::there(db).await?;
    Ok(Storage {
        database_bytes: disk.database,
        database_free_bytes: text::count(page_size * n_free),
        merges: stored_merges(merges, &all, &names, keep_merged_days),
        adapters: stored_adapters(db, all, &names, disk).await?,
        projects,
        upload_bytes: disk.uploads,
        keep_merged_days,
    })
}

#[derive(sqlx::FromRow)]
struct ProjectRow {
    id: i64,
    name: String,
    prompts: i64,
    completions: i64,
    annotations: i64,
    snapshots: i64,
    rounds: i64,
}

/// Bytes of text by project, which reads all of it. Indexes, numbers and what belongs to no project make up the rest of the file.
pub async fn projects(db: &Db) -> Result<Vec<StoredProject>> {
    let rows: Vec<ProjectRow> = sqlx::query_as(
        r#"with prompts (id, n) as (select project_id, sum(octet_length(messages)) from prompt group by 1),
         completions (id, n) as (
             select p.project_id, sum(octet_length(c.text)) from completion c join prompt p on p.id = c.prompt_id group by 1),
         annotations (id, n) as (
             select s.project_id, sum(octet_length(a.judgement) + octet_length(a.comment) + octet_length(a.extras))
             from annotation a join assignment s on s.id = a.assignment_id group by 1),
         rows (id, n) as (
             select s.project_id, sum(octet_length(r.body)) from snapshot_row r join snapshot s on s.id = r.snapshot_id
             group by 1),
         alone (id, n) as (
             select s.project_id, sum(octet_length(r.body)) from snapshot_prompt r join snapshot s on s.id = r.snapshot_id
             group by 1),
         told (id, n) as (
             select j.project_id, sum(octet_length(r.samples) + coalesce(octet_length(r.preview), 0)
                 + coalesce((select sum(octet_length("values")) from metric m where m.round_id = r.id), 0)
                 + coalesce((select sum(octet_length(l.text)) from log_line l where l.round_id = r.id), 0))
             from round r join job j on j.id = r.job_id group by 1)
         select p.id, p.name,
             coalesce((select n from prompts x where x.id = p.id), 0) as prompts,
             coalesce((select n from completions x where x.id = p.id), 0) as completions,
             coalesce((select n from annotations x where x.id = p.id), 0) as annotations,
             coalesce((select n from rows x where x.id = p.id), 0)
                 + coalesce((select n from alone x where x.id = p.id), 0) as snapshots,
             coalesce((select n from told x where x.id = p.id), 0) as rounds
         from project p order by p.id"#,
    )
    .fetch_all(db.read())
    .await?;
    let project = |row: ProjectRow| StoredProject {
        id: ProjectId(row.id),
        name: row.name,
        prompt_bytes: text::count(row.prompts),
        completion_bytes: text::count(row.completions),
        annotation_bytes: text::count(row.annotations),
        snapshot_bytes: text::count(row.snapshots),
        round_bytes: text::count(row.rounds),
    };
    Ok(rows.into_iter().map(project).collect())
}

async fn stored_adapters(
    db: &Db,
    all: Vec<Adapter>,
    names: &HashMap<ProjectId, String>,
    disk: &Sizes,
) -> Result<Vec<StoredAdapter>> {
    let mut sharers: HashMap<String, usize> = HashMap::new();
    for adapter in all.iter().filter(|adapter| adapter.deleted_at.is_none()) {
        *sharers.entry(adapter.hash.clone()).or_default() += 1;
    }
    let mut stored = Vec::with_capacity(all.len());
    for adapter in all {
        let uses = lineage::uses_of(db, adapter.id).await?;
        let n_blockers = uses.iter().filter(|one| one.blocks).count();
        let is_there = adapter.deleted_at.is_none();
        stored.push(StoredAdapter {
            id: adapter.id,
            project_id: adapter.project_id,
            project_name: names.get(&adapter.project_id).cloned().unwrap_or_default(),
            round_id: adapter.round_id,
            size_bytes: disk
                .adapters
                .get(&adapter.hash)
                .copied()
                .filter(|_| is_there)
                .unwrap_or(0),
            shared: is_there && sharers.get(&adapter.hash).is_some_and(|n| *n > 1),
            n_uses: (uses.len() - n_blockers) as u64,
            n_blockers: n_blockers as u64,
            name: adapter.name,
            kind: adapter.kind,
            created_at: adapter.created_at,
            deleted_at: adapter.deleted_at,
        });
    }
    Ok(stored)
}

fn stored_merges(
    merges: Vec<Merge>,
    adapters: &[Adapter],
    names: &HashMap<ProjectId, String>,
    keep_days: Option<u32>,
) -> Vec<StoredMerge> {
    let name_of = |id: AdapterId| {
        let adapter = adapters.iter().find(|adapter| adapter.id == id);
        adapter.map(|adapter| adapter.name.clone()).unwrap_or_default()
    };
    let stored = |merge: Merge| StoredMerge {
        id: merge.id,
        adapter_id: merge.adapter_id,
        adapter_name: name_of(merge.adapter_id),
        project_name: names.get(&merge.project_id).cloned().unwrap_or_default(),
        format: merge.format,
        size_bytes: merge.result.map_or(0, |merged| merged.size_bytes()),
        finished_at: merge.finished_at,
        expires_at: merge
            .finished_at
            .zip(keep_days)
            .map(|(at, days)| at.plus_seconds(86_400 * i64::from(days))),
    };
    merges.into_iter().map(stored).collect()
}
