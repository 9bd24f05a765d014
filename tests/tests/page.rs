//! The pages as a browser sees them: size, quiet console, narrow screens, accessibility.

use anyhow::{Context, Result};
use laurel_tests::{
    Browser, Scene, TestServer,
    process::given,
    scene,
    server::{ADMIN, PASSWORD},
};
use std::fs;

const MAX_WASM_BYTES: u64 = 350_000;

#[test]
fn the_wasm_is_small() -> Result<()> {
    let dist = given("LAUREL_DIST")?;
    let packed = fs::read_dir(&dist)?
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with(".wasm.br"))
        .context("there is no packed wasm")?;
    let size = fs::metadata(packed)?.len();
    println!("wasm: {size} bytes brotli");
    assert!(size <= MAX_WASM_BYTES, "{size} bytes of wasm, brotli");
    Ok(())
}

#[test]
fn pages_are_quiet_accessible_and_fit_a_phone() -> Result<()> {
    let mut scene = Scene::start(TestServer::start()?, &scene::pick(1), &scene::sample_prompts(4)?)?;
    scene.complete(&scene::completions(2, 16, 1, None))?;
    let browser = Browser::start(&scene.server.url())?;
    browser.open("/sign-in")?;
    browser.sees("submit-credentials")?;
    check(&browser, "/sign-in")?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let project = format!("/projects/{}", scene.project);
    let pages = [
        ("/".to_owned(), "project-link"),
        ("/projects/new".to_owned(), "save-project"),
        (project.clone(), "count-prompts"),
        (format!("{project}/prompts"), "import-submit"),
        (format!("{project}/rounds/new"), "start-round"),
        (format!("{project}/label"), "task"),
        ("/people".to_owned(), "invite-annotator"),
        ("/tokens".to_owned(), "create-token"),
    ];
    for (path, sign) in &pages {
        browser.open(path)?;
        browser.sees(sign)?;
        check(&browser, path)?;
    }
    Ok(())
}

#[test]
fn the_labelling_page_works_at_360_pixels() -> Result<()> {
    let mut scene = Scene::start(TestServer::start()?, &scene::pick(1), &scene::sample_prompts(4)?)?;
    scene.complete(&scene::completions(2, 16, 1, None))?;
    let browser = Browser::start(&scene.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.resize(360, 740)?;
    browser.open(&format!("/projects/{}/label", scene.project))?;
    browser.sees("task")?;
    for control in [
        "choose-first",
        "choose-second",
        "choose-tie",
        "choose-both-bad",
        "skip",
    ] {
        let inside = browser.run(&format!(
            "const e = document.querySelector('[data-test=\"{control}\"]'); e.scrollIntoView();
             const r = e.getBoundingClientRect();
             return r.width > 0 && r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= innerHeight"
        ))?;
        assert_eq!(inside, true, "{control} is out of reach");
    }
    browser.click("choose-first")?;
    laurel_tests::until(30, "the answer to be stored", || {
        Ok(scene.counts()?.n_annotations == 1)
    })?;
    browser.must_be_quiet()
}

/// No console error, nothing wider than the window (wide and at 360 pixels), no serious violation.
fn check(browser: &Browser, path: &str) -> Result<()> {
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.resize(width, height)?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "{path} scrolls sideways at {width} pixels");
    }
    browser.resize(1280, 900)?;
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{path}: {violations:#?}");
    browser.must_be_quiet()
}
