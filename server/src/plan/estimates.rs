//! Tokens, time and memory of a round that has not begun. They rest on what was counted and measured before, and are
//! unknown where nothing was.

use super::{Answer, Data, Earlier, rows::Rows};
use laurel_protocol::{Basis, Guess, RoundKind, RoundSpec};

/// Characters per token of the project's sampled completions, which their trainer counted.
pub fn characters_per_token(data: &Data) -> Option<f64> {
    let counted = data.answers.values().filter(|answer| answer.n_tokens > 0);
    let (characters, tokens) = counted.fold((0.0, 0.0), |(characters, tokens), answer| {
        (
            characters + f64::from(answer.n_characters),
            tokens + f64::from(answer.n_tokens),
        )
    });
    (tokens > 0.0 && characters > 0.0).then(|| characters / tokens)
}

pub fn tokens_of(answer: &Answer, per_token: f64) -> f64 {
    match answer.n_tokens {
        0 => f64::from(answer.n_characters) / per_token,
        n => f64::from(n),
    }
}

/// One time through all rows: as an earlier round of the same rows counted, else from the completions.
pub fn tokens(data: &Data, rows: &Rows, spec: &RoundSpec, earlier: &[Earlier]) -> Guess {
    let reads = |spec: &RoundSpec| match spec.kind {
        RoundKind::Ppo => 0,
        RoundKind::Sft => 1,
        RoundKind::Reward | RoundKind::Dpo => 2,
    };
    // Of a like number of rows, so that their mean length is like.
    let alike = |round: &&Earlier| {
        let size = round.size.filter(|size| size.n_rows > 0);
        let close = size.is_some_and(|size| {
            let (old, new) = (size.n_rows as f64, rows.len() as f64);
            old >= 0.5 * new && old <= 2.0 * new
        });
        reads(&round.spec) == reads(spec) && close
    };
    if let Some((round, size)) = earlier
        .iter()
        .find(alike)
        .and_then(|round| Some((round, round.size?)))
    {
        return Guess {
            value: Some(size.n_tokens as f64 / size.n_rows as f64 * rows.len() as f64),
            basis: basis(round),
        };
    }
    let Some(per_token) = characters_per_token(data) else {
        return Guess::UNKNOWN;
    };
    let of_row = |row: &super::rows::Row| {
        let prompt = f64::from(data.prompts.get(&row.prompt).copied().unwrap_or(0)) / per_token;
        let answers: f64 = Rows::answers(row, data)
            .map(|answer| tokens_of(answer, per_token))
            .sum();
        prompt + answers
    };
    Guess {
        value: Some(rows.list.iter().map(of_row).sum::<f64>().round()),
        basis: Basis::Completions {
            characters_per_token: per_token,
        },
    }
}

fn basis(round: &Earlier) -> Basis {
    Basis::Round {
        id: round.id,
        name: round.name.clone(),
    }
}

/// Scaled from an earlier round of the kind: by tokens, of PPO rounds by answers.
pub fn seconds(rows: &Rows, spec: &RoundSpec, tokens: &Guess, earlier: &[Earlier]) -> Guess {
    let mut alike: Vec<&Earlier> = earlier
        .iter()
        .filter(|round| round.spec.kind == spec.kind && round.seconds.is_some() && round.n_steps > 0)
        .collect();
    // The newest, of those that compute alike first.
    let computes = |spec: &RoundSpec| (spec.hyper.precision, spec.hyper.gradient_checkpointing);
    alike.sort_by_key(|round| computes(&round.spec) != computes(spec));
    for round in alike {
        let per_unit = |unit: f64| (unit > 0.0).then(|| round.seconds.unwrap_or(0.0) / unit);
        let value = match spec.kind {
            RoundKind::Ppo => {
                let own = answers(spec, rows.n_steps(spec));
                per_unit(answers(&round.spec, round.n_steps)).map(|seconds| seconds * own)
            }
            _ => {
                let own = tokens
                    .value
                    .map(|tokens| tokens * rows.trained_share(spec) * rows.n_passes(spec));
                let theirs = tokens_trained(round);
                own.zip(theirs)
                    .and_then(|(own, theirs)| Some(per_unit(theirs)? * own))
            }
        };
        if value.is_some() {
            return Guess {
                value,
                basis: basis(round),
            };
        }
    }
    Guess::UNKNOWN
}

fn answers(spec: &RoundSpec, n_steps: u64) -> f64 {
    let per_prompt = spec.hyper.ppo.as_ref().map_or(1, |ppo| ppo.samples_per_prompt);
    n_steps as f64 * f64::from(spec.hyper.batch_size) * f64::from(per_prompt)
}

/// Tokens that an earlier round trained on, passes counted.
fn tokens_trained(round: &Earlier) -> Option<f64> {
    let size = round.size.filter(|size| size.n_rows > 0)?;
    let hyper = &round.spec.hyper;
    let trained = size.n_rows as f64 * (1.0 - hyper.held_out);
    let elements = match hyper.loss.is_unpaired() {
        true => 2.0 * trained,
        false => trained,
    };
    let seen = round.n_steps as f64 * f64::from(hyper.batch_size);
    let passes = (seen / elements.max(1.0)).min(f64::from(hyper.epochs));
    Some(size.n_tokens as f64 * (1.0 - hyper.held_out) * passes)
}

/// What the trainer of an earlier round expected, of one that computes in the same way and takes no shorter passes.
pub fn memory(spec: &RoundSpec, earlier: &[Earlier]) -> Guess {
    let alike = |round: &&Earlier| {
        let (own, theirs) = (&spec.hyper, &round.spec.hyper);
        round.spec.kind == spec.kind
            && theirs.precision == own.precision
            && theirs.gradient_checkpointing == own.gradient_checkpointing
            && theirs.batch_size >= own.batch_size
            && theirs.max_length >= own.max_length
            && round.size.is_some()
    };
    match earlier
        .iter()
        .find(alike)
        .and_then(|round| Some((round, round.size?)))
    {
        Some((round, size)) => Guess {
            value: Some(size.memory_bytes as f64),
            basis: basis(round),
        },
        None => Guess::UNKNOWN,
    }
}
