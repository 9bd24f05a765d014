-- One project of the size that the settings table says, in a database that has no project yet: prompts with four completions
-- each and two tasks of two, annotations by forty people over 120 days, rounds with adapters, snapshots, logs and metrics.
-- Everything is drawn from the numbers of the rows by a multiplicative hash: the same each time.

create temp table number as
    with recursive n(i) as (select 1 union all select i + 1 from n where i < (select max(n_prompts, n_steps) from setting))
    select i from n;

insert into user (id, name, password_hash, role, created_at)
    select 1000 + i, 'annotator ' || i, 'none', 'annotator', began from number, setting where i <= 40;

insert into project (id, name, guidelines, label_type, completions_per_task, overlap, ask_strength, leave_out_truncated,
                     base_model, pseudonym_key, created_at)
    select 1, 'Large', 'Pick the better answer.', 'pick', 2, 2, 1, 0, 'default', 'key', began from setting;

insert into prompt (id, project_id, messages, content_hash, created_at)
    select i, 1,
           json_array(json_object('role', 'user', 'content',
               'Question ' || i || ': ' || substr('What does a person who has never seen it need to know about the matter first, '
               || 'what may wait, and where do most explanations of it go wrong?', 1, 30 + i * 7919 % 110))),
           'p' || i, began + i
    from number, setting where i <= n_prompts;

-- Rounds: their specs and kinds are in round_plan. Each has a job, a snapshot and an adapter of its own.
insert into job (id, kind, project_id, status, base_model, n_attempts, worker, created_by, created_at, started_at, finished_at)
    select i, 'round', 1, 'done', 'default', 1, 'trainer', 1, at, at + 60000, at + 3600000 from round_plan;
insert into snapshot (id, project_id, hash, n_rows, n_ties_left_out, created_at)
    select i, 1, printf('%064x', i), n_snapshot_rows, 0, at from round_plan, setting;
insert into round (id, job_id, snapshot_id, name, spec, step, n_steps, sample_prompts)
    select i, i, i, upper(kind) || ' ' || i, spec, n_steps, n_steps, '[1,2,3,4,5,6,7,8]' from round_plan, setting;
insert into adapter (id, project_id, round_id, name, kind, parent_id, hash, size_bytes, files, template_hash,
                     base_weights_hash, created_at)
    select i, 1, i, upper(kind) || ' ' || i, kind, parent, printf('%064x', 7 * i), 4700000,
           '["adapter_config.json","adapter_model.safetensors"]', printf('%064x', 1), printf('%064x', 2), at + 3600000
    from round_plan;

-- Completions: a job for each round's adapter, or the base model for the first; two answers of it and two of its parent.
insert into job (id, kind, project_id, status, base_model, adapter_id, n_attempts, worker, created_by, created_at, started_at,
                 finished_at)
    select n_rounds + i, 'completions', 1, 'done', 'default', parent, 1, 'trainer', 1, at, at, at + 60000
    from round_plan, setting;
insert into completion_job (id, job_id, request, n_done, n_total, n_tasks)
    select i, n_rounds + i, request, 4 * n_prompts / n_rounds, 4 * n_prompts / n_rounds, 2 * n_prompts / n_rounds
    from round_plan, setting;

insert into completion (id, prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason, model, adapter_id,
                        template_hash, created_at)
    select 4 * (n.i - 1) + k.i, n.i, r.i, k.i - 1,
           'Answer ' || k.i || ' to question ' || n.i || '. '
               || substr('First look at what is there, then say what follows from it, and leave out what nobody asked for. ', 1,
                         20 + (n.i * 31 + k.i * 17) % 75),
           'c' || (4 * (n.i - 1) + k.i), 20 + (n.i * 31 + k.i * 17) % 75, iif((n.i + k.i) % 40 = 0, 'length', 'stop'), 'default',
           iif(k.i % 2 = 1, r.writer, r.parent), printf('%064x', 1), r.at
    from number n join number k on k.i <= 4, setting
    join round_plan r on r.i = (n.i - 1) * n_rounds / n_prompts + 1
    where n.i <= n_prompts
    order by n.i, k.i;

