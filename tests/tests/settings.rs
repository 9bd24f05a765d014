//! The forms' settings as a person sets them in a browser: what the server has of them, what the trainer makes of them,
//! and what the round's page shows of the rows.

use anyhow::{Context, Result};
use laurel_protocol::{
    AdapterConfig, Answer, Choice, Held, Hold, Hyper, Judgement, LabelType, LoraConfig, Loss, Precision,
    Project, ProjectId, ProjectSettings, Questions, Round, RoundKind, RoundSpec, Template,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene,
    server::{ADMIN, PASSWORD},
    until,
};
use serde_json::json;

/// Longest wait for a round of one step on a slow machine.
const ROUND_SECONDS: u64 = 300;

#[test]
fn a_rounds_settings_reach_the_trainer_and_its_page_shows_what_is_trained() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let project = make_project(&browser, "Rivers", "chatml")?;
    scripted.fill(project, 2, 2)?;
    answer_all(&scripted, project)?;

    browser.open(&format!("/projects/{project}/rounds/new"))?;
    browser.select("round-loss", "kto")?;
    browser.fill("round-desirable-weight", "1.25")?;
    browser.fill("round-undesirable-weight", "0.75")?;
    browser.fill("round-max-steps", "1")?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.fill("round-rank", "4")?;
    browser.fill("round-dropout", "0.95")?;
    browser.click("round-rslora")?;
    browser.click("round-dora")?;
    browser.select("round-precision", "bf16")?;
    browser.select("round-gradient-checkpointing", "on")?;
    // One of them cannot be: the form says so, beside the field, and sends nothing.
    browser.click("start-round")?;
    assert_eq!(
        reason_beside(&browser, "round-dropout")?,
        "LoRA dropout must be 0 to 0.9"
    );
    browser.fill("round-dropout", "0.1")?;
    browser.click("start-round")?;
    browser.sees("round-status")?;

    let path = browser.path()?;
    let round: Round = scripted.admin.get(&path)?;
    let expected = RoundSpec {
        kind: RoundKind::Dpo,
        adapter: AdapterConfig::Lora(LoraConfig {
            rank: 4,
            dropout: 0.1,
            use_rslora: true,
            use_dora: true,
            ..LoraConfig::default()
        }),
        hyper: Hyper {
            desirable_weight: 1.25,
            undesirable_weight: 0.75,
            max_steps: 1,
            precision: Precision::Bf16,
            gradient_checkpointing: true,
            ..Hyper::for_loss(Loss::Kto)
        },
        reward: None,
        seed: 0,
    };
    assert_eq!(round.spec, expected);

    let _trainer = TestTrainer::start(&scripted.server)?;
    browser.attribute_becomes("round-status", "data-status", "done", ROUND_SECONDS)?;
    browser.click("preview")?;
    // Two pairs, each answer by itself.
    assert_eq!(browser.count("preview-row")?, 4);
    let (read, trained) = first_row(&browser)?;
    let question = read
        .strip_prefix("<|im_start|>user⏎\nquestion ")
        .context(read.clone())?;
    let number = question.chars().next().context("a number")?;
    // ChatML has no system turn, unlike the model's own template.
    assert_eq!(
        read,
        format!("<|im_start|>user⏎\nquestion {number}<|im_end|>⏎\n<|im_start|>assistant⏎\n")
    );
    let answer = format!("answer 0 to *question {number}*, with `code`<|im_end|>⏎\n");
    assert_eq!(trained, answer);

    // The adapter is what was asked for.
    let round: Round = scripted.admin.get(&path)?;
    let adapter = round.adapter.context("the round made an adapter")?;
    let config = scripted
        .admin
        .get_text(&format!("/adapters/{adapter}/files/adapter_config.json"))?;
    let config: serde_json::Value = serde_json::from_str(&config)?;
    let of = |name: &str| config[name].clone();
    let options = [of("r"), of("lora_dropout"), of("use_rslora"), of("use_dora")];
    assert_eq!(options, [json!(4), json!(0.1), json!(true), json!(true)]);
    browser.must_be_quiet()
}

#[test]
fn a_projects_own_template_is_stored_and_a_broken_one_refused() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let id = make_project(&browser, "Alpacas", "alpaca")?;
    let project: Project = scripted.admin.get(&format!("/projects/{id}"))?;
    assert_eq!(project.settings.template, Template::Alpaca);

    // While there are no tasks it can be changed, here to one of the project's own.
    browser.open(&format!("/projects/{id}"))?;
    browser.sees("count-tasks")?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.select("template", "jinja")?;
    browser.click("save-project")?;
    assert!(!reason_beside(&browser, "template")?.is_empty());
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    browser.fill("template-jinja", source)?;
    browser.click("save-project")?;
    laurel_tests::until(30, "the template to be stored", || {
        let project: Project = scripted.admin.get(&format!("/projects/{id}"))?;
        Ok(project.settings.template == Template::Jinja(source.into()))
    })?;
    browser.must_be_quiet()
}

#[test]
fn what_is_odd_about_the_rows_stands_on_the_rounds_page() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    answer_all(&scripted, project)?;
    let round = scripted.round_under_way(project)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/rounds/{round}"))?;
    browser.reads("preview-finding", "a fatal finding")?;
    let findings = browser.run(
        "return [...document.querySelectorAll('[data-test=preview-finding]')].map(e => [e.className, e.textContent])",
    )?;
    let expected = json!([["log-error", "a fatal finding"], ["log-warning", "a warning"]]);
    assert_eq!(findings, expected);
    browser.click("preview")?;
    let (read, trained) = first_row(&browser)?;
    assert_eq!(read, "question⏎\n");
    // Markup in an answer is text.
    assert_eq!(trained, "<b>answer</b><|im_end|>");
    let rows = browser.run(
        "return [...document.querySelectorAll('[data-test=preview-row]')].map(e => e.innerText.replace(/\\s+/g, ' '))",
    )?;
    let row = |at: usize| rows[at].as_str().unwrap_or_default().to_owned();
    assert!(
        row(0).starts_with("Row 1, chosen: 2 of prompt, 2 of completion."),
        "{rows}"
    );
    assert!(row(0).contains("[3 tokens not shown]"), "{rows}");
    assert!(
        row(1).contains("Left out: it is longer than 16 tokens."),
        "{rows}"
    );
    browser.must_be_quiet()
}

