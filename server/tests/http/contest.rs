//! Contests through the API: hidden pairs, the verdict, the gate, what is current, and the ladder.

use crate::{
    app::Caller,
    scene::{Scene, order, pick, plain, settings},
};
use laurel_protocol::*;
use serde_json::json;

/// A project with an adapter that a round made, and somebody who labels.
struct Stage {
    scene: Scene,
    adapter: Adapter,
    person: Caller,
}

impl Stage {
    async fn new(n_prompts: usize) -> Self {
        let scene = Scene::new(&settings(LabelType::Pick, 2), n_prompts).await;
        let person = scene.app.person("ann", Role::Annotator).await;
        scene
            .complete(
                &NewCompletionJob {
                    n_prompts: Some(1),
                    ..order(2)
                },
                plain,
            )
            .await;
        scene.answer(&person, |held| pick(Choice::First, held)).await;
        let adapter = scene.train().await;
        Self {
            scene,
            adapter,
            person,
        }
    }

    /// The gate of the round that made the adapter, against the base model.
    fn gate(&self, n_prompts: u32) -> NewContest {
        NewContest {
            first: Some(self.adapter.id),
            second: None,
            round: Some(self.adapter.round_id),
            n_prompts,
            prompts: Vec::new(),
            n_people: 1,
            alpha: 0.05,
            sampling: Sampling::default(),
        }
    }

    async fn begin(&self, new: &NewContest) -> Contest {
        self.scene.admin.make(&self.scene.path("/contests"), new).await
    }

    /// Begins it, and both contenders answer.
    async fn answered(&self, new: &NewContest) -> Contest {
        let contest = self.begin(new).await;
        self.scene.hand_in(|prompt, _| said("new", prompt)).await;
        self.scene.hand_in(|prompt, _| said("old", prompt)).await;
        self.now(contest.id).await
    }

    async fn now(&self, id: ContestId) -> Contest {
        self.scene.admin.get(&format!("/contests/{id}")).await.json()
    }

    /// Answers tasks for the contender that says this, so often.
    async fn choose(&self, who: &Caller, says: &str, n: usize) {
        for _ in 0..n {
            self.scene.answer(who, |held| pick(place(held, says), held)).await;
        }
    }
}

/// What the log has of contests that end in every way, and of an adapter that comes and goes.
pub async fn noted() -> Vec<AuditEntry> {
    let stage = Stage::new(9).await;
    let scene = &stage.scene;
    stage.answered(&stage.gate(8)).await;
    stage.choose(&stage.person, "new", 8).await;
    stage.answered(&stage.gate(1)).await;
    stage.choose(&stage.person, "new", 1).await;
    let contest = stage.begin(&stage.gate(1)).await;
    let path = format!("/contests/{}/close", contest.id);
    let _: Contest = scene.admin.make(&path, &CloseContest::default()).await;
    let new = NewPromotion {
        adapter: Some(stage.adapter.id),
        reason: "a try".into(),
        without_gate: true,
    };
    let current: Current = scene.admin.make(&scene.path("/promotions"), &new).await;
    let back = format!("/promotions/{}/roll-back", current.promotion.unwrap());
    assert_eq!(scene.admin.send("POST", &back, "").await.status, 200);
    let page: AuditPage = scene.admin.get("/audit?order=newest&limit=200").await.json();
    page.entries
}

fn said(by: &str, prompt: &WorkPrompt) -> String {
    format!("{by} answer to {}", prompt.messages[0].content)
}

fn place(held: &Assignment, says: &str) -> Choice {
    match held.completions[0].text.starts_with(says) {
        true => Choice::First,
        false => Choice::Second,
    }
}

