//! Who may do what, and what a hostile prompt or another site may not.

use anyhow::{Context, Result};
use laurel_protocol::{ErrorCode, Held, Hold, ImportReport, Project, Session};
use laurel_tests::{
    Api, Browser, Scene, TestServer, scene,
    server::{ADMIN, PASSWORD},
    shorter_wins, until,
};
use serde_json::json;

fn sign_in(api: &Api, headers: &[(&str, &str)], password: &str) -> Result<laurel_tests::Answered> {
    let credentials = json!({"name": ADMIN, "password": password}).to_string();
    api.send("POST", "/session", headers, &credentials)
}

#[test]
fn writing_with_a_cookie_needs_the_same_origin() -> Result<()> {
    let server = TestServer::start()?;
    let stranger = server.admin()?.signed_out();
    let origin = server.url();
    let same = [("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    let session = sign_in(&stranger, &same, PASSWORD)?;
    assert_eq!(session.status, 200, "{session:?}");
    let cookie = session.cookie.context("signing in sets a cookie")?;
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().context("a cookie has a value")?;
    let settings = serde_json::to_string(&scene::pick(1))?;

    let foreign = [
        ("cookie", cookie),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let refused = stranger.send("POST", "/projects", &foreign, &settings)?;
    assert_eq!(refused.code(), Some(ErrorCode::CrossOrigin), "{refused:?}");

    let own = [("cookie", cookie), same[0], same[1]];
    let taken = stranger.send("POST", "/projects", &own, &settings)?;
    assert!((200..300).contains(&taken.status), "{taken:?}");
    Ok(())
}

#[test]
fn guessing_passwords_is_slowed_down() -> Result<()> {
    let server = TestServer::start()?;
    let stranger = server.admin()?.signed_out();
    let mut codes = Vec::new();
    for guess in 0..40 {
        let answered = sign_in(&stranger, &[], &format!("wrong password {guess}"))?;
        codes.push(answered.code().context("a wrong password is an error")?);
        if answered.status == 429 {
            break;
        }
    }
    assert_eq!(codes.first(), Some(&ErrorCode::WrongCredentials));
    assert_eq!(
        codes.last(),
        Some(&ErrorCode::RateLimited),
        "40 guesses in a row were all answered"
    );
    Ok(())
}

#[test]
fn each_role_and_token_opens_its_own_doors_only() -> Result<()> {
    let server = TestServer::start()?;
    let admin = server.admin()?;
    let annotator = server.annotator("ada")?;
    let project: Project = admin.post("/projects", &scene::pick(1))?;
    let worker_secret = std::fs::read_to_string(server.worker_token()?)?;
    let worker = Api::new(&server.url(), Some(worker_secret.trim()));
    let admin_only = [
        format!("/projects/{}/prompts", project.id),
        format!("/projects/{}/export?format=preference", project.id),
        format!("/projects/{}/rounds", project.id),
        "/users".to_owned(),
        "/tokens".to_owned(),
        "/invites".to_owned(),
    ];
    for path in &admin_only {
        assert_eq!(admin.send("GET", path, &[], "")?.status, 200, "admin at {path}");
        assert_eq!(
            annotator.send("GET", path, &[], "")?.status,
            403,
            "annotator at {path}"
        );
        assert_eq!(worker.send("GET", path, &[], "")?.status, 403, "worker at {path}");
        assert_eq!(
            admin.signed_out().send("GET", path, &[], "")?.status,
            401,
            "stranger at {path}"
        );
    }
    let who: Session = annotator.get("/session")?;
    assert_eq!(who.user.name, "ada");
    let lease = json!({"worker": "w", "device": "cpu", "models": [], "wait_seconds": 0}).to_string();
    assert_eq!(annotator.send("POST", "/worker/lease", &[], &lease)?.status, 403);
    assert_eq!(worker.send("POST", "/worker/lease", &[], &lease)?.status, 204);
    Ok(())
}

#[test]
fn an_answer_for_someone_elses_assignment_is_refused() -> Result<()> {
    let mut scene = Scene::start(TestServer::start()?, &scene::pick(1), &scene::sample_prompts(2)?)?;
    scene.complete(&scene::completions(2, 8, 1, None))?;
    let (ada, bob) = (scene.server.annotator("ada")?, scene.server.annotator("bob")?);
    let held: Held = ada.post(
        &format!("/projects/{}/assignments", scene.project),
        &Hold { n: 1 },
    )?;
    let assignment = held.assignments.first().context("there is a task")?;
    let answer = serde_json::to_string(&shorter_wins(assignment))?;
    let refused = bob.send(
        "POST",
        &format!("/assignments/{}/annotation", assignment.id),
        &[],
        &answer,
    )?;
    assert!([403, 404, 409].contains(&refused.status), "{refused:?}");
    assert_eq!(scene.counts()?.n_annotations, 0);
    Ok(())
}

/// What a hostile page would try, in a prompt and in the guidelines.
const HOSTILE: &str = "<script>window.stolen=1</script><img src=x onerror=\"window.stolen=1\"> \
    [link](javascript:window.stolen=1) <svg onload=window.stolen=1></svg><iframe srcdoc=\"<script>parent.stolen=1</script>\"></iframe>";

#[test]
fn scripts_in_prompts_and_guidelines_never_run() -> Result<()> {
    let server = TestServer::start()?;
    let mut settings = scene::pick(1);
    settings.guidelines = HOSTILE.to_owned();
    settings.name = HOSTILE.chars().take(90).collect();
    let mut scene = Scene::start(server, &settings, &scene::sample_prompts(1)?)?;
    let line = json!({"prompt": HOSTILE}).to_string();
    let path = format!("/projects/{}/prompts", scene.project);
    let report: ImportReport = scene.admin.post_text(&path, &line)?;
    assert_eq!(report.n_imported, 1);
    // The model repeats some of it; whatever it writes goes through the same cleaning.
    scene.complete(&scene::completions(2, 24, 1, None))?;

    let browser = Browser::start(&scene.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let unharmed = |at: &str| -> Result<()> {
        let is_clean = browser.run("return window.stolen === undefined")?;
        assert_eq!(is_clean, true, "at {at}");
        let live = browser.run(
            "return document.querySelectorAll('main script, main iframe, main [onerror], main [onload], \
             main a[href^=\"javascript:\"]').length",
        )?;
        assert_eq!(live, 0, "live markup of the prompt at {at}");
        Ok(())
    };
    let project = format!("/projects/{}", scene.project);
    browser.open(&project)?;
    browser.counts_to("count-completions", 4, 30)?;
    unharmed("the project's page")?;

    browser.open(&format!("{project}/prompts"))?;
    until(30, "both prompts", || Ok(browser.count("show-completions")? == 2))?;
    browser
        .run("document.querySelectorAll('[data-test=show-completions]').forEach(button => button.click())")?;
    until(
        30,
        "all completions",
        || Ok(browser.count("completion-row")? == 4),
    )?;
    unharmed("the prompts")?;

    browser.open(&format!("{project}/label"))?;
    browser.sees("task")?;
    unharmed("the first task")?;
    browser.click("guidelines")?;
    browser.sees("guidelines-text")?;
    unharmed("the guidelines")?;
    browser.press("\u{e00c}")?;
    browser.sees_no("guidelines-text")?;
    let first = browser.attribute("task", "data-assignment")?;
    browser.click("choose-tie")?;
    until(30, "the second task", || {
        Ok(browser.attribute("task", "data-assignment")? != first)
    })?;
    unharmed("the second task")
}
