-- Reviewers: they decide what annotators see differently, and talk with them about it. A decision is a task of kind
-- 'review' with one annotation, whose comparisons stand in place of those that followed from the task that it shows.
-- A check cannot be changed, so that two tables are made anew (see 0005).

create table user_new (
    id            integer primary key,
    name          text not null collate nocase unique,
    password_hash text not null,                       -- argon2id, PHC string
    role          text not null check (role in ('admin', 'reviewer', 'annotator')),
    disabled      integer not null default 0 check (disabled in (0, 1)),
    created_at    integer not null
) strict;
insert into user_new (id, name, password_hash, role, disabled, created_at)
select id, name, password_hash, role, disabled, created_at from user;
drop table user;
alter table user_new rename to user;

create table invite_new (
    id         integer primary key,
    token_hash text not null unique,
    role       text not null check (role in ('admin', 'reviewer', 'annotator')),
    created_by integer references user (id),           -- null: the set-up link of the first start
    created_at integer not null,
    expires_at integer not null,
    used_by    integer references user (id)
) strict;
insert into invite_new (id, token_hash, role, created_by, created_at, expires_at, used_by)
select id, token_hash, role, created_by, created_at, expires_at, used_by from invite;
drop table invite;
alter table invite_new rename to invite;

-- Taken out of the queue by a reviewer, as offensive or broken.
alter table task add column retired integer not null default 0 check (retired in (0, 1));
create index task_source on task (source_id) where source_id is not null;

-- What reviewers and annotators say to one another about a task.
create table note (
    id         integer primary key,
    task_id    integer not null references task (id) on delete cascade,
    user_id    integer not null references user (id),
    text       text not null,
    created_at integer not null
) strict;
create index note_task on note (task_id, id);
