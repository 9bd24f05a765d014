//! What a project asks about the answers of a task beside the judgement, and what an annotator says to it: ratings,
//! marked passages, better answers. All of it may stand on one page with any label type.

use crate::error::Check;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// What is asked beside the judgement; at first nothing. It may change at any time: what was answered keeps the names
/// under which it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Questions {
    /// Every completion is rated on each of these: "helpful", "harmless" …
    pub dimensions: Vec<String>,
    /// A rating goes from 1, worst, to this: 2 to 10.
    pub rating_steps: u8,
    /// Kinds of passages that may be marked in a completion: "wrong", "unsafe" …
    pub span_labels: Vec<String>,
    /// A completion may be edited into a better one.
    pub edit: bool,
    /// An answer of one's own may be written.
    pub demonstration: bool,
    /// Rank only: a line below which answers are unacceptable.
    pub acceptable_line: bool,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            dimensions: Vec::new(),
            rating_steps: 5,
            span_labels: Vec::new(),
            edit: false,
            demonstration: false,
            acceptable_line: false,
        }
    }
}

/// Dimensions, and labels of spans, that a project may have.
pub const MAX_NAMES: usize = 8;
/// The longest answer that a person may write.
pub const MAX_WRITTEN_BYTES: usize = 128 * 1024;
const MAX_SPANS: usize = 200;

impl Questions {
    /// Whether an answer is more than the judgement.
    pub fn any(&self) -> bool {
        !self.dimensions.is_empty()
            || !self.span_labels.is_empty()
            || self.edit
            || self.demonstration
            || self.acceptable_line
    }

    pub(crate) fn check(&self, check: &mut Check) {
        check
            .ensure(
                are_names(&self.dimensions),
                "questions.dimensions",
                "must be at most 8 different names of 1 to 40 characters",
            )
            .ensure(
                are_names(&self.span_labels),
                "questions.span_labels",
                "must be at most 8 different names of 1 to 40 characters",
            )
            .ensure(
                (2..=10).contains(&self.rating_steps),
                "questions.rating_steps",
                "must be 2 to 10",
            );
    }
}

fn are_names(names: &[String]) -> bool {
    let is_name = |name: &String| name.trim() == name && (1..=40).contains(&name.chars().count());
    names.len() <= MAX_NAMES
        && names.iter().all(is_name)
        && names.iter().collect::<HashSet<_>>().len() == names.len()
}

/// What is said beside the judgement. Positions are those in display order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Extras {
    /// By dimension: the rating of the completion at each position.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratings: BTreeMap<String, Vec<u8>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// At most one for each completion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Rank only: the last rank that is acceptable; 0: none is. Without it nothing was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptable: Option<u8>,
}

/// A marked passage of a completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span {
    pub position: u8,
    /// First character, counted in Unicode code points of the completion's text as the model wrote it, from 0.
    pub start: u32,
    /// The character behind the last one.
    pub end: u32,
    /// One of the project's `span_labels`.
    pub label: String,
}

/// A completion, made better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Edit {
    pub position: u8,
    /// The whole new text.
    pub text: String,
}

impl Extras {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What needs no more than the questions and the number of completions; `n_ranks` is the lowest rank given, 0 for
    /// label types without ranks.
    pub(crate) fn check(&self, questions: &Questions, n_completions: usize, n_ranks: u8, check: &mut Check) {
        let is_rating = |rating: &u8| (1..=questions.rating_steps).contains(rating);
        let is_whole = |name: &String| {
            let ratings = self.ratings.get(name);
            ratings.is_some_and(|ratings| ratings.len() == n_completions && ratings.iter().all(is_rating))
        };
        let is_at = |position: u8| usize::from(position) < n_completions;
        let edited: HashSet<u8> = self.edits.iter().map(|edit| edit.position).collect();
        check
            .ensure(
                questions.dimensions.iter().all(is_whole),
                "extras.ratings",
                "must rate every completion on every dimension that the project asks for",
            )
            .ensure(
                self.ratings
                    .keys()
                    .all(|name| questions.dimensions.contains(name)),
                "extras.ratings",
                "has a dimension that the project does not ask for",
            )
            .ensure(self.spans.len() <= MAX_SPANS, "extras.spans", "are more than 200")
            .ensure(
                self.spans
                    .iter()
                    .all(|span| is_at(span.position) && span.start < span.end),
                "extras.spans",
                "must each mark at least one character of a completion",
            )
            .ensure(
                self.spans
                    .iter()
                    .all(|span| questions.span_labels.contains(&span.label)),
                "extras.spans",
                "has a label that the project does not ask for",
            )
            .ensure(
                questions.edit || self.edits.is_empty(),
                "extras.edits",
                "are not asked for by the project",
            )
            .ensure(
                edited.len() == self.edits.len() && edited.iter().all(|position| is_at(*position)),
                "extras.edits",
                "must be of different completions of the task",
            )
            .ensure(
                self.edits.iter().all(|edit| is_written(&edit.text)),
                "extras.edits",
                "must be texts of at most 128 KiB",
            )
            .ensure(
                questions.demonstration || self.demonstration.is_none(),
                "extras.demonstration",
                "is not asked for by the project",
            )
            .ensure(
                self.demonstration.as_deref().is_none_or(is_written),
                "extras.demonstration",
                "must be a text of at most 128 KiB",
            )
            .ensure(
                self.acceptable
                    .is_none_or(|last| questions.acceptable_line && n_ranks > 0 && last <= n_ranks),
                "extras.acceptable",
                "must be a rank that was given, or 0, where the project asks for the line",
            );
    }

