//! Who is given tasks in a project: everybody, or the people who are listed, each with a limit of their own if they have
//! one.

use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, text_field},
    },
    format,
    load::{Loaded, living},
    pages::people::role_name,
    words::{fill, t},
};
use laurel_protocol::{Member, MemberLimit, Members, ProjectId, User};
use leptos::prelude::*;

const SEARCH: Field = Field {
    name: "member_search",
    label: "Add somebody",
    help: "A part of the name.",
    hook: "member-search",
};
/// People that a search shows.
const MAX_FOUND: usize = 8;

/// What the parts share.
#[derive(Clone, Copy)]
struct Team {
    project: ProjectId,
    members: Loaded<Members>,
    users: Loaded<Vec<User>>,
    action: Action,
    is_limit_bad: RwSignal<bool>,
}

pub fn view(project: ProjectId) -> AnyView {
    let team = Team {
        project,
        members: Loaded::new(move || api::members::list(project)),
        users: Loaded::new(api::account::users),
        action: Action::default(),
        is_limit_bad: RwSignal::new(false),
    };
    team.members.view_once(move || {
        view! {
            {mode(team)}
            {list(team)}
            {bad_limit(team)}
            {search(team)}
            {team.action.error_line()}
        }
        .into_any()
    })
}

fn mode(team: Team) -> AnyView {
    let is_assigned = move || team.members.with_ready(|members| members.assigned) == Some(true);
    let choices = [
        (false, "access-open", t("Everybody who can sign in")),
        (true, "access-assigned", t("Only the people in this list")),
    ];
    let choices = choices.map(|(assigned, hook, words)| {
        let choose = move |_| {
            let work = api::members::set_assigned(team.project, assigned);
            team.action.run(work, move |members| team.members.set(members));
        };
        view! {
            <label class="choice-line">
                <input
                    type="radio"
                    name="access"
                    data-test=hook
                    prop:checked=move || is_assigned() == assigned
                    on:change=choose
                />
                {words}
            </label>
        }
    });
    view! {
        <fieldset class="field-group">
            <legend>{t("Who is given tasks")}</legend>
            {choices}
            <p class="fine">
                {t("Whoever is not in the list does not find the project then, admins and reviewers excepted; what they hold \
                 goes back to the queue, and what they answered stays.")}
            </p>
        </fieldset>
    }
    .into_any()
}

