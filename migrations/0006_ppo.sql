-- PPO rounds: they train on prompts, are scored by a reward adapter, and make adapters of their own kind.

-- A check cannot be changed: the table is made anew (see 0005).
create table adapter_new (
    id         integer primary key,
    project_id integer not null references project (id) on delete cascade,
    round_id   integer not null unique references round (id),
    name       text not null,
    kind       text not null check (kind in ('sft', 'reward', 'dpo', 'ppo')),
    parent_id  integer references adapter (id),
    hash       text not null,                          -- of adapter_model.safetensors
    size_bytes integer not null,
    files      text not null check (json_valid(files)), -- names, sorted
    template_hash     text,                            -- what it was made with, as its trainer told; null: an old one
    base_weights_hash text,
    created_at integer not null
) strict;
insert into adapter_new (id, project_id, round_id, name, kind, parent_id, hash, size_bytes, files,
                         template_hash, base_weights_hash, created_at)
select id, project_id, round_id, name, kind, parent_id, hash, size_bytes, files,
       template_hash, base_weights_hash, created_at
from adapter;
drop table adapter;
alter table adapter_new rename to adapter;
create index adapter_project on adapter (project_id, id);

-- The reward model of a PPO round.
alter table round add column reward_adapter_id integer references adapter (id);

-- Lines of a snapshot that follow from a prompt and from no annotation. Positions go on from those in snapshot_row.
create table snapshot_prompt (
    snapshot_id integer not null references snapshot (id) on delete cascade,
    position    integer not null,
    prompt_id   integer not null references prompt (id), -- lineage, as snapshot_row.annotation_id
    body        text not null,
    primary key (snapshot_id, position)
) strict, without rowid;
create index snapshot_prompt_prompt on snapshot_prompt (prompt_id);
