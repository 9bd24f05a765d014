//! Who labels: VADER's sentiment lexicon and rules (Hutto and Gilbert 2014), which know nothing of the model.

use std::sync::OnceLock;
use vader_sentimental::SentimentIntensityAnalyzer;

/// VADER's compound score of a text, from −1 to 1.
pub fn score(text: &str) -> f64 {
    static ANALYZER: OnceLock<SentimentIntensityAnalyzer<'static>> = OnceLock::new();
    let analyzer = ANALYZER.get_or_init(SentimentIntensityAnalyzer::new);
    analyzer.polarity_scores(text).compound
}

#[cfg(test)]
mod tests {
    use super::score;

    #[test]
    fn scores_are_those_that_vaders_authors_print() {
        // From the README of vaderSentiment 3.3, rounded as there.
        let printed = [
            ("VADER is smart, handsome, and funny.", 0.8316),
            ("VADER is VERY SMART, handsome, and FUNNY!!!", 0.9342),
            ("VADER is not smart, handsome, nor funny.", -0.7424),
            ("The book was good.", 0.4404),
            ("At least it isn't a horrible book.", 0.431),
            ("The book was only kind of good.", 0.3832),
            ("Today SUX!", -0.5461),
            ("Today only kinda sux! But I'll get by, lol", 0.5249),
            ("Not bad at all", 0.431),
        ];
        for (text, compound) in printed {
            assert!(
                (score(text) - compound).abs() < 6e-5,
                "{text}: {} for {compound}",
                score(text)
            );
        }
    }

    #[test]
    fn a_text_without_words_is_neutral() {
        for text in ["", " \n", ".", "a"] {
            assert_eq!(score(text), 0.0);
        }
    }
}
