-- For those who lead a team: figures of progress, who works on a project, and what comes first.

-- Figures of the last days begin here, not at every annotation there ever was.
create index annotation_time on annotation (created_at, assignment_id, seconds) where replaced_by is null and withdrawn = 0;

-- 0: whoever can sign in is given tasks. 1: the people of project_member alone.
alter table project add column assigned integer not null default 0 check (assigned in (0, 1));
create table project_member (
    project_id integer not null references project (id) on delete cascade,
    user_id    integer not null references user (id) on delete cascade,
    max_tasks  integer check (max_tasks >= 1),         -- in place of the project's limit; null: that one holds
    added_by   integer references user (id),           -- null: the command line
    added_at   integer not null,
    primary key (project_id, user_id)
) strict, without rowid;

-- Higher ones first. Its tasks have the same, those to come as well.
alter table prompt add column priority integer not null default 0 check (priority between -100 and 100);
