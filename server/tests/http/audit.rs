//! The audit log: each change of state is in it once, with who, what and on what; nothing takes it out again.

use crate::{
    app::{Answered, Caller},
    scene::{Scene, done, order, pick, round, settings},
};
use laurel_protocol::*;
use laurel_server::{
    clock, passwords,
    store::{accounts, leases},
};
use serde_json::{Value, json};
use std::{collections::HashSet, process::Command};

const PASSWORD: &str = "correct horse battery";
const COMMENT: &str = "a comment that is nobody's business";

async fn log(scene: &Scene) -> Vec<AuditEntry> {
    scene.admin.get("/audit?format=jsonl").await.lines()
}

async fn verbs(scene: &Scene, query: &str) -> Vec<String> {
    let page: AuditPage = scene.admin.get(&format!("/audit?{query}")).await.json();
    page.entries.iter().map(|entry| entry.verb.name()).collect()
}

async fn ok(answered: impl Future<Output = Answered>) {
    let answered = answered.await;
    assert!(answered.status.is_success(), "{answered:?}");
}

/// A task answered, reopened, answered otherwise, reopened, skipped by one person, and answered by another.
async fn label(scene: &Scene, ada: &Caller) {
    let commented = |choice| {
        move |shown: &Assignment| Answer {
            comment: COMMENT.into(),
            ..pick(choice, shown)
        }
    };
    let first = scene.answer(ada, commented(Choice::First)).await;
    let back: Held = scene.undo(ada).await.json();
    let answer = commented(Choice::Second)(&back.assignments[0]);
    let path = |rest: &str| format!("/assignments/{}/{rest}", first.id);
    for _ in 0..2 {
        // Sent twice it is one change.
        ok(ada.post(&path("annotation"), &answer)).await;
    }
    ok(scene.undo(ada)).await;
    let skip = Skip {
        reason: SkipReason::CannotJudge,
        comment: COMMENT.into(),
        revision: 2,
    };
    for _ in 0..2 {
        ok(ada.post(&path("skip"), &skip)).await;
    }
    scene.answer(&scene.admin, commented(Choice::First)).await;
}

/// Rounds that end in every way.
async fn train(scene: &Scene) {
    scene.train().await;
    let give = async |id: i64, what: &str| {
        ok(scene.admin.send("POST", &format!("/rounds/{id}/{what}"), "")).await;
    };
    let (job, holder) = scene.lease_round().await;
    let finish = format!("/worker/jobs/{}/finish", job.job_id);
    give(2, "pause").await;
    give(2, "resume").await;
    give(2, "pause").await;
    ok(holder.post(&finish, &Outcome::Paused)).await;
    give(2, "resume").await;
    let (_, holder) = scene.lease().await;
    ok(holder.post(&finish, &Outcome::Paused)).await; // nobody wished it: it waits again
    let (_, holder) = scene.lease().await;
    give(2, "abort").await;
    ok(holder.post(&finish, &Outcome::Aborted)).await;
    let (job, holder) = scene.lease_round().await;
    let failed = Outcome::Failed {
        error: "out of memory".into(),
    };
    ok(holder.post(&format!("/worker/jobs/{}/finish", job.job_id), &failed)).await;
}

/// Planned rounds that come to every end, and a round that is moved.
async fn plan(scene: &Scene) {
    let admin = &scene.admin;
    let path = scene.path("/planned-rounds");
    let new = crate::planned::later(RoundKind::Sft);
    let first: PlannedRound = admin.make(&path, &new).await;
    let second: PlannedRound = admin.make(&path, &new).await;
    let give = async |id: PlannedId, what: &str, body: serde_json::Value| {
        ok(admin.post(&format!("/planned-rounds/{id}/{what}"), &body)).await;
    };
    give(second.id, "move", json!({"to": "earlier"})).await;
    give(first.id, "cancel", json!({})).await;
    give(first.id, "retry", json!({})).await;
    let mut on_first = new.clone();
    on_first.start = Origin::Planned { id: first.id };
    let json = admin.with("content-type", "application/json");
    let body = serde_json::to_vec(&on_first).unwrap();
    ok(json.send("PUT", &format!("/planned-rounds/{}", second.id), body)).await;
    give(first.id, "cancel", json!({})).await;
    let mut ready = new;
    ready.when.new_comparisons = 0;
    let _: PlannedRound = admin.make(&path, &ready).await;
    let started = laurel_server::store::planned::start_due(&scene.app.db, clock::now())
        .await
        .unwrap();
    assert_eq!(started.len(), 2, "one failed and one was launched");
    let launched = started.iter().find_map(|one| one.round).unwrap();
    let other: Round = admin.make(&scene.path("/rounds"), &round(RoundKind::Dpo)).await;
    ok(admin.post(&format!("/rounds/{launched}/move"), &json!({"to": "later"}))).await;
    for id in [launched, other.id] {
        ok(admin.send("POST", &format!("/rounds/{id}/abort"), "")).await;
    }
}

