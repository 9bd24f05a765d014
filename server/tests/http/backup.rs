//! Backups from the command line: whole or not there, checked before anything is restored.

use crate::scene::{Scene, pick};
use laurel_protocol::{AuditPage, Choice, ProjectId, Verb};
use laurel_server::{
    backup::{self, MANIFEST},
    store::{Db, adapters, audit},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const LAUREL: &str = env!("CARGO_BIN_EXE_laurel");

fn laurel(words: &[&str]) -> Output {
    Command::new(LAUREL).args(words).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn reason(failed: &Output) -> String {
    assert!(!failed.status.success(), "{failed:?}");
    String::from_utf8(failed.stderr.clone()).unwrap()
}

/// A project with an adapter, and its backup.
async fn backed_up() -> (Scene, TempDir, PathBuf) {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene.train().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("backup");
    let done = laurel(&["backup", "--data", text(scene.app.data()), "--out", text(&out)]);
    assert!(done.status.success(), "{done:?}");
    (scene, folder, out)
}

fn restore(from: &Path, to: &Path) -> Output {
    laurel(&["restore", "--from", text(from), "--data", text(to)])
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up_and_its_log_says_so() {
    let (scene, folder, out) = backed_up().await;
    let checked = laurel(&["backup", "--verify", text(&out)]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        String::from_utf8(checked.stdout)
            .unwrap()
            .contains("is whole: 3 files")
    );
    let to = folder.path().join("new");
    let done = restore(&out, &to);
    assert!(done.status.success(), "{done:?}");
    let [before, after] = [scene.app.db.clone(), Db::open(&to).await.unwrap()];
    let listed = adapters::list(&before, ProjectId(1)).await.unwrap();
    assert_eq!(adapters::list(&after, ProjectId(1)).await.unwrap(), listed);
    let file = format!("adapters/{}/adapter_model.safetensors", listed[0].hash);
    assert_eq!(
        fs::read(to.join(&file)).unwrap(),
        fs::read(scene.app.data().join(&file)).unwrap()
    );
    let n: i64 = sqlx::query_scalar("select count(*) from audit where verb = 'backup_restored'")
        .fetch_one(after.read())
        .await
        .unwrap();
    assert_eq!(n, 1);
    // The backup is as it was.
    assert!(laurel(&["backup", "--verify", text(&out)]).status.success());
    let page: AuditPage = scene.admin.get("/audit?order=newest&limit=1").await.json();
    assert_eq!(page.entries[0].verb, Verb::BackupTaken);
    drop(audit::Lines::begin(&after, Default::default(), None));
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_nothing_is_restored() {
    let (_scene, folder, out) = backed_up().await;
    let weights = fs::read_dir(out.join("adapters"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let weights = weights.path().join("adapter_model.safetensors");
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let (database, manifest) = (out.join("laurel.sqlite"), out.join(MANIFEST));
    let cut = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a str);
    let damages: [Damage<'_>; 8] = [
        ("a bit of the weights", &|| flip(&weights, 300), "is damaged"),
        ("a bit of the database", &|| flip(&database, 5000), "is damaged"),
        ("half a database", &|| cut(&database), "is damaged"),
        ("no weights", &|| fs::remove_file(&weights).unwrap(), "is missing"),
        (
            "no database",
            &|| fs::remove_file(&database).unwrap(),
            "is missing",
        ),
        (
            "a stranger",
            &|| fs::write(out.join("more"), "x").unwrap(),
            "not in the manifest",
        ),
        ("half a manifest", &|| cut(&manifest), "is damaged"),
        (
            "no manifest",
            &|| fs::remove_file(&manifest).unwrap(),
            "has no manifest.json",
        ),
    ];
    for (what, damage, expected) in damages {
        let whole: Vec<_> = [&weights, &database, &manifest]
            .map(|path| (path, fs::read(path).unwrap()))
            .into();
        damage();
        let to = folder.path().join("new");
        for failed in [laurel(&["backup", "--verify", text(&out)]), restore(&out, &to)] {
            let reason = reason(&failed);
            assert!(reason.contains(expected), "{what}: {reason}");
        }
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, ["backup"], "{what}");
        for (path, bytes) in whole {
            fs::write(path, bytes).unwrap();
        }
        let _ = fs::remove_file(out.join("more"));
    }
    assert!(laurel(&["backup", "--verify", text(&out)]).status.success());
}

#[tokio::test]
async fn a_manifest_that_leaves_the_folder_is_refused() {
    let (_scene, folder, out) = backed_up().await;
    let manifest = fs::read_to_string(out.join(MANIFEST)).unwrap();
    fs::write(folder.path().join("outside"), "x").unwrap();
    let (hash, _) = manifest
        .split_once("\"adapters/")
        .map(|(_, rest)| rest.split_once('/').unwrap())
        .unwrap();
    let moved = manifest.replace(&format!("adapters/{hash}/adapter_config.json"), "../outside");
    fs::write(out.join(MANIFEST), moved).unwrap();
    assert!(reason(&restore(&out, &folder.path().join("new"))).contains("is damaged"));
}

#[tokio::test]
async fn a_newer_schema_and_a_folder_with_something_in_it_are_refused() {
    let (scene, folder, out) = backed_up().await;
    let busy = folder.path().join("busy");
    fs::create_dir(&busy).unwrap();
    fs::write(busy.join("mine"), "x").unwrap();
    assert!(reason(&restore(&out, &busy)).contains("is not empty"));
    assert_eq!(fs::read_to_string(busy.join("mine")).unwrap(), "x");

    let mut tx = scene.app.db.write().await.unwrap();
    sqlx::query("update _sqlx_migrations set version = version + 1000")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let newer = folder.path().join("newer");
    let made = laurel(&["backup", "--data", text(scene.app.data()), "--out", text(&newer)]);
    let refused = reason(&made);
    assert!(refused.contains("newer Laurel"), "{refused}");
    assert!(!newer.exists() && !folder.path().join("newer.partial").exists());
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_nothing_half_and_says_so() {
    let (scene, folder, _) = backed_up().await;
    let out = folder.path().join("second");
    // Files may have 64 KiB at most; the signal that would end the program becomes an error.
    let script = r#"trap "" XFSZ; ulimit -f 128; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args([
        "-c",
        script,
        LAUREL,
        "backup",
        "--data",
        text(scene.app.data()),
        "--out",
        text(&out),
    ]);
    let reason = reason(&command.output().unwrap());
    assert!(reason.contains("the disk is full"), "{reason}");
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["backup"]);
    // And the data folder is as it was.
    backup::write(&scene.app.db, scene.app.data(), &out, laurel_server::clock::now())
        .await
        .unwrap();
}
