//! Which completions meet in a task once an adapter has written some.

use crate::scene::{Scene, order, pick, plain, settings};
use laurel_protocol::{Choice, CompletionJob, LabelType, NewCompletionJob, Sampling, TaskPlan, WorkPrompt};
use std::collections::BTreeMap;

/// The tasks after number `after`: (generator, text) of each completion in storage order.
async fn tasks(scene: &Scene, after: i64) -> Vec<Vec<(String, String)>> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "select t.id, coalesce(a.name, 'base'), c.text
         from task t join task_completion x on x.task_id = t.id join completion c on c.id = x.completion_id
         left join adapter a on a.id = c.adapter_id where t.id > ?1 order by t.id, x.position",
    )
    .bind(after)
    .fetch_all(scene.app.db.read())
    .await
    .unwrap();
    let mut tasks = BTreeMap::<i64, Vec<_>>::new();
    for (task, generator, text) in rows {
        tasks.entry(task).or_default().push((generator, text));
    }
    tasks.into_values().collect()
}

fn by(adapter: &laurel_protocol::Adapter, n: u8) -> NewCompletionJob {
    NewCompletionJob {
        adapter: Some(adapter.id),
        task_plan: TaskPlan::AgainstEarlier,
        ..order(n)
    }
}

/// What the adapter writes; its first answer to question 1 is one that the base model gave.
fn trained(prompt: &WorkPrompt, index: u32) -> String {
    match (prompt.messages[0].content.as_str(), index) {
        ("question 1", 0) => "question 1, answer 1 ".to_owned(), // but for a blank
        (question, _) => format!("{question}, better {index}"),
    }
}

fn pair(left: (&str, &str), right: (&str, &str)) -> Vec<(String, String)> {
    let own = |(generator, text): (&str, &str)| (generator.to_owned(), text.to_owned());
    vec![own(left), own(right)]
}

#[tokio::test]
async fn an_adapters_answers_meet_the_newest_of_another_generator_and_never_the_same_text() {
    let scene = Scene::with_tasks(2).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let adapter = scene.train().await;
    scene.import(3..=3).await;
    scene.complete(&by(&adapter, 2), trained).await;
    let name = adapter.name.as_str();
    let expected = [
        // Answer 1 of the base model is the adapter's own first answer: one pair is left.
        pair((name, "question 1, answer 1 "), ("base", "question 1, answer 0")),
        pair((name, "question 2, better 0"), ("base", "question 2, answer 1")),
        pair((name, "question 2, better 1"), ("base", "question 2, answer 0")),
        // Nothing earlier: the new ones stand together.
        pair((name, "question 3, better 0"), (name, "question 3, better 1")),
    ];
    assert_eq!(tasks(&scene, 2).await, expected);

    // The adapter's own earlier answers are no opponents.
    scene
        .complete(&by(&adapter, 1), |prompt, _| {
            format!("{}, anew", prompt.messages[0].content)
        })
        .await;
    let later = tasks(&scene, 6).await;
    assert_eq!(
        later.len(),
        2,
        "question 3 has no answer of another generator: {later:?}"
    );
    for task in later {
        assert_eq!(
            (task[0].0.as_str(), task[1].0.as_str()),
            (name, "base"),
            "{task:?}"
        );
    }
}

#[tokio::test]
async fn a_ranking_takes_half_of_each_generator() {
    let scene = Scene::new(&settings(LabelType::Rank, 4), 1).await;
    scene.complete(&order(4), plain).await;
    let ranks = |shown: &laurel_protocol::Assignment| laurel_protocol::Answer {
        judgement: laurel_protocol::Judgement::Rank {
            ranks: vec![1, 2, 3, 4],
        },
        ..pick(Choice::Tie, shown)
    };
    scene.answer(&scene.admin, ranks).await;
    let adapter = scene.train().await;
    scene
        .complete(&by(&adapter, 4), |prompt, index| {
            format!("{}, better {index}", prompt.messages[0].content)
        })
        .await;
    let texts: Vec<Vec<String>> = tasks(&scene, 1)
        .await
        .into_iter()
        .map(|task| {
            task.into_iter()
                .map(|(_, text)| text.replace("question 1, ", ""))
                .collect()
        })
        .collect();
    let expected = [
        ["better 0", "better 1", "answer 3", "answer 2"],
        ["better 2", "better 3", "answer 1", "answer 0"],
    ];
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn completions_that_make_no_task_are_counted() {
    let scene = Scene::new(&settings(LabelType::Pick, 2), 3).await;
    let id = scene
        .complete(&order(2), |prompt, index| {
            match prompt.messages[0].content.as_str() {
                "question 2" => "the same".to_owned(),
                _ => plain(prompt, index),
            }
        })
        .await;
    let jobs: Vec<CompletionJob> = scene.admin.get(&scene.path("/completion-jobs")).await.json();
    assert_eq!(jobs[0].id, id);
    assert_eq!((jobs[0].n_tasks, jobs[0].n_prompts_without_task), (2, 1));
}

#[tokio::test]
async fn an_order_that_can_make_no_task_is_refused() {
    let scene = Scene::new(&settings(LabelType::Rank, 3), 1).await;
    let greedy = NewCompletionJob {
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        ..order(3)
    };
    for order in [order(2), greedy] {
        let refused = scene
            .admin
            .post(&scene.path("/completion-jobs"), &order)
            .await
            .problem();
        assert_eq!(refused.fields[0].field, "completions_per_prompt", "{order:?}");
    }
    assert_eq!(scene.app.count("select count(*) from job").await, 0);
}
