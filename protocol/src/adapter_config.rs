//! Which small set of weights a round trains: LoRA or IA3, with the options and the words of PEFT.
//!
//! Comes from a spec file, the form of a new round or the API, and from an adapter's `adapter_config.json`; the trainer
//! makes an adapter of that shape.

use crate::error::{Check, Validation};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, marker::PhantomData};

/// Which small set of weights a round trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AdapterConfig {
    /// Hu et al. 2021: W + (alpha / rank) · B A.
    Lora(LoraConfig),
    /// Liu et al. 2022: learned scales on keys, values and the feed-forward's inner activations.
    Ia3(Ia3Config),
}

/// Low-rank adaptation (Hu et al. 2021), with rs-LoRA and DoRA as options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    #[serde(alias = "r")]
    pub rank: u32,
    #[serde(alias = "lora_alpha")]
    pub alpha: f64,
    /// Share of the inputs of A that a training pass sets to zero; never used outside of training.
    #[serde(alias = "lora_dropout")]
    pub dropout: f64,
    /// Kalajdzievski 2023: alpha / √rank in place of alpha / rank.
    pub use_rslora: bool,
    /// Liu et al. 2024: a learned length for each row of the weight, whose direction LoRA turns.
    pub use_dora: bool,
    pub init_lora_weights: LoraInit,
    /// Ranks of layers that differ, by a regular expression for the end of the path; the first that fits counts.
    #[serde(skip_serializing_if = "ByPattern::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, u32>))]
    pub rank_pattern: ByPattern<u32>,
    /// The same for alpha.
    #[serde(skip_serializing_if = "ByPattern::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, f64>))]
    pub alpha_pattern: ByPattern<f64>,
    /// Empty means all linear layers of each block.
    pub target_modules: ModuleNames,
    #[serde(skip_serializing_if = "ModuleNames::is_empty")]
    pub exclude_modules: ModuleNames,
    /// Numbers of the blocks that are changed; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_to_transform: Vec<u32>,
}

/// How LoRA's A begins; B is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Uniform from ±1/√in, PEFT's default.
    #[default]
    Kaiming,
    /// Normal with the deviation 1/rank.
    Gaussian,
}

/// IA3 (Liu et al. 2022).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// Empty means those of the paper: keys, values and `down_proj`.
    pub target_modules: ModuleNames,
    #[serde(skip_serializing_if = "ModuleNames::is_empty")]
    pub exclude_modules: ModuleNames,
    /// Those of them whose input is scaled instead of the output; none given means `down_proj`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedforward_modules: Option<ModuleNames>,
}

/// Linear layers of the model, named as in PEFT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ModuleNames {
    /// Each a path or the end of one: `q_proj`, `0.self_attn.q_proj`.
    List(Vec<String>),
    /// A regular expression that fits whole paths, or `all-linear`.
    Pattern(String),
}

/// The linear layers of a block. The last two are Phi-3's, in place of q, k and v, and of gate and up.
pub const LINEAR_LAYERS: [&str; 9] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "qkv_proj",
    "gate_up_proj",
];

/// The word for all linear layers of the blocks.
pub const ALL_LINEAR: &str = "all-linear";

/// The largest rank, in a pattern as well.
const MAX_RANK: u32 = 256;
const MAX_ALPHA: f64 = 1024.0;
/// With more than that nothing is left to learn from.
pub const MAX_DROPOUT: f64 = 0.9;
/// Characters of a regular expression.
const MAX_PATTERN: usize = 500;

impl Default for AdapterConfig {
    fn default() -> Self {
        Self::Lora(LoraConfig::default())
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            use_rslora: false,
            use_dora: false,
            init_lora_weights: LoraInit::Kaiming,
            rank_pattern: ByPattern::default(),
            alpha_pattern: ByPattern::default(),
            target_modules: ModuleNames::default(),
            exclude_modules: ModuleNames::default(),
            layers_to_transform: Vec::new(),
        }
    }
}

impl Default for ModuleNames {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl AdapterConfig {
    /// LoRA on all linear layers.
    pub fn lora(rank: u32, alpha: f64) -> Self {
        Self::Lora(LoraConfig {
            rank,
            alpha,
            ..LoraConfig::default()
        })
    }

    /// IA3 on the layers of the paper.
    pub fn ia3() -> Self {
        Self::Ia3(Ia3Config::default())
    }

    /// Of a training pass.
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Lora(lora) => lora.dropout,
            Self::Ia3(_) => 0.0,
        }
    }

    pub fn validate(&self) -> Validation {
        let mut check = Check::default();
        match self {
            Self::Lora(lora) => lora.check(&mut check),
            Self::Ia3(ia3) => ia3.check(&mut check),
        }
        check.finish()
    }
}

impl LoraConfig {
    fn check(&self, check: &mut Check) {
        let is_rank = |rank: &u32| (1..=MAX_RANK).contains(rank);
        let is_alpha = |alpha: &f64| *alpha > 0.0 && *alpha <= MAX_ALPHA;
        check
            .ensure(is_rank(&self.rank), "adapter.rank", "must be 1 to 256")
            .ensure(
                is_alpha(&self.alpha),
                "adapter.alpha",
                "must be above 0 and at most 1024",
            )
            .ensure(
                (0.0..=MAX_DROPOUT).contains(&self.dropout),
                "adapter.dropout",
                "must be 0 to 0.9",
            )
            .ensure(
                self.rank_pattern.0.iter().all(|(_, rank)| is_rank(rank)),
                "adapter.rank_pattern",
                "must have ranks of 1 to 256",
            )
            .ensure(
                self.alpha_pattern.0.iter().all(|(_, alpha)| is_alpha(alpha)),
                "adapter.alpha_pattern",
                "must have alphas above 0 and at most 1024",
            );
        self.rank_pattern.check(check, "adapter.rank_pattern");
        self.alpha_pattern.check(check, "adapter.alpha_pattern");
        self.target_modules.check(check, "adapter.target_modules");
        self.exclude_modules.check(check, "adapter.exclude_modules");
        let names_paths = matches!(&self.target_modules, ModuleNames::Pattern(text) if !is_all_linear(text));
        check.ensure(
            !names_paths || self.layers_to_transform.is_empty(),
            "adapter.layers_to_transform",
            "goes with a list of target modules only: a regular expression names the blocks itself",
        );
    }
}

