//! Annotators at once through a SIGKILL of the server, in small: `cargo xtask bench labels` measures it in large.

use anyhow::Result;
use laurel_tests::{Crowd, crowd::Stretch};

#[test]
fn annotators_at_once_lose_and_double_nothing_when_the_server_is_killed() -> Result<()> {
    let mut crowd = Crowd::gather(12)?;
    let report = crowd.annotate(Stretch {
        overlap: 3,
        n_tasks: 4000,
        seconds: 4.0,
        seconds_between: 0.0,
    })?;
    assert!(report.findings.is_good(), "{:?}", report.findings);
    assert!(report.findings.n_finished > 0, "{:?}", report.findings);
    assert!(
        report.n_resent > 0,
        "nothing was under way when the server was killed"
    );
    Ok(())
}