    /// What only the texts of the completions can tell, in display order.
    pub fn check_texts(&self, texts: &[&str], check: &mut Check) {
        let n_chars: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
        let is_inside = |span: &Span| {
            n_chars
                .get(usize::from(span.position))
                .is_some_and(|n| span.end as usize <= *n)
        };
        let is_new = |edit: &Edit| {
            texts
                .get(usize::from(edit.position))
                .is_some_and(|text| text.trim() != edit.text.trim())
        };
        check
            .ensure(
                self.spans.iter().all(is_inside),
                "extras.spans",
                "must end within the completion",
            )
            .ensure(
                self.edits.iter().all(is_new),
                "extras.edits",
                "must differ from the completion",
            );
    }
}

fn is_written(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_WRITTEN_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions() -> Questions {
        Questions {
            dimensions: vec!["helpful".into()],
            rating_steps: 5,
            span_labels: vec!["wrong".into()],
            edit: true,
            demonstration: true,
            acceptable_line: true,
        }
    }

    fn rated() -> Extras {
        Extras {
            ratings: BTreeMap::from([("helpful".to_owned(), vec![5, 1])]),
            ..Extras::default()
        }
    }

    fn refused(extras: &Extras, questions: &Questions) -> Option<String> {
        let mut check = Check::default();
        extras.check(questions, 2, 2, &mut check);
        extras.check_texts(&["héllo", "bye"], &mut check);
        check.finish().err().map(|errors| errors[0].field.clone())
    }

    #[test]
    fn every_completion_is_rated_within_the_scale() {
        assert_eq!(refused(&rated(), &questions()), None);
        let mut short = rated();
        short.ratings.insert("helpful".into(), vec![5]);
        let mut high = rated();
        high.ratings.insert("helpful".into(), vec![6, 1]);
        for bad in [short, high, Extras::default()] {
            assert_eq!(refused(&bad, &questions()).as_deref(), Some("extras.ratings"));
        }
    }

    #[test]
    fn what_is_not_asked_is_refused() {
        assert_eq!(
            refused(&rated(), &Questions::default()).as_deref(),
            Some("extras.ratings")
        );
        let own = Extras {
            demonstration: Some("mine".into()),
            ..Extras::default()
        };
        assert_eq!(
            refused(&own, &Questions::default()).as_deref(),
            Some("extras.demonstration")
        );
    }

    #[test]
    fn spans_are_counted_in_characters_and_end_within_the_text() {
        let marked = |end| Extras {
            spans: vec![Span {
                position: 0,
                start: 0,
                end,
                label: "wrong".into(),
            }],
            ..rated()
        };
        assert_eq!(refused(&marked(5), &questions()), None);
        assert_eq!(refused(&marked(6), &questions()).as_deref(), Some("extras.spans"));
        assert_eq!(refused(&marked(0), &questions()).as_deref(), Some("extras.spans"));
    }

    #[test]
    fn an_edit_changes_something_and_each_completion_has_one() {
        let edited = |edits: &[(u8, &str)]| {
            let edit = |&(position, text): &(u8, &str)| Edit {
                position,
                text: text.into(),
            };
            Extras {
                edits: edits.iter().map(edit).collect(),
                ..rated()
            }
        };
        assert_eq!(refused(&edited(&[(0, "x"), (1, "y")]), &questions()), None);
        for bad in [
            &[(1, "bye ")][..],
            &[(0, "x"), (0, "y")],
            &[(2, "x")],
            &[(0, " ")],
        ] {
            assert_eq!(
                refused(&edited(bad), &questions()).as_deref(),
                Some("extras.edits"),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn the_line_lies_at_a_rank_that_was_given() {
        let line = |last| Extras {
            acceptable: Some(last),
            ..rated()
        };
        assert_eq!(refused(&line(0), &questions()), None);
        assert_eq!(
            refused(&line(3), &questions()).as_deref(),
            Some("extras.acceptable")
        );
    }
}