/// A webhook that comes, changes and goes.
async fn hook(scene: &Scene) {
    let body = json!({"url": "https://example.org", "events": ["alarm"]});
    let made: CreatedWebhook = scene.admin.make(&scene.path("/webhooks"), &body).await;
    let path = format!("/webhooks/{}", made.webhook.id);
    let json = scene.admin.with("content-type", "application/json");
    ok(json.send("PUT", &path, body.to_string())).await;
    ok(json.send("DELETE", &path, "")).await;
}

/// Completion jobs that end in every way but well.
async fn complete_badly(scene: &Scene) {
    let queue = async || {
        let made: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
        let (job, holder) = scene.lease().await;
        (made.id, format!("/worker/jobs/{}/finish", job.job_id), holder)
    };
    let (id, finish, holder) = queue().await;
    ok(holder.post(&finish, &Outcome::Paused)).await; // given back
    let (_, holder) = scene.lease().await;
    ok(scene
        .admin
        .send("POST", &format!("/completion-jobs/{id}/abort"), ""))
    .await;
    ok(holder.post(&finish, &Outcome::Aborted)).await;
    let (_, finish, holder) = queue().await;
    let failed = Outcome::Failed {
        error: "out of memory".into(),
    };
    ok(holder.post(&finish, &failed)).await;
}

