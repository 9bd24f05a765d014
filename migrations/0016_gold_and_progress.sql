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
