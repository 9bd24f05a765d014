//! How far annotators agree, over the API: what is counted, in which order of the answers, and by whom it is seen.

use crate::{
    app::{Answered, Caller},
    scene::{Scene, order, pick, plain, settings},
};
use laurel_protocol::*;
use std::collections::BTreeMap;

async fn scene(settings: ProjectSettings, n_prompts: usize) -> Scene {
    let scene = Scene::new(&settings, n_prompts).await;
    scene.complete(&order(settings.completions_per_task), plain).await;
    scene
}

fn shared(label_type: LabelType, n_completions: u8, overlap: u8) -> ProjectSettings {
    ProjectSettings {
        overlap,
        ..settings(label_type, n_completions)
    }
}

async fn people<const N: usize>(scene: &Scene, names: [&str; N]) -> Vec<Caller> {
    let mut people = Vec::new();
    for name in names {
        people.push(scene.app.person(name, Role::Annotator).await);
    }
    people
}

async fn quality(scene: &Scene) -> Quality {
    scene.admin.get(&scene.path("/agreement")).await.json()
}

/// The number of the question, and of the answer at each position: "question 7, answer 0".
fn shown(assignment: &Assignment) -> (u32, Vec<u8>) {
    let last = |text: &str| text.rsplit(' ').next().unwrap().parse::<u8>().unwrap();
    let first = &assignment.completions[0].text;
    let question = first.split([' ', ',']).nth(1).unwrap().parse().unwrap();
    (
        question,
        assignment
            .completions
            .iter()
            .map(|shown| last(&shown.text))
            .collect(),
    )
}

/// The pick of the answer with this number, wherever it stands.
fn picks(number: u8, assignment: &Assignment) -> Answer {
    let is_first = shown(assignment).1[0] == number;
    pick(if is_first { Choice::First } else { Choice::Second }, assignment)
}

fn value(quality: &Quality, measure: Measure) -> Option<f64> {
    let found = quality.agreement.iter().find(|figure| figure.measure == measure);
    found.unwrap().estimate.map(|estimate| estimate.value)
}

#[tokio::test]
async fn people_who_choose_the_same_answer_agree_wherever_it_was_shown() {
    let scene = scene(shared(LabelType::Pick, 2, 3), 12).await;
    let people = people(&scene, ["ada", "bob", "eve"]).await;
    for _ in 0..12 {
        for (at, who) in people.iter().enumerate() {
            // The answer alternates; eve always takes the other one.
            let answer = |shown_now: &Assignment| {
                let number = (shown(shown_now).0 % 2) as u8;
                picks(if at == 2 { 1 - number } else { number }, shown_now)
            };
            scene.answer(who, answer).await;
        }
    }
    let quality = quality(&scene).await;
    assert_eq!(
        (quality.n_annotations, quality.n_tasks, quality.n_shared_tasks),
        (36, 12, 12)
    );
    assert_eq!(value(&quality, Measure::Percent), Some(1.0 / 3.0));
    let kappas: BTreeMap<_, _> = quality
        .pairs
        .iter()
        .map(|pair| ((pair.first, pair.second), pair.kappa.unwrap().value))
        .collect();
    let id = |at: usize| people[at].user;
    let expected = [
        ((id(0), id(1)), 1.0),
        ((id(0), id(2)), -1.0),
        ((id(1), id(2)), -1.0),
    ];
    assert_eq!(kappas, BTreeMap::from(expected));
    let of = |name: &str| {
        quality
            .annotators
            .iter()
            .find(|annotator| annotator.name == name)
            .unwrap()
    };
    assert_eq!(of("ada").agreement.unwrap().value, 0.5);
    assert_eq!(of("eve").agreement.unwrap().value, 0.0);
    assert_eq!(
        (of("eve").n_shared_tasks, of("eve").habits.median_seconds),
        (12, Some(2.5))
    );
}

#[tokio::test]
async fn who_always_takes_the_first_shown_is_seen() {
    let scene = scene(shared(LabelType::Pick, 2, 1), 20).await;
    let ada = people(&scene, ["ada"]).await.remove(0);
    for _ in 0..20 {
        scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    }
    let quality = quality(&scene).await;
    let first = quality.annotators[0].habits.first_is_best.unwrap();
    assert_eq!((first.n, first.of), (20, 20));
    assert!(first.interval.low > 0.8, "{first:?}");
    assert_eq!(quality.distributions[0].counts, [20, 0, 0, 0]);
    assert_eq!(quality.n_shared_tasks, 0);
    assert_eq!(value(&quality, Measure::Percent), None);
}