/// An account that comes by invite, changes and is shut out, and a token that is made and revoked.
async fn admit(scene: &Scene) {
    let admin = &scene.admin;
    let role = Role::Annotator;
    let unused: CreatedInvite = admin.make("/invites", &NewInvite { role }).await;
    ok(admin.send("DELETE", &format!("/invites/{}", unused.invite.id), "")).await;
    let invite: CreatedInvite = admin.make("/invites", &NewInvite { role }).await;
    let bea = Credentials {
        name: "bea".into(),
        password: PASSWORD.into(),
    };
    let link = invite.path.rsplit('/').next().unwrap();
    let stranger = scene.app.stranger();
    let joined: Session = stranger.make(&format!("/invites/by-token/{link}"), &bea).await;
    let signed_in = stranger.post("/session", &bea).await;
    ok(stranger.with_cookie_of(&signed_in).send("DELETE", "/session", "")).await;
    let json = admin.with("content-type", "application/json");
    for change in [
        json!({"role": "admin"}),
        json!({"disabled": true}),
        json!({"disabled": false}),
    ] {
        ok(json.send("PATCH", &format!("/users/{}", joined.user.id), change.to_string())).await;
    }
    let new = NewToken {
        name: "nightly".into(),
        scope: TokenScope::Script,
    };
    let token: CreatedToken = admin.make("/tokens", &new).await;
    let script = stranger.bearer(&token.secret);
    let changed = ProjectSettings {
        guidelines: "Be kind.".into(),
        ..settings(LabelType::Pick, 2)
    };
    let json = script.with("content-type", "application/json");
    ok(json.send(
        "PUT",
        &scene.path("/settings"),
        serde_json::to_vec(&changed).unwrap(),
    ))
    .await;
    ok(script.get(&scene.path("/export?format=ranking"))).await;
    ok(admin.send("DELETE", &format!("/tokens/{}", token.token.id), "")).await;
    let text = admin.get("/audit?format=jsonl").await.text().to_owned();
    for secret in [
        PASSWORD,
        COMMENT,
        token.secret.as_str(),
        link,
        "question 1",
        "Be kind.",
    ] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

/// The admin's answer is made gold and closed; the task is decided, noted and retired, and all of it taken back.
async fn check_and_review(scene: &Scene) {
    let own: OwnAnswers = scene.admin.get(&scene.path("/answers")).await.json();
    let (answer, task) = (own.answers[0].assignment_id, own.answers[0].task_id);
    let item: GoldItem = scene
        .admin
        .make(&format!("/assignments/{answer}/gold"), &NewGold::default())
        .await;
    let closed = scene
        .admin
        .send("DELETE", &format!("/gold/{}", item.id), "")
        .await;
    assert_eq!(closed.status, 204);
    let decision = NewDecision {
        judgement: Judgement::Pick {
            choice: Choice::Tie,
            strength: None,
        },
        ratings: Default::default(),
        comment: String::new(),
    };
    let path = |what: &str| format!("/tasks/{task}/{what}");
    let _: ReviewTask = scene.admin.make(&path("decision"), &decision).await;
    let note = NewNote { text: "why?".into() };
    let _: Vec<Note> = scene.admin.make(&path("notes"), &note).await;
    for (method, what) in [("DELETE", "decision"), ("POST", "retired"), ("DELETE", "retired")] {
        let done = scene.admin.send(method, &path(what), "").await;
        assert!(done.status.is_success(), "{done:?}");
    }
}

/// The project is for one person alone, who is given a limit and taken out again; a prompt comes first.
async fn lead(scene: &Scene, ada: &Caller) {
    let put = async |rest: String, body: Value| {
        let json = scene.admin.with("content-type", "application/json");
        ok(json.send("PUT", &scene.path(&rest), body.to_string())).await;
    };
    let member = format!("/members/{}", ada.user);
    put(member.clone(), json!({})).await;
    put(member.clone(), json!({"max_tasks": 3})).await;
    put(member.clone(), json!({"max_tasks": 3})).await; // changes nothing
    put("/members".to_owned(), json!({"assigned": true})).await;
    ok(scene.admin.send("DELETE", &scene.path(&member), "")).await;
    put("/members".to_owned(), json!({"assigned": false})).await;
    put(
        "/prompts/priority".to_owned(),
        json!({"prompts": [1], "priority": 5}),
    )
    .await;
    assert_eq!(verbs(scene, "verb=member_changed").await.len(), 1);
}

/// A battle begins and is stopped.
async fn fight(scene: &Scene) {
    let adapters: Vec<Adapter> = scene.admin.get(&scene.path("/adapters")).await.json();
    let policy = adapters.iter().find(|adapter| adapter.kind.makes_policy());
    let project: Project = scene.admin.get(&scene.path("")).await.json();
    let mut open = project.settings;
    open.arena.on = true;
    open.arena.adapters = vec![policy.unwrap().id];
    let json = scene.admin.with("content-type", "application/json");
    let body = serde_json::to_vec(&open).unwrap();
    let set = json.send("PUT", &scene.path("/settings"), body).await;
    assert_eq!(set.status, 200, "{set:?}");
    let new = NewBattle {
        text: "question 1 once more".into(),
        after: None,
    };
    let battle: Battle = scene.admin.make(&scene.path("/arena"), &new).await;
    let path = format!("/battles/{}/close", battle.id);
    let _: Battle = scene.admin.make(&path, &CloseBattle::default()).await;
}

/// The log of a project whose scorings end in each way that there is, and wait again once.
async fn scored() -> Vec<AuditEntry> {
    let scene = Scene::with_tasks(12).await;
    for _ in 0..10 {
        scene
            .answer(&scene.admin, |shown| pick(Choice::First, shown))
            .await;
    }
    let failed = Outcome::Failed { error: "no".into() };
    for end in [done(), failed, Outcome::Paused, Outcome::Aborted] {
        // One that was put down waits still: then none is added.
        scene.admin.post(&scene.path("/scorings"), &()).await;
        let (job, holder) = scene.lease().await;
        if end == Outcome::Aborted {
            let listed: Vec<Scoring> = scene.admin.get(&scene.path("/scorings")).await.json();
            let stop = format!("/scorings/{}/abort", listed[0].id);
            let _: Scoring = scene.admin.make(&stop, &()).await;
        }
        let finish = format!("/worker/jobs/{}/finish", job.job_id);
        ok(holder.post(&finish, &end)).await;
    }
    log(&scene).await
}

/// The first annotator goes.
async fn leave(scene: &Scene) {
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let leaver = users
        .iter()
        .find(|user| user.role == Role::Annotator && !user.disabled);
    let path = format!("/users/{}?answers=keep", leaver.unwrap().id);
    assert_eq!(scene.admin.send("DELETE", &path, "").await.status, 200);
}

#[tokio::test]
async fn every_kind_of_change_is_noted() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    label(&scene, &ada).await;
    train(&scene).await;
    plan(&scene).await;
    hook(&scene).await;
    complete_badly(&scene).await;
    check_and_review(&scene).await;
    lead(&scene, &ada).await;
    fight(&scene).await;
    admit(&scene).await;
    leave(&scene).await;
    let out = tempfile::tempdir().unwrap();
    let mut backup = Command::new(env!("CARGO_BIN_EXE_laurel"));
    backup.args(["backup", "--out"]).arg(out.path().join("b"));
    assert!(
        backup
            .arg("--data")
            .arg(scene.app.data())
            .status()
            .unwrap()
            .success()
    );

    let entries = log(&scene).await;
    let of_scorings = scored().await;
    let of_contests = crate::contest::noted().await;
    let of_merges = crate::merges::noted().await;
    let seen: HashSet<Verb> = entries
        .iter()
        .chain(&of_scorings)
        .chain(&of_contests)
        .chain(&of_merges)
        .map(|entry| entry.verb)
        // It stands in the log of what was restored: see `backup.rs`.
        .chain([Verb::BackupRestored])
        .collect();
    let missing: Vec<_> = Verb::ALL.iter().filter(|verb| !seen.contains(verb)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(
        entries
            .windows(2)
            .all(|pair| pair[0].id < pair[1].id && pair[0].at <= pair[1].at)
    );
}

#[tokio::test]
async fn a_change_stands_in_the_log_once_with_who_and_on_what() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let from = log(&scene).await.last().unwrap().id;
    label(&scene, &ada).await;
    train(&scene).await;
    let page: AuditPage = scene
        .admin
        .get(&format!("/audit?after={from}&limit=200"))
        .await
        .json();
    let line = |entry: &AuditEntry| {
        let (via, kind) = (json!(entry.via), json!(entry.kind));
        assert_eq!(entry.project, Some(scene.project), "{entry:?}");
        format!(
            "{} {} {} {} {}",
            entry.who,
            via.as_str().unwrap(),
            entry.verb.name(),
            kind.as_str().unwrap(),
            entry.subject.unwrap()
        )
    };
    let lines: Vec<String> = page.entries.iter().map(line).collect();
    let expected = [
        "ada session answer_given assignment 1",
        "ada session task_reopened assignment 1",
        "ada session answer_replaced assignment 1",
        "ada session task_reopened assignment 1",
        "ada session answer_withdrawn assignment 1",
        "ada session task_skipped assignment 1",
        "admin session answer_given assignment 2",
        "admin session round_ordered round 1",
        "t trainer round_started round 1",
        "t trainer adapter_accepted adapter 1",
        "t trainer round_finished round 1",
        "admin session round_ordered round 2",
        "t trainer round_started round 2",
        "admin session round_pause_asked round 2",
        "admin session round_resumed round 2",
        "admin session round_pause_asked round 2",
        "t trainer round_paused round 2",
        "admin session round_resumed round 2",
        "t trainer round_started round 2",
        "t trainer round_returned round 2",
        "t trainer round_started round 2",
        "admin session round_abort_asked round 2",
        "t trainer round_aborted round 2",
        "admin session round_ordered round 3",
        "t trainer round_started round 3",
        "t trainer round_failed round 3",
    ];
    assert_eq!(lines, expected);
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn a_lease_that_runs_out_is_the_servers_own_doing() {
    let scene = Scene::with_tasks(1).await;
    label(&scene, &scene.app.person("ada", Role::Annotator).await).await;
    scene.lease_round().await;
    let later = laurel_server::clock::now().plus_seconds(3600);
    leases::sweep(&scene.app.db, later).await.unwrap();
    let last = log(&scene).await.pop().unwrap();
    assert_eq!((last.via, last.verb), (Via::Server, Verb::RoundReturned));
    assert_eq!((last.who.as_str(), last.user), ("server", None));
}

#[tokio::test]
async fn nothing_changes_or_shortens_the_log() {
    let scene = Scene::with_tasks(1).await;
    let before = log(&scene).await;
    for change in [
        "update audit set who = 'nobody'",
        "delete from audit",
        "insert or replace into audit select * from audit limit 1",
    ] {
        let mut tx = scene.app.db.write().await.unwrap();
        let refused = sqlx::query(change).execute(&mut *tx).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(log(&scene).await, before);
}

#[tokio::test]
async fn a_change_that_fails_leaves_no_trace() {
    let scene = Scene::with_tasks(1).await;
    let before = log(&scene).await;
    let wrong = ProjectSettings {
        label_type: LabelType::Rank,
        ..settings(LabelType::Pick, 3)
    };
    let json = scene.admin.with("content-type", "application/json");
    let body = serde_json::to_vec(&wrong).unwrap();
    let refused = json.send("PUT", &scene.path("/settings"), body).await;
    assert_eq!(refused.code(), ErrorCode::Invalid);
    let held = scene.hold(&scene.admin, 1).await.assignments.remove(0);
    let late = Answer {
        revision: 3,
        ..pick(Choice::Tie, &held)
    };
    let path = format!("/assignments/{}/annotation", held.id);
    assert_eq!(scene.admin.post(&path, &late).await.code(), ErrorCode::Conflict);
    assert_eq!(log(&scene).await, before);
}

#[tokio::test]
async fn filters_and_pages_find_what_is_asked_for() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("Ada", Role::Annotator).await;
    let script = scene.app.token(&ada, TokenScope::Script).await;
    label(&scene, &script).await;
    let all = log(&scene).await;
    let mut paged = Vec::new();
    let mut after = AuditId(0);
    loop {
        let page: AuditPage = scene
            .admin
            .get(&format!("/audit?limit=3&after={after}"))
            .await
            .json();
        paged.extend(page.entries);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(paged, all);
    let newest: AuditPage = scene.admin.get("/audit?order=newest&limit=2").await.json();
    let backwards: Vec<_> = all.iter().rev().take(2).cloned().collect();
    assert_eq!(newest.entries, backwards);

    let given = verbs(&scene, "who=ada&verb=answer_given").await;
    assert_eq!(given, ["answer_given"]);
    let mine: AuditPage = scene
        .admin
        .get("/audit?who=ada&verb=answer_replaced")
        .await
        .json();
    let entry = &mine.entries[0];
    assert_eq!(
        (entry.via, entry.token.as_deref(), entry.user),
        (Via::Token, Some("t"), Some(ada.user))
    );
    assert_eq!(
        verbs(&scene, "project=1&verb=account_made").await,
        Vec::<String>::new()
    );
    assert_eq!(verbs(&scene, "verb=project_created&project=1").await.len(), 1);
    let now = laurel_server::clock::now().0;
    assert_eq!(verbs(&scene, &format!("since={}", now + 60_000)).await.len(), 0);
    assert_eq!(
        verbs(&scene, &format!("since={}&limit=200", now - 60_000))
            .await
            .len(),
        all.len()
    );
    for wrong in ["verb=answer_taken", "order=sideways", "format=csv"] {
        let refused = scene.admin.get(&format!("/audit?{wrong}")).await;
        assert_eq!(refused.code(), ErrorCode::Invalid, "{wrong}");
    }
}

#[tokio::test]
async fn the_command_line_writes_the_same_lines() {
    let scene = Scene::with_tasks(1).await;
    let hash = passwords::hash_blocking(PASSWORD).unwrap();
    accounts::create(
        &scene.app.db,
        "Cy",
        &hash,
        Role::Annotator,
        laurel_server::clock::now(),
    )
    .await
    .unwrap();
    let laurel = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_laurel"));
        command
            .args(words)
            .arg("--data")
            .arg(scene.app.data())
            .output()
            .unwrap()
    };
    let whole = laurel(&["audit"]);
    assert_eq!(whole.stdout, scene.admin.get("/audit?format=jsonl").await.bytes());
    let some = laurel(&["audit", "--verb", "account_made", "--after", "1"]);
    let lines: Vec<Value> = String::from_utf8(some.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["detail"]["name"], &lines[0]["who"]),
        (&json!("Cy"), &json!("command line"))
    );
    assert!(!laurel(&["audit", "--verb", "nothing"]).status.success());
}
