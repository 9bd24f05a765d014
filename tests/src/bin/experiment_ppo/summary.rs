//! What the seeds come to, on standard error.

use crate::seed::Point;
use laurel_tests::experiment::statistics::Mean;
use std::collections::BTreeMap;

pub fn print(points: &[Point]) {
    let mut groups: BTreeMap<(&str, u64), Vec<&Point>> = BTreeMap::new();
    for point in points {
        groups.entry((point.policy, point.step)).or_default().push(point);
    }
    eprintln!("means over the seeds and 95 % intervals");
    let mean = |group: &[&Point], figure: fn(&Point) -> f64| {
        Mean::of(&group.iter().map(|point| figure(point)).collect::<Vec<f64>>())
    };
    for ((policy, step), group) in &groups {
        eprintln!(
            "{policy:5} step {step:3}   score {}   raised by {}   KL {} nats an answer   {} seeds",
            mean(group, |point| point.score.value),
            mean(group, |point| point.raised.value),
            mean(group, |point| point.kl.value),
            group.len()
        );
    }
    let trained: Vec<&Point> = points
        .iter()
        .filter(|point| point.policy == "PPO" && point.last)
        .collect();
    eprintln!(
        "held-out accuracy of the reward models {}",
        mean(&trained, |point| point.accuracy)
    );
}
