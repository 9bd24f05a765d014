//! In what two specs differ: a table of the differences and nothing else.

use super::knobs::label_of;
use crate::words::{t, t_owned};
use laurel_protocol::RoundSpec;
use leptos::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As the API names it, `hyper.beta`.
    pub field: String,
    pub left: String,
    pub right: String,
}

pub fn between(left: &RoundSpec, right: &RoundSpec) -> Vec<Difference> {
    let (left, right) = (flat(left), flat(right));
    let mut fields: Vec<&String> = left.keys().chain(right.keys()).collect();
    fields.sort();
    fields.dedup();
    let value = |side: &BTreeMap<String, String>, field: &String| {
        side.get(field).cloned().unwrap_or_else(|| "–".to_owned())
    };
    let difference = |field: &String| Difference {
        left: value(&left, field),
        right: value(&right, field),
        field: field.clone(),
    };
    fields
        .into_iter()
        .filter(|field| left.get(*field) != right.get(*field))
        .map(difference)
        .collect()
}

/// Every value by its path.
fn flat(spec: &RoundSpec) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let json = serde_json::to_value(spec).unwrap_or_default();
    add(String::new(), &json, &mut values);
    values
}

fn add(path: String, value: &Value, values: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                add(path, value, values);
            }
        }
        Value::String(text) => drop(values.insert(path, text.clone())),
        value => drop(values.insert(path, value.to_string())),
    }
}

/// `left` and `right` are the names of the two.
pub fn table(differences: Vec<Difference>, left: String, right: String) -> AnyView {
    if differences.is_empty() {
        return view! { <p class="fine" data-test="no-difference">{t("They do not differ.")}</p> }.into_any();
    }
    let row = |one: Difference| {
        let name = match label_of(&one.field) {
            Some(label) => t_owned(label).into_any(),
            None => view! { <code>{one.field.clone()}</code> }.into_any(),
        };
        view! {
            <tr data-test="difference" data-field=one.field.clone()>
                <th scope="row">{name}</th>
                <td>{one.left}</td>
                <td>{one.right}</td>
            </tr>
        }
    };
    let rows = differences.into_iter().map(row).collect_view();
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Differences")>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Setting")}</th>
                        <th scope="col">{left}</th>
                        <th scope="col">{right}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{Hyper, RewardSource, RoundKind};

    fn spec(kind: RoundKind) -> RoundSpec {
        RoundSpec {
            kind,
            adapter: Default::default(),
            hyper: Hyper::for_kind(kind),
            reward: None,
            seed: 0,
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values_and_the_rest_is_not() {
        let (left, mut right) = (spec(RoundKind::Dpo), spec(RoundKind::Dpo));
        assert_eq!(between(&left, &right), []);
        (right.hyper.beta, right.seed) = (0.5, 7);
        let all = between(&left, &right);
        let told: Vec<_> = all
            .iter()
            .map(|one| (one.field.as_str(), one.left.as_str(), one.right.as_str()))
            .collect();
        assert_eq!(told, [("hyper.beta", "0.1", "0.5"), ("seed", "0", "7")]);
    }

    #[test]
    fn what_one_of_them_lacks_is_a_dash() {
        let (left, mut right) = (spec(RoundKind::Ppo), spec(RoundKind::Ppo));
        right.reward = Some(RewardSource::Length { target: 9 });
        let all = between(&left, &right);
        let target = all.iter().find(|one| one.field == "reward.target").unwrap();
        assert_eq!((target.left.as_str(), target.right.as_str()), ("–", "9"));
    }
}