impl Ia3Config {
    fn check(&self, check: &mut Check) {
        self.target_modules.check(check, "adapter.target_modules");
        self.exclude_modules.check(check, "adapter.exclude_modules");
        if let Some(names) = &self.feedforward_modules {
            names.check(check, "adapter.feedforward_modules");
        }
    }
}

impl ModuleNames {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(names) => names.is_empty(),
            Self::Pattern(text) => text.is_empty(),
        }
    }

    fn check(&self, check: &mut Check, field: &str) {
        match self {
            Self::List(names) => check.ensure(
                names.iter().all(|name| is_linear(name)),
                field,
                "names a layer that the model does not have",
            ),
            Self::Pattern(text) => check.ensure(
                !text.is_empty() && text.len() <= MAX_PATTERN,
                field,
                "must be a list of layers, \"all-linear\", or a regular expression of at most 500 characters",
            ),
        };
    }
}

/// A regular expression, or `all-linear`.
impl From<&str> for ModuleNames {
    fn from(text: &str) -> Self {
        Self::Pattern(text.to_owned())
    }
}

impl From<&[&str]> for ModuleNames {
    fn from(names: &[&str]) -> Self {
        Self::List(names.iter().map(|&name| name.to_owned()).collect())
    }
}

fn is_linear(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    LINEAR_LAYERS.contains(&last)
}

/// Upper or lower case, as in PEFT.
pub fn is_all_linear(text: &str) -> bool {
    text.eq_ignore_ascii_case(ALL_LINEAR)
}

/// Values by regular expression, in the order given: the first that fits counts. An object in JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct ByPattern<T>(pub Vec<(String, T)>);

impl<T> ByPattern<T> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, check: &mut Check, field: &str) {
        let fits = |text: &String| !text.is_empty() && text.len() <= MAX_PATTERN;
        check.ensure(
            self.0.iter().all(|(text, _)| fits(text)),
            field,
            "must have regular expressions of 1 to 500 characters",
        );
    }
}

impl<T> Default for ByPattern<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Serialize> Serialize for ByPattern<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(text, value)| (text, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByPattern<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for InOrder<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of patterns and numbers")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> AdapterConfig {
        serde_json::from_str(text).unwrap()
    }

    fn refused(text: &str) -> String {
        config(text).validate().unwrap_err()[0].field.clone()
    }

    #[test]
    fn a_word_that_is_no_option_is_refused() {
        for text in [
            r#"{"type": "lora", "rank": 4, "alpha": 8, "use_doora": true}"#,
            r#"{"type": "ia3", "rank": 4}"#,
        ] {
            let error = serde_json::from_str::<AdapterConfig>(text)
                .unwrap_err()
                .to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn patterns_keep_their_order_and_a_config_comes_back_as_it_was() {
        let text = r#"{"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "use_rslora": true,
            "use_dora": true, "init_lora_weights": "gaussian", "rank_pattern": {"v_proj": 2, "1.*": 8, "a": 3},
            "target_modules": "all-linear", "exclude_modules": ["o_proj"], "layers_to_transform": [0, 2]}"#;
        let config = config(text);
        let AdapterConfig::Lora(lora) = &config else {
            panic!("a LoRA")
        };
        let order: Vec<&str> = lora
            .rank_pattern
            .0
            .iter()
            .map(|(text, _)| text.as_str())
            .collect();
        assert_eq!(order, ["v_proj", "1.*", "a"]);
        assert_eq!(config.validate(), Ok(()));
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<AdapterConfig>(&again).unwrap(), config);
    }

    #[test]
    fn specs_of_earlier_versions_are_understood() {
        let lora = config(r#"{"type": "lora", "rank": 4, "alpha": 16.0, "target_modules": []}"#);
        assert_eq!(lora, AdapterConfig::lora(4, 16.0));
        assert_eq!(
            config(r#"{"type": "ia3", "target_modules": []}"#),
            AdapterConfig::ia3()
        );
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_their_field() {
        let cases = [
            (r#""rank": 0"#, "rank"),
            (r#""alpha": 0"#, "alpha"),
            (r#""dropout": 0.91"#, "dropout"),
            (r#""dropout": -0.1"#, "dropout"),
            (r#""rank_pattern": {"q_proj": 257}"#, "rank_pattern"),
            (r#""rank_pattern": {"": 2}"#, "rank_pattern"),
            (r#""alpha_pattern": {"q_proj": 0}"#, "alpha_pattern"),
            (r#""target_modules": ["q_porj"]"#, "target_modules"),
            (r#""target_modules": """#, "target_modules"),
            (r#""exclude_modules": ["x"]"#, "exclude_modules"),
            (
                r#""target_modules": ".*q_proj", "layers_to_transform": [1]"#,
                "layers_to_transform",
            ),
        ];
        for (option, field) in cases {
            let text = format!(r#"{{"type": "lora", {option}}}"#);
            assert_eq!(refused(&text), format!("adapter.{field}"), "{option}");
        }
        let text = r#"{"type": "ia3", "feedforward_modules": ["lm_head"]}"#;
        assert_eq!(refused(text), "adapter.feedforward_modules");
    }
}
