//! An adapter followed back to all that made it, and an annotation forward to all that learnt from it.

use crate::app::Caller;
use crate::scene::{Scene, order, pick, plain, round, settings, weights};
use laurel_protocol::*;
use laurel_server::store::text::sha256_hex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

async fn labelled() -> Scene {
    // Whoever answers holds the next one: a fourth task stays with ada.
    let scene = Scene::with_tasks(4).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    for _ in 0..2 {
        scene
            .answer(&scene.admin, |shown| pick(Choice::Second, shown))
            .await;
    }
    scene
}

async fn facts(scene: &Scene, id: AdapterId) -> AdapterFacts {
    scene.admin.get(&format!("/adapters/{id}")).await.json()
}

/// What an archive holds, unpacked by tar.
fn unpacked(archive: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.tar");
    std::fs::write(&file, archive).unwrap();
    let mut tar = Command::new("tar");
    let done = tar.arg("-xf").arg(&file).arg("-C").arg(folder.path()).status();
    assert!(done.unwrap().success());
    folder
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[tokio::test]
async fn an_adapter_says_all_that_it_was_made_of() {
    let scene = labelled().await;
    let first = scene.train().await;
    let second = NewRound {
        starting_adapter: Some(first.id),
        ..round(RoundKind::Sft)
    };
    let second = scene.train_on(&second).await;
    let facts = facts(&scene, second.id).await;
    assert_eq!(facts.project_name, "p");
    assert_eq!((facts.snapshot.n_rows, facts.n_annotated_rows), (3, 3));
    let counts: Vec<_> = facts
        .annotators
        .iter()
        .map(|one| (one.n_annotations, one.n_rows))
        .collect();
    assert_eq!(counts, [(2, 2), (1, 1)]);
    let exported: BTreeSet<String> = scene
        .export("preference")
        .await
        .lines::<PreferenceRow>()
        .into_iter()
        .map(|row| row.provenance.unwrap().annotator)
        .collect();
    let named: BTreeSet<String> = facts.annotators.into_iter().map(|one| one.annotator).collect();
    assert_eq!(named, exported);
    let ancestors: Vec<_> = facts
        .ancestors
        .iter()
        .map(|one| (one.id, one.of, one.role, one.depth))
        .collect();
    assert_eq!(ancestors, [(first.id, second.id, AncestorRole::Start, 1)]);
    assert_eq!(facts.trainer_code.as_deref(), Some("0.1.0+abc"));
    assert!(facts.server_code.unwrap().starts_with(env!("CARGO_PKG_VERSION")));
    assert_eq!(facts.uses, []);
}

#[tokio::test]
async fn the_kit_has_the_rows_the_spec_and_the_adapters_that_the_round_used() {
    let scene = labelled().await;
    let first = scene.train().await;
    let mut second = NewRound {
        starting_adapter: Some(first.id),
        ..round(RoundKind::Dpo)
    };
    second.spec.seed = 17;
    let second = scene.train_on(&second).await;
    let kit = scene.admin.get(&format!("/adapters/{}/kit", second.id)).await;
    assert_eq!(kit.header("content-length"), kit.bytes().len().to_string());
    let folder = unpacked(kit.bytes());
    let kit = folder.path().join("dpo-2-again");
    let facts = facts(&scene, second.id).await;
    assert_eq!(sha256_hex(read(&kit, "rows.jsonl")), facts.snapshot.hash);
    let spec: Value = serde_json::from_str(&read(&kit, "spec.json")).unwrap();
    assert_eq!(
        (&spec["seed"], &spec["data"], &spec["template"]),
        (&17.into(), &"rows.jsonl".into(), &"model".into())
    );
    assert_eq!(
        (&spec["kind"], &spec["starting_adapter"]),
        (&"dpo".into(), &"starting-adapter".into())
    );
    assert_eq!(spec["model"], "base-model-smollm2-135m-instruct");
    assert!(spec["reward_adapter"].is_null());
    let start = std::fs::read(kit.join("starting-adapter/adapter_model.safetensors")).unwrap();
    assert_eq!(start, weights());
    assert!(read(&kit, "HOW_TO.md").contains(&second.hash));
    let alone = scene.admin.get(&format!("/adapters/{}/spec", second.id)).await;
    assert_eq!(alone.text(), read(&kit, "spec.json"));
}

#[tokio::test]
async fn an_archive_is_a_folder_as_peft_loads_it_with_the_card_in_it() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    let archive = scene
        .admin
        .get(&format!("/adapters/{}/archive", adapter.id))
        .await;
    let folder = unpacked(archive.bytes());
    let folder = folder.path().join("dpo-1");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    );
    let card = scene.admin.get(&format!("/adapters/{}/card", adapter.id)).await;
    assert_eq!(card.text(), read(&folder, "README.md"));
    let front = card.text().split("---\n").nth(1).unwrap();
    for line in [
        "base_model: \"HuggingFaceTB/SmolLM2-135M-Instruct\"",
        "library_name: peft",
        "- dpo",
        "# license: fill in",
    ] {
        assert!(front.contains(line), "{line} in {front}");
    }
    assert!(
        card.text().contains("3 annotations by 2 people"),
        "{}",
        card.text()
    );
}

