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

-- Addresses that hear of a project's rounds, and the outbox of what they are to hear. A delivery's status changes in
-- server/src/store/webhooks.rs alone.
create table webhook (
    id         integer primary key autoincrement,
    project_id integer not null references project (id) on delete cascade,
    url        text not null,
    events     text not null check (json_valid(events)), -- [protocol::HookEvent]
    secret     text not null,                          -- signs what is sent, so that its hash would not do
    created_at integer not null
) strict;
create index webhook_project on webhook (project_id);

create table webhook_delivery (
    id          integer primary key autoincrement,
    webhook_id  integer not null references webhook (id) on delete cascade,
    event       text not null,
    body        text not null,                         -- as it is sent and signed
    status      text not null check (status in ('pending', 'sent', 'failed')),
    n_attempts  integer not null default 0,
    next_at     integer,
    http_status integer,                               -- of the last try
    error       text,                                  -- protocol::NoAnswer, of the last try
    created_at  integer not null,
    check ((status = 'pending') = (next_at is not null))
) strict;
create index webhook_delivery_due on webhook_delivery (next_at) where status = 'pending';
create index webhook_delivery_webhook on webhook_delivery (webhook_id, id);
