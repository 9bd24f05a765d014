-- Checks of annotators. A gold item shows a task whose right answer is known; a repeat shows a person a task that they
-- have answered, its completions in another order. Both are tasks of their own, which nobody sees as such, and what is
-- answered there gives no comparisons and counts for no overlap.

alter table project add column checks text not null default '{}' check (json_valid(checks)); -- protocol::Checks

alter table task add column kind text not null default 'label' check (kind in ('label', 'gold', 'repeat', 'review'));
alter table task add column source_id integer references task (id) on delete cascade; -- the task that it shows again
alter table task add column for_user_id integer references user (id);                 -- of a repeat: whom it asks
alter table task add column gold text check (json_valid(gold));                       -- protocol::Gold

-- The task's kind: for counting.
alter table assignment add column kind text not null default 'label' check (kind in ('label', 'gold', 'repeat', 'review'));

create index task_check on task (project_id, kind, for_user_id) where kind <> 'label';
create index assignment_check on assignment (user_id, project_id, kind, status) where kind <> 'label';
