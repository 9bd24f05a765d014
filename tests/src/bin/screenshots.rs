//! The README's pictures: the sample project after a first round, as an annotator and an admin see it.

use anyhow::{Context, Result};
use laurel_protocol::{
    Held, Hold, Hyper, ImportReport, LabelType, NewRound, Project, ProjectId, ProjectSettings, RoundKind,
    RoundSpec,
};
use laurel_tests::{
    Api, Browser, Scene, TestServer, TestTrainer, scene,
    server::{ADMIN, PASSWORD},
    shorter_wins,
};
use serde_json::json;
use std::{env, fs, path::PathBuf};

const N_LABELS: usize = 48;

fn main() -> Result<()> {
    let out = PathBuf::from(env::args_os().nth(1).context("usage: screenshots OUT")?);
    fs::create_dir_all(&out)?;
    let server = TestServer::start()?;
    let admin = server.admin()?;
    let project: Project = admin.post("/projects/sample", &json!({}))?;
    let mut scene = Scene {
        trainer: TestTrainer::start(&server)?,
        server,
        admin,
        project: project.id,
    };
    let mut request = scene::completions(2, 96, 1, None);
    request.n_prompts = Some(64);
    scene.complete(&request)?;
    for (name, share) in [("ada", 2), ("grace", 3)] {
        label(&scene.server.annotator(name)?, &scene, N_LABELS / share)?;
    }
    let hyper = Hyper {
        learning_rate: 1e-4,
        epochs: 4,
        max_steps: 20,
        batch_size: 4,
        eval_every: 5,
        ..Hyper::for_kind(RoundKind::Dpo)
    };
    let spec = RoundSpec {
        kind: RoundKind::Dpo,
        adapter: Default::default(),
        hyper,
        reward: None,
        seed: 1,
    };
    let round = scene.queue_round(&NewRound {
        name: String::new(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
    })?;
    scene.finish_round(round)?;

    let rank = rank_project(&mut scene)?;

    let browser = Browser::start(&scene.server.url())?;
    browser.resize(1280, 800)?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let project = format!("/projects/{}", scene.project);
    let label = format!("{project}/label");
    let rank = format!("/projects/{rank}/label");
    let pictures = [
        (label.clone(), "task", "", "label.png", "light"),
        (label, "task", "", "label-dark.png", "dark"),
        (rank, "task", "1j2j2j4", "rank.png", "light"),
        (
            format!("{project}/progress"),
            "plot-days",
            "",
            "progress.png",
            "light",
        ),
        (project, "count-annotations", "", "project.png", "light"),
        (
            format!("/rounds/{round}"),
            "round-chart",
            "",
            "round.png",
            "light",
        ),
    ];
    for (path, sign, keys, file, scheme) in pictures {
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", scheme)?;
        browser.open(&path)?;
        browser.sees(sign)?;
        for key in keys.chars() {
            browser.press(&key.to_string())?;
        }
        browser.run_async("document.fonts.ready.then(() => requestAnimationFrame(() => done(true)))")?;
        browser.screenshot(&out.join(file))?;
    }
    Ok(())
}

/// A second project, in which four completions are put in order.
fn rank_project(scene: &mut Scene) -> Result<ProjectId> {
    let settings = ProjectSettings {
        name: "Short and clear".into(),
        guidelines: "Put the clearest answer first. Answers that are equally good share a place.".into(),
        label_type: LabelType::Rank,
        completions_per_task: 4,
        ..scene::pick(1)
    };
    let project: Project = scene.admin.post("/projects", &settings)?;
    let prompts = "{\"prompt\": \"Explain in two sentences why leaves change colour in autumn.\"}\n\
                   {\"prompt\": \"Give me one tip for a good night's sleep.\"}\n";
    let _: ImportReport = scene
        .admin
        .post_text(&format!("/projects/{}/prompts", project.id), prompts)?;
    let first = std::mem::replace(&mut scene.project, project.id);
    let made = scene.complete(&scene::completions(4, 64, 3, None));
    scene.project = first;
    made?;
    Ok(project.id)
}

fn label(annotator: &Api, scene: &Scene, n: usize) -> Result<()> {
    let path = format!("/projects/{}/assignments", scene.project);
    let mut held: Held = annotator.post(&path, &Hold { n: 1 })?;
    for _ in 0..n {
        let Some(assignment) = held.assignments.first() else {
            break;
        };
        let answer = shorter_wins(assignment);
        held = annotator.post(&format!("/assignments/{}/annotation", assignment.id), &answer)?;
    }
    Ok(())
}
