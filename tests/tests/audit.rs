//! The audit log's page before an admin.

use anyhow::Result;
use laurel_tests::{
    Browser, Scripted, scene,
    server::{ADMIN, PASSWORD},
    until,
};

#[test]
fn the_log_shows_the_newest_changes_and_its_filters_narrow_them_down() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 60)?;
    scripted.answer(project, 55)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.click("audit-link")?;
    browser.sees("audit-row")?;
    assert_eq!(browser.path()?, "/audit");
    // Its own sign-in is the newest.
    assert_eq!(
        browser.attribute("audit-row", "data-verb")?.as_deref(),
        Some("signed_in")
    );
    browser.click("more-entries")?;
    until(30, "the second page", || Ok(browser.count("audit-row")? > 50))?;

    browser.select("audit-verb", "project_created")?;
    browser.fill("audit-who", "admin")?;
    browser.click("audit-show")?;
    until(30, "one entry", || Ok(browser.count("audit-row")? == 1))?;
    let row = browser.text("audit-row")?;
    assert!(
        row.contains("admin (token script-admin)") && row.contains("A test project"),
        "{row}"
    );
    let link = browser.attribute("audit-download", "href")?.unwrap_or_default();
    assert_eq!(link, "/api/v1/audit?format=jsonl&who=admin&verb=project_created");
    assert_eq!(
        scripted
            .admin
            .get_text(link.trim_start_matches("/api/v1"))?
            .lines()
            .count(),
        1
    );

    browser.fill("audit-since", "yesterday")?;
    browser.click("audit-show")?;
    until(30, "a reason", || {
        Ok(browser.run("return document.body.innerText.includes('must be a day')")? == true)
    })?;
    browser.fill("audit-since", "2999-01-31")?;
    browser.click("audit-show")?;
    browser.sees("audit-empty")?;

    browser.fill("audit-since", "2000-01-31")?;
    browser.select("audit-verb", "")?;
    browser.click("audit-show")?;
    browser.sees("audit-row")?;
    for (width, theme) in [(1280, "light"), (360, "dark")] {
        browser.resize(width, 740)?;
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{theme}: {violations:#?}");
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "it scrolls sideways at {width} pixels");
    }
    browser.must_be_quiet()
}
