-- Planned rounds: the server starts them once what they wait for has come. Status changes in server/src/store/planned/ alone.
create table planned_round (
    id            integer primary key autoincrement,
    project_id    integer not null references project (id) on delete cascade,
    status        text not null check (status in ('waiting', 'launched', 'failed', 'cancelled')),
    turn          integer not null,                    -- of two that can start, the lower one does first
    request       text not null check (json_valid(request)), -- protocol::NewPlanned
    revision      integer not null default 0,          -- grows with each change of the request
    n_comparisons integer not null,                    -- of the project when it was planned or last changed
    round_id      integer unique references round (id), -- that it has become
    why           text check (json_valid(why)),        -- protocol::WhyFailed
    created_by    integer references user (id),
    created_at    integer not null,
    changed_at    integer not null,
    check ((status = 'launched') = (round_id is not null)),
    check ((status = 'failed') = (why is not null))
) strict;
create index planned_waiting on planned_round (project_id, turn) where status = 'waiting';

-- The place of a job among those that wait; null: its number. Admins move rounds by it.
alter table job add column turn integer;
