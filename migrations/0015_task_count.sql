-- How many tasks a project has, for whoever labels: each answer tells it, and counting them each time would take longer the
-- more there are. Kept by triggers, so that no statement can forget it. Checks, reviews and battles do not count.
create table task_count (
    project_id integer primary key references project (id) on delete cascade,
    n_open     integer not null default 0,
    n_done     integer not null default 0
) strict;

insert into task_count (project_id, n_open, n_done)
select project_id, sum(status = 'open'), sum(status = 'done') from task where kind = 'label' and live = 0 group by project_id;

create trigger task_made after insert on task when new.kind = 'label' and new.live = 0
begin
    insert into task_count (project_id, n_open, n_done)
    values (new.project_id, new.status = 'open', new.status = 'done')
    on conflict (project_id) do update set n_open = n_open + excluded.n_open, n_done = n_done + excluded.n_done;
end;

create trigger task_changed after update of status, kind on task
when (old.status <> new.status or old.kind <> new.kind) and new.live = 0
begin
    insert into task_count (project_id, n_open, n_done)
    values (new.project_id,
            (new.kind = 'label' and new.status = 'open') - (old.kind = 'label' and old.status = 'open'),
            (new.kind = 'label' and new.status = 'done') - (old.kind = 'label' and old.status = 'done'))
    on conflict (project_id) do update set n_open = n_open + excluded.n_open, n_done = n_done + excluded.n_done;
end;

create trigger task_gone after delete on task when old.kind = 'label' and old.live = 0
begin
    update task_count set n_open = n_open - (old.status = 'open'), n_done = n_done - (old.status = 'done')
    where project_id = old.project_id;
end;
