//! Labels under concurrency: completions come in as from a trainer, many annotators answer, skip, undo and repeat
//! themselves at once, and the database is checked afterwards.

#![allow(clippy::unwrap_used)] // a failed step fails the test

use laurel_protocol::*;
use laurel_server::chats::Chats;
use laurel_server::store::{
    Db, accounts, agreement, annotations,
    assignments::{self, Annotator},
    audit::Actor,
    completion_jobs, completions, exports, leases, projects, prompts, rounds, undo,
};

const NOW: Timestamp = Timestamp(1_000_000);
const LEASE: u32 = 900;

struct Fixture {
    _folder: tempfile::TempDir,
    db: Db,
    project: ProjectId,
    users: Vec<UserId>,
}

/// A pick project with one task a prompt, its completions handed in by a trainer.
async fn fixture(n_tasks: u32, overlap: u8, n_users: usize) -> Fixture {
    fixture_with(Selection::default(), n_tasks, overlap, n_users).await
}

async fn fixture_with(selection: Selection, n_tasks: u32, overlap: u8, n_users: usize) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).await.unwrap();
    let settings = ProjectSettings {
        name: "p".into(),
        guidelines: String::new(),
        label_type: LabelType::Pick,
        completions_per_task: 2,
        overlap,
        ask_strength: false,
        questions: Default::default(),
        checks: Default::default(),
        arena: Default::default(),
        selection,
        leave_out_truncated: false,
        base_model: DEFAULT_MODEL.into(),
        template: Default::default(),
    };
    let project = projects::create(&db, &settings, Actor::CommandLine, NOW)
        .await
        .unwrap();
    let lines: String = (0..n_tasks)
        .map(|n| format!("{{\"prompt\": \"question {n}\"}}\n"))
        .collect();
    prompts::import(&db, project, lines.as_bytes(), false, Actor::CommandLine, NOW)
        .await
        .unwrap();
    let mut users = Vec::new();
    for n in 0..n_users {
        let user = accounts::create(&db, &format!("user {n}"), "none", Role::Annotator, NOW)
            .await
            .unwrap();
        users.push(user.id);
    }
    let order = NewCompletionJob {
        adapter: None,
        base_model: false,
        completions_per_prompt: 2,
        sampling: Sampling::default(),
        task_plan: TaskPlan::Together,
        n_prompts: None,
    };
    completion_jobs::create(&db, project, &order, users[0], NOW)
        .await
        .unwrap();
    let fixture = Fixture {
        _folder: folder,
        db,
        project,
        users,
    };
    let lease = fixture.lease().await;
    let mut finished = FinishedCompletions {
        template_hash: "t".into(),
        completions: Vec::new(),
    };
    for prompt in completion_jobs::missing(&fixture.db, lease.job, PromptId(0), 10_000)
        .await
        .unwrap()
    {
        finished
            .completions
            .extend(prompt.indexes.iter().map(|index| FinishedCompletion {
                prompt_id: prompt.prompt_id,
                index: *index,
                text: format!("answer {index}"),
                n_tokens: 2,
                finish_reason: FinishReason::Stop,
            }));
    }
    completions::store(&fixture.db, &lease, &finished, NOW)
        .await
        .unwrap();
    let again = completions::store(&fixture.db, &lease, &finished, NOW)
        .await
        .unwrap();
    assert_eq!(again.n_tasks_made, 0, "what comes twice makes nothing");
    leases::finish(&fixture.db, &lease, JobStatus::Done, None, NOW)
        .await
        .unwrap();
    fixture
}

impl Fixture {
    async fn lease(&self) -> leases::Lease {
        let request = LeaseRequest {
            worker: "w".into(),
            device: "cpu".into(),
            models: vec![DEFAULT_MODEL.into()],
            wait_seconds: 0,
            chat_only: false,
        };
        let (leased, _) = leases::lease(&self.db, &Chats::default(), "t", &request, 60, NOW)
            .await
            .unwrap()
            .job
            .unwrap();
        leases::Lease {
            job: leased.job_id,
            secret: leased.lease,
            seconds: 60,
            trainer: "t".into(),
        }
    }

    fn annotator(&self, n: usize) -> Annotator {
        Annotator {
            user: self.users[n],
            project: self.project,
            lease_seconds: LEASE,
            now: NOW,
        }
    }

    async fn export(&self, format: ExportFormat) -> String {
        let export = exports::Export::begin(&self.db, self.project, format).await;
        rest_of(&mut export.unwrap()).await
    }

