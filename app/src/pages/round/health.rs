//! How far a reward model can be trusted, from its last evaluation: accuracy, whether its probabilities come true, and
//! whether it scores more than length.

use super::{Live, Points};
use crate::{format, load::living};
use laurel_protocol::{RoundKind, Split};
use leptos::prelude::*;
use std::collections::BTreeMap;

/// From here on a correlation with length is worth a word.
const STRONG: f64 = 0.5;
/// The lower ends of the bins of predicted probability, in percent, as the figures are named.
const BINS: [u32; 5] = [50, 60, 70, 80, 90];

/// One line of the calibration table.
#[derive(Clone, PartialEq)]
struct Bin {
    from: u32,
    predicted: f64,
    observed: f64,
    n_pairs: f64,
}

#[derive(Clone, PartialEq)]
struct Health {
    step: u64,
    accuracy: Option<f64>,
    bins: Vec<Bin>,
    error: Option<f64>,
    length_correlation: Option<f64>,
}

pub fn view(live: Live, kind: RoundKind) -> AnyView {
    if kind != RoundKind::Reward {
        return ().into_any();
    }
    let health = Memo::new(move |_| live.points.with(last));
    living(move || match health.get() {
        Some(health) => shown(health),
        None => ().into_any(),
    })
}

/// Of the last evaluation that says anything about it.
fn last(points: &Points) -> Option<Health> {
    let evaluations = points
        .iter()
        .rev()
        .filter(|((split, _), _)| *split == Split::Eval);
    evaluations
        .map(|((_, step), values)| health(*step, values))
        .find(|health| !health.bins.is_empty())
}

fn health(step: u64, values: &BTreeMap<String, f64>) -> Health {
    let figure = |name: &str| values.get(name).copied();
    let bin = |from: u32| {
        let of_bin = |what: &str| figure(&format!("calibration_{from}_{what}"));
        Some(Bin {
            from,
            predicted: of_bin("predicted")?,
            observed: of_bin("observed")?,
            n_pairs: of_bin("pairs")?,
        })
    };
    Health {
        step,
        accuracy: figure("accuracy"),
        bins: BINS.into_iter().filter_map(bin).collect(),
        error: figure("calibration_error"),
        length_correlation: figure("length_correlation"),
    }
}

fn shown(health: Health) -> AnyView {
    let accuracy = health.accuracy.map(|share| {
        view! {
            <p data-test="held-out-accuracy">
                "It puts the chosen answer first in "<strong class="figures">{format::percent(share)}</strong>
                " of the held-out comparisons. Where several people judge the same tasks, how often they agree is the most that
                can be hoped for."
            </p>
        }
    });
    let rows = health
        .bins
        .iter()
        .map(|bin| {
            let name = format!("{} to {} %", bin.from, bin.from + 10);
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="number">{format::percent(bin.predicted)}</td>
                    <td class="number">{format::percent(bin.observed)}</td>
                    <td class="number">{format::count(bin.n_pairs as u64)}</td>
                </tr>
            }
        })
        .collect_view();
    let error = health.error.map(|error| {
        view! { <p class="fine">"Expected calibration error "{format::percent(error)}": 0 % is a model that is as right as it is sure."</p> }
    });
    let length = health.length_correlation.map(|correlation| {
        let advice = match correlation {
            c if c >= STRONG => " Long answers score high for their length alone, perhaps: a policy trained on it may just write more.",
            c if c <= -STRONG => " Short answers score high for their length alone, perhaps: a policy trained on it may just write less.",
            _ => " Length alone does not make the score.",
        };
        view! {
            <p data-test="length-correlation">
                "Score and length correlate with "<strong class="figures">{format!("{correlation:.2}")}</strong>"."{advice}
            </p>
        }
    });
    view! {
        <section class="card" aria-labelledby="health-title" data-test="reward-health">
            <h2 id="health-title">"Can its scores be trusted?"</h2>
            <p class="fine">{format!("On the held-out prompts, after step {}.", health.step)}</p>
            {accuracy}
            <div class="table-frame" tabindex="0" role="region" aria-label="Calibration">
                <table>
                    <caption class="visually-hidden">"Calibration: how sure it is, and how often it is right"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"How sure it is"</th>
                            <th scope="col" class="number">"Predicted"</th>
                            <th scope="col" class="number">"Observed"</th>
                            <th scope="col" class="number">"Comparisons"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            {error}
            {length}
        </section>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_evaluation_with_a_calibration_counts() {
        let values = |pairs: f64| -> BTreeMap<String, f64> {
            [("predicted", 0.55), ("observed", 0.6), ("pairs", pairs)]
                .map(|(what, value)| (format!("calibration_50_{what}"), value))
                .into()
        };
        let points = Points::from([
            ((Split::Train, 30), values(9.0)),
            ((Split::Eval, 10), values(1.0)),
            ((Split::Eval, 20), values(2.0)),
            ((Split::Eval, 30), [("loss".to_owned(), 0.5)].into()),
        ]);
        let health = last(&points).unwrap();
        assert_eq!(
            (health.step, health.bins.len(), health.bins[0].n_pairs),
            (20, 1, 2.0)
        );
    }
}