#[tokio::test]
async fn only_answers_that_stand_count() {
    let scene = scene(shared(LabelType::Pick, 2, 2), 1).await;
    let people = people(&scene, ["ada", "bob"]).await;
    scene.answer(&people[0], |shown| picks(0, shown)).await;
    scene.answer(&people[1], |shown| picks(1, shown)).await;
    assert_eq!(value(&quality(&scene).await, Measure::Percent), Some(0.0));
    let again: Held = scene.undo(&people[1]).await.json();
    let path = format!("/assignments/{}/annotation", again.assignments[0].id);
    let _: Held = people[1].make(&path, &picks(0, &again.assignments[0])).await;
    let replaced = quality(&scene).await;
    assert_eq!(
        (replaced.n_annotations, value(&replaced, Measure::Percent)),
        (2, Some(1.0))
    );
    let again: Held = scene.undo(&people[1]).await.json();
    let skip = Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision: again.assignments[0].revision,
    };
    let path = format!("/assignments/{}/skip", again.assignments[0].id);
    let _: Held = people[1].make(&path, &skip).await;
    assert_eq!(quality(&scene).await.n_annotations, 1);
}

#[tokio::test]
async fn rankings_are_compared_by_answer_and_not_by_place() {
    let scene = scene(shared(LabelType::Rank, 4, 2), 6).await;
    let people = people(&scene, ["ada", "bob"]).await;
    for _ in 0..6 {
        for who in &people {
            let by_number = |assignment: &Assignment| Answer {
                judgement: Judgement::Rank {
                    ranks: shown(assignment).1.iter().map(|number| 1 + number / 2).collect(),
                },
                ..pick(Choice::First, assignment)
            };
            scene.answer(who, by_number).await;
        }
    }
    let quality = quality(&scene).await;
    assert_eq!(value(&quality, Measure::KendallTauB), Some(1.0));
    assert_eq!(value(&quality, Measure::AlphaOrdinal), Some(1.0));
    assert_eq!(value(&quality, Measure::Percent), Some(1.0));
    assert_eq!(quality.habits.mean_rank, Some(1.5));
    let ties = quality.habits.ties.unwrap();
    assert_eq!((ties.n, ties.of), (12 * 2, 12 * 6));
}

#[tokio::test]
async fn ratings_are_steps_of_a_scale_and_best_and_worst_are_categories() {
    let rate = ProjectSettings {
        questions: Questions {
            dimensions: vec!["helpful".into()],
            ..Questions::default()
        },
        ..shared(LabelType::BestWorst, 3, 2)
    };
    let scene = scene(rate, 6).await;
    let people = people(&scene, ["ada", "bob"]).await;
    for _ in 0..6 {
        for (at, who) in people.iter().enumerate() {
            let answer = |assignment: &Assignment| {
                let (question, numbers) = shown(assignment);
                let place = |wanted| numbers.iter().position(|number| *number == wanted).unwrap() as u8;
                let mut answer = pick(Choice::First, assignment);
                answer.judgement = Judgement::BestWorst {
                    best: place((question % 2) as u8),
                    worst: place(2),
                };
                // Bob is always one step stricter.
                let rating = |number: &u8| 4 - number - at as u8;
                answer
                    .extras
                    .ratings
                    .insert("helpful".into(), numbers.iter().map(rating).collect());
                answer
            };
            scene.answer(who, answer).await;
        }
    }
    let quality = quality(&scene).await;
    let of = |about: Subject, measure: Measure| {
        let mut found = quality.agreement.iter();
        let found = found
            .find(|figure| figure.about == about && figure.measure == measure)
            .unwrap();
        found.estimate.map(|estimate| estimate.value)
    };
    let helpful = || Subject::Rating {
        dimension: "helpful".into(),
    };
    assert_eq!(of(Subject::Best, Measure::AlphaNominal), Some(1.0));
    assert_eq!(
        of(Subject::Worst, Measure::AlphaNominal),
        None,
        "always the same answer"
    );
    assert_eq!(of(Subject::Verdict, Measure::Percent), Some(1.0));
    assert_eq!(of(helpful(), Measure::Percent), Some(0.0));
    assert!(of(helpful(), Measure::AlphaInterval).unwrap() > 0.2);
    let counts = |about: Subject| {
        let mut found = quality.distributions.iter();
        found
            .find(|distribution| distribution.about == about)
            .unwrap()
            .counts
            .clone()
    };
    assert_eq!(counts(helpful()), [6, 12, 12, 6]);
    assert_eq!(counts(Subject::Best).iter().sum::<u64>(), 12);
}

