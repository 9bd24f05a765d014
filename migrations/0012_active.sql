-- Active selection: trainers say how unsure the reward model is about each open task, and a project may hand tasks out by
-- that. A scoring is a job of its own kind. A check cannot be changed: the table is made anew (see 0005).
create table job_new (
    id           integer primary key,
    kind         text not null check (kind in ('completions', 'round', 'chat', 'scoring')),
    project_id   integer not null references project (id) on delete cascade,
    status       text not null check (status in ('queued', 'running', 'paused', 'done', 'failed', 'aborted')),
    abort_asked  integer not null default 0 check (abort_asked in (0, 1)),
    pause_asked  integer not null default 0 check (pause_asked in (0, 1)),
    base_model   text not null,
    template     text not null default '"model"' check (json_valid(template)),
    adapter_id   integer references adapter (id),      -- start from, sample with, or score with
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
    check (status <> 'running' or (lease_hash is not null and lease_until is not null))
) strict;
insert into job_new (id, kind, project_id, status, abort_asked, pause_asked, base_model, template, adapter_id, lease_hash,
                     lease_until, worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at,
                     finished_at)
select id, kind, project_id, status, abort_asked, pause_asked, base_model, template, adapter_id, lease_hash,
       lease_until, worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at,
       finished_at
from job;
drop table job;
alter table job_new rename to job;
create index job_open on job (status, id) where status in ('queued', 'running');
create index job_project on job (project_id, id);

create table scoring (
    id               integer primary key,
    job_id           integer not null unique references job (id) on delete cascade,
    reason           text not null check (reason in ('asked', 'reward_model', 'labels', 'tasks')),
    n_done           integer not null default 0,       -- completions whose features are there
    n_total          integer,
    n_tasks          integer not null default 0,       -- that have their uncertainty from it
    n_comparisons    integer not null default 0,       -- that its heads learnt from
    after_comparison integer not null,                 -- the project's newest comparison when it was ordered
    after_task       integer not null                  -- and its newest task
) strict;

alter table project add column selection text not null default '{}' check (json_valid(selection)); -- protocol::Selection

alter table task add column uncertainty real;                                -- null: no scoring has seen it
alter table task add column scoring_id integer references scoring (id) on delete set null; -- where it comes from
create index task_uncertain on task (project_id, priority desc, uncertainty desc, id)
    where status = 'open' and kind = 'label';
