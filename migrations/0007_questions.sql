-- More label types, questions beside the judgement, and answers that people write. A check cannot be changed, so that
-- two tables are made anew (see 0005).

create table project_new (
    id                   integer primary key,
    name                 text not null,
    guidelines           text not null,                -- markdown
    label_type           text not null check (label_type in ('pick', 'rank', 'best_worst', 'rate')),
    completions_per_task integer not null check (completions_per_task between 1 and 8),
    overlap              integer not null check (overlap between 1 and 10),
    ask_strength         integer not null check (ask_strength in (0, 1)),
    questions            text not null default '{}' check (json_valid(questions)), -- protocol::Questions
    leave_out_truncated  integer not null check (leave_out_truncated in (0, 1)),
    base_model           text not null,
    template             text not null default '"model"' check (json_valid(template)),
    pseudonym_key        text not null,                -- annotators' names in exports are keyed hashes with this
    created_at           integer not null
) strict;
insert into project_new (id, name, guidelines, label_type, completions_per_task, overlap, ask_strength,
                         leave_out_truncated, base_model, template, pseudonym_key, created_at)
select id, name, guidelines, label_type, completions_per_task, overlap, ask_strength,
       leave_out_truncated, base_model, template, pseudonym_key, created_at
from project;
drop table project;
alter table project_new rename to project;

-- A completion is a model's, of a job, or a person's: an edited completion or an answer of their own. A person's follows
-- from a standing annotation, as comparisons do, and goes with it; exports name its number, which is not given twice.
create table completion_new (
    id                integer primary key autoincrement,
    prompt_id         integer not null references prompt (id) on delete cascade,
    completion_job_id integer references completion_job (id) on delete cascade,
    annotation_id     integer references annotation (id) on delete cascade,
    edited_id         integer references completion_new (id), -- a person's: what it was made of; null: written anew
    position          integer not null,                -- index within (job, prompt) or the annotation, from 0
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
    check ((completion_job_id is null) <> (annotation_id is null))
) strict;
insert into completion_new (id, prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason, model,
                            adapter_id, template_hash, created_at)
select id, prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason, model,
       adapter_id, template_hash, created_at
from completion;
drop table completion;
alter table completion_new rename to completion;
create index completion_prompt on completion (prompt_id, id);

-- protocol::Extras, positions in display order as in the judgement.
alter table annotation add column extras text not null default '{}' check (json_valid(extras));
-- The annotator called the chosen answer good enough, or was not asked: an unacceptable one is not to be imitated.
alter table comparison add column chosen_acceptable integer not null default 1 check (chosen_acceptable in (0, 1));
