//! How words change each other's valence, as in vaderSentiment 3.3.2, whose oddities are kept.

use std::collections::HashMap;

const BOOST: f64 = 0.293;
const CAPITALS: f64 = 0.733;
const NEGATION: f64 = -0.74;
/// What is left of a booster one, two and three words away.
const DAMPING: [f64; 3] = [1.0, 0.95, 0.9];

#[rustfmt::skip]
const NEGATIONS: [&str; 59] = [
    "aint", "arent", "cannot", "cant", "couldnt", "darent", "didnt", "doesnt", "ain't", "aren't", "can't", "couldn't",
    "daren't", "didn't", "doesn't", "dont", "hadnt", "hasnt", "havent", "isnt", "mightnt", "mustnt", "neither", "don't",
    "hadn't", "hasn't", "haven't", "isn't", "mightn't", "mustn't", "neednt", "needn't", "never", "none", "nope", "nor",
    "not", "nothing", "nowhere", "oughtnt", "shant", "shouldnt", "uhuh", "wasnt", "werent", "oughtn't", "shan't",
    "shouldn't", "uh-uh", "wasn't", "weren't", "without", "wont", "wouldnt", "won't", "wouldn't", "rarely", "seldom",
    "despite",
];
#[rustfmt::skip]
const BOOSTERS: [&str; 60] = [
    "absolutely", "amazingly", "awfully", "completely", "considerable", "considerably", "decidedly", "deeply", "effing",
    "enormous", "enormously", "entirely", "especially", "exceptional", "exceptionally", "extreme", "extremely",
    "fabulously", "flipping", "flippin", "frackin", "fracking", "fricking", "frickin", "frigging", "friggin", "fully",
    "fuckin", "fucking", "fuggin", "fugging", "greatly", "hella", "highly", "hugely", "incredible", "incredibly",
    "intensely", "major", "majorly", "more", "most", "particularly", "purely", "quite", "really", "remarkably", "so",
    "substantially", "thoroughly", "total", "totally", "tremendous", "tremendously", "uber", "unbelievably", "unusually",
    "utter", "utterly", "very",
];
#[rustfmt::skip]
const DAMPENERS: [&str; 24] = [
    "almost", "barely", "hardly", "just enough", "kind of", "kinda", "kindof", "kind-of", "less", "little", "marginal",
    "marginally", "occasional", "occasionally", "partly", "scarce", "scarcely", "slight", "slightly", "somewhat",
    "sort of", "sorta", "sortof", "sort-of",
];
const IDIOMS: [(&str, f64); 9] = [
    ("the shit", 3.0),
    ("the bomb", 3.0),
    ("bad ass", 1.5),
    ("badass", 1.5),
    ("bus stop", 0.0),
    ("yeah right", -2.0),
    ("kiss of death", -1.5),
    ("to die for", 3.0),
    ("beating heart", 3.5),
];

pub struct Word {
    lower: String,
    /// It has letters, and all are capitals.
    is_capital: bool,
}

impl Word {
    /// Without the marks around it, unless little but marks is left: that may be an emoticon.
    pub fn of(token: &str) -> Self {
        let stripped = token.trim_matches(|c: char| c.is_ascii_punctuation());
        let word = match stripped.chars().count() {
            0..=2 => token,
            _ => stripped,
        };
        Self {
            lower: word.to_lowercase(),
            is_capital: word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase),
        }
    }
}

/// The valence of each word among the others.
pub fn valences(words: &[Word], lexicon: &HashMap<&str, f64>) -> Vec<f64> {
    let text = Text::of(words, lexicon);
    let mut valences: Vec<f64> = (0..words.len()).map(|at| text.valence(at)).collect();
    but(words, &mut valences);
    valences
}

struct Text<'a> {
    words: &'a [Word],
    lexicon: &'a HashMap<&'a str, f64>,
    /// Some words are in capitals and some are not.
    has_emphasis: bool,
}

impl<'a> Text<'a> {
    fn of(words: &'a [Word], lexicon: &'a HashMap<&'a str, f64>) -> Self {
        let n_capital = words.iter().filter(|word| word.is_capital).count();
        Self {
            words,
            lexicon,
            has_emphasis: n_capital > 0 && n_capital < words.len(),
        }
    }

    fn word(&self, at: usize) -> &str {
        &self.words[at].lower
    }

    /// Whether the word so many places before `at` is this one.
    fn is_before(&self, at: usize, n: usize, word: &str) -> bool {
        at >= n && self.word(at - n) == word
    }