#[tokio::test]
async fn names_of_people_do_not_become_markup_of_the_card() {
    let named = ProjectSettings {
        name: "<b>a</b>\n---\n# b | c".into(),
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&named, 1).await;
    scene.complete(&order(2), plain).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let adapter = scene.train().await;
    let card = scene.admin.get(&format!("/adapters/{}/card", adapter.id)).await;
    let body = card.text().splitn(3, "---\n").nth(2).unwrap();
    assert!(!body.contains("<b>") && !body.contains("\n# b"), "{body}");
    assert_eq!(card.text().matches("\n---\n").count(), 1, "{}", card.text());
}

#[tokio::test]
async fn an_annotation_names_the_rounds_that_learnt_from_it() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    let later = NewRound {
        starting_adapter: Some(adapter.id),
        ..round(RoundKind::Dpo)
    };
    scene.train_on(&later).await;
    let of: AnnotationLineage = scene.admin.get("/annotations/1/lineage").await.json();
    assert_eq!((of.stands, of.n_comparisons, of.rounds.len()), (true, 1, 2));
    assert_eq!((of.rounds[0].n_rows, of.rounds[0].adapter), (1, Some(adapter.id)));
    assert_eq!(
        scene.admin.get("/annotations/99/lineage").await.code(),
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn the_graph_has_what_the_project_made_and_where_the_rows_come_from() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    let by_it = NewCompletionJob {
        adapter: Some(adapter.id),
        ..order(2)
    };
    scene
        .complete(&by_it, |prompt, index| format!("new {}", plain(prompt, index)))
        .await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene.train().await;
    let graph: Lineage = scene.admin.get(&scene.path("/lineage")).await.json();
    assert_eq!(
        (graph.rounds.len(), graph.snapshots.len(), graph.completions.len()),
        (2, 2, 2)
    );
    assert_eq!(graph.completions[1].adapter, Some(adapter.id));
    let sources: Vec<_> = graph
        .sources
        .iter()
        .map(|one| (one.snapshot.0, one.completions.0, one.n_annotations))
        .collect();
    assert_eq!(sources, [(1, 1, 3), (2, 1, 3), (2, 2, 1)]);
}

#[tokio::test]
async fn files_that_something_needs_stay_and_others_go_once_it_is_confirmed() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    let path = format!("/adapters/{}", adapter.id);
    let later = NewRound {
        starting_adapter: Some(adapter.id),
        ..round(RoundKind::Dpo)
    };
    let waiting: Round = scene.admin.make(&scene.path("/rounds"), &later).await;
    let refused = scene
        .admin
        .send("DELETE", &format!("{path}?confirmed=true"), "")
        .await
        .problem();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.detail.contains(&waiting.name), "{refused:?}");
    let _: Round = scene
        .admin
        .make(&format!("/rounds/{}/abort", waiting.id), &())
        .await;
    let unconfirmed = scene.admin.send("DELETE", &path, "").await.problem();
    assert!(unconfirmed.detail.contains("confirmed=true"), "{unconfirmed:?}");
    let gone = scene
        .admin
        .send("DELETE", &format!("{path}?confirmed=true"), "")
        .await;
    assert!(gone.json::<AdapterFacts>().adapter.deleted_at.is_some());
    assert!(!scene.app.data().join("adapters").join(&adapter.hash).exists());
    let again = scene
        .admin
        .send("DELETE", &format!("{path}?confirmed=true"), "")
        .await;
    assert_eq!(again.code(), ErrorCode::Conflict);
    // Nothing new can use it, and what it was made of is still told.
    assert_eq!(scene.admin.post(&scene.path("/rounds"), &later).await.status, 422);
    let archive = scene.admin.get(&format!("{path}/archive")).await;
    assert_eq!(archive.code(), ErrorCode::Conflict);
    assert_eq!(facts(&scene, adapter.id).await.annotators.len(), 2);
    assert_eq!(scene.admin.get(&format!("{path}/kit")).await.status, 200);
}

