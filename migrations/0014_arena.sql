-- The live arena: a person asks two hidden contenders and votes. A vote makes a prompt, two completions, and a task with
-- one annotation, all marked as live.

alter table project add column arena text not null default '{}' check (json_valid(arena)); -- protocol::Arena

create table battle (
    id            integer primary key autoincrement,
    project_id    integer not null references project (id) on delete cascade,
    user_id       integer not null references user (id),
    turn          integer not null check (turn between 1 and 10),
    status        text not null check (status in ('asked', 'answered', 'judged', 'closed')),
    messages      text not null check (json_valid(messages)), -- what both are asked; once judged it is the prompt's, [] here
    sampling      text not null check (json_valid(sampling)), -- with the seed drawn for it
    template_hash text,                                -- of the answers, once both are complete
    vote_key      text,                                -- names the vote, which counts once however often it is sent
    goes_on_from  integer check (goes_on_from in (0, 1)), -- position of the answer that the conversation goes on from
    close_reason  text,
    task_id       integer unique references task (id) on delete cascade, -- once judged
    created_at    integer not null,
    changed_at    integer not null,
    check (status <> 'judged' or task_id is not null)
) strict;
create unique index battle_open on battle (user_id, project_id) where status in ('asked', 'answered');
create index battle_user on battle (user_id, project_id, id);

-- Position 0 is shown as A. Who is which is drawn by the server, and told after the vote.
create table battle_side (
    battle_id     integer not null references battle (id) on delete cascade,
    position      integer not null check (position in (0, 1)),
    adapter_id    integer references adapter (id),     -- null: the base model
    text          text not null default '',            -- kept once both are complete; once judged it is the completion's
    n_tokens      integer not null default 0,
    finish_reason text check (finish_reason in ('stop', 'length')),
    completion_id integer references completion (id) on delete set null,
    primary key (battle_id, position)
) strict, without rowid;

-- Typed by a person in the arena: completion jobs, PPO rounds and the list of prompts leave it out.
alter table prompt add column live integer not null default 0 check (live in (0, 1));
-- One person's vote, with no place in the queue.
alter table task add column live integer not null default 0 check (live in (0, 1));
alter table assignment add column live integer not null default 0 check (live in (0, 1)); -- the task's: for counting

-- A completion may be a battle's. A check cannot be changed, so that the table is made anew (see 0005).
create table completion_new (
    id                integer primary key autoincrement,
    prompt_id         integer not null references prompt (id) on delete cascade,
    completion_job_id integer references completion_job (id) on delete cascade,
    annotation_id     integer references annotation (id) on delete cascade,
    battle_id         integer references battle (id) on delete cascade,
    edited_id         integer references completion_new (id), -- a person's: what it was made of; null: written anew
    position          integer not null,                -- index within (job, prompt), the annotation or the battle, from 0
    text              text not null,
    text_hash         text not null,                   -- identical completions of a prompt never meet in a task
    n_tokens          integer not null,                -- 0 where a person wrote it: nobody counted
    finish_reason     text not null check (finish_reason in ('stop', 'length')),
    model             text not null,                   -- '' where a person wrote it, as the template's hash
    adapter_id        integer references adapter (id),
    template_hash     text not null,
    created_at        integer not null,
    unique (completion_job_id, prompt_id, position),
    unique (annotation_id, position),
    unique (battle_id, position),
    check ((completion_job_id is not null) + (annotation_id is not null) + (battle_id is not null) = 1)
) strict;
insert into completion_new (id, prompt_id, completion_job_id, annotation_id, edited_id, position, text, text_hash, n_tokens,
                            finish_reason, model, adapter_id, template_hash, created_at)
select id, prompt_id, completion_job_id, annotation_id, edited_id, position, text, text_hash, n_tokens,
       finish_reason, model, adapter_id, template_hash, created_at
from completion;
delete from sqlite_sequence where name = 'completion_new'; -- no number is given twice
insert into sqlite_sequence (name, seq) select 'completion_new', seq from sqlite_sequence where name = 'completion';
drop table completion;
alter table completion_new rename to completion;
create index completion_prompt on completion (prompt_id, id);
