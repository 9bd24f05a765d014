//! Which code is at work: kept with every adapter, so that the same weights can be made again.

/// The version of Laurel, and behind a plus sign the commit that it was built from where `commit` tells it.
pub fn code_version(commit: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let is_commit = |text: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=64).contains(&text.len()) && text.chars().all(is_plain)
    };
    match commit.map(str::trim).filter(is_commit) {
        Some(commit) => format!("{version}+{commit}"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_stands_behind_the_version_where_it_is_one() {
        assert!(code_version(Some("1ac14ee-changed\n")).ends_with("+1ac14ee-changed"));
        assert_eq!(code_version(Some("no commit")), code_version(None));
    }
}
