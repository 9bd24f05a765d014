//! Who works on a project: everybody, or the people who are assigned to it.

use crate::{
    app::Caller,
    scene::{Scene, order, pick, plain, settings},
};
use laurel_protocol::*;

/// Tasks that want two answers each.
async fn scene(n: usize) -> Scene {
    let settings = ProjectSettings {
        overlap: 2,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, n).await;
    scene.complete(&order(2), plain).await;
    scene
}

async fn assign(scene: &Scene, people: &[(&Caller, Option<u32>)]) -> Members {
    let member = |(who, max_tasks): &(&Caller, Option<u32>)| NewMember {
        user: who.user,
        max_tasks: *max_tasks,
    };
    let new = NewMembers {
        assigned: true,
        members: Some(people.iter().map(member).collect()),
    };
    put(scene, "/members", &new).await
}

async fn put<T: serde::Serialize>(scene: &Scene, rest: &str, body: &T) -> Members {
    let body = serde_json::to_string(body).unwrap();
    let path = scene.path(rest);
    scene
        .admin
        .with("content-type", "application/json")
        .send("PUT", &path, body)
        .await
        .json()
}

async fn remove(scene: &Scene, who: &Caller) -> Members {
    let path = scene.path(&format!("/members/{}", who.user));
    scene.admin.send("DELETE", &path, "").await.json()
}

async fn sees(who: &Caller) -> usize {
    who.get("/projects").await.json::<Vec<Project>>().len()
}

async fn verbs(scene: &Scene) -> Vec<(Verb, Option<i64>)> {
    let page: AuditPage = scene
        .admin
        .get(&format!("/audit?project={}&limit=200", scene.project))
        .await
        .json();
    let is_ours = |entry: &&AuditEntry| {
        let name = entry.verb.name();
        name.starts_with("member") || name.starts_with("access")
    };
    let entries = page.entries.iter().filter(is_ours);
    entries.map(|entry| (entry.verb, entry.subject)).collect()
}

#[tokio::test]
async fn an_assigned_project_gives_tasks_to_its_members_alone() {
    let scene = scene(3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let rita = scene.app.person("rita", Role::Reviewer).await;
    let members = assign(&scene, &[(&ada, None)]).await;
    assert_eq!((members.assigned, members.members.len()), (true, 1));
    assert_eq!(scene.hold(&ada, 1).await.assignments.len(), 1);
    for other in [&bob, &rita, &scene.admin] {
        let held = scene.hold(other, 2).await;
        assert_eq!(
            (held.assignments.len(), held.stopped),
            (0, Some(Stopped::NotAssigned))
        );
    }
    assert_eq!(
        [
            sees(&ada).await,
            sees(&bob).await,
            sees(&rita).await,
            sees(&scene.admin).await
        ],
        [1, 0, 1, 1]
    );
    assert_eq!(bob.get(&scene.path("")).await.code(), ErrorCode::NotAssigned);
    // Open again, the list stays and means nothing.
    let open = NewMembers {
        assigned: false,
        members: None,
    };
    let members = put(&scene, "/members", &open).await;
    assert_eq!((members.assigned, members.members.len()), (false, 1));
    assert_eq!(scene.hold(&bob, 1).await.assignments.len(), 1);
    assert_eq!(
        verbs(&scene).await,
        [
            (Verb::MemberAdded, Some(ada.user.0)),
            (Verb::AccessChanged, Some(scene.project.0)),
            (Verb::AccessChanged, Some(scene.project.0))
        ]
    );
}

#[tokio::test]
async fn who_is_taken_out_gives_back_what_they_hold_and_keeps_what_they_answered() {
    let scene = scene(2).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let cyd = scene.app.person("cyd", Role::Annotator).await;
    assign(&scene, &[(&ada, None), (&bob, None), (&cyd, None)]).await;
    let answered = scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    let held = scene.hold(&ada, 1).await.assignments.remove(0);
    // Both others hold the second task as far as there is room: one slot is Ada's.
    scene.answer(&bob, |shown| pick(Choice::First, shown)).await;
    assert_eq!(scene.hold(&bob, 1).await.assignments[0].task_id, held.task_id);
    assert_eq!(scene.hold(&cyd, 1).await.assignments.len(), 0);

    assert_eq!(remove(&scene, &ada).await.members.len(), 2);
    assert_eq!(scene.hold(&cyd, 1).await.assignments[0].task_id, held.task_id);

    let path = |id: AssignmentId, rest: &str| format!("/assignments/{id}/{rest}");
    let late = ada
        .post(&path(held.id, "annotation"), &pick(Choice::First, &held))
        .await;
    let problem = late.problem();
    assert_eq!(problem.code, ErrorCode::NotAssigned);
    assert!(
        problem.detail.contains("not assigned to this project"),
        "{problem:?}"
    );
    let skip = Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision: 0,
    };
    assert_eq!(
        ada.post(&path(held.id, "skip"), &skip).await.code(),
        ErrorCode::NotAssigned
    );
    for (id, rest) in [(held.id, "renew"), (answered.id, "reopen")] {
        let refused = ada.send("POST", &path(id, rest), "").await;
        assert_eq!(refused.code(), ErrorCode::NotAssigned, "{rest}");
    }
    assert_eq!(scene.undo(&ada).await.code(), ErrorCode::NotAssigned);
    // The answer of before stands; sent again, as after a lost acknowledgement, it is taken for what it is.
    let again = ada
        .post(&path(answered.id, "annotation"), &pick(Choice::First, &answered))
        .await;
    assert_eq!(again.json::<Held>().stopped, Some(Stopped::NotAssigned));
    let own: OwnAnswers = ada.get(&scene.path("/answers")).await.json();
    assert_eq!(own.answers.len(), 1);
    assert_eq!(scene.app.count("select count(*) from comparison").await, 2);
    // What she worked on she still finds at its address, though not in her list.
    assert_eq!(ada.get(&scene.path("")).await.status, 200);
    assert_eq!(sees(&ada).await, 0);
}

