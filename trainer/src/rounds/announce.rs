//! What a round says about its size and memory before it begins.

use super::{
    PASS_TOKENS,
    accept::{compares, left_out},
    rankings::elements,
};
use crate::{
    data::PreferencePair,
    memory::{Plan, RoundBytes, WeightBytes, available, bytes},
    model::Facts,
    report::Reporter,
};
use candle_core::Device;
use laurel_protocol::{AdapterConfig, LogLevel, Ppo, Precision, RoundKind, RoundSize, RoundSpec};

/// What the round will take: its rows and tokens counted, its memory estimated.
pub fn size(
    facts: &Facts,
    spec: &RoundSpec,
    adapter: &AdapterConfig,
    rows: &[PreferencePair],
    samples: bool,
) -> RoundSize {
    let tokens = |row: &&PreferencePair| {
        let answers = match (spec.kind, compares(row, spec)) {
            (RoundKind::Ppo, _) => 0,
            (_, true) => row.chosen.len() + row.rejected.len(),
            (_, false) => row.chosen.len(),
        };
        row.prompt.len() + answers
    };
    let kept = rows
        .iter()
        .filter(|row| left_out(row, spec, &facts.config).is_none());
    let kept: Vec<usize> = kept.map(|row| tokens(&row)).collect();
    let plan = plan(spec, adapter, rows, samples);
    RoundSize {
        n_rows: kept.len() as u64,
        n_tokens: kept.iter().sum::<usize>() as u64,
        memory_bytes: RoundBytes::of(facts, &plan).total() as u64,
    }
}

fn plan<'a>(
    spec: &RoundSpec,
    adapter: &'a AdapterConfig,
    rows: &[PreferencePair],
    samples: bool,
) -> Plan<'a> {
    Plan {
        precision: spec.hyper.precision,
        adapter,
        pass_tokens: pass_tokens(rows, spec),
        gradient_checkpointing: spec.hyper.gradient_checkpointing,
        samples,
        cached_tokens: cached_tokens(rows, spec),
    }
}

/// Logs the weights' memory in each precision and what the round will take; warns where the machine has less left.
/// `is_loaded`: the weights are in memory already. A worker samples before and after a policy's round.
pub fn announce(
    facts: &Facts,
    spec: &RoundSpec,
    adapter: &AdapterConfig,
    rows: &[PreferencePair],
    (device, is_loaded, samples): (&Device, bool, bool),
    reporter: &mut dyn Reporter,
) {
    let hyper = &spec.hyper;
    let plan = plan(spec, adapter, rows, samples);
    let (weights, round) = (WeightBytes::of(facts), RoundBytes::of(facts, &plan));
    let precision = match hyper.precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::Quantized => "quantised",
    };
    let text = format!(
        "Memory: weights {}; this round, {precision}: about {} (weights {}, adapter and optimiser {}, activations up to \
         {})",
        weights.text(),
        bytes(round.total()),
        bytes(round.weights),
        bytes(round.adapter),
        bytes(round.activations),
    );
    reporter.log(LogLevel::Info, &text);
    let still_to_come = round.total() - if is_loaded { round.weights } else { 0 };
    if let (true, Some(left)) = (device.is_cpu(), available().filter(|left| *left < still_to_come)) {
        let text = format!(
            "This machine has {} of memory left: a smaller precision, gradient checkpointing or a smaller max_length \
             takes less",
            bytes(left)
        );
        reporter.log(LogLevel::Warning, &text);
    }
}

