//! The quick checks: formatting, clippy for native and wasm32, the arrows between the crates, SQL and HTTP in their
//! places, the translations of the pages, and the tests of this program itself.

use crate::{
    build::ALL_BUT_XTASK,
    dist::files_below,
    place::Place,
    say, shell,
    wasm::{TARGET, Toolchain},
    words,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

pub fn run(place: &Place) -> Result<()> {
    let step = say::step("Check the formatting");
    shell::run(shell::cargo(place).args(["fmt", "--all", "--check"]))?;
    step.done();
    let step = say::step("Check the arrows between the crates");
    arrows(place)?;
    sql_in_its_place(place)?;
    http_in_its_place(place)?;
    step.done();
    let step = say::step("Check the translations");
    words::check(place)?;
    step.done();
    clippy(place)?;
    let step = say::step("Test this program");
    shell::run(shell::cargo(place).args(["test", "--quiet", "--package", "xtask"]))?;
    step.done();
    Ok(())
}

fn clippy(place: &Place) -> Result<()> {
    let step = say::step("Clippy, native");
    let mut others = ALL_BUT_XTASK.to_vec();
    others.extend(["--exclude", "laurel-app"]);
    for packages in [others.as_slice(), &["--package", "xtask"]] {
        shell::run(shell::cargo(place).arg("clippy").args(packages).args([
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    step.done();
    let toolchain = Toolchain::ensure(place)?;
    let step = say::step("Clippy, wasm32 (front end and protocol)");
    shell::run(toolchain.clippy(place).args([
        "-p",
        "laurel-app",
        "-p",
        "laurel-protocol",
        "--target",
        TARGET,
        "--",
        "-D",
        "warnings",
    ]))?;
    step.done();
    Ok(())
}

/// Which crates of this workspace each crate may depend on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("laurel-protocol", &[]),
    ("laurel-app", &["laurel-protocol"]),
    ("laurel-server", &["laurel-protocol"]),
    ("laurel-trainer", &["laurel-protocol"]),
    (
        "laurel-tests",
        &["laurel-protocol", "laurel-server", "laurel-trainer", "laurel-app"],
    ),
    ("xtask", &[]),
];

/// Libraries that must not come into a crate, not even through another library.
const KEPT_OUT: [(&str, &[&str]); 4] = [
    (
        "laurel-protocol",
        &["tokio", "axum", "sqlx", "leptos", "candle-core"],
    ),
    ("laurel-app", &["axum", "sqlx", "candle-core"]),
    ("laurel-server", &["leptos", "candle-core", "tokenizers"]),
    ("laurel-trainer", &["leptos", "sqlx"]),
];

fn arrows(place: &Place) -> Result<()> {
    let text = shell::read(shell::cargo(place).args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let members = members(&metadata)?;
    for (id, name) in &members {
        let allowed = ARROWS.iter().find(|(from, _)| from == name);
        let (_, allowed) = allowed.with_context(|| format!("{name} has no entry in the table of arrows"))?;
        for (to_id, to) in &members {
            let depends = direct(&metadata, id)?.contains(to_id);
            ensure!(
                !depends || allowed.contains(&to.as_str()),
                "{name} must not depend on {to}"
            );
        }
    }
    for (from, kept_out) in KEPT_OUT {
        let id = members.iter().find(|(_, name)| *name == from);
        let (id, _) = id.with_context(|| format!("the workspace has no {from}"))?;
        for library in all_below(&metadata, id)? {
            ensure!(
                !kept_out.contains(&library.as_str()),
                "{from} must not bring in {library}"
            );
        }
    }
    Ok(())
}

/// The crates of the workspace: package id and name.
fn members(metadata: &Value) -> Result<Vec<(String, String)>> {
    let names = names(metadata)?;
    let ids = metadata["workspace_members"]
        .as_array()
        .context("cargo metadata lists no members")?;
    ids.iter()
        .map(|id| {
            let id = id.as_str().context("a package id is text")?;
            Ok((id.to_owned(), names[id].clone()))
        })
        .collect()
}

fn names(metadata: &Value) -> Result<BTreeMap<String, String>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    packages
        .iter()
        .map(|package| {
            text(&package["id"])
                .zip(text(&package["name"]))
                .context("a package has id and name")
        })
        .collect()
}

/// Package ids that a package depends on itself, for the program proper (not for tests or build scripts).
fn direct(metadata: &Value, id: &str) -> Result<BTreeSet<String>> {
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no graph")?;
    let node = nodes
        .iter()
        .find(|node| node["id"] == id)
        .context("the graph lacks a package")?;
    let deps = node["deps"].as_array().context("a node lists its dependencies")?;
    let normal = |dep: &&Value| {
        dep["dep_kinds"]
            .as_array()
            .is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    Ok(deps
        .iter()
        .filter(normal)
        .filter_map(|dep| Some(dep["pkg"].as_str()?.to_owned()))
        .collect())
}

/// Names of all libraries that come in with a package.
fn all_below(metadata: &Value, id: &str) -> Result<BTreeSet<String>> {
    let names = names(metadata)?;
    let mut seen = BTreeSet::new();
    let mut open = vec![id.to_owned()];
    while let Some(id) = open.pop() {
        for dep in direct(metadata, &id)? {
            if seen.insert(dep.clone()) {
                open.push(dep);
            }
        }
    }
    Ok(seen.into_iter().map(|id| names[&id].clone()).collect())
}

/// Only `server/src/store/` knows SQL.
fn sql_in_its_place(place: &Place) -> Result<()> {
    for folder in ["server", "app", "trainer", "protocol"] {
        for file in files_below(&place.root.join(folder).join("src"))? {
            let inside = file.strip_prefix(&place.root)?;
            if inside.starts_with("server/src/store") || inside.starts_with("server/src/store.rs") {
                continue;
            }
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            if let Some(at) = text.lines().position(|line| line.contains("sqlx::")) {
                bail!("{}:{}: SQL belongs in server/src/store", inside.display(), at + 1);
            }
        }
    }
    Ok(())
}

/// Of the trainer only its endpoint knows axum.
fn http_in_its_place(place: &Place) -> Result<()> {
    for file in files_below(&place.root.join("trainer").join("src"))? {
        let inside = file.strip_prefix(&place.root)?;
        if inside.starts_with("trainer/src/serve") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some(at) = text.lines().position(|line| line.contains("axum::")) {
            bail!(
                "{}:{}: HTTP belongs in trainer/src/serve",
                inside.display(),
                at + 1
            );
        }
    }
    Ok(())
}