-- Tasks 2 i − 1 and 2 i of prompt i; the first three quarters are done.
insert into task (id, project_id, prompt_id, overlap, n_annotations, status, created_at)
    select 2 * (n.i - 1) + k.i, 1, n.i, 2, iif(4 * n.i <= 3 * n_prompts, 2, 0), iif(4 * n.i <= 3 * n_prompts, 'done', 'open'),
           began + n.i
    from number n join number k on k.i <= 2, setting where n.i <= n_prompts order by n.i, k.i;
insert into task_completion (task_id, completion_id, position)
    select t.id, 4 * (t.prompt_id - 1) + 2 * (1 - t.id % 2) + k.i, k.i - 1 from task t join number k on k.i <= 2;

-- Two people each; the second mostly says what the first said.
create temp table verdict as
    select 2 * t.id - 2 + k.i as id, t.id as task, t.prompt_id as prompt,
           1001 + (t.id * 7 + k.i * 13 + t.id / 40) % 40 as who,
           4 * (t.prompt_id - 1) + 2 * (1 - t.id % 2) + 1 as a, 4 * (t.prompt_id - 1) + 2 * (1 - t.id % 2) + 2 as b,
           (t.id * 2654435761 + k.i) % 1000003 % 2 as swapped,
           case when (t.id * 40503 + k.i * 977) % 100 < 6 then 'tie'
                when (t.id * 69069 % 100003 + iif((t.id * 31 + k.i * 71) % 100 < 18, 1, 0)) % 2 = 0 then 'a' else 'b' end as said,
           began + cast(t.prompt_id as integer) * (118 * 86400000 / n_prompts) + (t.id * 7919 + k.i * 104729) % 28800000 as at
    from task t join number k on k.i <= 2, setting where t.status = 'done';
insert into assignment (id, project_id, task_id, user_id, status, display_order, lease_until, created_at, changed_at)
    select id, 1, task, who, 'answered', iif(swapped, json_array(b, a), json_array(a, b)), 0, at - 40000, at from verdict;
insert into annotation (id, assignment_id, revision, judgement, comment, seconds, created_at)
    select id, id, 0,
           iif(said = 'tie', '{"type":"pick","choice":"tie"}',
               json_object('type', 'pick', 'choice', iif((said = 'a') <> swapped, 'first', 'second'), 'strength', 1 + id % 4)),
           '', 8 + id * 7919 % 60, at
    from verdict;
insert into comparison (id, project_id, annotation_id, prompt_id, chosen_id, rejected_id, tie, strength)
    select id, 1, id, prompt, iif(said = 'b', b, a), iif(said = 'b', a, b), said = 'tie', iif(said = 'tie', null, 1 + id % 4)
    from verdict;

-- Snapshots: consecutive comparisons, those of a later round begin later.
insert into snapshot_row (snapshot_id, position, annotation_id, body)
    select r.i, n.i - 1, v.id,
           json_object('prompt', json_array(json_object('role', 'user', 'content', 'Question ' || v.prompt)),
                       'prompt_id', v.prompt, 'annotation_id', v.id)
    from round_plan r, setting join number n on n.i <= n_snapshot_rows
    join verdict v on v.id = (r.i - 1) * ((select count(*) from verdict) - n_snapshot_rows) / n_rounds + n.i;

insert into log_line (round_id, at, level, text)
    select r.i, r.at + n.i * 1000, iif(n.i % 50 = 0, 'warning', 'info'), 'Line ' || n.i || ' of the round'
    from round_plan r join number n on n.i <= 200;
insert into metric (round_id, step, split, "values")
    select r.i, n.i, 'train',
           json_object('loss', 0.2 + 0.5 / (1 + n.i * 0.002) + (n.i * 7919 % 1000) * 0.0001,
                       'accuracy', 0.5 + 0.4 * n.i / (n.i + 4000.0), 'margin', n.i * 1e-4, 'grad_norm', 0.5 + n.i * 31 % 100 * 0.01,
                       'learning_rate', 5e-5 * (1 - n.i / (1.0 + n_steps)), 'tokens_per_second', 400 + n.i % 37,
                       'n_tokens', 800 + n.i % 211)
    from round_plan r, setting join number n on n.i <= n_steps
    order by r.i, n.i;

insert into audit (at, who, via, user_id, verb, project_id, kind, subject_id, detail)
    select at + 3600000, 'trainer', 'trainer', null, 'round_finished', 1, 'round', i, '{}' from round_plan;

drop table number;
drop table verdict;