#[tokio::test]
async fn a_period_leaves_out_what_lies_outside_and_must_run_forward() {
    let scene = scene(shared(LabelType::Pick, 2, 1), 2).await;
    scene.answer(&scene.admin, |shown| picks(0, shown)).await;
    let of = async |query: &str| scene.admin.get(&scene.path(&format!("/agreement?{query}"))).await;
    let n = async |query: &str| of(query).await.json::<Quality>().n_annotations;
    assert_eq!(n("since=1000").await, 1);
    assert_eq!(n("until=1000").await, 0);
    assert_eq!(n("since=1&until=9999999999999").await, 1);
    assert_eq!(of("since=2&until=2").await.problem().fields[0].field, "until");
    assert_eq!(of("since=yesterday").await.code(), ErrorCode::BadRequest);
    let nowhere = scene.admin.get("/projects/999/agreement").await;
    assert_eq!(nowhere.code(), ErrorCode::NotFound);
}

async fn order_weighted(scene: &Scene, loss: &str, weights: &str) -> Answered {
    let hyper = serde_json::json!({"loss": loss, "row_weights": weights});
    let kind = if loss == "cross_entropy" { "sft" } else { "reward" };
    let new = serde_json::json!({"spec": {"kind": kind, "hyper": hyper}});
    scene.admin.post(&scene.path("/rounds"), &new).await
}

#[tokio::test]
async fn a_round_may_weigh_its_rows_by_how_reliable_their_annotators_are() {
    let scene = scene(shared(LabelType::Pick, 2, 4), 40).await;
    let people = people(&scene, ["ada", "bob", "cyn", "eve"]).await;
    for _ in 0..40 {
        for (at, who) in people.iter().enumerate() {
            // Eve throws a coin, as it were; the others agree.
            let answer = |shown_now: &Assignment| {
                let number = shown(shown_now).0;
                let said = if at == 3 { number / 2 } else { number };
                picks((said % 2) as u8, shown_now)
            };
            scene.answer(who, answer).await;
        }
    }
    let known = quality(&scene).await;
    let weighted: Round = order_weighted(&scene, "bradley_terry", "reliability")
        .await
        .json();
    let rows = scene.admin.get(&format!("/rounds/{}/rows", weighted.id)).await;
    let mut weights = BTreeMap::<String, Vec<f64>>::new();
    for row in rows.lines::<PreferenceRow>() {
        let annotator = row.provenance.unwrap().annotator;
        weights.entry(annotator).or_default().push(row.weight.unwrap());
    }
    let mut weights: Vec<f64> = weights
        .into_values()
        .map(|each| {
            assert_eq!(each, vec![each[0]; 40], "a person's rows weigh the same");
            each[0]
        })
        .collect();
    weights.sort_by(f64::total_cmp);
    let mut expected: Vec<f64> = known
        .annotators
        .iter()
        .map(|one| (2.0 * one.reliability.unwrap().value - 1.0).max(0.0))
        .collect();
    expected.sort_by(f64::total_cmp);
    for (weight, expected) in weights.iter().zip(&expected) {
        assert!((weight - expected).abs() < 1e-4, "{weights:?} {expected:?}");
    }
    assert!(weights[0] < 0.3 && weights[1] > 0.8, "{weights:?}");

    // Without weights the rows are what they were, and their snapshot is another one.
    let alike: Round = order_weighted(&scene, "bradley_terry", "none").await.json();
    assert_ne!(alike.snapshot.hash, weighted.snapshot.hash);
    let rows = scene.admin.get(&format!("/rounds/{}/rows", alike.id)).await;
    assert!(!rows.text().contains("\"weight\""));
}

#[tokio::test]
async fn weights_that_cannot_be_told_are_refused() {
    let scene = scene(shared(LabelType::Pick, 2, 2), 3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    scene.answer(&ada, |shown_now| picks(0, shown_now)).await;
    for (loss, weights, said) in [
        ("bradley_terry", "reliability", "raise the overlap"),
        ("bradley_terry", "column", "must be \"none\" or \"reliability\""),
        ("cross_entropy", "reliability", "is not used by the loss"),
    ] {
        let refused = order_weighted(&scene, loss, weights).await;
        assert_eq!(refused.status, 422, "{loss}");
        let error = &refused.problem().fields[0];
        assert_eq!(error.field, "hyper.row_weights");
        assert!(error.reason.contains(said), "{}", error.reason);
    }
}