#[tokio::test]
async fn who_comes_back_is_given_the_task_again_that_was_taken_back() {
    let scene = scene(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    assign(&scene, &[(&ada, None)]).await;
    let held = scene.hold(&ada, 1).await.assignments.remove(0);
    remove(&scene, &ada).await;
    assert_eq!(scene.hold(&ada, 1).await.assignments.len(), 0);
    let members = put(&scene, &format!("/members/{}", ada.user), &MemberLimit::default()).await;
    assert_eq!(members.members[0].name, "ada");
    assert_eq!(scene.hold(&ada, 1).await.assignments[0].id, held.id);
}

#[tokio::test]
async fn a_members_own_limit_stands_in_place_of_the_projects() {
    let settings = ProjectSettings {
        overlap: 2,
        checks: Checks {
            max_per_annotator: Some(1),
            ..Checks::default()
        },
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, 4).await;
    scene.complete(&order(2), plain).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    assign(&scene, &[(&ada, Some(3)), (&bob, None)]).await;
    assert_eq!(scene.hold(&ada, 5).await.assignments.len(), 3);
    assert_eq!(scene.hold(&bob, 5).await.assignments.len(), 1);
    scene.answer(&bob, |shown| pick(Choice::First, shown)).await;
    assert_eq!(scene.hold(&bob, 1).await.stopped, Some(Stopped::Limit));
    let more = MemberLimit { max_tasks: Some(2) };
    let members = put(&scene, &format!("/members/{}", bob.user), &more).await;
    let bobs = members
        .members
        .iter()
        .find(|member| member.user == bob.user)
        .unwrap();
    assert_eq!((bobs.max_tasks, bobs.n_tasks), (Some(2), 1));
    assert_eq!(scene.hold(&bob, 5).await.assignments.len(), 1);
    let last = verbs(&scene).await.pop();
    assert_eq!(last, Some((Verb::MemberChanged, Some(bob.user.0))));
}

#[tokio::test]
async fn a_list_in_place_of_another_notes_what_differs() {
    let scene = scene(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let cyd = scene.app.person("cyd", Role::Annotator).await;
    assign(&scene, &[(&ada, None), (&bob, None)]).await;
    let n_before = verbs(&scene).await.len();
    let members = assign(&scene, &[(&bob, Some(5)), (&cyd, None)]).await;
    let names: Vec<_> = members
        .members
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    assert_eq!(names, ["bob", "cyd"]);
    assert_eq!(
        verbs(&scene).await[n_before..],
        [
            (Verb::MemberRemoved, Some(ada.user.0)),
            (Verb::MemberChanged, Some(bob.user.0)),
            (Verb::MemberAdded, Some(cyd.user.0))
        ]
    );
}

#[tokio::test]
async fn a_list_that_names_nobodys_account_or_one_twice_changes_nothing() {
    let scene = scene(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let refused = async |members: Vec<NewMember>| {
        let new = NewMembers {
            assigned: true,
            members: Some(members),
        };
        let body = serde_json::to_string(&new).unwrap();
        let admin = scene.admin.with("content-type", "application/json");
        admin.send("PUT", &scene.path("/members"), body).await.problem()
    };
    let member = |user| NewMember {
        user,
        max_tasks: None,
    };
    for bad in [
        vec![member(ada.user), member(ada.user)],
        vec![member(ada.user), member(UserId(999))],
    ] {
        let problem = refused(bad).await;
        assert_eq!(
            (problem.code, problem.fields[0].field.as_str()),
            (ErrorCode::Invalid, "members")
        );
    }
    let members: Members = scene.admin.get(&scene.path("/members")).await.json();
    assert_eq!((members.assigned, members.members.len()), (false, 0));
    let nobody = scene.admin.send("DELETE", &scene.path("/members/999"), "").await;
    assert_eq!(nobody.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn who_leaves_for_good_is_in_no_list_any_more() {
    let scene = scene(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    assign(&scene, &[(&ada, None)]).await;
    let path = format!("/users/{}?answers=keep", ada.user);
    let _: PersonData = scene.admin.send("DELETE", &path, "").await.json();
    let members: Members = scene.admin.get(&scene.path("/members")).await.json();
    assert_eq!(members.members, []);
}
