-- The whole of Laurel's data. Times are milliseconds since 1970 UTC; hashes are SHA-256 in hex.
-- Status columns change in exactly one function each: see server/src/store/.

create table user (
    id            integer primary key,
    name          text not null collate nocase unique,
    password_hash text not null,                       -- argon2id, PHC string
    role          text not null check (role in ('admin', 'annotator')),
    disabled      integer not null default 0 check (disabled in (0, 1)),
    created_at    integer not null
) strict;

create table session (
    token_hash text primary key,                       -- the cookie's value is not stored
    user_id    integer not null references user (id) on delete cascade,
    created_at integer not null,
    expires_at integer not null
) strict, without rowid;

create table invite (
    id         integer primary key,
    token_hash text not null unique,
    role       text not null check (role in ('admin', 'annotator')),
    created_by integer references user (id),           -- null: the set-up link of the first start
    created_at integer not null,
    expires_at integer not null,
    used_by    integer references user (id)
) strict;

create table api_token (
    id           integer primary key,
    token_hash   text not null unique,
    name         text not null,
    scope        text not null check (scope in ('script', 'worker')),
    user_id      integer not null references user (id) on delete cascade,
    created_at   integer not null,
    last_used_at integer
) strict;

create table project (
    id                   integer primary key,
    name                 text not null,
    guidelines           text not null,                -- markdown
    label_type           text not null check (label_type in ('pick', 'rank')),
    completions_per_task integer not null check (completions_per_task between 2 and 8),
    overlap              integer not null check (overlap between 1 and 10),
    ask_strength         integer not null check (ask_strength in (0, 1)),
    leave_out_truncated  integer not null check (leave_out_truncated in (0, 1)),
    base_model           text not null,
    pseudonym_key        text not null,                -- annotators' names in exports are keyed hashes with this
    created_at           integer not null
) strict;

create table prompt (
    id           integer primary key,
    project_id   integer not null references project (id) on delete cascade,
    messages     text not null check (json_valid(messages)),
    content_hash text not null,                        -- of messages: a project has each prompt once
    created_at   integer not null,
    unique (project_id, content_hash)
) strict;

-- What a trainer leases. A round or a completion job each has one.
create table job (
    id           integer primary key,
    kind         text not null check (kind in ('completions', 'round')),
    project_id   integer not null references project (id) on delete cascade,
    status       text not null check (status in ('queued', 'running', 'done', 'failed', 'aborted')),
    abort_asked  integer not null default 0 check (abort_asked in (0, 1)),
    base_model   text not null,
    adapter_id   integer references adapter (id),      -- start from, or sample with
    lease_hash   text,                                 -- of the secret of the latest lease; kept at the end, so that
                                                       -- a trainer may repeat its last call
    lease_until  integer,
    worker       text,
    n_attempts   integer not null default 0,           -- leases so far
    n_fruitless  integer not null default 0,           -- leases since the last progress
    seconds_left real,
    error        text,                                 -- a sentence for the admin
    created_by   integer references user (id),
    created_at   integer not null,
    started_at   integer,
    finished_at  integer,
    check (status <> 'running' or (lease_hash is not null and lease_until is not null))
) strict;
create index job_open on job (status, id) where status in ('queued', 'running');
create index job_project on job (project_id, id);

create table completion_job (
    id        integer primary key,
    job_id    integer not null unique references job (id) on delete cascade,
    request   text not null check (json_valid(request)), -- protocol::NewCompletionJob
    task_plan text not null check (task_plan in ('together', 'against_earlier')),
    n_done    integer not null default 0,
    n_total   integer not null
) strict;

-- The prompts of a completion job: which are still open, and whether their task has been made.
create table completion_job_prompt (
    completion_job_id integer not null references completion_job (id) on delete cascade,
    prompt_id         integer not null references prompt (id) on delete cascade,
    n_done            integer not null default 0,
    primary key (completion_job_id, prompt_id)
) strict, without rowid;

create table completion (
    id                integer primary key,
    prompt_id         integer not null references prompt (id) on delete cascade,
    completion_job_id integer not null references completion_job (id) on delete cascade,
    position          integer not null,                -- index within (job, prompt), from 0
    text              text not null,
    text_hash         text not null,                   -- identical completions of a prompt never meet in a task
    n_tokens          integer not null,
    finish_reason     text not null check (finish_reason in ('stop', 'length')),
    model             text not null,
    adapter_id        integer references adapter (id),
    template_hash     text not null,
    created_at        integer not null,
    unique (completion_job_id, prompt_id, position)
) strict;
create index completion_prompt on completion (prompt_id, id);

create table task (
    id            integer primary key,
    project_id    integer not null references project (id) on delete cascade,
    prompt_id     integer not null references prompt (id) on delete cascade,
    overlap       integer not null,                    -- annotations wanted, fixed when the task is made
    n_annotations integer not null default 0,          -- standing ones
    status        text not null check (status in ('open', 'done')),
    priority      integer not null default 0,
    created_at    integer not null,
    check (n_annotations between 0 and overlap),
    check ((status = 'done') = (n_annotations = overlap))
) strict;
create index task_open on task (project_id, priority desc, id) where status = 'open';
create index task_project on task (project_id, status);
create index task_prompt on task (prompt_id);

