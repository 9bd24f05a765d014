-- Undo walks back: what it has brought back since the person last answered, skipped or asked for work.
alter table assignment add column undone integer not null default 0 check (undone in (0, 1));
create index assignment_undone on assignment (user_id, project_id) where undone = 1;
