//! Lineage with real processes: an adapter made again bit for bit from its kit, its merged models, the graph, and what of the
//! disk may go.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    Adapter, AdapterFacts, Hyper, JobStatus, LogLevel, LogLine, Merge, MergeFormat, NewMerge, NewRound,
    ProjectId, Report, Round, RoundKind, RoundSpec, Timestamp,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer,
    process::{given, output},
    scene,
    server::{ADMIN, PASSWORD},
    within,
};
use laurel_trainer::version;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const JOB_SECONDS: u64 = 480;

#[test]
fn an_adapter_is_made_again_bit_for_bit_and_its_merged_models_say_what_it_says() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let first = queue(&scripted, project, None)?;
    let mut trainer = TestTrainer::start(&scripted.server)?;
    let first = made(&scripted, first)?;
    // One that began from another: its kit has both.
    let second = queue(&scripted, project, Some(&first))?;
    let second = made(&scripted, second)?;
    let facts: AdapterFacts = scripted.admin.get(&format!("/adapters/{}", second.id))?;
    assert_eq!(facts.trainer_code, Some(version::own()));

    let folder = tempfile::tempdir()?;
    let kit = unpacked(&scripted, &format!("/adapters/{}/kit", second.id), folder.path())?;
    let model = given("LAUREL_MODEL")?;
    let spec: Value = serde_json::from_str(&fs::read_to_string(kit.join("spec.json"))?)?;
    let place = spec["model"].as_str().context("the spec names the model")?;
    std::os::unix::fs::symlink(&model, kit.join(place))?;
    let words: Vec<&str> = facts.command.split(' ').collect();
    ensure!(words[0] == "laurel-trainer", "{}", facts.command);
    output(
        Command::new(given("LAUREL_TRAINER_BIN")?)
            .args(&words[1..])
            .current_dir(&kit),
    )?;
    let again = kit.join("again").join("adapter");
    assert_eq!(sha256(&again.join("adapter_model.safetensors"))?, second.hash);
    let made_with: Value = serde_json::from_str(&fs::read_to_string(again.join("made_with.json"))?)?;
    assert_eq!(
        made_with["base_weights_hash"].as_str(),
        second.base_weights_hash.as_deref()
    );

    let path = format!("/adapters/{}/merges", second.id);
    for format in [MergeFormat::Safetensors, MergeFormat::Gguf] {
        let _: Merge = scripted.admin.post(&path, &NewMerge { format })?;
    }
    let merges = within(JOB_SECONDS, "both merges", || {
        trainer.must_run()?;
        let all: Vec<Merge> = scripted.admin.get(&path)?;
        ensure!(all.iter().all(|merge| merge.error.is_none()), "{all:#?}");
        Ok(all.iter().all(Merge::is_there).then_some(all))
    })?;
    assert_eq!(merges.len(), 2);
    let expected = logps(&model, Some(&again), folder.path())?;
    for merge in merges {
        let files = unpacked(&scripted, &format!("/merges/{}/archive", merge.id), folder.path())?;
        let merged = merge.result.context("it is done")?;
        for file in &merged.files {
            assert_eq!(sha256(&files.join(&file.name))?, file.sha256);
        }
        let model = match merge.format {
            MergeFormat::Safetensors => files,
            MergeFormat::Gguf => files.join(&merged.files[0].name),
        };
        let got = logps(&model, None, folder.path())?;
        assert_eq!(got.len(), expected.len());
        let gaps = || got.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let furthest = gaps().fold(0.0, f64::max);
        let mean = gaps().sum::<f64>() / got.len() as f64;
        // A GGUF file has its weights in blocks of eight bits: single unlikely tokens move.
        let most = match merge.format {
            MergeFormat::Safetensors => (0.5, 0.2),
            MergeFormat::Gguf => (1.5, 0.4),
        };
        assert!(
            furthest < most.0 && mean < most.1,
            "{:?}: {furthest}, {mean} in the mean",
            merge.format
        );
    }
    Ok(())
}

