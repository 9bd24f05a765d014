//! What must hold at the start of a PPO round, what is a bad sign on its way, and what ends it early.

use super::rollout::Rollouts;
use anyhow::{Result, ensure};
use laurel_protocol::{MetricPoint, Ppo, Precision, round::Split};
use std::collections::BTreeSet;

/// Nats a token by which the same weights in another packing may differ.
const ROUNDING: f64 = 1e-3;
/// The mean of the same between sampling and training where products round their inputs.
const COARSE: f64 = 0.05;
/// Steps that are averaged on either side of a comparison.
const WINDOW: usize = 5;
/// Nats a token away from the reference, above which answers are hardly the model's any more.
const FAR: f64 = 0.3;

/// The figures of the steps so far, by name.
struct Steps<'a>(Vec<&'a MetricPoint>);

impl<'a> Steps<'a> {
    fn of(history: &'a [MetricPoint]) -> Self {
        let steps = history.iter().filter(|point| point.split == Split::Train);
        Self(steps.collect())
    }

    fn mean(points: &[&MetricPoint], name: &str) -> f64 {
        let values = points.iter().filter_map(|point| point.values.get(name));
        let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
        if n > 0.0 { sum / n } else { f64::NAN }
    }

    fn first(&self, name: &str) -> f64 {
        Self::mean(&self.0[..WINDOW.min(self.0.len())], name)
    }

    fn last(&self, name: &str) -> f64 {
        Self::mean(&self.0[self.0.len().saturating_sub(WINDOW)..], name)
    }
}

/// Sampling and training say the same of the tokens that were drawn, both at temperature 1.
pub fn check_sampling(rollouts: &Rollouts, logps: &[Vec<f32>], precision: Precision) -> Result<()> {
    let tokens = rollouts
        .answers
        .iter()
        .zip(logps)
        .flat_map(|(answer, logps)| answer.sampled_logps.iter().zip(logps));
    let gaps: Vec<f64> = tokens
        .map(|(sampled, trained)| f64::from((sampled - trained).abs()))
        .collect();
    let (gap, bound) = match precision {
        Precision::F32 => (gaps.iter().copied().fold(0.0, f64::max), ROUNDING),
        _ => (gaps.iter().sum::<f64>() / gaps.len().max(1) as f64, COARSE),
    };
    ensure!(
        gap <= bound,
        "before the first step sampling and training differ by {gap:.1e} nats about a token's log-probability, more \
         than {bound:.0e}: what is learnt would not be about what was sampled"
    );
    Ok(())
}

/// Two lists of log-probabilities that the same weights gave are the same: of policy and reference before the first
/// step, and of the policy before and within the first update, where every ratio is 1.
pub fn check_same<'a>(
    what: &str,
    left: impl Iterator<Item = &'a f32>,
    right: impl Iterator<Item = &'a f32>,
) -> Result<()> {
    let gap = left
        .zip(right)
        .map(|(left, right)| f64::from((left - right).abs()))
        .fold(0.0, f64::max);
    ensure!(
        gap <= ROUNDING,
        "before the first update {what} differ by {gap:.1e} nats about a token's log-probability, more than rounding"
    );
    Ok(())
}

/// Tells bad signs, each once.
#[derive(Default)]
pub struct Alarms(BTreeSet<&'static str>);

impl Alarms {
    /// What is to be said after the latest step.
    pub fn after_step(&mut self, history: &[MetricPoint], ppo: &Ppo) -> Vec<String> {
        let found = signs(&Steps::of(history), ppo);
        let new = found.into_iter().filter(|(name, _)| self.0.insert(name));
        new.map(|(_, text)| text).collect()
    }
}

fn signs(steps: &Steps<'_>, ppo: &Ppo) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if steps.0.len() < 2 * WINDOW {
        return found;
    }
    let (first, last) = (|name| steps.first(name), |name| steps.last(name));
    let (reward, spread) = ((first("reward"), last("reward")), first("reward_deviation"));
    let (before, now) = (first("length"), last("length"));
    if reward.1 > reward.0 + 0.25 * spread && now > 1.3 * before && now > before + 4.0 {
        found.push((
            "length",
            format!(
                "The reward rises while answers grow from {before:.0} to {now:.0} tokens: it may pay for length alone. \
                 Read the samples; a higher kl_coefficient or a reward that length does not move helps"
            ),
        ));
    }
    let kl = last("kl");
    if kl > FAR * now.max(1.0) || (ppo.kl_target > 0.0 && kl > 3.0 * ppo.kl_target) {
        found.push((
            "kl",
            format!(
                "The policy runs away from its reference: {kl:.1} nats an answer. Raise kl_coefficient, lower the \
                 learning rate, or set max_kl to end the round in time"
            ),
        ));
    }
    if kl < -0.05 * now.max(1.0) {
        found.push((
            "negative kl",
            format!(
                "The divergence from the reference stays negative ({kl:.1} nats an answer), which no distribution \
                 does: what is sampled is not what the log-probabilities are of. With top_p 1 this is a defect"
            ),
        ));
    }
    let (before, now) = (first("entropy"), last("entropy"));
    if now < 0.3 * before {
        found.push((
            "entropy",
            format!(
                "The entropy has collapsed from {before:.2} to {now:.2} nats a token: all answers become alike. Lower \
                 the learning rate, raise kl_coefficient, or give entropy_weight a small value"
            ),
        ));
    }
    let explained = last("explained_variance");
    if steps.0.len() >= 4 * WINDOW && explained <= 0.0 {
        found.push((
            "value",
            format!(
                "The value head explains nothing of the returns (explained variance {explained:.2}): advantages are \
                 noise. Raise value_weight or the learning rate, take more prompts a step, or use rloo, which needs no \
                 value head"
            ),
        ));
    }
    if last("clip_fraction") > 0.4 {
        found.push((
            "clip",
            "More than 40 % of the tokens are clipped: the policy moves further in a step than PPO can vouch for. Lower \
             the learning rate or the inner epochs"
                .to_owned(),
        ));
    }
    found
}

