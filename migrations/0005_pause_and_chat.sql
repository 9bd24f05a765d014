-- A round can be paused: status 'paused' waits for an admin and not for a trainer. A turn of a chat is a job whose row
-- goes at its end; what is said lies in the server's memory alone. SQLite cannot change a check, so the
-- table is made anew (foreign keys are off while migrations run, and checked afterwards).
create table job_new (
    id           integer primary key,
    kind         text not null check (kind in ('completions', 'round', 'chat')),
    project_id   integer not null references project (id) on delete cascade,
    status       text not null check (status in ('queued', 'running', 'paused', 'done', 'failed', 'aborted')),
    abort_asked  integer not null default 0 check (abort_asked in (0, 1)),
    pause_asked  integer not null default 0 check (pause_asked in (0, 1)),
    base_model   text not null,
    template     text not null default '"model"' check (json_valid(template)),
    adapter_id   integer references adapter (id),      -- start from, or sample with
    lease_hash   text,                                 -- of the secret of the latest lease; kept at the end, so that
                                                       -- a trainer may repeat its last call
    lease_until  integer,
    worker       text,
    n_attempts   integer not null default 0,           -- leases so far
    n_fruitless  integer not null default 0,           -- leases since the last progress
    seconds_left real,
    error        text,                                 -- a sentence for the admin
    created_by   integer references user (id),
    created_at   integer not null,
    started_at   integer,
    finished_at  integer,
    check (status <> 'running' or (lease_hash is not null and lease_until is not null))
) strict;
insert into job_new (id, kind, project_id, status, abort_asked, base_model, template, adapter_id, lease_hash, lease_until,
                     worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at, finished_at)
select id, kind, project_id, status, abort_asked, base_model, template, adapter_id, lease_hash, lease_until,
       worker, n_attempts, n_fruitless, seconds_left, error, created_by, created_at, started_at, finished_at
from job;
drop table job;
alter table job_new rename to job;
create index job_open on job (status, id) where status in ('queued', 'running');
create index job_project on job (project_id, id);
