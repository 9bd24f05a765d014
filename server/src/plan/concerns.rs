//! What speaks against a round's data. The thresholds are rules of thumb; docs/TRAINING.md says why each stands where it
//! does.

use super::{
    Data, Maker, Start, distinct,
    estimates::{characters_per_token, tokens_of},
    rows::{Row, Rows},
};
use crate::quality::share::share;
use laurel_protocol::{Concern, NewRound, PromptId, RoundKind, RoundSpec, Share, UserId};
use std::collections::{HashMap, HashSet};

/// Rows below which a round is warned about.
const ADVISED_ROWS: u64 = 100;
/// And the same for answers to imitate.
const ADVISED_EXAMPLES: u64 = 50;
/// The accuracy whose interval on the held-out rows is told.
const ACCURACY: f64 = 0.7;
/// How far a share may be from chance before it is told, if its interval leaves chance out.
const FAR: f64 = 0.1;
/// Of comparisons between two generators, so many for one of them.
const ONE_SIDED: f64 = 0.9;
/// Comparisons that a share is told from.
const ENOUGH: u64 = 20;
/// Of all comparisons, so many ties left out.
const MANY_TIES: f64 = 0.2;
/// Of chosen answers, so many cut off.
const MANY_CUT_OFF: f64 = 0.05;