fn list(team: Team) -> AnyView {
    living(move || {
        let Some(members) = team.members.get() else {
            return ().into_any();
        };
        if members.members.is_empty() {
            let words = match members.assigned {
                true => t("Nobody is in the list: nobody is given tasks."),
                false => t("Nobody is in the list."),
            };
            return view! { <p class="fine" data-test="no-members">{words}</p> }.into_any();
        }
        let rows = members
            .members
            .into_iter()
            .map(|member| row(team, member))
            .collect_view();
        view! {
            <div class="table-frame" tabindex="0" role="region" aria-label=t("People of this project")>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{t("Name")}</th>
                            <th scope="col">{t("Role")}</th>
                            <th scope="col" class="number">{t("Tasks")}</th>
                            <th scope="col">{t("At most")}</th>
                            <th scope="col">{t("Since")}</th>
                            <th scope="col"><span class="visually-hidden">{t("Take out")}</span></th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    })
}

fn row(team: Team, member: Member) -> AnyView {
    let user = member.user;
    let limit = member.max_tasks.map(|max| max.to_string()).unwrap_or_default();
    let set_limit = move |event: leptos::ev::Event| {
        let limit = parse_limit(&event_target_value(&event));
        team.is_limit_bad.set(limit.is_none());
        if let Some(limit) = limit {
            let work = async move { api::members::add(team.project, user, limit).await };
            team.action.run(work, move |members| team.members.set(members));
        }
    };
    let remove = move |_| {
        let work = api::members::remove(team.project, user);
        team.action.run(work, move |members| team.members.set(members));
    };
    let name = member.name.clone();
    view! {
        <tr class:muted=member.disabled data-test="member" data-name=member.name.clone()>
            <th scope="row">{member.name.clone()}</th>
            <td>{role_name(member.role)}{member.disabled.then(|| t(" (disabled)"))}</td>
            <td class="number" data-test="member-tasks">{format::count(member.n_tasks)}</td>
            <td>
                <input
                    class="member-limit"
                    type="text"
                    inputmode="numeric"
                    data-test="member-limit"
                    aria-label=fill("Tasks of {0} at most", &[&name])
                    placeholder=t("no own limit")
                    prop:value=limit
                    on:change=set_limit
                />
            </td>
            <td>{format::day(member.added_at)}</td>
            <td>
                <button
                    type="button"
                    class="button button-quiet"
                    data-test="member-remove"
                    aria-label=fill("Take out {0}", &[&name])
                    disabled=move || team.action.busy()
                    on:click=remove
                >
                    {t("Take out")}
                </button>
            </td>
        </tr>
    }
    .into_any()
}

/// `None` where it is no limit; nothing is the project's.
fn parse_limit(text: &str) -> Option<MemberLimit> {
    let max_tasks = match text.trim() {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    let limit = MemberLimit { max_tasks };
    limit.validate().is_ok().then_some(limit)
}

fn bad_limit(team: Team) -> AnyView {
    let words = move || {
        let is_bad = team.is_limit_bad.get();
        is_bad.then(|| t("A limit must be a whole number from 1 up, or nothing for the project's limit."))
    };
    view! { <p class="form-error" role="alert" data-test="bad-limit">{words}</p> }.into_any()
}

fn search(team: Team) -> AnyView {
    let text = RwSignal::new(String::new());
    let errors: Errors = RwSignal::new(Vec::new());
    let found = living(move || {
        let wanted = text.get().trim().to_lowercase();
        if wanted.is_empty() {
            return ().into_any();
        }
        let known = team
            .members
            .get()
            .map(|members| members.members)
            .unwrap_or_default();
        let Some(users) = team.users.get() else {
            return ().into_any();
        };
        let found = users
            .into_iter()
            .filter(|user| is_found(user, &wanted, &known))
            .take(MAX_FOUND)
            .map(|user| offer(team, text, user))
            .collect::<Vec<_>>();
        match found.is_empty() {
            true => {
                view! { <p class="fine" data-test="nobody-found">{t("Nobody else has such a name.")}</p> }
                    .into_any()
            }
            false => view! { <ul class="rows">{found}</ul> }.into_any(),
        }
    });
    view! {
        <div class="form">
            {text_field(SEARCH, "text", text, errors)}
            <div role="status">{found}</div>
        </div>
    }
    .into_any()
}

fn is_found(user: &User, wanted: &str, known: &[Member]) -> bool {
    !user.disabled
        && user.name.to_lowercase().contains(wanted)
        && known.iter().all(|member| member.user != user.id)
}

fn offer(team: Team, text: RwSignal<String>, user: User) -> AnyView {
    let id = user.id;
    let add = move |_| {
        let work = async move { api::members::add(team.project, id, MemberLimit::default()).await };
        team.action.run(work, move |members| {
            team.members.set(members);
            text.set(String::new());
        });
    };
    view! {
        <li class="row row-head">
            <span>{user.name.clone()}</span>
            <span class="fine">{role_name(user.role)}</span>
            <button
                type="button"
                class="button"
                data-test="member-add"
                aria-label=fill("Add {0}", &[&user.name])
                disabled=move || team.action.busy()
                on:click=add
            >
                {t("Add")}
            </button>
        </li>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{Role, Timestamp, UserId};

    fn user(id: i64, name: &str) -> User {
        User {
            id: UserId(id),
            name: name.into(),
            role: Role::Annotator,
            disabled: false,
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn a_search_finds_who_is_not_in_the_list_and_may_sign_in() {
        let member = Member {
            user: UserId(1),
            name: "Ada".into(),
            role: Role::Annotator,
            disabled: false,
            max_tasks: None,
            n_tasks: 0,
            added_at: Timestamp(0),
        };
        let known = [member];
        assert!(!is_found(&user(1, "Ada"), "ad", &known));
        assert!(is_found(&user(2, "Adam"), "ad", &known));
        assert!(!is_found(&user(3, "Bob"), "ad", &known));
        let gone = User {
            disabled: true,
            ..user(4, "Ade")
        };
        assert!(!is_found(&gone, "ad", &known));
    }

    #[test]
    fn a_limit_is_a_whole_number_or_nothing() {
        let max = |text| parse_limit(text).map(|limit| limit.max_tasks);
        assert_eq!(max(" "), Some(None));
        assert_eq!(max(" 20 "), Some(Some(20)));
        for bad in ["0", "-1", "1.5", "many"] {
            assert_eq!(max(bad), None, "{bad}");
        }
    }
}
