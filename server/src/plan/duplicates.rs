//! Near-duplicates among many texts, by MinHash (Broder 1997): texts are sets of shingles, three words each; signatures of
//! 32 minima estimate how far two sets overlap, bands of four find the pairs worth a look (two texts that share four of
//! five shingles are found with a probability of 0.98), and each found pair is compared by its shingles themselves.

use std::collections::HashMap;

const WORDS: usize = 3;
const BANDS: usize = 8;
const MINIMA: usize = 32;
/// Shingles of a text that are read: enough to know a text by, and a bound for long ones.
const MAX_SHINGLES: usize = 512;
/// Texts of a bucket that are compared with its first: more are found by other bands.
const MAX_BUCKET: usize = 200;
/// Shared shingles of all that two texts have, from which they count as near-duplicates.
pub const NEAR: f64 = 0.8;

/// Of each text, the number of the group of near-duplicates that it is in, if any. Groups are joined over pairs.
pub fn groups(texts: &[String]) -> Vec<Option<u32>> {
    let shingles: Vec<Vec<u64>> = texts.iter().map(|text| shingles(text)).collect();
    let signatures: Vec<[u64; MINIMA]> = shingles.iter().map(|set| signature(set)).collect();
    let mut forest = Forest::new(texts.len());
    for band in 0..BANDS {
        let mut buckets: HashMap<&[u64], Vec<usize>> = HashMap::new();
        let width = MINIMA / BANDS;
        for (at, signature) in signatures.iter().enumerate() {
            if !shingles[at].is_empty() {
                let key = &signature[band * width..(band + 1) * width];
                buckets.entry(key).or_default().push(at);
            }
        }
        for bucket in buckets.into_values().filter(|bucket| bucket.len() > 1) {
            for &other in bucket[1..].iter().take(MAX_BUCKET) {
                let first = bucket[0];
                if forest.root(first) != forest.root(other)
                    && overlap(&shingles[first], &shingles[other]) >= NEAR
                {
                    forest.join(first, other);
                }
            }
        }
    }
    forest.groups()
}

/// Hashes of the runs of three words, sorted and each once; of a shorter text the whole.
fn shingles(text: &str) -> Vec<u64> {
    let words: Vec<u64> = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| hash(word.chars().flat_map(char::to_lowercase)))
        .take(MAX_SHINGLES + WORDS)
        .collect();
    let join = |run: &[u64]| run.iter().fold(0, |sum, word| mix(sum ^ word));
    let mut set: Vec<u64> = match words.len() {
        0 => Vec::new(),
        1..WORDS => vec![join(&words)],
        _ => words.windows(WORDS).map(join).collect(),
    };
    set.sort_unstable();
    set.dedup();
    set
}

/// FNV-1a over the characters.
fn hash(chars: impl Iterator<Item = char>) -> u64 {
    chars.fold(0xcbf2_9ce4_8422_2325, |sum, char| {
        (sum ^ u64::from(char)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A permutation of the 64-bit numbers whose bits look random (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The smallest shingle under each of so many orders: a * x + b with odd a, of well mixed x.
fn signature(set: &[u64]) -> [u64; MINIMA] {
    let mut minima = [u64::MAX; MINIMA];
    let orders: [(u64, u64); MINIMA] = std::array::from_fn(|at| (mix(at as u64) | 1, mix(!(at as u64))));
    for shingle in set {
        for (minimum, (factor, shift)) in minima.iter_mut().zip(&orders) {
            let place = shingle.wrapping_mul(*factor).wrapping_add(*shift);
            // The low bits of a product are weak.
            *minimum = (*minimum).min(place ^ (place >> 32));
        }
    }
    minima
}

/// Shared elements of all, of two sorted sets.
fn overlap(left: &[u64], right: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < left.len() && j < right.len() {
        match left[i].cmp(&right[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (shared, i, j) = (shared + 1, i + 1, j + 1),
        }
    }
    f64::from(shared) / (left.len() + right.len() - shared as usize).max(1) as f64
}

/// Who belongs together, by what was joined.
struct Forest(Vec<usize>);

impl Forest {
    fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }

    fn groups(mut self) -> Vec<Option<u32>> {
        let roots: Vec<usize> = (0..self.0.len()).map(|at| self.root(at)).collect();
        let mut sizes = vec![0_u32; roots.len()];
        roots.iter().for_each(|root| sizes[*root] += 1);
        roots
            .into_iter()
            .map(|root| (sizes[root] > 1).then_some(root as u32))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(texts: &[&str]) -> Vec<Option<u32>> {
        groups(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn case_blanks_and_marks_make_no_difference_and_one_word_of_many_little() {
        let long = "Write a short letter to a landlord who has not repaired the heating for three weeks now, and stay polite";
        let other = long.replace("three", "four");
        let shout = long.to_uppercase().replace(' ', "  ");
        let groups = grouped(&[
            long,
            "What is the capital of France?",
            &shout,
            "",
            "what, is the capital of france",
        ]);
        assert_eq!(groups, [Some(0), Some(1), Some(0), None, Some(1)]);
        // Three of its shingles are others, of 18.
        assert_eq!(grouped(&[long, &other]), [None, None]);
        let twice = format!("{long} {long}. {}", long.replace("polite", "friendly"));
        let nearly = format!("{long} {long}. {long}");
        assert_eq!(grouped(&[&twice, &nearly]), [Some(0), Some(0)]);
    }

    #[test]
    fn questions_that_share_their_beginning_are_no_duplicates() {
        let texts: Vec<String> = (0..50)
            .map(|n| {
                format!(
                    "Explain to a child of ten what the number {n} has to do with {}",
                    n * 7
                )
            })
            .collect();
        assert!(groups(&texts).iter().all(Option::is_none));
    }

    #[test]
    fn nearly_all_pairs_above_the_threshold_are_found_and_none_below() {
        // 40 words; the last k are another text's, so that 38 - k of 38 + k shingles are shared.
        let text = |n: usize, k: usize| -> String {
            let word = |at: usize| match at < 40 - k {
                true => format!("w{}x{at} ", n),
                false => format!("v{}x{at} ", n),
            };
            (0..40).map(word).collect()
        };
        let found = |k: usize| {
            let texts: Vec<String> = (0..200).flat_map(|n| [text(n, 0), text(n, k)]).collect();
            groups(&texts).iter().flatten().count() / 2
        };
        let (near, far) = (found(3), found(6));
        assert!(near >= 190, "35 of 41 shared: {near} of 200 pairs found");
        assert_eq!(far, 0, "32 of 44 shared");
    }
}