/// Tokens of the longest pass that the rows can make; those too long for the round are left out.
fn pass_tokens(rows: &[PreferencePair], spec: &RoundSpec) -> usize {
    let hyper = &spec.hyper;
    if let Some(ppo) = &hyper.ppo {
        return ppo_pass_tokens(rows, spec, ppo);
    }
    let compares = spec.kind != RoundKind::Sft;
    let size = |row: &PreferencePair| {
        let rejected = if compares { row.rejected.len() } else { 0 };
        row.prompt.len() + row.chosen.len() + rejected
    };
    let fits = |row: &&PreferencePair| {
        let longest = if compares {
            row.longest()
        } else {
            row.prompt.len() + row.chosen.len()
        };
        longest <= hyper.max_length as usize
    };
    let rows: Vec<PreferencePair> = rows.iter().filter(fits).cloned().collect();
    // A ranking's completions are at most those of all its rows.
    let of_element = |element: &Vec<usize>| element.iter().map(|&row| size(&rows[row])).sum::<usize>();
    let mut sizes: Vec<usize> = elements(&rows, hyper.batch_by).iter().map(of_element).collect();
    sizes.sort_unstable_by(|left, right| right.cmp(left));
    let batch: usize = sizes.iter().take(hyper.batch_size as usize).sum();
    sizes
        .first()
        .map_or(0, |longest| batch.min(PASS_TOKENS.max(*longest)))
}

/// Sequences that are sampled at once.
const SLOTS: u32 = 32;

/// Keys and values of a PPO round's answers, each with its prompt; other rounds sample too little to count.
fn cached_tokens(rows: &[PreferencePair], spec: &RoundSpec) -> usize {
    let Some(ppo) = &spec.hyper.ppo else { return 0 };
    let n_answers = spec
        .hyper
        .batch_size
        .saturating_mul(ppo.samples_per_prompt)
        .min(SLOTS);
    longest_sequence(rows, spec, ppo) * n_answers as usize
}

/// A pass takes several answers where they fit.
fn ppo_pass_tokens(rows: &[PreferencePair], spec: &RoundSpec, ppo: &Ppo) -> usize {
    let sequence = longest_sequence(rows, spec, ppo);
    let answers = spec
        .hyper
        .batch_size
        .saturating_mul(ppo.samples_per_prompt)
        .div_ceil(ppo.minibatches);
    sequence
        .saturating_mul(answers as usize)
        .min(PASS_TOKENS.max(sequence))
}

/// The longest prompt that an answer fits behind, with an answer of full length.
fn longest_sequence(rows: &[PreferencePair], spec: &RoundSpec, ppo: &Ppo) -> usize {
    let room = (spec.hyper.max_length as usize).saturating_sub(ppo.max_new_tokens as usize);
    let prompts = rows.iter().map(|row| row.prompt.len()).filter(|n| *n <= room);
    prompts
        .max()
        .map_or(0, |longest| longest + ppo.max_new_tokens as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;
    use laurel_protocol::Hyper;

    #[test]
    fn a_pass_is_as_long_as_its_rows_the_limit_or_the_longest_row() {
        let row = |prompt: usize, chosen: usize, rejected: usize| PreferencePair {
            prompt: vec![1; prompt],
            chosen: vec![2; chosen],
            rejected: vec![3; rejected],
            group: 0,
            label: Label::default(),
        };
        let spec = |kind: RoundKind, batch_size: u32| RoundSpec {
            kind,
            adapter: AdapterConfig::default(),
            hyper: Hyper {
                batch_size,
                ..Hyper::for_kind(kind)
            },
            reward: None,
            seed: 0,
        };
        let rows = [row(10, 20, 30), row(10, 5, 5), row(10, 2000, 1)];
        assert_eq!(
            pass_tokens(&rows, &spec(RoundKind::Dpo, 8)),
            80,
            "all but the row that is left out"
        );
        assert_eq!(pass_tokens(&rows, &spec(RoundKind::Dpo, 1)), 60);
        assert_eq!(pass_tokens(&rows, &spec(RoundKind::Sft, 8)), 45);
        let many: Vec<PreferencePair> = (0..50).map(|_| row(10, 20, 30)).collect();
        assert_eq!(pass_tokens(&many, &spec(RoundKind::Dpo, 32)), PASS_TOKENS);
        let long = [row(10, 600, 500), row(1, 1, 1)];
        assert_eq!(pass_tokens(&long, &spec(RoundKind::Dpo, 8)), 1110);
        assert_eq!(pass_tokens(&[], &spec(RoundKind::Dpo, 8)), 0);
    }
}
