//! People: who may sign in, and invite links for those who are to come.

use crate::{
    api,
    components::{action::Action, copy::copy_line},
    format,
    load::Loaded,
    session::Admin,
    words::{fill, t},
};
use laurel_protocol::{CreatedInvite, Invite, NewInvite, Role, User, UserChange, UserId};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn page(admin: Admin) -> AnyView {
    let users = Loaded::new(api::account::users);
    let own = admin.0.id;
    let table = users.view(move |list| table(users, list, own));
    view! {
        <div class="page">
            <h1>{t("People")}</h1>
            {invites()}
            <section class="card" aria-labelledby="accounts-title">
                <h2 id="accounts-title">{t("Accounts")}</h2>
                {table}
            </section>
        </div>
    }
    .into_any()
}

fn invites() -> AnyView {
    let invites = Loaded::new(api::account::invites);
    let created = RwSignal::new(None::<CreatedInvite>);
    let action = Action::default();
    let invite = move |role| {
        action.run(
            async move { api::account::invite(&NewInvite { role }).await },
            move |invite| {
                created.set(Some(invite));
                invites.reload();
            },
        );
    };
    let link = move || {
        created.get().map(|created| {
            let origin = window().location().origin().unwrap_or_default();
            view! {
                <div class="once">
                    <p>{fill("Send this link. It is shown only now and works until {0}.", &[&format::moment(created.invite.expires_at)])}</p>
                    {copy_line(format!("{origin}{}", created.path), "invite-link")}
                </div>
            }
        })
    };
    let open = invites.view(move |list| {
        let unused: Vec<_> = list
            .into_iter()
            .filter(|invite| invite.used_by.is_none())
            .collect();
        if unused.is_empty() {
            return view! { <p class="fine">{t("No open invites.")}</p> }.into_any();
        }
        let rows = unused
            .into_iter()
            .map(|invite| invite_row(invites, invite))
            .collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    let buttons = [
        (Role::Annotator, "invite-annotator", t("Invite an annotator")),
        (Role::Reviewer, "invite-reviewer", t("Invite a reviewer")),
        (Role::Admin, "invite-admin", t("Invite an admin")),
    ]
    .map(|(role, hook, text)| {
        view! {
            <button
                type="button"
                class="button"
                class:button-main=role == Role::Annotator
                data-test=hook
                disabled=move || action.busy()
                on:click=move |_| invite(role)
            >
                {text}
            </button>
        }
    });
    view! {
        <section class="card" aria-labelledby="invites-title">
            <h2 id="invites-title">{t("Invite")}</h2>
            <p class="fine">{t("A link makes one account. Annotators compare answers; reviewers also decide what annotators see differently; admins see and change everything.")}</p>
            <div class="actions">
                {buttons}
            </div>
            {action.error_line()}
            <div role="status">{link}</div>
            {open}
        </section>
    }
    .into_any()
}

fn invite_row(invites: Loaded<Vec<Invite>>, invite: Invite) -> AnyView {
    let action = Action::default();
    let id = invite.id;
    let withdraw = move |_| action.run(api::account::withdraw_invite(id), move |()| invites.reload());
    view! {
        <li class="row row-head">
            <span>{t("Open invite:")} " "{role_name(invite.role)}</span>
            <span class="fine">{fill("until {0}", &[&format::moment(invite.expires_at)])}</span>
            <button type="button" class="button button-quiet" disabled=move || action.busy() on:click=withdraw>
                {t("Withdraw")}
            </button>
            {action.error_line()}
        </li>
    }
    .into_any()
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => t("admin"),
        Role::Reviewer => t("reviewer"),
        Role::Annotator => t("annotator"),
    }
}

fn table(users: Loaded<Vec<User>>, list: Vec<User>, own: UserId) -> AnyView {
    let rows = list.into_iter().map(|user| row(users, user, own)).collect_view();
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Accounts")>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Name")}</th>
                        <th scope="col">{t("Role")}</th>
                        <th scope="col">{t("Since")}</th>
                        <th scope="col">{t("Access")}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn row(users: Loaded<Vec<User>>, user: User, own: UserId) -> AnyView {
    let action = Action::default();
    let (id, disabled) = (user.id, user.disabled);
    let change = move |_| {
        let change = UserChange {
            disabled: Some(!disabled),
            role: None,
        };
        action.run(
            async move { api::account::change_user(id, &change).await },
            move |_| users.reload(),
        );
    };
    let access = if id == own {
        view! { <span class="fine">{t("You")}</span> }.into_any()
    } else {
        view! {
            <button type="button" class="button button-quiet" disabled=move || action.busy() on:click=change>
                {if disabled { t("Let in again") } else { t("Disable") }}
            </button>
            {action.error_line()}
        }
        .into_any()
    };
    view! {
        <tr class:muted=disabled>
            <th scope="row">
                <A href=format!("/people/{id}") attr:data-test="person-link">{user.name}</A>
            </th>
            <td>{role_name(user.role)}{disabled.then(|| t(" (disabled)"))}</td>
            <td>{format::moment(user.created_at)}</td>
            <td>{access}</td>
        </tr>
    }
    .into_any()
}