pub fn of(data: &Data, rows: &Rows, new: &NewRound, start: Option<&Start>) -> Vec<Concern> {
    let spec = &new.spec;
    if rows.len() == 0 {
        return vec![Concern::NothingToTrain];
    }
    let compares = matches!(spec.kind, RoundKind::Dpo | RoundKind::Reward);
    let labelled = spec.kind != RoundKind::Ppo;
    let mut found: Vec<Concern> = [
        few_rows(rows, spec),
        compares.then(|| length_bias(data, rows)).flatten(),
        compares.then(|| one_generator(data, rows)).flatten(),
        labelled.then(|| position_bias(data)).flatten(),
        ties(data, rows),
        (spec.kind != RoundKind::Reward)
            .then(|| cut_off(data, rows))
            .flatten(),
        too_long(data, rows, spec),
        weak_annotators(data, rows),
        near_duplicates(data, rows, spec),
        start.and_then(|start| seen_before(data, rows, spec, start)),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.sort_by_key(|concern| !concern.is_grave());
    found
}

fn few_rows(rows: &Rows, spec: &RoundSpec) -> Option<Concern> {
    let n = rows.len() as u64;
    let advised = match spec.kind {
        RoundKind::Sft | RoundKind::Ppo => ADVISED_EXAMPLES,
        RoundKind::Reward | RoundKind::Dpo => ADVISED_ROWS,
    };
    if n >= advised {
        return None;
    }
    let n_held_out = (n as f64 * (1.0 - rows.trained_share(spec))).round() as u64;
    let compares = matches!(spec.kind, RoundKind::Reward | RoundKind::Dpo);
    let off_by = 1.96 * (ACCURACY * (1.0 - ACCURACY) / n_held_out.max(1) as f64).sqrt();
    Some(Concern::FewRows {
        n,
        advised,
        n_held_out,
        off_by: (compares && n_held_out > 0).then_some(off_by.min(0.5)),
    })
}

/// Whether a share is far from what chance would give, and its interval leaves that out.
fn is_far(share: &Share, chance: f64) -> bool {
    let outside = share.interval.low > chance || share.interval.high < chance;
    share.of >= ENOUGH && outside && (share.value() - chance).abs() >= FAR
}

fn length_bias(data: &Data, rows: &Rows) -> Option<Concern> {
    let lengths = rows.list.iter().filter(|row| !row.tie).filter_map(|row| {
        let chosen = data.answers.get(&row.chosen?)?.n_characters;
        let rejected = data.answers.get(&row.rejected?)?.n_characters;
        (chosen != rejected).then_some(chosen > rejected)
    });
    let longer = counted(lengths)?;
    is_far(&longer, 0.5).then_some(Concern::LengthBias { longer })
}

/// How many of some hold.
fn counted(all: impl Iterator<Item = bool>) -> Option<Share> {
    let (n, of) = all.fold((0, 0), |(n, of), holds| (n + u64::from(holds), of + 1));
    share(n, of)
}

fn position_bias(data: &Data) -> Option<Concern> {
    let (first, by_chance) = data.people.first_is_best?;
    is_far(&first, by_chance).then_some(Concern::PositionBias { first, by_chance })
}

fn one_generator(data: &Data, rows: &Rows) -> Option<Concern> {
    let mut wins: HashMap<Maker, u64> = HashMap::new();
    let mut met: HashMap<Maker, u64> = HashMap::new();
    for row in rows.list.iter().filter(|row| !row.tie) {
        let maker = |id| data.answers.get(&id).map(|answer| answer.made_by);
        let (Some(chosen), Some(rejected)) = (row.chosen.and_then(maker), row.rejected.and_then(maker))
        else {
            continue;
        };
        if chosen != rejected {
            *wins.entry(chosen).or_default() += 1;
            *met.entry(chosen).or_default() += 1;
            *met.entry(rejected).or_default() += 1;
        }
    }
    let (maker, n) = wins
        .into_iter()
        .filter(|(maker, n)| *n as f64 >= ONE_SIDED * met[maker] as f64)
        .max_by_key(|(maker, n)| (*n, std::cmp::Reverse(*maker)))?;
    let wins = share(n, met[&maker]).filter(|wins| wins.of >= ENOUGH)?;
    let name = match maker {
        Maker::Base => "base model".to_owned(),
        Maker::Person => "annotator".to_owned(),
        Maker::Adapter(id) => data.generators.get(&id).cloned().unwrap_or_default(),
    };
    Some(Concern::OneGenerator { name, wins })
}

fn ties(data: &Data, rows: &Rows) -> Option<Concern> {
    let (n, of) = (rows.n_ties_left_out, data.comparisons.len() as u64);
    (n as f64 >= MANY_TIES * of as f64 && n > 0).then_some(Concern::TiesLeftOut { n, of })
}

fn cut_off(data: &Data, rows: &Rows) -> Option<Concern> {
    let chosen = rows.list.iter().filter_map(|row| data.answers.get(&row.chosen?));
    let chosen = counted(chosen.map(|answer| answer.is_cut_off))?;
    (chosen.value() >= MANY_CUT_OFF).then_some(Concern::CutOff { chosen })
}

fn too_long(data: &Data, rows: &Rows, spec: &RoundSpec) -> Option<Concern> {
    let per_token = characters_per_token(data)?;
    let answer_room = spec
        .hyper
        .ppo
        .as_ref()
        .map_or(0.0, |ppo| f64::from(ppo.max_new_tokens));
    let longest = |row: &&Row| {
        let prompt = f64::from(data.prompts.get(&row.prompt).copied().unwrap_or(0)) / per_token;
        let answers = Rows::answers(row, data).map(|answer| tokens_of(answer, per_token));
        prompt + answers.fold(answer_room, f64::max)
    };
    let limit = f64::from(spec.hyper.max_length);
    let n = rows.list.iter().filter(|row| longest(row) > limit).count() as u64;
    (n > 0).then_some(Concern::TooLong {
        n,
        of: rows.len() as u64,
    })
}

fn weak_annotators(data: &Data, rows: &Rows) -> Option<Concern> {
    let given = distinct_users(rows);
    let mut people = data.people.weak.clone();
    people.retain(|person| given.contains(&person.user));
    let weak: HashSet<UserId> = people.iter().map(|person| person.user).collect();
    let from_weak = counted(
        rows.list
            .iter()
            .map(|row| row.user.is_some_and(|user| weak.contains(&user))),
    );
    let rows = from_weak.filter(|rows| rows.n > 0)?;
    Some(Concern::WeakAnnotators { people, rows })
}

fn distinct_users(rows: &Rows) -> HashSet<UserId> {
    rows.list.iter().filter_map(|row| row.user).collect()
}

/// Of a prompt that is held out, some near-duplicate is trained on unless all of its group are held out with it.
fn near_duplicates(data: &Data, rows: &Rows, spec: &RoundSpec) -> Option<Concern> {
    let mut sizes: HashMap<u32, u64> = HashMap::new();
    for group in rows.prompts.iter().filter_map(|prompt| data.groups.get(prompt)) {
        *sizes.entry(*group).or_default() += 1;
    }
    let sizes: Vec<u64> = sizes.into_values().filter(|size| *size > 1).collect();
    let n: u64 = sizes.iter().sum();
    if n == 0 {
        return None;
    }
    let held_out = 1.0 - rows.trained_share(spec);
    let leaking = |size: &u64| {
        let others = f64::from(u32::try_from(size - 1).unwrap_or(u32::MAX));
        *size as f64 * held_out * (1.0 - held_out.powf(others))
    };
    Some(Concern::NearDuplicates {
        n,
        of: rows.prompts.len() as u64,
        n_leaking: sizes.iter().map(leaking).sum::<f64>().round() as u64,
    })
}

fn seen_before(data: &Data, rows: &Rows, spec: &RoundSpec, start: &Start) -> Option<Concern> {
    let held_out = spec.hyper.held_out;
    if rows.n_held_out(spec) == 0 {
        return None;
    }
    let seen_groups: HashSet<u32> = start
        .seen
        .iter()
        .filter_map(|prompt| data.groups.get(prompt).copied())
        .collect();
    let is_seen = |prompt: &&PromptId| {
        start.seen.contains(prompt)
            || data
                .groups
                .get(prompt)
                .is_some_and(|group| seen_groups.contains(group))
    };
    let n = rows.prompts.iter().filter(is_seen).count() as u64;
    // The same prompts, seed and share hold the same prompts out each time.
    let same_prompts = distinct(start.seen.iter().copied()) == rows.prompts;
    let same_split = start
        .splits
        .iter()
        .all(|(seed, share)| *seed == spec.seed && *share == held_out);
    (n > 0 && !(same_prompts && same_split)).then(|| Concern::SeenBefore {
        adapter: start.name.clone(),
        n,
        of: rows.prompts.len() as u64,
    })
}