    /// What is kept of the tasks' number is what one counts.
    async fn counts_its_tasks(&self, n_open: i64, n_done: i64) {
        for (status, n) in [("open", n_open), ("done", n_done)] {
            let kept = format!("select n_{status} from task_count");
            let counted = format!("select count(*) from task where status = '{status}' and kind = 'label'");
            for sql in [kept, counted] {
                let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                    .fetch_one(self.db.read())
                    .await
                    .unwrap();
                assert_eq!(found, n, "{status}");
            }
        }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.read()).await.unwrap()
    }
}

async fn rest_of(export: &mut exports::Export) -> String {
    let mut lines = String::new();
    while let Some(page) = export.next_page().await.unwrap() {
        lines += &page;
    }
    lines
}

fn answer(choice: Choice, revision: u32) -> Answer {
    Answer {
        judgement: Judgement::Pick {
            choice,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_gets_exactly_its_overlap_from_annotators_at_once() {
    overlap_is_exact(fixture(30, 3, 8).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_gets_exactly_its_overlap_where_the_least_sure_ones_come_first() {
    let selection = Selection {
        active: true,
        explore_percent: 20,
    };
    let fixture = fixture_with(selection, 30, 3, 8).await;
    let mut tx = fixture.db.write().await.unwrap();
    sqlx::query("update task set uncertainty = nullif(id * 7 % 11, 0) / 20.0")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    overlap_is_exact(fixture).await;
}

/// Eight people answer everything that they are given, twice, and undo some of it.
async fn overlap_is_exact(fixture: Fixture) {
    let mut annotators = tokio::task::JoinSet::new();
    for n in 0..fixture.users.len() {
        let (db, who) = (fixture.db.clone(), fixture.annotator(n));
        annotators.spawn(async move {
            let mut n_answers = 0;
            loop {
                let held = assignments::hold(&db, who, 3).await.unwrap();
                let Some(first) = held.assignments.first() else {
                    return n_answers;
                };
                let choice = if n % 2 == 0 { Choice::First } else { Choice::Tie };
                let sent = answer(choice, first.revision);
                for _ in 0..2 {
                    annotations::submit(&db, first.id, &sent, who.user, LEASE, NOW)
                        .await
                        .unwrap();
                }
                n_answers += 1;
                if n_answers % 5 == 0 {
                    let back = undo::undo(&db, who, None).await.unwrap().assignments.remove(0);
                    let other = answer(Choice::Second, back.revision);
                    annotations::submit(&db, back.id, &other, who.user, LEASE, NOW)
                        .await
                        .unwrap();
                }
            }
        });
    }
    let n_answers: i64 = annotators.join_all().await.into_iter().sum();
    assert_eq!(n_answers, 90);
    let standing = "select count(*) from annotation where replaced_by is null and withdrawn = 0";
    assert_eq!(fixture.count(standing).await, 90);
    assert_eq!(
        fixture
            .count("select count(*) from task where status = 'done' and n_annotations = 3")
            .await,
        30
    );
    fixture.counts_its_tasks(0, 30).await;
    let doubled =
        "select count(*) from (select task_id, user_id from assignment group by 1, 2 having count(*) > 1)";
    assert_eq!(fixture.count(doubled).await, 0);
    assert_eq!(fixture.count("select count(*) from comparison").await, 90);
    let stray = "select count(*) from comparison c join annotation n on n.id = c.annotation_id
                 where n.replaced_by is not null or n.withdrawn = 1";
    assert_eq!(fixture.count(stray).await, 0);
}

#[tokio::test]
async fn an_expired_hold_is_answered_while_its_slot_is_free_and_lost_once_it_is_taken() {
    let fixture = fixture(1, 1, 2).await;
    let mine = assignments::hold(&fixture.db, fixture.annotator(0), 1)
        .await
        .unwrap()
        .assignments
        .remove(0);
    let later = Timestamp(NOW.0 + 1000 * i64::from(LEASE) + 1);
    let other = Annotator {
        now: later,
        ..fixture.annotator(1)
    };
    assert_eq!(
        assignments::hold(&fixture.db, other, 1)
            .await
            .unwrap()
            .assignments
            .len(),
        1
    );
    let sent = answer(Choice::First, 0);
    let late = annotations::submit(&fixture.db, mine.id, &sent, fixture.users[0], LEASE, later).await;
    assert!(matches!(late, Err(laurel_server::store::Error::LeaseLost)));
    let even_later = Timestamp(later.0 + 1000 * i64::from(LEASE) + 1);
    annotations::submit(
        &fixture.db,
        mine.id,
        &answer(Choice::First, 0),
        fixture.users[0],
        LEASE,
        even_later,
    )
    .await
    .unwrap();
    assert_eq!(
        fixture
            .count("select count(*) from task where status = 'done'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_stale_answer_or_skip_conflicts_and_skipping_an_answered_task_withdraws_it() {
    let fixture = fixture(1, 1, 1).await;
    let who = fixture.annotator(0);
    let mine = assignments::hold(&fixture.db, who, 1)
        .await
        .unwrap()
        .assignments
        .remove(0);
    let (first, second) = (answer(Choice::First, 0), answer(Choice::Second, 0));
    annotations::submit(&fixture.db, mine.id, &first, who.user, LEASE, NOW)
        .await
        .unwrap();
    let stale = annotations::submit(&fixture.db, mine.id, &second, who.user, LEASE, NOW).await;
    assert!(matches!(stale, Err(laurel_server::store::Error::Conflict(_))));
    let skip = |revision| Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision,
    };
    let stale = assignments::skip(&fixture.db, mine.id, &skip(0), who.user, LEASE, NOW).await;
    assert!(matches!(stale, Err(laurel_server::store::Error::Conflict(_))));
    assert_eq!(
        fixture.count("select n_annotations from task").await,
        1,
        "a skip that did not know of the answer leaves it"
    );
    fixture.counts_its_tasks(0, 1).await;
    for _ in 0..2 {
        assignments::skip(&fixture.db, mine.id, &skip(1), who.user, LEASE, NOW)
            .await
            .unwrap();
        assert_eq!(fixture.count("select count(*) from comparison").await, 0);
        assert_eq!(fixture.count("select n_annotations from task").await, 0);
        fixture.counts_its_tasks(1, 0).await;
    }
}

#[tokio::test]
async fn a_round_freezes_what_the_export_holds_and_a_lost_lease_brings_it_back() {
    let fixture = fixture(4, 1, 1).await;
    let who = fixture.annotator(0);
    while let Some(next) = assignments::hold(&fixture.db, who, 1)
        .await
        .unwrap()
        .assignments
        .pop()
    {
        annotations::submit(
            &fixture.db,
            next.id,
            &answer(Choice::First, 0),
            who.user,
            LEASE,
            NOW,
        )
        .await
        .unwrap();
    }
    let spec = RoundSpec {
        kind: RoundKind::Dpo,
        adapter: AdapterConfig::default(),
        hyper: Hyper::default(),
        reward: None,
        seed: 0,
    };
    let new = NewRound {
        name: String::new(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
    };
    let round = rounds::create(&fixture.db, fixture.project, &new, who.user, NOW)
        .await
        .unwrap();
    let lines = fixture.export(ExportFormat::Preference).await;
    assert_eq!((round.snapshot.n_rows, round.name.as_str()), (4, "DPO 1"));
    assert_eq!(
        round.snapshot.hash,
        laurel_server::store::text::sha256_hex(&lines)
    );

    let lease = fixture.lease().await;
    let late = Timestamp(NOW.0 + 60_001);
    assert_eq!(
        leases::sweep(&fixture.db, late).await.unwrap()[0].status,
        JobStatus::Queued
    );
    leases::renew(&fixture.db, &lease, late).await.unwrap(); // nobody else took it: it goes on
    leases::sweep(&fixture.db, Timestamp(late.0 + 60_001))
        .await
        .unwrap();
    let next = fixture.lease().await;
    assert!(matches!(
        leases::renew(&fixture.db, &lease, late).await,
        Err(laurel_server::store::Error::LeaseLost)
    ));
    assert_eq!(next.job, lease.job);
}

#[tokio::test]
async fn an_export_under_way_does_not_see_what_changes_meanwhile() {
    let fixture = fixture(210, 1, 1).await;
    let who = fixture.annotator(0);
    let mut answered = Vec::new();
    while let Some(next) = assignments::hold(&fixture.db, who, 1)
        .await
        .unwrap()
        .assignments
        .pop()
    {
        let first = answer(Choice::First, 0);
        annotations::submit(&fixture.db, next.id, &first, who.user, LEASE, NOW)
            .await
            .unwrap();
        answered.push(next.id);
    }
    for (revision, format) in [(1, ExportFormat::Preference), (2, ExportFormat::Ranking)] {
        let before = fixture.export(format).await;
        assert_eq!(before.lines().count(), 210);
        let mut export = exports::Export::begin(&fixture.db, fixture.project, format)
            .await
            .unwrap();
        let mut lines = export.next_page().await.unwrap().unwrap();
        // One of the page that has been given, and one of the page to come.
        for id in [answered[0], answered[209]] {
            let other = answer(Choice::Second, revision);
            annotations::submit(&fixture.db, id, &other, who.user, LEASE, NOW)
                .await
                .unwrap();
        }
        lines += &rest_of(&mut export).await;
        assert_eq!(lines, before);
        assert_ne!(fixture.export(format).await, before);
    }
}

#[tokio::test]
async fn the_same_judgement_with_another_comment_is_another_answer() {
    let fixture = fixture(1, 1, 1).await;
    let who = fixture.annotator(0);
    let mine = assignments::hold(&fixture.db, who, 1)
        .await
        .unwrap()
        .assignments
        .remove(0);
    let submit = |comment: &str, seconds: f64| {
        let sent = Answer {
            comment: comment.to_owned(),
            extras: Default::default(),
            seconds,
            ..answer(Choice::First, 0)
        };
        let db = fixture.db.clone();
        async move { annotations::submit(&db, mine.id, &sent, who.user, LEASE, NOW).await }
    };
    submit("clear", 1.0).await.unwrap();
    submit("clear", 2.0).await.unwrap();
    let other = submit("unclear", 1.0).await;
    assert!(matches!(other, Err(laurel_server::store::Error::Conflict(_))));
}

#[tokio::test]
async fn a_server_that_was_down_for_long_takes_no_job_from_a_live_trainer() {
    let fixture = fixture(1, 1, 1).await;
    let order = NewCompletionJob {
        adapter: None,
        base_model: false,
        completions_per_prompt: 2,
        sampling: Sampling::default(),
        task_plan: TaskPlan::Together,
        n_prompts: None,
    };
    completion_jobs::create(&fixture.db, fixture.project, &order, fixture.users[0], NOW)
        .await
        .unwrap();
    let lease = fixture.lease().await;
    let back = Timestamp(NOW.0 + 3_600_000);
    leases::resume(&fixture.db, 60, back).await.unwrap();
    assert!(leases::sweep(&fixture.db, back).await.unwrap().is_empty());
    leases::renew(&fixture.db, &lease, back).await.unwrap();
    let silent = Timestamp(back.0 + 60_001);
    assert_eq!(leases::sweep(&fixture.db, silent).await.unwrap().len(), 1);
}

#[tokio::test]
async fn agreement_counts_pairs_of_people_who_compared_the_same_answers() {
    let fixture = fixture(4, 3, 3).await;
    // Question by question: all three the same, one against two, one of them a tie, and one person alone.
    let choices = [
        [Some(true), Some(true), Some(true)],
        [Some(true), Some(false), Some(true)],
        [Some(false), Some(true), None],
        [Some(true), None, None],
    ];
    for n in 0..3 {
        let who = fixture.annotator(n);
        let held = assignments::hold(&fixture.db, who, 4).await.unwrap().assignments;
        for assignment in held {
            let is_about = |n: &usize| assignment.prompt[0].html.contains(&format!("question {n}"));
            let question = (0..choices.len()).find(is_about).unwrap();
            let is_first = assignment.completions[0].html.contains("answer 0");
            let choice = match choices[question][n] {
                Some(wants_first) if wants_first == is_first => Choice::First,
                Some(_) => Choice::Second,
                None => Choice::Tie,
            };
            let sent = answer(choice, assignment.revision);
            annotations::submit(&fixture.db, assignment.id, &sent, who.user, LEASE, NOW)
                .await
                .unwrap();
        }
    }
    let new = NewRound {
        name: String::new(),
        spec: RoundSpec {
            kind: RoundKind::Reward,
            adapter: AdapterConfig::default(),
            hyper: Hyper::for_kind(RoundKind::Reward),
            reward: None,
            seed: 0,
        },
        starting_adapter: None,
        reward_adapter: None,
    };
    let round = rounds::create(&fixture.db, fixture.project, &new, fixture.users[0], NOW)
        .await
        .unwrap();
    assert_eq!(
        agreement::of_round(&fixture.db, round.id).await.unwrap(),
        Agreement {
            n_shared: 3,
            n_compared: 3 + 3 + 1,
            n_same: 3 + 1,
        }
    );
    let nobody = agreement::of_round(&fixture.db, RoundId(99)).await;
    assert!(matches!(nobody, Err(laurel_server::store::Error::NotFound)));
}