#[tokio::test]
async fn nobody_who_judges_can_tell_whose_answers_are_shown() {
    let stage = Stage::new(40).await;
    let contest = stage.answered(&stage.gate(40)).await;
    assert_eq!(
        (contest.figures.n_prompts, contest.status),
        (40, ContestStatus::Open)
    );
    let mut firsts = Vec::new();
    for _ in 0..8 {
        let held = stage.scene.hold(&stage.person, 1).await;
        let text = serde_json::to_string(&held).unwrap();
        for secret in [
            stage.adapter.name.as_str(),
            "base model",
            "completion_id",
            "contest",
            "adapter",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let held = &held.assignments[0];
        firsts.push(place(held, "new"));
        let path = format!("/assignments/{}/annotation", held.id);
        let _: Held = stage.person.make(&path, &pick(Choice::Tie, held)).await;
    }
    // Stored orders are drawn as well: a reviewer sees them. That all 40 are alike has a chance of 2^-39.
    let sql = "select count(distinct x.position) from contest_prompt p
               join task_completion x on x.completion_id = p.first_answer_id";
    assert_eq!(stage.scene.app.count(sql).await, 2);
    assert_eq!(stage.now(contest.id).await.figures.ties, 8);
}

#[tokio::test]
async fn it_ends_when_it_is_clear_and_what_people_hold_is_still_taken() {
    let stage = Stage::new(30).await;
    let other = stage.scene.app.person("bob", Role::Annotator).await;
    let contest = stage.answered(&stage.gate(30)).await;
    let held = stage.scene.hold(&other, 2).await.assignments;
    // Eight wins in a row multiply the capital by (2^9 - 1) / 9, above 2 / 0.05; seven by 255 / 8, below.
    stage.choose(&stage.person, "new", 7).await;
    assert_eq!(stage.now(contest.id).await.status, ContestStatus::Open);
    stage.choose(&stage.person, "new", 1).await;
    let ended = stage.now(contest.id).await;
    assert_eq!(
        (ended.status, ended.winner()),
        (ContestStatus::Decided, Some(Side::First))
    );
    assert_eq!((ended.figures.wins, ended.figures.n_counted), (8, 8));

    // The one task that was held ahead is still theirs; the rest of the queue is empty.
    let third = stage.scene.app.person("cat", Role::Annotator).await;
    assert!(stage.scene.hold(&third, 1).await.assignments.is_empty());
    let late = format!("/assignments/{}/annotation", held[0].id);
    let _: Held = other.make(&late, &pick(Choice::Second, &held[0])).await;
    // A hold that is put aside frees its slot for nobody.
    let skip = Skip {
        reason: SkipReason::PromptUnclear,
        comment: String::new(),
        revision: 0,
    };
    let _: Held = other
        .make(&format!("/assignments/{}/skip", held[1].id), &skip)
        .await;
    assert!(stage.scene.hold(&third, 1).await.assignments.is_empty());
    assert_eq!(
        stage.now(contest.id).await.figures,
        ended.figures,
        "as it was when it ended"
    );
}

#[tokio::test]
async fn answers_that_are_the_same_are_ties_without_a_vote_and_neither_wins() {
    let stage = Stage::new(3).await;
    let contest = stage.begin(&stage.gate(3)).await;
    stage.scene.hand_in(|prompt, _| said("same", prompt)).await;
    stage.scene.hand_in(|prompt, _| said("same", prompt)).await;
    let ended = stage.now(contest.id).await;
    assert_eq!(ended.status, ContestStatus::Undecided);
    assert_eq!((ended.figures.n_same, ended.figures.win_rate), (3, Some(0.5)));
    assert!(stage.scene.hold(&stage.person, 1).await.assignments.is_empty());
}

#[tokio::test]
async fn a_prompt_counts_when_all_its_votes_are_in_and_by_their_mean() {
    let stage = Stage::new(1).await;
    let new = NewContest {
        n_people: 2,
        ..stage.gate(1)
    };
    let contest = stage.answered(&new).await;
    stage.choose(&stage.person, "new", 1).await;
    assert_eq!(stage.now(contest.id).await.figures.n_counted, 0);
    let other = stage.scene.app.person("bob", Role::Annotator).await;
    stage
        .scene
        .answer(&other, |held| pick(Choice::BothBad, held))
        .await;
    let ended = stage.now(contest.id).await;
    assert_eq!(
        (ended.status, ended.figures.win_rate),
        (ContestStatus::Undecided, Some(0.75))
    );
    let gate: RoundGate = stage
        .scene
        .admin
        .get(&format!("/rounds/{}/gate", stage.adapter.round_id))
        .await
        .json();
    assert_eq!(gate.gate, Gate::Undecided);
}

#[tokio::test]
async fn a_reviewers_decision_stands_in_place_of_the_votes() {
    let stage = Stage::new(2).await;
    let contest = stage.answered(&stage.gate(2)).await;
    let held = stage
        .scene
        .answer(&stage.person, |held| pick(place(held, "new"), held))
        .await;
    let reviewer = stage.scene.app.person("rev", Role::Reviewer).await;
    let decision = json!({"judgement": {"type": "pick", "choice": "tie"}, "comment": ""});
    let decided = reviewer
        .post(&format!("/tasks/{}/decision", held.task_id), &decision)
        .await;
    assert_eq!(decided.status, 200, "{decided:?}");
    let figures = stage.now(contest.id).await.figures;
    assert_eq!((figures.wins, figures.ties, figures.n_counted), (0, 1, 1));
}

#[tokio::test]
async fn an_admin_ends_it_once_and_its_jobs_stop() {
    let stage = Stage::new(4).await;
    let contest = stage.begin(&stage.gate(4)).await;
    stage.scene.hand_in(|prompt, _| said("new", prompt)).await;
    let path = format!("/contests/{}/close", contest.id);
    let closed: Contest = stage
        .scene
        .admin
        .make(
            &path,
            &CloseContest {
                reason: "wrong prompts".into(),
            },
        )
        .await;
    assert_eq!((closed.status, closed.winner()), (ContestStatus::Closed, None));
    assert_eq!(closed.jobs[1].status, JobStatus::Aborted);
    assert_eq!(
        stage
            .scene
            .admin
            .post(&path, &CloseContest::default())
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn a_contest_of_a_job_that_failed_ends_when_the_rest_is_judged() {
    let stage = Stage::new(2).await;
    let contest = stage.begin(&stage.gate(2)).await;
    stage.scene.hand_in(|prompt, _| said("new", prompt)).await;
    let (job, holder) = stage.scene.lease().await;
    let failed = Outcome::Failed {
        error: "no memory".into(),
    };
    let _ = holder
        .post(&format!("/worker/jobs/{}/finish", job.job_id), &failed)
        .await;
    let ended = stage.now(contest.id).await;
    assert_eq!(
        (ended.status, ended.figures.n_counted),
        (ContestStatus::Undecided, 0)
    );
    assert_eq!(ended.figures.win_rate, None);
}

#[tokio::test]
async fn own_prompts_are_asked_first_and_the_same_seed_draws_the_same_others() {
    let stage = Stage::new(20).await;
    let new = NewContest {
        prompts: vec![
            PromptText::Text("mine".into()),
            PromptText::Text("question 3".into()),
        ],
        ..stage.gate(4)
    };
    let asked = async || {
        stage.begin(&new).await;
        let (job, holder) = stage.scene.lease().await;
        let prompts: Vec<WorkPrompt> = holder
            .get(&format!("/worker/jobs/{}/prompts", job.job_id))
            .await
            .lines();
        let _ = holder
            .post(&format!("/worker/jobs/{}/finish", job.job_id), &Outcome::Aborted)
            .await;
        let texts = prompts.iter().map(|prompt| prompt.messages[0].content.clone());
        texts.collect::<Vec<_>>()
    };
    let first = asked().await;
    assert_eq!(first.len(), 6, "{first:?}");
    assert!(first.contains(&"mine".to_owned()) && first.contains(&"question 3".to_owned()));
    assert_eq!(asked().await, first);
}

#[tokio::test]
async fn what_cannot_meet_is_refused_with_a_reason() {
    let stage = Stage::new(1).await;
    let path = stage.scene.path("/contests");
    let reward = stage
        .scene
        .train_on(&crate::scene::round(RoundKind::Reward))
        .await;
    for (new, field) in [
        (
            NewContest {
                first: None,
                ..stage.gate(1)
            },
            "second",
        ),
        (
            NewContest {
                second: Some(reward.id),
                ..stage.gate(1)
            },
            "second",
        ),
        (
            NewContest {
                round: Some(reward.round_id),
                ..stage.gate(1)
            },
            "round",
        ),
    ] {
        let refused = stage.scene.admin.post(&path, &new).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.problem().fields[0].field, field);
    }
    assert_eq!(stage.person.post(&path, &stage.gate(1)).await.status, 403);
    let rank = Scene::new(&settings(LabelType::Rank, 4), 1).await;
    let new = NewContest {
        first: None,
        second: Some(AdapterId(1)),
        round: None,
        ..stage.gate(1)
    };
    assert_eq!(rank.admin.post(&rank.path("/contests"), &new).await.status, 409);
}

#[tokio::test]
async fn a_contest_goes_on_after_a_restart() {
    let stage = Stage::new(10).await;
    let contest = stage.answered(&stage.gate(10)).await;
    stage.choose(&stage.person, "old", 4).await;
    let Stage {
        scene,
        adapter,
        person,
    } = stage;
    let scene = scene.restart().await;
    let stage = Stage {
        person: scene.app.again(&person),
        scene,
        adapter,
    };
    stage.choose(&stage.person, "old", 4).await;
    let ended = stage.now(contest.id).await;
    assert_eq!(ended.winner(), Some(Side::Second));
    let gate: RoundGate = stage
        .scene
        .admin
        .get(&format!("/rounds/{}/gate", stage.adapter.round_id))
        .await
        .json();
    assert_eq!(gate.gate, Gate::NotAccepted);
}

#[tokio::test]
async fn an_accepted_adapter_is_promoted_taken_by_default_and_rolled_back() {
    let stage = Stage::new(10).await;
    let (scene, adapter) = (&stage.scene, stage.adapter.id);
    stage.answered(&stage.gate(10)).await;
    stage.choose(&stage.person, "new", 8).await;
    let promotions = scene.path("/promotions");
    let new = NewPromotion {
        adapter: Some(adapter),
        reason: "people like it".into(),
        without_gate: false,
    };
    let current: Current = scene.admin.make(&promotions, &new).await;
    assert_eq!(
        (current.current.adapter, current.before.adapter),
        (Some(adapter), None)
    );
    assert_eq!(
        (current.history[0].gate, current.history[0].by.as_str()),
        (Gate::Accepted, "admin")
    );
    assert_eq!(
        scene.admin.post(&promotions, &new).await.status,
        409,
        "it is current already"
    );

    let job: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    assert_eq!(
        (job.request.adapter, job.generator.as_str()),
        (Some(adapter), stage.adapter.name.as_str())
    );
    let base = NewCompletionJob {
        base_model: true,
        ..order(2)
    };
    let job: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &base).await;
    assert_eq!(job.request.adapter, None);

    let back = format!("/promotions/{}/roll-back", current.promotion.unwrap());
    let current: Current = scene.admin.send("POST", &back, "").await.json();
    assert_eq!((current.current.adapter, current.promotion), (None, None));
    assert_eq!(current.history[0].rolled_back_by.as_deref(), Some("admin"));
    let again: Current = scene.admin.send("POST", &back, "").await.json();
    assert_eq!(again, current, "sent twice it changes nothing more");
    let job: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    assert_eq!(job.request.adapter, None);
    for (verb, n) in [
        ("contest_begun", 1),
        ("contest_decided", 1),
        ("adapter_promoted", 1),
        ("adapter_rolled_back", 1),
    ] {
        let page: AuditPage = scene.admin.get(&format!("/audit?verb={verb}")).await.json();
        assert_eq!(page.entries.len(), n, "{verb}");
    }
}

#[tokio::test]
async fn a_promotion_without_a_passed_gate_says_so_and_one_goes_back_over_another() {
    let stage = Stage::new(1).await;
    let scene = &stage.scene;
    let promotions = scene.path("/promotions");
    let new = NewPromotion {
        adapter: Some(stage.adapter.id),
        reason: "a try".into(),
        without_gate: false,
    };
    assert_eq!(scene.admin.post(&promotions, &new).await.status, 409);
    let anyway = NewPromotion {
        without_gate: true,
        ..new.clone()
    };
    let first: Current = scene.admin.make(&promotions, &anyway).await;
    assert_eq!(first.history[0].gate, Gate::None);
    let other = scene.train().await;
    let second: Current = scene
        .admin
        .make(
            &promotions,
            &NewPromotion {
                adapter: Some(other.id),
                ..anyway
            },
        )
        .await;
    assert_eq!(second.before.adapter, Some(stage.adapter.id));
    let out_of_order = format!("/promotions/{}/roll-back", first.promotion.unwrap());
    assert_eq!(scene.admin.send("POST", &out_of_order, "").await.status, 409);
    let back = format!("/promotions/{}/roll-back", second.promotion.unwrap());
    let current: Current = scene.admin.send("POST", &back, "").await.json();
    assert_eq!(current.current.adapter, Some(stage.adapter.id));
    assert_eq!(stage.person.get(&scene.path("/current")).await.status, 403);
}

#[tokio::test]
async fn the_ladder_ranks_who_met_tells_who_did_not_and_follows_answers_that_change() {
    let stage = Stage::new(5).await;
    let scene = &stage.scene;
    let lonely = scene.train().await;
    stage.answered(&stage.gate(5)).await;
    stage.choose(&stage.person, "new", 5).await;
    let of = async |source: &str| -> Ladder {
        scene
            .admin
            .get(&scene.path(&format!("/ladder?source={source}")))
            .await
            .json()
    };
    let ladder = of("all").await;
    assert_eq!(ladder.n_comparisons, 5);
    let names: Vec<&str> = ladder.groups[0]
        .rungs
        .iter()
        .map(|rung| rung.contender.name.as_str())
        .collect();
    assert_eq!(names, [stage.adapter.name.as_str(), "base model"]);
    assert!(ladder.unranked.iter().any(|one| one.adapter == Some(lonely.id)));
    assert_eq!(
        (of("contest").await.n_comparisons, of("tasks").await.n_comparisons),
        (5, 0)
    );

    // New completions against earlier ones are ordinary tasks; one answer is taken back.
    let against = NewCompletionJob {
        adapter: Some(lonely.id),
        task_plan: TaskPlan::AgainstEarlier,
        n_prompts: Some(3),
        ..order(1)
    };
    scene.complete(&against, |prompt, _| said("lone", prompt)).await;
    stage.choose(&stage.person, "lone", 2).await;
    assert_eq!(of("tasks").await.n_comparisons, 2);
    let undone = scene.undo(&stage.person).await;
    assert_eq!(undone.status, 200);
    let held = undone.json::<Held>().assignments.remove(0);
    let path = format!("/assignments/{}/annotation", held.id);
    let _: Held = stage.person.make(&path, &pick(Choice::BothBad, &held)).await;
    assert_eq!(of("tasks").await.n_comparisons, 1);
    let counted = "select coalesce(sum(n), 0) from pair_count";
    let true_count = "select count(*) from comparison c
        join completion w on w.id = c.chosen_id join completion l on l.id = c.rejected_id
        where w.annotation_id is null and l.annotation_id is null and w.adapter_id is not l.adapter_id";
    assert_eq!(scene.app.count(counted).await, scene.app.count(true_count).await);
}