#[test]
fn an_adapters_page_orders_a_merge_shows_its_progress_and_the_page_of_the_disk_deletes_it() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 2)?;
    scripted.answer(project, 2)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.click("adapter-link")?;
    browser.arrives_at(&format!("/adapters/{}", adapter.id))?;
    browser.reads("adapter-hash", &adapter.hash)?;
    browser.reads("again-command", "laurel-trainer round spec.json")?;
    is_accessible(&browser)?;
    browser.click("order-gguf")?;
    browser.attribute_becomes("merge-gguf", "data-status", "queued", 30)?;
    let job = scripted.lease()?;
    let line = LogLine {
        at: Timestamp(1),
        level: LogLevel::Info,
        text: "Hand the files in".into(),
    };
    let report = Report {
        step: Some(3_000_000),
        n_steps: Some(9_000_000),
        log: vec![line],
        ..Report::default()
    };
    scripted.send(&job, "report", &report)?;
    browser.reads("merge-stage", "Hand the files in")?;
    is_accessible(&browser)?;
    scripted.hand_in_merge(&job)?;
    browser.attribute_becomes("merge-gguf", "data-status", "done", 30)?;
    browser.reads("merged-files", "small.gguf")?;
    browser.click("storage-link")?;
    browser.sees("stored-merge")?;
    is_accessible(&browser)?;
    browser.click("delete-merge")?;
    confirm(&browser)?;
    browser.sees("no-merges")?;
    for (width, path) in [
        (360, "/storage".to_owned()),
        (360, format!("/adapters/{}", adapter.id)),
    ] {
        browser.resize(width, 900)?;
        browser.open(&path)?;
        browser.sees(if path == "/storage" {
            "size-database"
        } else {
            "adapter-hash"
        })?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "{path} scrolls sideways at {width} pixels");
    }
    browser.must_be_quiet()
}

#[test]
fn the_graph_is_walked_by_keys_and_files_that_are_needed_stay() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 3)?;
    scripted.answer(project, 3)?;
    let first = scripted.train(project, RoundKind::Sft)?;
    let new = NewRound {
        starting_adapter: Some(first.id),
        ..round_of(RoundKind::Dpo)
    };
    let waiting: Round = scripted
        .admin
        .post(&format!("/projects/{project}/rounds"), &new)?;

    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.click("lineage-link")?;
    browser.sees("lineage-graph")?;
    // Completions, the snapshots of both rounds, the rounds.
    assert_eq!(browser.count("lineage-node")?, browser.count("lineage-row")?);
    is_accessible(&browser)?;
    browser.run("document.querySelector('[data-test=lineage-node]').focus(); return 0")?;
    browser.press("\u{e015}\u{e015}")?; // down, down: the first round
    let at = browser.run("return document.activeElement.id")?;
    assert_eq!(at, format!("node-round-{}", first.round_id));
    browser.click("lineage-only")?;
    browser.sees("lineage-all")?;
    is_accessible(&browser)?;
    browser.run("document.getElementById('node-round-1').focus(); return 0")?;
    browser.press("\u{e007}")?; // Enter
    browser.arrives_at(&format!("/adapters/{}", first.id))?;
    browser.sees("needed")?;
    let _: Round = scripted
        .admin
        .post(&format!("/rounds/{}/abort", waiting.id), &())?;
    browser.reload()?;
    browser.sees("adapter-use")?;
    browser.click("delete-adapter")?;
    confirm(&browser)?;
    within(30, "the files to go", || {
        let facts: AdapterFacts = scripted.admin.get(&format!("/adapters/{}", first.id))?;
        Ok(facts.adapter.deleted_at)
    })?;
    browser.sees("files-deleted")?;
    // An annotation leads to the round that learnt from it.
    browser.open(&format!("/projects/{project}/review"))?;
    browser.click("review-all")?;
    browser.click("annotation-lineage")?;
    browser.reads("taught-rounds", "Annotation")?;
    is_accessible(&browser)?;
    for (width, name) in [(360, "360"), (1440, "1440")] {
        browser.resize(width, 900)?;
        browser.open(&format!("/projects/{project}/lineage"))?;
        browser.sees("lineage-graph")?;
        let overflow = browser
            .run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
        assert_eq!(overflow, 0, "at {name} px the page does not scroll sideways");
    }
    browser.must_be_quiet()
}

