//! A PPO round from the browser: the form with its choice of a scorer, and the page with its charts, warnings and
//! rollouts, with the test itself as the trainer; and both kinds of round with a real one.

use anyhow::{Context, Result};
use laurel_protocol::{Loss, MetricPoint, RewardSource, Round, RoundId, RoundKind, Split};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene, scripted,
    server::{ADMIN, PASSWORD},
    until,
};

const JOB_SECONDS: u64 = 240;

#[test]
fn the_form_starts_ppo_rounds_scored_by_a_rule_or_by_a_reward_model() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 3)?;
    scripted.answer(project, 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let form = format!("/projects/{project}/rounds/new");
    browser.open(&form)?;
    browser.select("round-kind", "ppo")?;
    // There is no reward model yet: the form says so, and does not start a round without a scorer.
    browser.sees("no-reward-model")?;
    browser.click("start-round")?;
    until(30, "the refusal", || {
        Ok(browser.run("return document.querySelector('.form-error') !== null")? == true)
    })?;
    assert!(browser.path()?.ends_with("/rounds/new"));
    browser.select("round-reward", "length")?;
    browser.fill("round-reward-target", "9999")?;
    browser.click("start-round")?;
    until(30, "the bound by the field", || {
        let reason = "const reason = document.getElementById('reward.target-reason');
             return reason !== null && reason.textContent.includes('1 to 2048')";
        Ok(browser.run(reason)? == true)
    })?;
    browser.fill("round-reward-target", "24")?;
    browser.select("round-loss", "rloo")?;
    browser.fill("round-max-new-tokens", "12")?;
    browser.fill("round-kl-target", "4")?;
    browser.click("start-round")?;
    let by_rule = opened(&browser, &scripted)?;
    assert_eq!(by_rule.spec.reward, Some(RewardSource::Length { target: 24 }));
    assert_eq!(by_rule.spec.hyper.loss, Loss::Rloo);
    let ppo = by_rule.spec.hyper.ppo.context("a PPO round has its settings")?;
    assert_eq!(
        (ppo.max_new_tokens, ppo.kl_target, ppo.samples_per_prompt),
        (12, 4.0, 4)
    );
    assert_eq!(by_rule.snapshot.n_rows, 3);
    let _: Round = scripted
        .admin
        .post(&format!("/rounds/{}/abort", by_rule.id), &serde_json::json!({}))?;

    let model = scripted.train(project, RoundKind::Reward)?;
    browser.open(&form)?;
    browser.select("round-kind", "ppo")?;
    browser.sees("round-reward-adapter")?;
    browser.click("start-round")?;
    let by_model = opened(&browser, &scripted)?;
    assert_eq!(by_model.reward_adapter, Some(model.id));
    browser.reads("scorer", &model.name)?;
    let job = scripted.lease()?;
    let handed = job
        .reward_adapter
        .context("the trainer is handed the reward model")?;
    assert_eq!((handed.id, handed.hash), (model.id, model.hash));
    browser.must_be_quiet()
}

/// The round whose page has opened.
fn opened(browser: &Browser, scripted: &Scripted) -> Result<Round> {
    browser.sees("round-status")?;
    let path = browser.path()?;
    let id: RoundId = path
        .strip_prefix("/rounds/")
        .context("the page is a round's")?
        .parse()?;
    scripted.admin.get(&format!("/rounds/{id}"))
}

#[test]
fn the_page_of_a_ppo_round_draws_its_figures_warns_and_shows_rollouts_live() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 3)?;
    scripted.answer(project, 1)?;
    let model = scripted.train(project, RoundKind::Reward)?;
    let (round, job) = scripted.ppo_under_way(project, model.id)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/rounds/{round}"))?;
    // Steps and evaluations of each chart, and 5 evaluations of 0 to 20.
    for (hook, n_points) in [
        ("round-chart", 20 + 5 + 20),
        ("round-chart-reward-kl", 20 + 5),
        ("round-chart-kl", 25),
        ("round-chart-ratio", 20),
        ("round-chart-clip", 40),
        ("round-chart-entropy", 25),
        ("round-chart-value-loss", 20),
        ("round-chart-explained", 20),
        ("round-chart-length", 25),
        ("round-chart-eos", 25),
    ] {
        browser.attribute_becomes(hook, "data-points", &n_points.to_string(), 30)?;
    }
    assert_eq!(browser.count("round-alarm")?, 2);
    browser.reads("round-alarm", "raise kl_coefficient")?;
    assert_eq!(browser.count("round-sample")?, 3);
    browser.reads("rollout-last", "after 20 steps")?;

    scripted.send(&job, "report", &scripted::ppo_report(21..=25))?;
    browser.attribute_becomes("round-chart-reward-kl", "data-points", "31", 30)?;
    browser.reads("rollout-last", "after 25 steps")?;
    assert_eq!(
        browser.count("round-alarm")?,
        2,
        "a warning that came again stands once"
    );
    for width in [1280, 360] {
        browser.resize(width, 900)?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "the page scrolls sideways at {width} pixels");
    }
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    browser.must_be_quiet()
}

#[test]
fn a_real_trainer_makes_a_reward_model_and_a_policy_that_it_scores() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let mut reward = scripted::round(RoundKind::Reward);
    reward.spec.hyper.max_steps = 2;
    reward.spec.hyper.batch_size = 2;
    reward.spec.hyper.held_out = 0.3;
    let reward: Round = scripted
        .admin
        .post(&format!("/projects/{project}/rounds"), &reward)?;
    let _trainer = TestTrainer::start(&scripted.server)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/rounds/{}", reward.id))?;
    browser.attribute_becomes("round-status", "data-status", "done", JOB_SECONDS)?;
    browser.sees("reward-health")?;
    browser.sees("round-chart-calibration")?;
    browser.reads("held-out-accuracy", "No two people compared the same answers")?;
    assert_eq!(browser.count("reward-probe")?, 3);
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");

    browser.open(&format!("/projects/{project}/rounds/new"))?;
    browser.select("round-kind", "ppo")?;
    browser.sees("round-reward-adapter")?;
    browser.fill("round-max-steps", "2")?;
    browser.fill("round-batch-size", "2")?;
    browser.fill("round-max-new-tokens", "8")?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.fill("round-minibatches", "1")?;
    browser.fill("round-inner-epochs", "1")?;
    browser.click("start-round")?;
    let round = opened(&browser, &scripted)?;
    browser.attribute_becomes("round-status", "data-status", "done", JOB_SECONDS)?;
    let points: Vec<MetricPoint> = scripted.admin.get(&format!("/rounds/{}/metrics", round.id))?;
    let train: Vec<&MetricPoint> = points
        .iter()
        .filter(|point| point.split == Split::Train)
        .collect();
    assert_eq!(train.len(), 2);
    assert!(
        train.iter().all(|point| ["reward", "kl", "ratio", "entropy"]
            .iter()
            .all(|name| point.values.contains_key(*name))),
        "{train:?}"
    );
    // In the first step nothing has moved yet.
    assert!((train[0].values["ratio"] - 1.0).abs() < 1e-4, "{:?}", train[0]);
    browser.sees("round-chart-reward-kl")?;
    browser.sees("rollout-last")?;
    assert_eq!(browser.count("round-sample")?, 4);
    browser.sees("new-completions")?;
    browser.must_be_quiet()
}