#[test]
fn what_a_project_asks_beside_the_judgement_is_set_in_its_form() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open("/projects/new")?;
    browser.fill("project-name", "Rated")?;
    browser.select("label-type", "rate")?;
    browser.fill("dimensions", "helpful, honest, helpful")?;
    browser.fill("rating-steps", "7")?;
    browser.fill("span-labels", " wrong ,unsafe")?;
    browser.click("ask-edit")?;
    browser.click("save-project")?;
    let reason = reason_beside(&browser, "dimensions")?;
    assert!(reason.contains("different names"), "{reason}");
    browser.fill("dimensions", "helpful, honest")?;
    browser.click("save-project")?;
    browser.sees("import-file")?;
    let projects: Vec<Project> = scripted.admin.get("/projects")?;
    let settings = &projects.first().context("the project is there")?.settings;
    assert_eq!(
        (settings.label_type, settings.completions_per_task),
        (LabelType::Rate, 1)
    );
    let expected = Questions {
        dimensions: vec!["helpful".into(), "honest".into()],
        rating_steps: 7,
        span_labels: vec!["wrong".into(), "unsafe".into()],
        edit: true,
        ..Questions::default()
    };
    assert_eq!(settings.questions, expected);
    Ok(())
}

#[test]
fn the_arena_is_opened_in_the_form_for_two_contenders_or_more() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    scripted.answer(project, 1)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.sees("arena-link")?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.click("arena-on")?;
    browser.fill("arena-max-turns", "11")?;
    browser.click("save-project")?;
    let reason = reason_beside(&browser, "arena-max-turns")?;
    assert!(reason.contains("1 to 10"), "{reason}");
    browser.fill("arena-max-turns", "3")?;
    browser.click("save-project")?;
    // The base model alone has nobody to meet.
    let refusal = "return document.querySelector('fieldset .form-error')?.textContent ?? ''";
    until(30, "the refusal", || {
        Ok(browser
            .run(refusal)?
            .as_str()
            .is_some_and(|text| text.contains("contender")))
    })?;
    browser.click(&format!("arena-adapter-{}", adapter.id))?;
    browser.fill("arena-max-tokens", "99")?;
    browser.fill("arena-temperature", "0.5")?;
    browser.click("save-project")?;
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    let settings = || -> Result<ProjectSettings> {
        Ok(scripted
            .admin
            .get::<Project>(&format!("/projects/{project}"))?
            .settings)
    };
    until(30, "the arena to be open", || Ok(settings()?.arena.on))?;
    let arena = settings()?.arena;
    assert_eq!(
        (arena.max_turns, arena.base_model, arena.adapters),
        (3, true, vec![adapter.id])
    );
    assert_eq!((arena.sampling.max_tokens, arena.sampling.temperature), (99, 0.5));
    browser.click("arena-link")?;
    browser.sees("arena-text")?;
    browser.must_be_quiet()
}

/// A new project by the form, with a template.
fn make_project(browser: &Browser, name: &str, template: &str) -> Result<ProjectId> {
    browser.open("/projects/new")?;
    browser.fill("project-name", name)?;
    browser.select("template", template)?;
    browser.click("save-project")?;
    // A new project begins with its prompts.
    browser.sees("import-file")?;
    let path = browser.path()?;
    let id = path.split('/').nth(2).context("the path names a project")?;
    Ok(ProjectId(id.parse()?))
}

/// The first answer of every pair is better.
fn answer_all(scripted: &Scripted, project: ProjectId) -> Result<()> {
    let path = format!("/projects/{project}/assignments");
    let mut held: Held = scripted.admin.post(&path, &Hold { n: 1 })?;
    while let Some(task) = held.assignments.first() {
        let first_shown = task.completions.first().context("a task has completions")?;
        let answer = Answer {
            judgement: Judgement::Pick {
                choice: match first_shown.text.starts_with("answer 0") {
                    true => Choice::First,
                    false => Choice::Second,
                },
                strength: None,
            },
            comment: String::new(),
            extras: Default::default(),
            seconds: 1.0,
            revision: task.revision,
        };
        held = scripted
            .admin
            .post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    }
    Ok(())
}

/// What stands under a field that was refused.
fn reason_beside(browser: &Browser, hook: &str) -> Result<String> {
    laurel_tests::within(30, &format!("a reason beside {hook}"), || {
        let reason = browser.run(&format!(
            "return document.querySelector('[data-test={hook}]').closest('.field').querySelector('.field-reason').textContent"
        ))?;
        Ok(reason
            .as_str()
            .filter(|reason| !reason.is_empty())
            .map(str::to_owned))
    })
}

/// The first row's tokens as two texts: those that are only read, and those that the loss is on.
fn first_row(browser: &Browser) -> Result<(String, String)> {
    let texts = browser.run(
        "const tokens = [...document.querySelector('[data-test=preview-row]').querySelectorAll('.token')];
         const text = wanted => tokens.filter(t => t.classList.contains('token-trained') === wanted)
             .map(t => t.textContent).join('');
         return [text(false), text(true)]",
    )?;
    Ok(serde_json::from_value(texts)?)
}
