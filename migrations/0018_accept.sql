-- Comparing and accepting: contests of two contenders before hidden judges, which adapter is current, and who beats whom.
create table contest (
    id            integer primary key autoincrement,
    project_id    integer not null references project (id) on delete cascade,
    first_id      integer references adapter (id),     -- null: the base model
    second_id     integer references adapter (id),     -- null: the base model
    round_id      integer references round (id),       -- whose gate it is
    first_job_id  integer not null references completion_job (id),
    second_job_id integer not null references completion_job (id),
    status        text not null check (status in ('open', 'decided', 'undecided', 'closed')),
    n_people      integer not null check (n_people between 1 and 10), -- votes on each prompt
    alpha         real not null check (alpha > 0 and alpha < 1),
    seed          integer not null,                    -- of the sample of prompts
    outcome       text check (json_valid(outcome)),    -- protocol::ContestFigures when it ended
    close_reason  text,
    created_by    integer references user (id),
    created_at    integer not null,
    ended_at      integer,
    check ((status = 'open') = (outcome is null))
) strict;
create index contest_project on contest (project_id, id);
create index contest_round on contest (round_id, id) where round_id is not null;
create unique index contest_first_job on contest (first_job_id);
create unique index contest_second_job on contest (second_job_id);
-- One of its prompts.
create table contest_prompt (
    contest_id integer not null references contest (id) on delete cascade,
    prompt_id  integer not null references prompt (id) on delete cascade,
    -- waits: not both have answered. task: people judge. same: both answers are the same. left_out: one was cut off.
    state      text not null check (state in ('waits', 'task', 'same', 'left_out')),
    task_id    integer unique references task (id) on delete cascade,
    first_answer_id integer references completion (id) on delete cascade, -- the first contender's
    primary key (contest_id, prompt_id),
    check ((state = 'task') = (task_id is not null and first_answer_id is not null))
) strict, without rowid;
-- What a project takes by default is the adapter of its newest promotion that was not rolled back; without one the base model.
create table promotion (
    id             integer primary key autoincrement,
    project_id     integer not null references project (id) on delete cascade,
    adapter_id     integer references adapter (id),    -- null: the base model
    reason         text not null,
    gate           text not null check (gate in ('none', 'judging', 'accepted', 'not_accepted', 'undecided')), -- at that time
    contest_id     integer references contest (id),    -- that the gate stood on
    promoted_by    integer references user (id),
    promoted_at    integer not null,
    rolled_back_by integer references user (id),
    rolled_back_at integer
) strict;
create index promotion_project on promotion (project_id, id);
-- How often one generator was chosen over another: for the ladder, which would read every comparison there ever was. Kept by
-- triggers, so that no statement can forget it. What people wrote, and two answers of one generator, do not count.
create table pair_count (
    project_id integer not null references project (id) on delete cascade,
    source     text not null check (source in ('contest', 'arena', 'tasks')),
    chosen     integer not null,                       -- adapter, 0: the base model
    rejected   integer not null,
    tie        integer not null check (tie in (0, 1)),
    n          integer not null,
    primary key (project_id, source, chosen, rejected, tie)
) strict, without rowid;
insert into pair_count (project_id, source, chosen, rejected, tie, n)
select c.project_id, iif(w.battle_id is not null, 'arena', 'tasks'), coalesce(w.adapter_id, 0), coalesce(l.adapter_id, 0), c.tie,
       count(*)
from comparison c join completion w on w.id = c.chosen_id join completion l on l.id = c.rejected_id
where w.annotation_id is null and l.annotation_id is null and w.adapter_id is not l.adapter_id
group by 1, 2, 3, 4, 5;
create trigger comparison_counted after insert on comparison
begin
    insert into pair_count (project_id, source, chosen, rejected, tie, n)
    select new.project_id,
           case when w.battle_id is not null then 'arena'
                when exists (select 1 from contest x
                             where x.first_job_id in (w.completion_job_id, l.completion_job_id)
                               and x.second_job_id in (w.completion_job_id, l.completion_job_id)) then 'contest'
                else 'tasks' end,
           coalesce(w.adapter_id, 0), coalesce(l.adapter_id, 0), new.tie, 1
    from completion w join completion l on l.id = new.rejected_id
    where w.id = new.chosen_id and w.annotation_id is null and l.annotation_id is null
      and w.adapter_id is not l.adapter_id
    on conflict (project_id, source, chosen, rejected, tie) do update set n = n + 1;
end;
create trigger comparison_uncounted after delete on comparison
begin
    update pair_count set n = n - 1
    from (select case when w.battle_id is not null then 'arena'
                      when exists (select 1 from contest x
                                   where x.first_job_id in (w.completion_job_id, l.completion_job_id)
                                     and x.second_job_id in (w.completion_job_id, l.completion_job_id)) then 'contest'
                      else 'tasks' end as source,
                 coalesce(w.adapter_id, 0) as chosen, coalesce(l.adapter_id, 0) as rejected
          from completion w join completion l on l.id = old.rejected_id
          where w.id = old.chosen_id and w.annotation_id is null and l.annotation_id is null
            and w.adapter_id is not l.adapter_id) as gone
    where pair_count.project_id = old.project_id and pair_count.source = gone.source
      and pair_count.chosen = gone.chosen and pair_count.rejected = gone.rejected and pair_count.tie = old.tie;
end;