#[tokio::test]
async fn adapters_with_the_same_weights_keep_the_files_until_the_last_one_goes() {
    let scene = labelled().await;
    let (first, second) = (scene.train().await, scene.train().await);
    assert_eq!(first.hash, second.hash);
    let folder = scene.app.data().join("adapters").join(&first.hash);
    for (adapter, stays) in [(&first, true), (&second, false)] {
        let gone = scene
            .admin
            .send("DELETE", &format!("/adapters/{}", adapter.id), "")
            .await;
        assert_eq!(gone.status, 200, "{gone:?}");
        assert_eq!(folder.exists(), stays);
    }
    // A round that comes to the same weights brings them back.
    let third = scene.train().await;
    assert!(folder.exists() && facts(&scene, third.id).await.adapter.deleted_at.is_none());
}

#[tokio::test]
async fn storage_names_every_adapter_with_its_size_and_what_uses_it() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    let later = NewRound {
        starting_adapter: Some(adapter.id),
        ..round(RoundKind::Dpo)
    };
    scene.train_on(&later).await;
    let storage: Storage = scene.admin.get("/storage").await.json();
    assert!(storage.database_bytes > 0 && storage.upload_bytes == 0);
    assert_eq!(storage.projects.len(), 1);
    assert!(storage.projects[0].snapshot_bytes > 0 && storage.projects[0].prompt_bytes > 0);
    let first = storage.adapters.iter().find(|one| one.id == adapter.id).unwrap();
    assert_eq!((first.n_uses, first.n_blockers, first.shared), (1, 0, true));
    assert_eq!(first.size_bytes, weights().len() as u64 + 2);
}

/// Numbers that look random, the same every time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A project that people label, change their minds about, and train on, in an order that `seed` draws.
async fn history(seed: u64) -> (Scene, Vec<Caller>) {
    let two = ProjectSettings {
        overlap: 2,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&two, 8).await;
    scene.complete(&order(2), plain).await;
    let mut people = Vec::new();
    for name in ["ada", "grace", "joan"] {
        people.push(scene.app.person(name, Role::Annotator).await);
    }
    let mut draws = Draws(seed);
    let (mut policies, mut rewards, mut n_answers) = (Vec::new(), Vec::new(), 0);
    for _ in 0..24 {
        let who = &people[draws.below(3) as usize];
        let choice = [Choice::First, Choice::Second, Choice::Tie][draws.below(3) as usize];
        match draws.below(4) {
            0 if n_answers > 2 => {
                let start: Option<AdapterId> = match draws.below(policies.len() as u64 + 1) {
                    0 => None,
                    n => Some(policies[n as usize - 1]),
                };
                let reward = rewards.last().copied();
                let kind = match (draws.below(4), reward) {
                    (0, _) => RoundKind::Reward,
                    (1, Some(_)) => RoundKind::Ppo,
                    (2, _) => RoundKind::Sft,
                    _ => RoundKind::Dpo,
                };
                let new = NewRound {
                    starting_adapter: start,
                    reward_adapter: reward.filter(|_| kind == RoundKind::Ppo),
                    ..round(kind)
                };
                // Where all that stands is a tie there is nothing to learn from.
                if scene.admin.post(&scene.path("/rounds"), &new).await.status != 200 {
                    continue;
                }
                let (job, holder) = scene.lease().await;
                scene.upload(&job, &holder).await;
                let end = format!("/worker/jobs/{}/finish", job.job_id);
                assert_eq!(holder.post(&end, &crate::scene::done()).await.status, 204);
                let all: Vec<Adapter> = scene.admin.get(&scene.path("/adapters")).await.json();
                match kind {
                    RoundKind::Reward => rewards.push(all[0].id),
                    _ => policies.push(all[0].id),
                }
            }
            1 => {
                let undone = scene.undo(who).await;
                if undone.status == 200 {
                    let first = undone.json::<Held>().assignments.remove(0);
                    let path = format!("/assignments/{}/annotation", first.id);
                    let _: Held = who.make(&path, &pick(choice, &first)).await;
                }
            }
            _ => {
                if !scene.hold(who, 1).await.assignments.is_empty() {
                    scene.answer(who, |shown| pick(choice, shown)).await;
                    n_answers += 1;
                }
            }
        }
    }
    (scene, people)
}