/// Says yes to the question that is open: each button has its own dialog.
fn confirm(browser: &Browser) -> Result<()> {
    browser.run("document.querySelector('dialog[open] [data-test=confirm]').click(); return 0")?;
    Ok(())
}

fn is_accessible(browser: &Browser) -> Result<()> {
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let violations = browser.accessibility_violations()?;
        ensure!(violations.is_empty(), "{theme}: {violations:#?}");
    }
    Ok(())
}

fn round_of(kind: RoundKind) -> NewRound {
    let hyper = Hyper {
        epochs: 100,
        max_steps: 3,
        batch_size: 2,
        held_out: 0.0,
        eval_every: 0,
        ..Hyper::for_kind(kind)
    };
    NewRound {
        name: String::new(),
        spec: RoundSpec {
            kind,
            adapter: Default::default(),
            hyper,
            reward: None,
            seed: 11,
        },
        starting_adapter: None,
        reward_adapter: None,
    }
}

fn queue(scripted: &Scripted, project: ProjectId, start: Option<&Adapter>) -> Result<Round> {
    let new = NewRound {
        starting_adapter: start.map(|adapter| adapter.id),
        ..round_of(RoundKind::Dpo)
    };
    scripted.admin.post(&format!("/projects/{project}/rounds"), &new)
}

fn made(scripted: &Scripted, round: Round) -> Result<Adapter> {
    let done = within(JOB_SECONDS, "the end of the round", || {
        let round: Round = scripted.admin.get(&format!("/rounds/{}", round.id))?;
        ensure!(
            !matches!(round.status, JobStatus::Failed | JobStatus::Aborted),
            "{round:?}"
        );
        Ok((round.status == JobStatus::Done).then_some(round))
    })?;
    let all: Vec<Adapter> = scripted
        .admin
        .get(&format!("/projects/{}/adapters", done.project_id))?;
    let found = all.into_iter().find(|adapter| Some(adapter.id) == done.adapter);
    found.context("a finished round has an adapter")
}

/// The one folder of an archive.
fn unpacked(scripted: &Scripted, path: &str, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("archive.tar");
    fs::write(&file, scripted.admin.get_bytes(path)?)?;
    let names = output(Command::new("tar").arg("-tf").arg(&file))?;
    output(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(folder))?;
    let top = names.split('/').next().context("it is not empty")?;
    Ok(folder.join(top))
}

fn sha256(file: &Path) -> Result<String> {
    let printed = output(Command::new("sha256sum").arg(file))?;
    Ok(printed.split(' ').next().unwrap_or_default().to_owned())
}

/// What a model says of a few tokens.
fn logps(model: &Path, adapter: Option<&Path>, folder: &Path) -> Result<Vec<f64>> {
    let data = folder.join("ids.jsonl");
    fs::write(
        &data,
        "{\"ids\": [504, 1812, 338, 260, 1379, 282, 2045, 30], \"from\": 1}\n",
    )?;
    let mut command = Command::new(given("LAUREL_TRAINER_BIN")?);
    command
        .arg("logprobs")
        .arg("--model")
        .arg(model)
        .arg("--data")
        .arg(&data);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    let line: Value = serde_json::from_str(&output(&mut command)?)?;
    let logps = line["logps"].as_array().context("it prints log-probabilities")?;
    logps
        .iter()
        .map(|logp| logp.as_f64().context("a number"))
        .collect()
}
