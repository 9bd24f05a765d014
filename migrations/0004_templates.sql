-- Which chat template the trainers apply (protocol::Template as JSON). A job keeps the one of its project at its start,
-- so that a resumed one sees the same text.
alter table project add column template text not null default '"model"' check (json_valid(template));
alter table job add column template text not null default '"model"' check (json_valid(template));
-- What a round trains on, as its trainer told before the first step (protocol::Preview); null until then.
alter table round add column preview text check (preview is null or json_valid(preview));
