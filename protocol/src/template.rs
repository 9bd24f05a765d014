//! Which chat template turns a conversation into the text that a model reads.

use crate::error::{Check, Validation};
use serde::{Deserialize, Serialize};

/// `"model"`, `"alpaca"`, `"alpaca_lf"`, `"chatml"`, `"plain"` or `{"jinja": "…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The template that came with the base model.
    #[default]
    Model,
    /// Stanford Alpaca's text, which ends right behind `### Response:`.
    Alpaca,
    /// LLaMA-Factory's variant of it: a line break behind `### Response:` and two behind an answer.
    AlpacaLf,
    /// `<|im_start|>role … <|im_end|>`.
    Chatml,
    /// No template: the texts are joined as they are.
    Plain,
    /// A Jinja template with the variables that transformers gives one.
    Jinja(String),
}

/// The longest Jinja template that is accepted.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

impl Template {
    /// The choices that have a name.
    pub const NAMED: [Self; 5] = [
        Self::Model,
        Self::Alpaca,
        Self::AlpacaLf,
        Self::Chatml,
        Self::Plain,
    ];

    /// The name in JSON, forms and command lines; of a Jinja text the word `jinja`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Alpaca => "alpaca",
            Self::AlpacaLf => "alpaca_lf",
            Self::Chatml => "chatml",
            Self::Plain => "plain",
            Self::Jinja(_) => "jinja",
        }
    }

    /// The choice of this name; `None` for `jinja`, which needs its text, and for unknown names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|choice| choice.as_str() == name)
    }

    pub fn validate(&self) -> Validation {
        let mut check = Check::default();
        if let Self::Jinja(source) = self {
            check
                .ensure(!source.trim().is_empty(), "template", "is empty")
                .ensure(
                    source.len() <= MAX_TEMPLATE_BYTES,
                    "template",
                    "is longer than 64 KiB",
                );
        }
        check.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_name_or_a_jinja_text_in_json() {
        let read = |text: &str| serde_json::from_str::<Template>(text).ok();
        assert_eq!(read(r#""alpaca_lf""#), Some(Template::AlpacaLf));
        assert_eq!(read(r#"{"jinja": "x"}"#), Some(Template::Jinja("x".into())));
        assert_eq!(read(r#""vicuna""#), None);
        for choice in Template::NAMED {
            assert_eq!(read(&format!("{:?}", choice.as_str())), Some(choice));
        }
    }

    #[test]
    fn a_jinja_text_has_bounds() {
        let refused = |source: String| Template::Jinja(source).validate().is_err();
        assert!(refused(" ".into()));
        assert!(refused("x".repeat(MAX_TEMPLATE_BYTES + 1)));
        assert!(!refused("{{ messages }}".into()));
    }
}
