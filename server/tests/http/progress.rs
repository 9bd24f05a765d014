//! Figures of progress, over answers that people gave through the API.

use crate::scene::{Scene, order, pick, plain, settings};
use laurel_protocol::*;
use laurel_server::{
    clock::now,
    quality::progress::{Calendar, OverTime, over_time, report},
    store::progress::{Days, counted, shared},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Each of `n` tasks wants so many answers.
async fn scene(label_type: LabelType, k: u8, overlap: u8, n: usize) -> Scene {
    let settings = ProjectSettings {
        overlap,
        ..settings(label_type, k)
    };
    let scene = Scene::new(&settings, n).await;
    scene.complete(&order(k), plain).await;
    scene
}

async fn progress(scene: &Scene, query: &str) -> ProjectProgress {
    scene
        .admin
        .get(&scene.path(&format!("/progress?{query}")))
        .await
        .json()
}

/// Moves the answers of one person so many days back.
async fn days_ago(scene: &Scene, who: UserId, days: i64) {
    let mut tx = scene.app.db.write().await.unwrap();
    for sql in [
        "update annotation set created_at = created_at - ?2
         where assignment_id in (select id from assignment where user_id = ?1)",
        "update assignment set changed_at = changed_at - ?2 where user_id = ?1",
    ] {
        sqlx::query(sql)
            .bind(who.0)
            .bind(days * DAY_MS)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn answers_are_counted_by_day_hour_and_person_with_their_median() {
    let scene = scene(LabelType::Pick, 2, 2, 6).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    for seconds in [2.0, 4.0, 60.0] {
        let slowly = |shown: &Assignment| Answer {
            seconds,
            ..pick(Choice::First, shown)
        };
        scene.answer(&ada, slowly).await;
    }
    scene.answer(&bob, |shown| pick(Choice::First, shown)).await;
    days_ago(&scene, ada.user, 3).await;
    let found = progress(&scene, "days=5&tz_offset_minutes=540").await;
    let days: Vec<_> = found
        .days
        .iter()
        .map(|day| (day.n_annotations, day.n_people, day.median_seconds))
        .collect();
    let none = (0, 0, None);
    assert_eq!(days, [none, (3, 1, Some(4.0)), none, none, (1, 1, Some(2.5))]);
    assert!(
        found
            .days
            .iter()
            .all(|day| (day.starts.0 + 9 * 60 * 60 * 1000) % DAY_MS == 0)
    );
    assert_eq!(found.hours.len(), 48);
    assert_eq!(found.hours.iter().map(|hour| hour.n_annotations).sum::<u64>(), 1);
    let people: Vec<_> = found
        .annotators
        .iter()
        .map(|one| (one.name.as_str(), one.by_day.clone()))
        .collect();
    assert_eq!(
        people,
        [("ada", vec![0, 3, 0, 0, 0]), ("bob", vec![0, 0, 0, 0, 1])]
    );
    let today = progress(&scene, "days=1").await;
    assert_eq!((today.days.len(), today.n_annotations), (1, 4));
    assert_eq!(today.given.distributions[0].counts, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_left_has_an_estimate_once_somebody_works() {
    let scene = scene(LabelType::Pick, 2, 2, 10).await;
    let before = progress(&scene, "").await.queue;
    assert_eq!(
        (before.n_open_tasks, before.n_open_slots, before.overlap),
        (10, 20, 2)
    );
    assert_eq!((before.estimate, before.n_people), (None, 0));
    let ada = scene.app.person("ada", Role::Annotator).await;
    for _ in 0..8 {
        scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    }
    days_ago(&scene, ada.user, 3).await;
    scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    let found = progress(&scene, "").await;
    assert_eq!((found.queue.n_open_slots, found.queue.n_people), (11, 1));
    let estimate = found.queue.estimate.unwrap();
    assert_eq!((estimate.n_days, estimate.per_day), (4, 2.25));
    let days = (estimate.at.0 - found.as_of.0) as f64 / DAY_MS as f64;
    assert!((days - 11.0 / 2.25).abs() < 1e-6, "{days}");
    let range = estimate.range.unwrap();
    assert!(range.earliest < estimate.at && range.latest.is_none_or(|latest| latest > estimate.at));
    // Too long ago to go by.
    days_ago(&scene, ada.user, 14).await;
    assert_eq!(progress(&scene, "").await.queue.estimate, None);
}

#[tokio::test]
async fn checks_and_what_was_replaced_or_taken_back_do_not_count() {
    let scene = scene(LabelType::Pick, 2, 2, 3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let first = scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    let again: Held = scene.undo(&ada).await.json();
    let path = format!("/assignments/{}/annotation", first.id);
    let second = pick(Choice::Second, &again.assignments[0]);
    let _: Held = ada.make(&path, &second).await;
    scene.answer(&ada, |shown| pick(Choice::Tie, shown)).await;
    let back: Held = scene.undo(&ada).await.json();
    let skip = Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision: back.assignments[0].revision,
    };
    let path = format!("/assignments/{}/skip", back.assignments[0].id);
    let _: Held = ada.make(&path, &skip).await;
    let own = scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let _: GoldItem = scene
        .admin
        .make(&format!("/assignments/{}/gold", own.id), &NewGold::default())
        .await;
    let found = progress(&scene, "").await;
    assert_eq!(found.n_annotations, 2);
    assert_eq!(found.days.last().unwrap().n_annotations, 2);
    assert_eq!(found.given.distributions[0].counts, [1, 1, 0, 0]);
    let tasks: Vec<_> = found
        .tasks
        .iter()
        .map(|tasks| (tasks.n_answers, tasks.n_open + tasks.n_done))
        .collect();
    let n_tasks: u64 = tasks.iter().map(|(_, n)| n).sum();
    assert_eq!(n_tasks, 3, "the gold item is no task of the queue: {tasks:?}");
}

#[tokio::test]
async fn agreement_is_told_in_parts_by_the_time_of_the_last_answer() {
    let scene = scene(LabelType::Pick, 2, 2, 40).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    for n in 0..40 {
        // "answer 0" is better; in the second half Bob says the opposite.
        let says = |wanted: &'static str| {
            move |shown: &Assignment| {
                let is_first = shown.completions[0].text.ends_with(wanted);
                pick(if is_first { Choice::First } else { Choice::Second }, shown)
            }
        };
        scene.answer(&ada, says("answer 0")).await;
        scene
            .answer(&bob, says(if n < 20 { "answer 0" } else { "answer 1" }))
            .await;
    }
    let found = progress(&scene, "").await.agreement;
    let shares: Vec<_> = found
        .iter()
        .map(|window| {
            (
                window.n_tasks,
                window.n_read,
                window.figures[0].estimate.unwrap().value,
            )
        })
        .collect();
    assert_eq!(shares, [(20, 20, 1.0), (20, 20, 0.0)]);
    assert!(found[0].until <= found[1].since);
    assert!(found[0].figures[0].estimate.unwrap().interval.is_some());
}

#[tokio::test]
async fn rankings_ratings_and_strengths_are_told_by_place() {
    let scene = scene(LabelType::Rank, 3, 1, 2).await;
    for ranks in [vec![1, 2, 3], vec![1, 1, 2]] {
        let answer = |shown: &Assignment| Answer {
            judgement: Judgement::Rank { ranks: ranks.clone() },
            ..pick(Choice::First, shown)
        };
        scene.answer(&scene.admin, answer).await;
    }
    let given = progress(&scene, "").await.given;
    assert_eq!(given.ranks_by_place, [[2, 0, 0], [1, 1, 0], [0, 1, 1]]);
    assert_eq!(given.first_is_best.map(|share| (share.n, share.of)), Some((1, 1)));
    assert_eq!(given.seconds[0].n, 2);

    let rate = ProjectSettings {
        questions: Questions {
            dimensions: vec!["helpful".into()],
            ..Questions::default()
        },
        ask_strength: true,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&rate, 1).await;
    scene.complete(&order(2), plain).await;
    let rated = |shown: &Assignment| {
        let mut answer = pick(Choice::First, shown);
        answer.judgement = Judgement::Pick {
            choice: Choice::First,
            strength: Some(3),
        };
        answer.extras.ratings.insert("helpful".into(), vec![4, 2]);
        answer
    };
    scene.answer(&scene.admin, rated).await;
    let given = progress(&scene, "").await.given;
    assert_eq!(given.strengths, [0, 0, 1, 0]);
    assert_eq!(given.distributions[1].counts, [0, 1, 0, 1]);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_its_field() {
    let scene = Scene::with_tasks(1).await;
    let ask = async |query: &str| scene.admin.get(&scene.path(&format!("/progress?{query}"))).await;
    assert_eq!(ask("days=0").await.problem().fields[0].field, "days");
    assert_eq!(
        ask("tz_offset_minutes=900").await.problem().fields[0].field,
        "tz_offset_minutes"
    );
    assert_eq!(ask("days=week").await.code(), ErrorCode::BadRequest);
    let nowhere = scene.admin.get("/projects/999/progress").await;
    assert_eq!(nowhere.code(), ErrorCode::NotFound);
}

/// Standing answers and tasks, counted anew.
async fn plain_count(scene: &Scene) -> [i64; 2] {
    [
        scene
            .app
            .count(
                "select (select count(*) from (
                     select s.project_id, a.created_at / 3600000 as hour, count(*) as n
                     from annotation a join assignment s on s.id = a.assignment_id
                     where s.kind = 'label' and a.replaced_by is null and a.withdrawn = 0 group by 1, 2
                     except select project_id, hour, n from given_hour))
                 + (select count(*) from given_hour g where g.n <> (
                     select count(*) from annotation a join assignment s on s.id = a.assignment_id
                     where s.kind = 'label' and a.replaced_by is null and a.withdrawn = 0
                       and s.project_id = g.project_id and a.created_at / 3600000 = g.hour))",
            )
            .await,
        scene
            .app
            .count(
                "select (select count(*) from (
                     select project_id, n_annotations, overlap, status, count(*) as n from task where kind = 'label'
                     group by 1, 2, 3, 4
                     except select project_id, n_annotations, overlap, status, n from task_tally))
                 + (select count(*) from task_tally y where y.n <> (
                     select count(*) from task t where t.kind = 'label' and t.project_id = y.project_id
                       and t.n_annotations = y.n_annotations and t.overlap = y.overlap and t.status = y.status))",
            )
            .await,
    ]
}

/// The report, from days that are kept and from days that are counted anew.
async fn both(scene: &Scene, days: &Days) -> [ProjectProgress; 2] {
    let query = ProgressQuery {
        tz_offset_minutes: 345,
        days: 7,
    };
    let calendar = Calendar::of(query, now());
    let windows = shared(&scene.app.db, scene.project).await.unwrap();
    let over_time = OverTime {
        as_of: calendar.now,
        windows: over_time(&windows),
    };
    let mut reports = Vec::new();
    for days in [days, &Days::default()] {
        let counted = counted(&scene.app.db, days, scene.project, calendar)
            .await
            .unwrap();
        reports.push(report(&counted, over_time.clone(), calendar));
    }
    reports.try_into().unwrap()
}

#[tokio::test]
async fn sums_and_days_that_are_kept_are_those_of_a_plain_count_whatever_happens() {
    let scene = scene(LabelType::Pick, 2, 2, 8).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Reviewer).await;
    let days = Days::default();
    let mut seen = Vec::new();
    for step in 0..8 {
        match step {
            0 | 1 => {
                for who in [&ada, &bob] {
                    scene.answer(who, |shown| pick(Choice::First, shown)).await;
                }
            }
            2 => days_ago(&scene, ada.user, 2).await,
            3 | 4 => {
                // An old answer is replaced; then one is skipped after all.
                let shown = scene.undo(&ada).await.json::<Held>().assignments.remove(0);
                match step {
                    3 => {
                        let path = format!("/assignments/{}/annotation", shown.id);
                        let _: Held = ada.make(&path, &pick(Choice::Tie, &shown)).await;
                    }
                    _ => {
                        let skip = Skip {
                            reason: SkipReason::Broken,
                            comment: String::new(),
                            revision: shown.revision,
                        };
                        let _: Held = ada.make(&format!("/assignments/{}/skip", shown.id), &skip).await;
                    }
                }
            }
            5 => days_ago(&scene, bob.user, 1).await,
            6 => scene.import(9..=9).await,
            _ => drop(scene.answer(&bob, |shown| pick(Choice::BothBad, shown)).await),
        }
        let [kept, anew] = both(&scene, &days).await;
        assert_eq!(kept, anew, "step {step}");
        assert_eq!(plain_count(&scene).await, [0, 0], "step {step}");
        seen.push(kept.n_annotations);
    }
    assert_eq!(seen, [2, 4, 4, 4, 3, 3, 3, 4]);
}
