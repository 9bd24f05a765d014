//! A scripted annotator for whom the shorter answer wins; one DPO round must teach it to the model.

use anyhow::{Context, Result};
use laurel_protocol::{
    CompletionOrigin, Held, Hold, Hyper, MetricPoint, NewRound, RoundKind, RoundSpec, Schedule, Split,
};
use laurel_tests::{Api, Scene, TestServer, scene, shorter_wins};
use serde::{Deserialize, Serialize};

const N_PROMPTS: usize = 105;
const N_COMPARISONS: u64 = 200;
const MAX_TOKENS: u32 = 64;

#[test]
fn a_dpo_round_on_200_comparisons_shortens_new_completions_by_a_third() -> Result<()> {
    let mut scene = Scene::start(TestServer::start()?, &scene::pick(1), &short_questions()?)?;
    let annotator = scene.server.annotator("ada")?;
    // Four completions a prompt make two tasks each. Ties and answers that are the same leave some out: a few more
    // completions make up for them.
    for (seed, n_each) in [(1, 4), (11, 2), (12, 2)] {
        scene.complete(&scene::completions(n_each, MAX_TOKENS, seed, None))?;
        label_until(N_COMPARISONS, &scene, &annotator)?;
        if scene.counts()?.n_comparisons == N_COMPARISONS {
            break;
        }
    }
    let counts = scene.counts()?;
    assert_eq!(
        counts.n_comparisons, N_COMPARISONS,
        "too few tasks without a tie: {counts:?}"
    );

    let hyper = Hyper {
        learning_rate: 6e-4,
        epochs: 1,
        batch_size: 8,
        nll_weight: 0.1,
        warmup: 0.0,
        schedule: Schedule::Constant,
        eval_every: 0,
        held_out: 0.15,
        ..Hyper::for_kind(RoundKind::Dpo)
    };
    let round = scene.queue_round(&NewRound {
        name: "shorter".into(),
        spec: RoundSpec {
            kind: RoundKind::Dpo,
            adapter: Default::default(),
            hyper,
            reward: None,
            seed: 7,
        },
        starting_adapter: None,
        reward_adapter: None,
    })?;
    let round = scene.finish_round(round)?;
    let points: Vec<MetricPoint> = scene.admin.get(&format!("/rounds/{}/metrics", round.id))?;
    let last = points
        .iter()
        .rfind(|point| point.split == Split::Eval)
        .context("no evaluation")?;
    let accuracy = last.values["accuracy"];
    assert!(accuracy > 0.8, "held-out accuracy is {accuracy}: {last:?}");

    let adapter = round.adapter.context("the round made no adapter")?;
    let mut again = scene::completions(1, MAX_TOKENS, 2, Some(adapter));
    again.n_prompts = Some(60);
    // One of a prompt alone would make no task.
    again.task_plan = laurel_protocol::TaskPlan::AgainstEarlier;
    scene.complete(&again)?;
    let all = scene.completions()?;
    let mean_tokens = |by: &dyn Fn(&CompletionOrigin) -> bool| {
        let lengths: Vec<f64> = all
            .iter()
            .filter(|c| c.origin.as_ref().is_some_and(&by))
            .map(|c| f64::from(c.n_tokens))
            .collect();
        lengths.iter().sum::<f64>() / lengths.len() as f64
    };
    let before = mean_tokens(&|origin| origin.adapter.is_none());
    let after = mean_tokens(&|origin| origin.adapter == Some(adapter));
    println!("mean tokens {before:.1} -> {after:.1}, held-out accuracy {accuracy:.3}");
    assert!(
        after <= before * 2.0 / 3.0,
        "mean length went from {before:.1} to {after:.1} tokens"
    );
    Ok(())
}

/// Answers tasks until there are so many comparisons, or no more tasks.
fn label_until(n: u64, scene: &Scene, annotator: &Api) -> Result<()> {
    let path = format!("/projects/{}/assignments", scene.project);
    let mut held: Held = annotator.post(&path, &Hold { n: 1 })?;
    while let Some(assignment) = held.assignments.first() {
        let path = format!("/assignments/{}/annotation", assignment.id);
        held = annotator.post(&path, &shorter_wins(assignment))?;
        if scene.counts()?.n_comparisons >= n {
            break;
        }
    }
    Ok(())
}

/// Prompts whose answers end by themselves, early or late: a rule about length then has something to choose from.
fn short_questions() -> Result<String> {
    let mut lines = String::new();
    for line in scene::sample_prompts(usize::MAX)?.lines() {
        let Ok(PromptLine { prompt }) = serde_json::from_str(line) else {
            continue; // a conversation
        };
        if prompt.len() < 120 {
            let prompt = format!("{prompt} Answer in one short sentence.");
            lines += &format!("{}\n", serde_json::to_string(&PromptLine { prompt })?);
        }
    }
    Ok(lines
        .lines()
        .take(N_PROMPTS)
        .map(|line| format!("{line}\n"))
        .collect())
}

#[derive(Serialize, Deserialize)]
struct PromptLine {
    prompt: String,
}
