//! Which code this trainer is: kept with each adapter that it makes.

/// The version, with the commit where the build or whoever started this process tells it (`LAUREL_COMMIT`).
pub fn own() -> String {
    let commit = std::env::var("LAUREL_COMMIT").ok();
    laurel_protocol::code_version(commit.as_deref().or(option_env!("LAUREL_COMMIT")))
}
