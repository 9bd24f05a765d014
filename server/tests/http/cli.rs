//! What an operator does beside the server, on its data folder.

use crate::scene::{Scene, pick};
use laurel_protocol::{Choice, ProjectId};
use laurel_server::{
    adapter_files,
    store::{Db, adapters},
};
use std::{
    path::Path,
    process::{Command, Output},
};

fn laurel(words: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laurel"));
    command.args(words).arg("--data").arg(data).output().unwrap()
}

#[tokio::test]
async fn a_backup_is_a_data_folder_with_every_adapter() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let adapter = scene.train().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("backup");
    let words = ["backup", "--out", out.to_str().unwrap()];
    let done = laurel(&words, scene.app.data());
    assert!(done.status.success(), "{done:?}");

    let restored = Db::open(&out).await.unwrap();
    let listed = adapters::list(&restored, ProjectId(1)).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&adapter));
    for name in &adapter.files {
        let name = adapter_files::known_name(name).unwrap();
        let [kept, copied] =
            [scene.app.data(), &out].map(|data| adapter_files::path(data, &adapter.hash, name));
        assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(copied).unwrap());
    }

    let again = laurel(&words, scene.app.data());
    assert!(!again.status.success(), "a backup is never written over");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn an_export_needs_a_database_of_its_own_version_and_makes_none() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let words = ["export", "--project", "1", "--format", "preference"];
    let done = laurel(&words, scene.app.data());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(done.stdout, scene.export("preference").await.bytes());

    // As after a server of a later version.
    let mut tx = scene.app.db.write().await.unwrap();
    sqlx::query("update _sqlx_migrations set version = version + 1000")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = laurel(&words, scene.app.data());
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && reason.contains("another version"),
        "{reason}"
    );

    let empty = tempfile::tempdir().unwrap();
    assert!(!laurel(&words, empty.path()).status.success());
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn the_sample_is_loaded_into_an_empty_database_once() {
    let data = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/sample");
    let load = || {
        let done = laurel(&["sample", "load", "--if-empty", "--sample", sample], data.path());
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(load().contains("number 1"));
    assert_eq!(load(), "");
}
