-- Lineage and storage: merges are jobs of their own kind; adapters say which code made them, and may lose their files. A check
-- cannot be changed: the table is made anew (see 0005).
create table job_new (
    id           integer primary key,
    kind         text not null check (kind in ('completions', 'round', 'chat', 'scoring', 'merge')),
    project_id   integer not null references project (id) on delete cascade,
    status       text not null check (status in ('queued', 'running', 'paused', 'done', 'failed', 'aborted')),
    abort_asked  integer not null default 0 check (abort_asked in (0, 1)),
    pause_asked  integer not null default 0 check (pause_asked in (0, 1)),
    base_model   text not null,
    template     text not null default '"model"' check (json_valid(template)),
    adapter_id   integer references adapter (id),      -- start from, sample with, score with, or merge
    lease_hash   text,                                 -- of the secret of the latest lease; kept at the end, so that
                                                       -- a trainer may repeat its last call
    lease_until  integer,
    worker       text,
    n_attempts   integer not null default 0,           -- leases so far
    n_fruitless  integer not null default 0,           -- leases since the last progress
    seconds_left real,
    error        text,                                 -- a sentence for the admin
    created_by   integer references user (id),         -- null: the server
    created_at   integer not null,
    started_at   integer,
    finished_at  integer,
    turn         integer,                              -- the place among those that wait; null: its number
    check (status <> 'running' or (lease_hash is not null and lease_until is not null))
) strict;
insert into job_new (id, kind, project_id, status, abort_asked, pause_asked, base_model, template, adapter_id, lease_hash,
                     lease_until, worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at,
                     finished_at, turn)
select id, kind, project_id, status, abort_asked, pause_asked, base_model, template, adapter_id, lease_hash,
       lease_until, worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at,
       finished_at, turn
from job;
drop table job;
alter table job_new rename to job;
create index job_open on job (status, id) where status in ('queued', 'running');
create index job_project on job (project_id, id);


-- What made it, as "version+commit"; null: before this was kept.
alter table adapter add column trainer_code text;
alter table adapter add column server_code text;
-- Its files are gone; what it was made of stays.
alter table adapter add column deleted_at integer;

-- A base model with an adapter in it, made by a trainer. Its files lie in merged/<id>/ of the data folder.
create table merge (
    id         integer primary key autoincrement,
    job_id     integer not null unique references job (id) on delete cascade,
    adapter_id integer not null references adapter (id),
    format     text not null check (format in ('safetensors', 'gguf')),
    stage      text not null default '',               -- what the trainer is at, in its words
    n_done     integer not null default 0,             -- bytes handed in
    n_total    integer not null default 0,             -- 0: not known yet
    result     text check (json_valid(result)),        -- protocol::Merged, once the files are whole
    deleted_at integer                                 -- the files are gone again
) strict;
create index merge_adapter on merge (adapter_id, id);

-- Which completion jobs' answers a snapshot's annotations are about: counted once, when it is frozen.
create table snapshot_source (
    snapshot_id       integer not null references snapshot (id) on delete cascade,
    completion_job_id integer not null references completion_job (id) on delete cascade,
    n_annotations     integer not null,
    primary key (snapshot_id, completion_job_id)
) strict, without rowid;
insert into snapshot_source (snapshot_id, completion_job_id, n_annotations)
select r.snapshot_id, c.completion_job_id, count(distinct r.annotation_id)
from snapshot_row r
join annotation a on a.id = r.annotation_id
join assignment s on s.id = a.assignment_id
join task_completion t on t.task_id = s.task_id
join completion c on c.id = t.completion_id
where c.completion_job_id is not null
group by r.snapshot_id, c.completion_job_id;
