-- Gold items whose completions come from a file. A check cannot be changed, so that the table is made anew (see 0005).
create table completion_new (
    id                integer primary key autoincrement,
    prompt_id         integer not null references prompt (id) on delete cascade,
    completion_job_id integer references completion_job (id) on delete cascade,
    annotation_id     integer references annotation (id) on delete cascade,
    battle_id         integer references battle (id) on delete cascade,
    imported_by       integer references user (id),    -- whose file of gold items it came in
    edited_id         integer references completion_new (id), -- a person's: what it was made of; null: written anew
    position          integer not null,                -- index within (job, prompt), the annotation, battle or line, from 0
    text              text not null,
    text_hash         text not null,                   -- identical completions of a prompt never meet in a task
    n_tokens          integer not null,                -- 0 where a person wrote or imported it: nobody counted
    finish_reason     text not null check (finish_reason in ('stop', 'length')),
    model             text not null,                   -- '' where a person wrote or imported it, as the template's hash
    adapter_id        integer references adapter (id),
    template_hash     text not null,
    created_at        integer not null,
    unique (completion_job_id, prompt_id, position),
    unique (annotation_id, position),
    unique (battle_id, position),
    check ((completion_job_id is not null) + (annotation_id is not null) + (battle_id is not null)
           + (imported_by is not null) = 1)
) strict;
insert into completion_new (id, prompt_id, completion_job_id, annotation_id, battle_id, edited_id, position, text, text_hash,
                            n_tokens, finish_reason, model, adapter_id, template_hash, created_at)
select id, prompt_id, completion_job_id, annotation_id, battle_id, edited_id, position, text, text_hash,
       n_tokens, finish_reason, model, adapter_id, template_hash, created_at
from completion;
delete from sqlite_sequence where name = 'completion_new'; -- no number is given twice
insert into sqlite_sequence (name, seq) select 'completion_new', seq from sqlite_sequence where name = 'completion';
drop table completion;
alter table completion_new rename to completion;
create index completion_prompt on completion (prompt_id, id);

-- Sums for figures of progress, kept by triggers, so that no statement can forget them: counting a large project takes
-- seconds. Of the standing answers to tasks for labelling: how many were given in each hour since 1970, and how often
-- anything of that hour changed, which tells whether what was counted of a day still holds.
create table given_hour (
    project_id integer not null references project (id) on delete cascade,
    hour       integer not null,
    n          integer not null default 0,
    n_changes  integer not null default 0,
    primary key (project_id, hour)
) strict, without rowid;

insert into given_hour (project_id, hour, n, n_changes)
select s.project_id, a.created_at / 3600000, count(*), 1 from annotation a join assignment s on s.id = a.assignment_id
where s.kind = 'label' and a.replaced_by is null and a.withdrawn = 0 group by 1, 2;

create trigger given_made after insert on annotation
begin
    insert into given_hour (project_id, hour, n, n_changes)
    select s.project_id, new.created_at / 3600000, new.replaced_by is null and new.withdrawn = 0, 1
    from assignment s where s.id = new.assignment_id and s.kind = 'label'
    on conflict (project_id, hour) do update set n = n + excluded.n, n_changes = n_changes + 1;
end;

create trigger given_changed after update on annotation
begin
    update given_hour set n = n - (old.replaced_by is null and old.withdrawn = 0), n_changes = n_changes + 1
    where hour = old.created_at / 3600000
      and project_id = (select s.project_id from assignment s where s.id = old.assignment_id and s.kind = 'label');
    insert into given_hour (project_id, hour, n, n_changes)
    select s.project_id, new.created_at / 3600000, new.replaced_by is null and new.withdrawn = 0, 1
    from assignment s where s.id = new.assignment_id and s.kind = 'label'
    on conflict (project_id, hour) do update set n = n + excluded.n, n_changes = n_changes + 1;
end;

create trigger given_gone before delete on annotation
begin
    update given_hour set n = n - (old.replaced_by is null and old.withdrawn = 0), n_changes = n_changes + 1
    where hour = old.created_at / 3600000
      and project_id = (select s.project_id from assignment s where s.id = old.assignment_id and s.kind = 'label');
end;

-- Tasks for labelling, by what they have and want.
create table task_tally (
    project_id    integer not null references project (id) on delete cascade,
    n_annotations integer not null,
    overlap       integer not null,
    status        text not null,
    n             integer not null,
    primary key (project_id, n_annotations, overlap, status)
) strict, without rowid;

insert into task_tally (project_id, n_annotations, overlap, status, n)
select project_id, n_annotations, overlap, status, count(*) from task where kind = 'label' group by 1, 2, 3, 4;

create trigger task_tally_made after insert on task when new.kind = 'label'
begin
    insert into task_tally (project_id, n_annotations, overlap, status, n)
    values (new.project_id, new.n_annotations, new.overlap, new.status, 1)
    on conflict do update set n = n + 1;
end;

create trigger task_tally_changed after update of n_annotations, overlap, status, kind on task
when old.kind = 'label' or new.kind = 'label'
begin
    update task_tally set n = n - 1
    where old.kind = 'label' and project_id = old.project_id and n_annotations = old.n_annotations
      and overlap = old.overlap and status = old.status;
    insert into task_tally (project_id, n_annotations, overlap, status, n)
    select new.project_id, new.n_annotations, new.overlap, new.status, 1 where new.kind = 'label'
    on conflict do update set n = n + 1;
end;

create trigger task_tally_gone after delete on task when old.kind = 'label'
begin
    update task_tally set n = n - 1
    where project_id = old.project_id and n_annotations = old.n_annotations and overlap = old.overlap and status = old.status;
end;
