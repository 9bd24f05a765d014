//! Review: which tasks are contested, what a decision changes, notes, and flagged tasks.

use crate::app::Caller;
use crate::scene::{Scene, order, pick, plain, settings};
use laurel_protocol::*;

/// A pick project with two people a task; ada, bob and the reviewer rita.
struct Team {
    scene: Scene,
    ada: Caller,
    bob: Caller,
    rita: Caller,
}

async fn team(n_tasks: usize) -> Team {
    let settings = ProjectSettings {
        overlap: 2,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, n_tasks).await;
    scene.complete(&order(2), plain).await;
    Team {
        ada: scene.app.person("ada", Role::Annotator).await,
        bob: scene.app.person("bob", Role::Annotator).await,
        rita: scene.app.person("rita", Role::Reviewer).await,
        scene,
    }
}

/// The answer that "answer N" is better.
fn prefers(n: u8) -> impl Fn(&Assignment) -> Answer {
    move |shown| {
        let is_first = shown.completions[0].text.ends_with(&format!("answer {n}"));
        pick(if is_first { Choice::First } else { Choice::Second }, shown)
    }
}

impl Team {
    async fn review(&self, filter: &str) -> Vec<ReviewTask> {
        let path = self.scene.path(&format!("/review?filter={filter}"));
        let page: ReviewPage = self.rita.get(&path).await.json();
        page.tasks
    }

    /// The chosen answer of each comparison.
    async fn chosen(&self) -> Vec<String> {
        let rows: Vec<PreferenceRow> = self.scene.export("preference").await.lines();
        let chosen = rows.into_iter().map(|row| row.chosen[0].content.clone());
        chosen.collect()
    }
}

fn first_is_better() -> NewDecision {
    NewDecision {
        judgement: Judgement::Pick {
            choice: Choice::First,
            strength: None,
        },
        ratings: Default::default(),
        comment: String::new(),
    }
}

#[tokio::test]
async fn a_decision_counts_in_place_of_what_was_said_until_it_is_taken_back() {
    let team = team(2).await;
    let contested = team.scene.answer(&team.ada, prefers(0)).await;
    team.scene.answer(&team.bob, prefers(1)).await;
    team.scene.answer(&team.ada, prefers(1)).await;
    team.scene.answer(&team.bob, prefers(1)).await;

    let tasks = team.review("disagreements").await;
    assert_eq!(tasks.len(), 1);
    let task = &tasks[0];
    assert_eq!(task.id, contested.task_id);
    let said: Vec<_> = task
        .voices
        .iter()
        .map(|voice| (voice.name.as_str(), &voice.judgement))
        .collect();
    let picked = |choice| Judgement::Pick {
        choice,
        strength: None,
    };
    let (first, second) = (picked(Choice::First), picked(Choice::Second));
    assert_eq!(said, [("ada", &first), ("bob", &second)]);

    let path = format!("/tasks/{}/decision", task.id);
    let decided: ReviewTask = team.rita.make(&path, &first_is_better()).await;
    assert_eq!(decided.decision.as_ref().map(|d| d.name.as_str()), Some("rita"));
    let mut chosen = team.chosen().await;
    chosen.sort();
    let one = "question 1, answer 0";
    let two = "question 2, answer 1";
    assert_eq!(chosen, [one, two, two]);
    assert_eq!(team.review("disagreements").await, []);
    assert_eq!(team.review("decided").await.len(), 1);
    assert_eq!(team.rita.post(&path, &first_is_better()).await.status, 409);
    let project: Project = team.scene.admin.get(&team.scene.path("")).await.json();
    assert_eq!((project.counts.n_tasks, project.counts.n_annotations), (2, 4));
    let rows: Vec<RankingRow> = team.scene.export("ranking").await.lines();
    let decisions: Vec<_> = rows.iter().filter(|row| row.decision).collect();
    assert_eq!((rows.len(), decisions.len()), (5, 1));
    assert_eq!(decisions[0].task_id, task.id);

    // Those who answered cannot change it now, nor skip it, nor undo it.
    let reopen = format!("/assignments/{}/reopen", contested.id);
    assert_eq!(team.ada.post(&reopen, &()).await.code(), ErrorCode::Conflict);
    let changed = Answer {
        revision: 1,
        ..prefers(1)(&contested)
    };
    let path_of_answer = format!("/assignments/{}/annotation", contested.id);
    assert_eq!(
        team.ada.post(&path_of_answer, &changed).await.code(),
        ErrorCode::Conflict
    );
    let own: OwnAnswers = team.ada.get(&team.scene.path("/answers")).await.json();
    let own = own.answers.iter().find(|own| own.task_id == task.id).unwrap();
    let expected = prefers(0)(&contested).judgement; // in the order that ada saw
    assert_eq!(own.decision.as_ref().map(|d| &d.judgement), Some(&expected));

    let back = team.rita.send("DELETE", &path, "").await;
    assert_eq!(back.json::<ReviewTask>().decision, None);
    assert_eq!(team.chosen().await.len(), 4);
    assert_eq!(team.rita.send("DELETE", &path, "").await.status, 409);
    // Decided again, another way.
    let second = NewDecision {
        judgement: picked(Choice::Second),
        ..first_is_better()
    };
    let _: ReviewTask = team.rita.make(&path, &second).await;
    let mut chosen = team.chosen().await;
    chosen.sort();
    assert_eq!(chosen, ["question 1, answer 1", two, two]);
}