/// Every adapter by what a search through all rows of all rounds finds: the annotations that its own round's rows name, and
/// the adapters that the round used.
async fn searched(scene: &Scene) -> BTreeMap<AdapterId, (BTreeSet<i64>, Vec<AdapterId>)> {
    let rounds: Vec<Round> = scene.admin.get(&scene.path("/rounds")).await.json();
    let mut found = BTreeMap::new();
    for round in rounds {
        let rows = scene.admin.get(&format!("/rounds/{}/rows", round.id)).await;
        let named = rows
            .lines::<Value>()
            .iter()
            .filter_map(|row| row["annotation_id"].as_i64())
            .collect();
        let used = round
            .starting_adapter
            .into_iter()
            .chain(round.reward_adapter)
            .collect();
        found.insert(round.adapter.unwrap(), (named, used));
    }
    found
}

/// The adapters that learnt from any of these annotations, and whether by their own rows.
fn taught(
    all: &BTreeMap<AdapterId, (BTreeSet<i64>, Vec<AdapterId>)>,
    annotations: &BTreeSet<i64>,
) -> BTreeMap<AdapterId, bool> {
    let mut taught = BTreeMap::new();
    // Adapters are numbered in the order in which they were made: what one used stands before it.
    for (id, (named, used)) in all {
        let direct = !named.is_disjoint(annotations);
        if direct || used.iter().any(|other| taught.contains_key(other)) {
            taught.insert(*id, direct);
        }
    }
    taught
}

async fn annotations_of(scene: &Scene, user: UserId) -> BTreeSet<i64> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select a.id from annotation a join assignment s on s.id = a.assignment_id where s.user_id = ?1",
    )
    .bind(user.0)
    .fetch_all(scene.app.db.read())
    .await
    .unwrap();
    ids.into_iter().collect()
}

#[tokio::test]
async fn who_leaves_has_taught_exactly_the_adapters_that_a_search_through_every_row_finds() {
    let mut n_adapters = 0;
    for seed in 0..12 {
        let (scene, people) = history(seed).await;
        let all = searched(&scene).await;
        n_adapters += all.len();
        for (at, person) in people.iter().enumerate() {
            let expected = taught(&all, &annotations_of(&scene, person.user).await);
            // One of them leaves for good: it changes nothing about what was.
            let (method, path) = match at {
                0 => ("DELETE", format!("/users/{}?answers=withdraw", person.user)),
                _ => ("GET", format!("/users/{}/data", person.user)),
            };
            let data: PersonData = scene.admin.send(method, &path, "").await.json();
            let found: BTreeMap<_, _> = data.adapters.iter().map(|one| (one.id, one.direct)).collect();
            assert_eq!(found, expected, "person {at} in history {seed}");
        }
        let everything: Vec<i64> = sqlx::query_scalar("select id from annotation order by id")
            .fetch_all(scene.app.db.read())
            .await
            .unwrap();
        for id in everything {
            let expected = taught(&all, &BTreeSet::from([id]));
            let of: AnnotationLineage = scene
                .admin
                .get(&format!("/annotations/{id}/lineage"))
                .await
                .json();
            let found: BTreeMap<_, _> = of
                .rounds
                .iter()
                .map(|round| (round.adapter.unwrap(), round.n_rows > 0))
                .collect();
            assert_eq!(found, expected, "annotation {id} in history {seed}");
        }
    }
    assert!(
        n_adapters > 20,
        "the histories trained too little to test anything: {n_adapters}"
    );
}
