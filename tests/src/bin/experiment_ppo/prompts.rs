//! Open requests that may be answered in any mood: each opening about each subject, with subjects of their own for what
//! is held out.

use serde_json::{Value, json};

const OPENINGS: [&str; 10] = [
    "Describe your day at {}.",
    "Begin a story that is set in {}.",
    "Write a short review of {}.",
    "Write to a friend about {}.",
    "What do people say about {}?",
    "What happened last night at {}?",
    "Write a diary entry after a visit to {}.",
    "What is your honest opinion of {}?",
    "A guest complains about {}. What does she say?",
    "Report what is new at {}.",
];
const SUBJECTS: [&str; 28] = [
    "a small café",
    "an old library",
    "the bus station",
    "a mountain hotel",
    "the night train",
    "a village school",
    "the fish market",
    "a new office",
    "the town museum",
    "a cheap hostel",
    "the public pool",
    "a dentist's practice",
    "the football stadium",
    "a farm shop",
    "the harbour",
    "a used car dealer",
    "the post office",
    "a street festival",
    "the airport",
    "a family restaurant",
    // Held out from here on.
    "a seaside campsite",
    "the city zoo",
    "an empty theatre",
    "a hospital canteen",
    "the Sunday market",
    "a language course",
    "the ferry",
    "a barber's shop",
];
const N_HELD_OUT: usize = 8;

/// The subjects of training, or those that are held out, each with every opening. Neighbours differ in both.
pub fn prompts(held_out: bool) -> Vec<Value> {
    let (train, fresh) = SUBJECTS.split_at(SUBJECTS.len() - N_HELD_OUT);
    let subjects = if held_out { fresh } else { train };
    let pairs = (0..OPENINGS.len()).flat_map(|turn| {
        subjects
            .iter()
            .enumerate()
            .map(move |(at, subject)| (OPENINGS[(turn + at) % OPENINGS.len()], subject))
    });
    pairs
        .map(|(opening, subject)| prompt(&opening.replace("{}", subject)))
        .collect()
}

/// The system turn takes the place of the template's own, which is longer.
fn prompt(text: &str) -> Value {
    json!([{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}])
}

#[cfg(test)]
mod tests {
    use super::prompts;
    use std::collections::HashSet;

    #[test]
    fn every_prompt_is_there_once_and_none_on_both_sides() {
        let texts = |held_out| prompts(held_out).into_iter().map(|prompt| prompt.to_string());
        let train: HashSet<String> = texts(false).collect();
        let fresh: HashSet<String> = texts(true).collect();
        assert_eq!((train.len(), fresh.len()), (200, 80));
        assert!(train.is_disjoint(&fresh));
    }
}
