-- What an adapter was made with, as its trainer tells at the end of the round; null: made before this was kept.
alter table adapter add column template_hash text;       -- SHA-256 of the chat template that rendered the rows
alter table adapter add column base_weights_hash text;   -- the trainer's fingerprint of the base model's weights

-- What came of a completion job's prompts whose completions are all in.
alter table completion_job add column n_tasks integer not null default 0;         -- tasks made
alter table completion_job add column n_without_task integer not null default 0;  -- prompts that gave none
-- It stands in the request, and nothing read it here.
alter table completion_job drop column task_plan;
-- task.priority is read by the queue and is 0 everywhere: nothing sets another one yet.