    fn valence(&self, at: usize) -> f64 {
        let word = self.word(at);
        if boost(word).is_some() || word == "kind" && self.words.get(at + 1).is_some_and(|w| w.lower == "of")
        {
            return 0.0;
        }
        let Some(&mean) = self.lexicon.get(word) else {
            return 0.0;
        };
        let next_counts = self
            .words
            .get(at + 1)
            .is_some_and(|next| self.lexicon.contains_key(next.lower.as_str()));
        let mut valence = if word == "no" && next_counts { 0.0 } else { mean };
        let is_negated = self.is_before(at, 1, "no")
            || self.is_before(at, 2, "no")
            || self.is_before(at, 3, "no") && ["or", "nor"].contains(&self.word(at - 1));
        if is_negated {
            valence = mean * NEGATION;
        }
        if self.words[at].is_capital && self.has_emphasis {
            valence += if valence > 0.0 { CAPITALS } else { -CAPITALS };
        }
        for distance in 1..=3 {
            if at >= distance && !self.lexicon.contains_key(self.word(at - distance)) {
                valence += self.boosted(at - distance, valence) * DAMPING[distance - 1];
                valence = self.negated(valence, at, distance);
                if distance == 3 {
                    valence = self.idiom(valence, at);
                }
            }
        }
        self.least(valence, at)
    }

    /// What a word adds to one of this valence behind it.
    fn boosted(&self, at: usize, valence: f64) -> f64 {
        let Some(mut boost) = boost(self.word(at)) else {
            return 0.0;
        };
        if valence < 0.0 {
            boost = -boost;
        }
        if self.words[at].is_capital && self.has_emphasis {
            boost += if valence > 0.0 { CAPITALS } else { -CAPITALS };
        }
        boost
    }

    fn negated(&self, valence: f64, at: usize, distance: usize) -> f64 {
        let word = |n: usize| self.word(at - n);
        let is_so = |n: usize| ["so", "this"].contains(&word(n));
        let (never, doubt) = match distance {
            1 => (false, false),
            2 => (
                word(2) == "never" && is_so(1),
                word(2) == "without" && word(1) == "doubt",
            ),
            _ => (
                word(3) == "never" && is_so(2) || is_so(1),
                word(3) == "without" && (word(2) == "doubt" || word(1) == "doubt"),
            ),
        };
        let negates = NEGATIONS.contains(&word(distance)) || word(distance).contains("n't");
        match () {
            () if never => valence * 1.25,
            () if doubt => valence,
            () if negates => valence * NEGATION,
            () => valence,
        }
    }

    /// Phrases around the word that have a valence of their own, and boosters of two or three words before it.
    fn idiom(&self, valence: f64, at: usize) -> f64 {
        let phrase = |words: std::ops::RangeInclusive<usize>| {
            let words: Vec<&str> = words.map(|at| self.word(at)).collect();
            words.join(" ")
        };
        let idiom = |phrase: &String| IDIOMS.iter().find(|(idiom, _)| idiom == phrase).map(|it| it.1);
        let before = [
            phrase(at - 1..=at),
            phrase(at - 2..=at),
            phrase(at - 2..=at - 1),
            phrase(at - 3..=at - 1),
            phrase(at - 3..=at - 2),
        ];
        let mut valence = before.iter().find_map(idiom).unwrap_or(valence);
        for end in [at + 1, at + 2] {
            if end < self.words.len() {
                valence = idiom(&phrase(at..=end)).unwrap_or(valence);
            }
        }
        let boosters = [&before[3], &before[4], &before[2]];
        valence + boosters.into_iter().filter_map(|words| boost(words)).sum::<f64>()
    }

    fn least(&self, valence: f64, at: usize) -> f64 {
        let is_least = self.is_before(at, 1, "least") && !self.lexicon.contains_key("least");
        let is_kept = self.is_before(at, 2, "at") || self.is_before(at, 2, "very");
        match is_least && !is_kept {
            true => valence * NEGATION,
            false => valence,
        }
    }
}

fn boost(words: &str) -> Option<f64> {
    match words {
        words if BOOSTERS.contains(&words) => Some(BOOST),
        words if DAMPENERS.contains(&words) => Some(-BOOST),
        _ => None,
    }
}

/// What stands before the first "but" counts half, what stands behind it half as much again. As in the original, which
/// looks each valence up by its value, the first of equal ones is changed in place of a later one.
fn but(words: &[Word], valences: &mut [f64]) {
    let Some(but) = words.iter().position(|word| word.lower == "but") else {
        return;
    };
    for at in 0..valences.len() {
        let valence = valences[at];
        let first = valences.iter().position(|other| *other == valence).unwrap_or(at);
        if first < but {
            valences[first] *= 0.5;
        } else if first > but {
            valences[first] *= 1.5;
        }
    }
}
