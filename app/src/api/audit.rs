//! Calls of the audit log, and the address of its download.

use super::{Result, get, url};
use laurel_protocol::{AuditFilter, AuditId, AuditPage, Verb};

/// Newest first, from behind `after` on.
pub async fn page(filter: &AuditFilter, after: Option<AuditId>) -> Result<AuditPage> {
    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
    get(&format!("/audit?order=newest{}{after}", query(filter))).await
}

/// Where the browser downloads what the filter lets through.
pub fn download_url(filter: &AuditFilter) -> String {
    url(&format!("/audit?format=jsonl{}", query(filter)))
}

/// `&name=value` for each condition.
fn query(filter: &AuditFilter) -> String {
    let conditions = [
        ("project", filter.project.map(|project| project.to_string())),
        ("who", filter.who.clone()),
        ("verb", filter.verb.map(Verb::name)),
        ("since", filter.since.map(|since| since.0.to_string())),
    ];
    let pair = |(name, value): (&str, Option<String>)| {
        let value = js_sys::encode_uri_component(&value?);
        Some(format!("&{name}={}", String::from(value)))
    };
    conditions.into_iter().filter_map(pair).collect()
}