create table task_completion (
    task_id       integer not null references task (id) on delete cascade,
    completion_id integer not null references completion (id),
    position      integer not null,                    -- storage order, not what anyone sees
    primary key (task_id, position),
    unique (task_id, completion_id)
) strict, without rowid;

-- One person's hold on one slot of a task. A person gets a task at most once.
create table assignment (
    id            integer primary key,
    project_id    integer not null references project (id) on delete cascade, -- the task's: for counting
    task_id       integer not null references task (id) on delete cascade,
    user_id       integer not null references user (id),
    status        text not null check (status in ('held', 'answered', 'skipped', 'expired')),
    display_order text not null check (json_valid(display_order)), -- completion ids as this person sees them
    lease_until   integer not null,
    skip_reason   text,
    skip_comment  text,
    created_at    integer not null,
    changed_at    integer not null,
    unique (task_id, user_id)
) strict;
create index assignment_user on assignment (user_id, project_id, status, changed_at);
create index assignment_project on assignment (project_id, status, lease_until);
create index assignment_task on assignment (task_id, status);

-- Answers are never changed: a replaced one stays, marked by the one that replaced it.
create table annotation (
    id            integer primary key,
    assignment_id integer not null references assignment (id) on delete cascade,
    revision      integer not null,
    judgement     text not null check (json_valid(judgement)), -- protocol::Judgement, positions in display order
    comment       text not null,
    seconds       real not null,
    replaced_by   integer references annotation (id),
    withdrawn     integer not null default 0 check (withdrawn in (0, 1)), -- skipped after it had been answered
    created_at    integer not null,
    unique (assignment_id, revision)
) strict;
create unique index annotation_standing on annotation (assignment_id)
    where replaced_by is null and withdrawn = 0;

-- What follows from standing annotations. Rows of replaced annotations are removed here; snapshots keep theirs.
create table comparison (
    id            integer primary key,
    project_id    integer not null references project (id) on delete cascade,
    annotation_id integer not null references annotation (id) on delete cascade,
    prompt_id     integer not null references prompt (id) on delete cascade,
    chosen_id     integer not null references completion (id),
    rejected_id   integer not null references completion (id),
    tie           integer not null check (tie in (0, 1)),
    strength      integer check (strength between 1 and 4),
    check (chosen_id <> rejected_id),
    unique (annotation_id, chosen_id, rejected_id)
) strict;
create index comparison_project on comparison (project_id, tie, id);

create table snapshot (
    id              integer primary key,
    project_id      integer not null references project (id) on delete cascade,
    hash            text not null,
    n_rows          integer not null,
    n_ties_left_out integer not null,
    created_at      integer not null
) strict;

create table snapshot_row (
    snapshot_id   integer not null references snapshot (id) on delete cascade,
    position      integer not null,
    annotation_id integer not null references annotation (id), -- lineage: which rounds a label trained
    body          text not null,                       -- the JSON line as streamed and hashed
    primary key (snapshot_id, position)
) strict, without rowid;
create index snapshot_row_annotation on snapshot_row (annotation_id);

create table round (
    id          integer primary key,
    job_id      integer not null unique references job (id) on delete cascade,
    snapshot_id integer not null references snapshot (id),
    name        text not null,
    spec        text not null check (json_valid(spec)), -- protocol::RoundSpec
    step        integer not null default 0,
    n_steps     integer,
    sample_prompts text not null check (json_valid(sample_prompts)), -- ids of the fixed prompts of the samples
    samples     text not null default '[]' check (json_valid(samples)) -- [protocol::Sample]
) strict;

create table metric (
    round_id integer not null references round (id) on delete cascade,
    step     integer not null,
    split    text not null check (split in ('train', 'eval')),
    "values" text not null check (json_valid("values")),
    primary key (round_id, step, split)
) strict, without rowid;

create table log_line (
    id       integer primary key,
    round_id integer not null references round (id) on delete cascade,
    at       integer not null,
    level    text not null check (level in ('info', 'warning', 'error')),
    text     text not null
) strict;
create index log_line_round on log_line (round_id, id);
create unique index log_line_once on log_line (round_id, at, text); -- a report may be sent twice

create table adapter (
    id         integer primary key,
    project_id integer not null references project (id) on delete cascade,
    round_id   integer not null unique references round (id),
    name       text not null,
    kind       text not null check (kind in ('sft', 'reward', 'dpo')),
    parent_id  integer references adapter (id),
    hash       text not null,                          -- of adapter_model.safetensors
    size_bytes integer not null,
    files      text not null check (json_valid(files)), -- names, sorted
    created_at integer not null
) strict;
create index adapter_project on adapter (project_id, id);