/// The rule that ends the round after the latest step, where one does.
pub fn end(history: &[MetricPoint], ppo: &Ppo, has_held_out: bool) -> Option<String> {
    let latest = |split: Split, name: &str| {
        let point = history.iter().rfind(|point| point.split == split)?;
        // Before the first step nothing has been learnt that could be enough.
        (point.step > 0).then(|| point.values.get(name).copied())?
    };
    if let Some(kl) = latest(Split::Train, "kl").filter(|kl| ppo.max_kl > 0.0 && *kl > ppo.max_kl) {
        return Some(format!(
            "the divergence from the reference, {kl:.2} nats an answer, is above max_kl"
        ));
    }
    let (split, place) = match has_held_out {
        true => (Split::Eval, "of the held-out prompts "),
        false => (Split::Train, ""),
    };
    let reward = latest(split, "reward")?;
    let reached = ppo.target_reward.is_some_and(|target| reward >= target);
    reached.then(|| format!("the mean reward {place}is {reward:.3}, as high as target_reward"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Twenty steps on which each figure goes evenly from its first to its last value.
    fn course(figures: &[(&str, f64, f64)]) -> Vec<MetricPoint> {
        let usual = [
            ("reward", 0.0, 0.0),
            ("reward_deviation", 1.0, 1.0),
            ("length", 50.0, 50.0),
            ("kl", 0.0, 2.0),
            ("entropy", 1.5, 1.3),
            ("explained_variance", 0.1, 0.4),
            ("clip_fraction", 0.0, 0.1),
        ];
        let point = |step: u64| {
            let at = |(name, from, to): &(&str, f64, f64)| {
                (String::from(*name), from + (to - from) * step as f64 / 20.0)
            };
            let mut values: BTreeMap<String, f64> = usual.iter().map(at).collect();
            values.extend(figures.iter().map(at));
            MetricPoint {
                step,
                split: Split::Train,
                values,
            }
        };
        (1..=20).map(point).collect()
    }

    #[test]
    fn each_bad_sign_is_told_once_and_a_good_course_tells_none() {
        let ppo = Ppo::default();
        assert_eq!(Alarms::default().after_step(&course(&[]), &ppo), [""; 0]);
        for (bad, word) in [
            (&[("reward", 0.0, 2.0), ("length", 40.0, 90.0)][..], "length"),
            (&[("kl", 0.0, 40.0)], "runs away"),
            (&[("kl", 0.0, -10.0)], "negative"),
            (&[("entropy", 1.5, 0.1)], "collapsed"),
            (&[("explained_variance", -0.5, -0.1)], "value head"),
            (&[("clip_fraction", 0.2, 0.6)], "clipped"),
        ] {
            let mut alarms = Alarms::default();
            let said = alarms.after_step(&course(bad), &ppo);
            assert!(said.len() == 1 && said[0].contains(word), "{said:?}");
            assert_eq!(alarms.after_step(&course(bad), &ppo), [""; 0]);
        }
        // Longer answers without a higher reward are no sign of gaming it.
        let longer = course(&[("length", 40.0, 90.0)]);
        assert_eq!(Alarms::default().after_step(&longer, &ppo), [""; 0]);
    }

    #[test]
    fn a_round_ends_by_its_budget_or_when_the_held_out_reward_is_reached() {
        let with = |max_kl: f64, target_reward: Option<f64>| Ppo {
            max_kl,
            target_reward,
            ..Ppo::default()
        };
        let mut history = course(&[("reward", 0.0, 1.0)]);
        assert!(end(&history, &with(0.0, None), true).is_none());
        assert!(end(&history, &with(1.9, None), true).unwrap().contains("max_kl"));
        assert!(end(&history, &with(2.1, None), true).is_none());
        // Training's reward does not count where prompts are held out.
        assert!(end(&history, &with(0.0, Some(0.9)), true).is_none());
        assert!(end(&history, &with(0.0, Some(0.9)), false).is_some());
        history.push(MetricPoint {
            split: Split::Eval,
            ..history[19].clone()
        });
        assert!(end(&history, &with(0.0, Some(0.9)), true).is_some());
    }
}
