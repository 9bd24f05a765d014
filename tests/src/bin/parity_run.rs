//! A small run through the real server and trainer; its export and its adapter go to the folder given.

use anyhow::{Context, Result};
use laurel_protocol::{Held, Hold, Hyper, NewRound, ProjectSettings, Questions, RoundKind, RoundSpec};
use laurel_tests::{Scene, TestServer, process::output, scene, shorter_wins};
use std::{env, fs, path::PathBuf, process::Command};

fn main() -> Result<()> {
    let out = PathBuf::from(env::args_os().nth(1).context("usage: parity_run OUT")?);
    let settings = ProjectSettings {
        questions: Questions {
            demonstration: true,
            ..Questions::default()
        },
        ..scene::pick(1)
    };
    let mut scene = Scene::start(TestServer::start()?, &settings, &scene::sample_prompts(16)?)?;
    scene.complete(&scene::completions(2, 32, 1, None))?;
    label_all(&scene)?;
    for (format, file) in [
        ("preference", "preference.jsonl"),
        ("implicit_preference", "implicit.jsonl"),
        ("sft", "sft.jsonl"),
    ] {
        let text = scene
            .admin
            .get_text(&format!("/projects/{}/export?format={format}", scene.project))?;
        fs::write(out.join(file), text)?;
    }
    let hyper = Hyper {
        learning_rate: 1e-3,
        epochs: 4,
        batch_size: 4,
        max_steps: 8,
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
        name: "parity".into(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
    })?;
    let round = scene.finish_round(round)?;
    let adapter = scene.adapter(round.adapter.context("the round made no adapter")?)?;
    let adapter = adapter.context("the adapter is listed")?;
    let folder = out.join("adapter");
    fs::create_dir_all(&folder)?;
    // As whoever takes it along: the archive, unpacked, with its card for the hub.
    let archive = out.join("adapter.tar");
    let bytes = scene
        .admin
        .get_bytes(&format!("/adapters/{}/archive", adapter.id))?;
    fs::write(&archive, bytes)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf")
        .arg(&archive)
        .args(["--strip-components", "1", "-C"]);
    output(tar.arg(&folder))?;
    Ok(())
}

fn label_all(scene: &Scene) -> Result<()> {
    let path = format!("/projects/{}/assignments", scene.project);
    let mut held: Held = scene.admin.post(&path, &Hold { n: 1 })?;
    while let Some(assignment) = held.assignments.first() {
        let mut answer = shorter_wins(assignment);
        answer.extras.demonstration = Some("An answer that a person wrote.".into());
        held = scene
            .admin
            .post(&format!("/assignments/{}/annotation", assignment.id), &answer)?;
    }
    Ok(())
}
