//! The audit log: who changed what and when, newest first, with filters and a download of what they let through.

use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, select_field, text_field},
    },
    format,
    load::Loaded,
    session::Admin,
    words::{fill, later, t},
};
use laurel_protocol::{
    AuditEntry, AuditFilter, AuditPage, AuditSubject, FieldError, Project, ProjectId, Timestamp, Verb, Via,
};
use leptos::prelude::*;

const PROJECT: Field = Field {
    name: "project",
    label: "Project",
    help: "",
    hook: "audit-project",
};
const WHO: Field = Field {
    name: "who",
    label: "Who",
    help: "An account's or a token's whole name.",
    hook: "audit-who",
};
const VERB: Field = Field {
    name: "verb",
    label: "What",
    help: "",
    hook: "audit-verb",
};
const SINCE: Field = Field {
    name: "since",
    label: "From the day",
    help: "A day, for example 2026-01-31.",
    hook: "audit-since",
};

pub fn page(_admin: Admin) -> AnyView {
    let projects = Loaded::new(api::project::list);
    let shown = RwSignal::new(AuditFilter::default());
    let log = Loaded::new(move || {
        let filter = shown.get_untracked();
        async move { api::audit::page(&filter, None).await }
    });
    let form = projects.view(move |projects| filters(projects, shown, log));
    let list = log.view(move |page| listing(shown, log, page));
    let download = move || api::audit::download_url(&shown.get());
    view! {
        <div class="page">
            <h1>{t("Audit log")}</h1>
            <p class="lead">{t("Every change, who made it and when. Entries are added and never changed.")}</p>
            <section class="card" aria-labelledby="filter-title">
                <h2 id="filter-title">{t("Filter")}</h2>
                {form}
            </section>
            <section class="card" aria-labelledby="changes-title">
                <div class="row-head">
                    <h2 id="changes-title">{t("Changes")}</h2>
                    <a class="button button-quiet" href=download rel="external" download data-test="audit-download">
                        {t("Download as JSON Lines")}
                    </a>
                </div>
                {list}
            </section>
        </div>
    }
    .into_any()
}

fn filters(projects: Vec<Project>, shown: RwSignal<AuditFilter>, log: Loaded<AuditPage>) -> AnyView {
    let text = || RwSignal::new(String::new());
    let (project, who, verb, since) = (text(), text(), text(), text());
    let errors: Errors = RwSignal::new(Vec::new());
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let day = since.get_untracked();
        let from = day_begins(day.trim());
        if from.is_none() && !day.trim().is_empty() {
            errors.set(vec![FieldError::new(
                SINCE.name,
                later("must be a day as in 2026-01-31"),
            )]);
            return;
        }
        errors.set(Vec::new());
        let who = who.get_untracked().trim().to_owned();
        shown.set(AuditFilter {
            project: project.get_untracked().parse::<ProjectId>().ok(),
            who: (!who.is_empty()).then_some(who),
            verb: Verb::from_name(&verb.get_untracked()),
            since: from,
        });
        log.retry();
    };
    let any = |words: &'static str| (String::new(), t(words).to_owned());
    let named = |project: Project| (project.id.to_string(), project.settings.name);
    let projects = std::iter::once(any(later("All projects"))).chain(projects.into_iter().map(named));
    let verbs = Verb::ALL.iter().map(|verb| (verb.name(), words(*verb)));
    let verbs = std::iter::once(any(later("Everything"))).chain(verbs);
    view! {
        <form class="form" on:submit=submit novalidate>
            <div class="field-row">
                {select_field(PROJECT, projects.collect(), project, errors)}
                {select_field(VERB, verbs.collect(), verb, errors)}
                {text_field(WHO, "text", who, errors)}
                {text_field(SINCE, "text", since, errors)}
            </div>
            <div class="actions"><button class="button button-main" data-test="audit-show">{t("Show")}</button></div>
        </form>
    }
    .into_any()
}

/// Midnight where the browser is.
fn day_begins(day: &str) -> Option<Timestamp> {
    let is_day = day.len() == 10 && day.chars().all(|c| c.is_ascii_digit() || c == '-');
    let at = js_sys::Date::new(&format!("{day}T00:00").into()).get_time();
    (is_day && at.is_finite()).then_some(Timestamp(at as i64))
}

fn listing(shown: RwSignal<AuditFilter>, log: Loaded<AuditPage>, page: AuditPage) -> AnyView {
    if page.entries.is_empty() {
        return view! { <p class="fine" data-test="audit-empty">{t("Nothing of this kind has happened.")}</p> }
            .into_any();
    }
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            let filter = shown.get_untracked();
            let work = async move { api::audit::page(&filter, Some(next)).await };
            action.run(work, move |page| {
                log.update(|known| {
                    known.entries.extend(page.entries);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" data-test="more-entries" disabled=move || action.busy() on:click=ask>
                {t("Show more")}
            </button>
        }
    });
    let rows = page.entries.into_iter().map(row).collect_view();
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Changes")>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("When")}</th>
                        <th scope="col">{t("Who")}</th>
                        <th scope="col">{t("What")}</th>
                        <th scope="col">{t("Subject")}</th>
                        <th scope="col">{t("Details")}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}

fn row(entry: AuditEntry) -> AnyView {
    let way = match (entry.via, &entry.token) {
        (Via::Session, _) => String::new(),
        (Via::Token, Some(token)) => fill(" (token {0})", &[token]),
        (Via::Token, None) => t(" (token)").to_owned(),
        (Via::Trainer, _) => t(" (trainer)").to_owned(),
        (Via::CommandLine | Via::Server, _) => String::new(),
    };
    let subject = entry.subject.map_or_else(String::new, |id| format!(" {id}"));
    let on = words_of(&serde_json::to_value(entry.kind).unwrap_or_default()) + &subject;
    let within = entry.project.filter(|_| entry.kind != AuditSubject::Project);
    let within = within.map_or_else(String::new, |project| fill(", project {0}", &[&project]));
    view! {
        <tr data-test="audit-row" data-verb=entry.verb.name()>
            <td>{format::moment(entry.at)}</td>
            <td><strong>{entry.who}</strong>{way}</td>
            <td>{words(entry.verb)}</td>
            <td>{on}{within}</td>
            <td class="fine">{details(&entry.detail)}</td>
        </tr>
    }
    .into_any()
}

/// `answer_given` as "Answer given".
fn words(verb: Verb) -> String {
    words_of(&verb.name().into())
}

fn words_of(name: &serde_json::Value) -> String {
    let mut words = name.as_str().unwrap_or_default().replace('_', " ");
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// `{"format": "ranking"}` as "format: ranking".
fn details(detail: &serde_json::Value) -> String {
    let pairs = detail.as_object().into_iter().flatten();
    let pair = |(name, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}: {value}", name.replace('_', " "))
    };
    pairs.map(pair).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_details_read_as_words() {
        assert_eq!(words(Verb::AnswerGiven), "Answer given");
        let detail = serde_json::json!({"format": "ranking", "n_rows": 3});
        assert_eq!(details(&detail), "format: ranking, n rows: 3");
    }
}