#[tokio::test]
async fn a_decision_of_the_wrong_shape_is_refused_and_nothing_changes() {
    let team = team(1).await;
    let held = team.scene.hold(&team.ada, 1).await.assignments.remove(0);
    let path = format!("/tasks/{}/decision", held.task_id);
    let nobody_yet = team.rita.post(&path, &first_is_better()).await;
    assert_eq!(nobody_yet.code(), ErrorCode::Conflict);
    team.scene.answer(&team.ada, prefers(0)).await;
    let rank = NewDecision {
        judgement: Judgement::Rank { ranks: vec![1, 2] },
        ..first_is_better()
    };
    let refused = team.rita.post(&path, &rank).await;
    assert_eq!(refused.problem().fields[0].field, "judgement.type");
    assert_eq!(
        team.rita
            .post("/tasks/99/decision", &first_is_better())
            .await
            .status,
        404
    );
    assert_eq!(team.chosen().await.len(), 1);
}

#[tokio::test]
async fn notes_go_between_reviewer_and_those_who_were_given_the_task() {
    let team = team(1).await;
    let shown = team.scene.answer(&team.ada, prefers(0)).await;
    let path = format!("/tasks/{}/notes", shown.task_id);
    let note = |text: &str| NewNote { text: text.into() };
    let _: Vec<Note> = team.rita.make(&path, &note("Why?")).await;
    let said: Vec<Note> = team.ada.make(&path, &note(" It is shorter. ")).await;
    let words: Vec<_> = said
        .iter()
        .map(|note| (note.name.as_str(), note.text.as_str()))
        .collect();
    assert_eq!(words, [("rita", "Why?"), ("ada", "It is shorter.")]);
    let own: OwnAnswers = team.ada.get(&team.scene.path("/answers")).await.json();
    assert_eq!(own.answers[0].notes, said);
    assert_eq!(team.bob.post(&path, &note("me too")).await.status, 404);
    assert_eq!(team.rita.post(&path, &note("  ")).await.status, 422);
}

#[tokio::test]
async fn a_flagged_task_is_taken_out_of_the_queue_and_put_back() {
    let team = team(1).await;
    let held = team.scene.hold(&team.ada, 1).await.assignments.remove(0);
    let skip = Skip {
        reason: SkipReason::Offensive,
        comment: "it insults".into(),
        revision: 0,
    };
    let _: Held = team
        .ada
        .make(&format!("/assignments/{}/skip", held.id), &skip)
        .await;
    let flagged: FlaggedPage = team.rita.get(&team.scene.path("/flagged")).await.json();
    let flag = &flagged.flags[0];
    assert_eq!(
        (flag.name.as_str(), flag.reason, flag.comment.as_str()),
        ("ada", SkipReason::Offensive, "it insults")
    );
    let path = format!("/tasks/{}/retired", flag.task_id);
    assert_eq!(team.rita.send("POST", &path, "").await.status, 204);
    assert_eq!(team.scene.hold(&team.bob, 1).await.assignments, []);
    assert_eq!(team.rita.send("DELETE", &path, "").await.status, 204);
    assert_eq!(team.scene.hold(&team.bob, 1).await.assignments.len(), 1);
}

#[tokio::test]
async fn an_answer_that_comes_after_the_decision_waits_behind_it() {
    let team = team(1).await;
    let first = team.scene.answer(&team.ada, prefers(0)).await;
    let path = format!("/tasks/{}/decision", first.task_id);
    let _: ReviewTask = team.rita.make(&path, &first_is_better()).await;
    team.scene.answer(&team.bob, prefers(1)).await;
    assert_eq!(team.chosen().await, ["question 1, answer 0"]);
    team.rita.send("DELETE", &path, "").await;
    assert_eq!(
        team.chosen().await,
        ["question 1, answer 0", "question 1, answer 1"]
    );
}

#[tokio::test]
async fn whoever_leaves_takes_what_they_wrote_out_of_a_decided_task_as_well() {
    let settings = ProjectSettings {
        overlap: 2,
        questions: Questions {
            edit: true,
            demonstration: true,
            ..Questions::default()
        },
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, 1).await;
    scene.complete(&order(2), plain).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let shown = scene.answer(&ada, prefers(0)).await;
    let writes = |shown: &Assignment| {
        let mut answer = prefers(1)(shown);
        answer.extras.demonstration = Some("by bob".into());
        answer.extras.edits = vec![Edit {
            position: 0,
            text: "edited by bob".into(),
        }];
        answer
    };
    scene.answer(&bob, writes).await;
    let path = format!("/tasks/{}/decision", shown.task_id);
    let _: ReviewTask = scene.admin.make(&path, &first_is_better()).await;
    let written = async || scene.export("sft").await.text().matches("by bob").count();
    assert_eq!(written().await, 2, "a decision leaves what people wrote");
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let id = users.iter().find(|user| user.name == "bob").unwrap().id;
    let gone = scene
        .admin
        .send("DELETE", &format!("/users/{id}?answers=withdraw"), "")
        .await;
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(written().await, 0);
    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    assert_eq!(rows.len(), 1, "the decision stands");
    // Taken back, it is ada's answer alone that counts, and another one is wanted.
    scene.admin.send("DELETE", &path, "").await;
    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    assert_eq!(rows.len(), 1);
    let carol = scene.app.person("carol", Role::Annotator).await;
    assert_eq!(scene.hold(&carol, 1).await.assignments.len(), 1);
}
