-- Who changed what, and when. Rows are written in the transaction of the change that they tell of, and never change: not
-- even the server can. Nothing is referenced, so that a row outlives what it speaks of; people are known by their number
-- alone, so that whoever leaves is no longer named.
create table audit (
    id         integer primary key autoincrement,      -- in the order of the changes; none is used twice
    at         integer not null,
    who        text not null,                          -- the trainer's token, or a word; '' for a person
    via        text not null check (via in ('session', 'token', 'trainer', 'command_line', 'server')),
    user_id    integer,
    token      text,                                   -- the name of a script's token
    verb       text not null,                          -- protocol::Verb
    project_id integer,
    kind       text not null,                          -- protocol::Subject
    subject_id integer,
    detail     text not null check (json_valid(detail))
) strict;
create index audit_project on audit (project_id, id);

create trigger audit_is_not_changed before update on audit
begin
    select raise(abort, 'the audit log is append-only');
end;
create trigger audit_is_not_shortened before delete on audit
begin
    select raise(abort, 'the audit log is append-only');
end;
-- `insert or replace` takes a row away without the trigger for deletes.
create trigger audit_is_not_replaced before insert on audit
when exists (select 1 from audit where id = new.id)
begin
    select raise(abort, 'the audit log is append-only');
end;
