//! Which linear layers an adapter changes, and with which rank and alpha: PEFT's rules (`check_target_module_exists`
//! and `get_pattern_key`), on paths such as `model.layers.0.self_attn.q_proj`.

use anyhow::{Context, Result, anyhow, ensure};
use fancy_regex::Regex;
use laurel_protocol::adapter::{
    AdapterConfig, ByPattern, Ia3Config, LINEAR_LAYERS, LoraConfig, ModuleNames, is_all_linear,
};

/// The layers that IA3 changes by default, of which a model has some, and those whose input it scales.
const IA3_LAYERS: [&str; 4] = ["k_proj", "v_proj", "qkv_proj", "down_proj"];
const IA3_INPUTS: [&str; 1] = ["down_proj"];

/// Answers whether an adapter changes a layer.
pub(super) struct Selection {
    targets: Names,
    excluded: Names,
    /// Numbers of the blocks; empty means all.
    blocks: Vec<u32>,
}

enum Names {
    Ends(Vec<String>),
    Fits(Box<Regex>),
}

impl Selection {
    pub fn of(config: &AdapterConfig) -> Result<Self> {
        let (excluded, blocks) = match config {
            AdapterConfig::Lora(lora) => (&lora.exclude_modules, lora.layers_to_transform.clone()),
            AdapterConfig::Ia3(ia3) => (&ia3.exclude_modules, Vec::new()),
        };
        let targets = match target_modules(config) {
            ModuleNames::Pattern(text) if !is_all_linear(text) => {
                Names::Fits(Box::new(whole(text).context("target_modules")?))
            }
            _ => Names::Ends(target_names(config)),
        };
        let excluded = match excluded {
            ModuleNames::List(names) => Names::Ends(names.clone()),
            ModuleNames::Pattern(text) => Names::Fits(Box::new(whole(text).context("exclude_modules")?)),
        };
        Ok(Self {
            targets,
            excluded,
            blocks,
        })
    }

    pub fn takes(&self, path: &str) -> Result<bool> {
        if self.excluded.take(path)? || !self.targets.take(path)? {
            return Ok(false);
        }
        let in_block = || block_of(path).is_some_and(|block| self.blocks.contains(&block));
        Ok(self.blocks.is_empty() || in_block())
    }

    /// The blocks that are asked for, each of which the model must have.
    pub fn check_blocks(&self, n_blocks: usize) -> Result<()> {
        let stranger = self.blocks.iter().find(|&&block| block as usize >= n_blocks);
        match stranger {
            Some(block) => Err(anyhow!(
                "layers_to_transform names block {block}, but the model has the blocks 0 to {}",
                n_blocks - 1
            )),
            None => Ok(()),
        }
    }
}

impl Names {
    fn take(&self, path: &str) -> Result<bool> {
        match self {
            Self::Ends(names) => Ok(names.iter().any(|name| is_named(path, name))),
            Self::Fits(regex) => fits(regex, path),
        }
    }
}

/// Tells without a model how large an adapter will be.
pub(crate) struct Sizes<'a> {
    selection: Selection,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Lora(Ranks<'a>),
    Ia3(ScalesInputs),
}

impl<'a> Sizes<'a> {
    pub fn of(config: &'a AdapterConfig) -> Result<Self> {
        Ok(Self {
            selection: Selection::of(config)?,
            kind: match config {
                AdapterConfig::Lora(lora) => Kind::Lora(Ranks::of(lora)?),
                AdapterConfig::Ia3(ia3) => Kind::Ia3(ScalesInputs::of(ia3)?),
            },
        })
    }

    /// How many numbers it trains for a layer; none where it leaves the layer alone.
    pub fn n_trained(&self, path: &str, (n_out, n_in): (usize, usize)) -> Result<Option<usize>> {
        if !self.selection.takes(path)? {
            return Ok(None);
        }
        Ok(Some(match &self.kind {
            Kind::Lora(ranks) => {
                let magnitudes = if ranks.config.use_dora { n_out } else { 0 };
                ranks.rank(path)? as usize * (n_out + n_in) + magnitudes
            }
            Kind::Ia3(inputs) if inputs.is(path)? => n_in,
            Kind::Ia3(_) => n_out,
        }))
    }
}

/// Whether IA3 scales a layer's inputs. PEFT takes the end of a path here even where no point stands before it.
pub(super) struct ScalesInputs(Names);

impl ScalesInputs {
    pub fn of(config: &Ia3Config) -> Result<Self> {
        let default = ModuleNames::from(IA3_INPUTS.as_slice());
        let names = match config.feedforward_modules.as_ref().unwrap_or(&default) {
            ModuleNames::List(names) => Names::Ends(names.clone()),
            ModuleNames::Pattern(text) => Names::Fits(Box::new(whole(text).context("feedforward_modules")?)),
        };
        Ok(Self(names))
    }

    pub fn is(&self, path: &str) -> Result<bool> {
        match &self.0 {
            Names::Ends(names) => Ok(names.iter().any(|name| path.ends_with(name))),
            Names::Fits(regex) => fits(regex, path),
        }
    }
}

/// Ranks and alphas of LoRA's layers.
pub(super) struct Ranks<'a> {
    config: &'a LoraConfig,
    ranks: Vec<(Regex, u32)>,
    alphas: Vec<(Regex, f64)>,
}

impl<'a> Ranks<'a> {
    pub fn of(config: &'a LoraConfig) -> Result<Self> {
        Ok(Self {
            config,
            ranks: ends(&config.rank_pattern).context("rank_pattern")?,
            alphas: ends(&config.alpha_pattern).context("alpha_pattern")?,
        })
    }

    pub fn rank(&self, path: &str) -> Result<u32> {
        Ok(first(&self.ranks, path)?.unwrap_or(self.config.rank))
    }

    /// Where a layer's rank stands in PEFT's file.
    pub fn origin(&self, path: &str) -> Result<String> {
        let pattern = first(&self.ranks, path)?;
        Ok(pattern.map_or_else(
            || format!("\"r\": {}", self.config.rank),
            |rank| format!("{rank} in its rank_pattern"),
        ))
    }

    /// alpha / rank, for rs-LoRA alpha / √rank.
    pub fn scaling(&self, path: &str) -> Result<f64> {
        let (rank, alpha) = (f64::from(self.rank(path)?), first(&self.alphas, path)?);
        let alpha = alpha.unwrap_or(self.config.alpha);
        Ok(alpha / if self.config.use_rslora { rank.sqrt() } else { rank })
    }

    /// A pattern that fits none of the adapter's layers is a slip.
    pub fn check_used<'p>(&self, paths: impl Iterator<Item = &'p str> + Clone) -> Result<()> {
        let regexes = self.ranks.iter().map(|(regex, _)| ("rank_pattern", regex));
        for (option, regex) in regexes.chain(self.alphas.iter().map(|(regex, _)| ("alpha_pattern", regex))) {
            let mut used = false;
            for path in paths.clone() {
                used |= fits(regex, path)?;
            }
            ensure!(
                used,
                "{option} has an entry that fits no layer of the adapter: {:?}",
                regex.as_str()
            );
        }
        Ok(())
    }
}

/// The target modules in words, where they are no regular expression: those asked for, else the default.
pub(super) fn target_names(config: &AdapterConfig) -> Vec<String> {
    let default: &[&str] = match config {
        AdapterConfig::Ia3(ia3) if ia3.target_modules.is_empty() => &IA3_LAYERS,
        _ => &LINEAR_LAYERS,
    };
    match target_modules(config) {
        ModuleNames::List(names) if !names.is_empty() => names.clone(),
        _ => default.iter().map(|&name| name.to_owned()).collect(),
    }
}

pub(super) fn target_modules(config: &AdapterConfig) -> &ModuleNames {
    match config {
        AdapterConfig::Lora(lora) => &lora.target_modules,
        AdapterConfig::Ia3(ia3) => &ia3.target_modules,
    }
}

/// Whether a path is an entry or ends with a point and the entry.
pub(super) fn is_named(path: &str, entry: &str) -> bool {
    path == entry || path.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

/// The number after `layers` in a path.
fn block_of(path: &str) -> Option<u32> {
    path.split('.').find_map(|part| part.parse().ok())
}

/// As Python's `re.fullmatch`.
fn whole(text: &str) -> Result<Regex> {
    compile(&format!(r"\A(?:{text})\z"), text)
}

/// As PEFT's `get_pattern_key`: the whole path or its end after a point.
fn ends<T: Copy>(patterns: &ByPattern<T>) -> Result<Vec<(Regex, T)>> {
    let compiled = patterns.0.iter().map(|(text, value)| {
        let regex = compile(&format!(r"\A(.*\.)?({text})\z"), text)?;
        Ok((regex, *value))
    });
    compiled.collect()
}

fn compile(regex: &str, text: &str) -> Result<Regex> {
    Regex::new(regex).map_err(|error| anyhow!("{text:?} is no regular expression that can be used: {error}"))
}

fn first<T: Copy>(patterns: &[(Regex, T)], path: &str) -> Result<Option<T>> {
    for (regex, value) in patterns {
        if fits(regex, path)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

/// An expression that needs too many steps ends with an error.
fn fits(regex: &Regex, path: &str) -> Result<bool> {
    regex
        .is_match(path)
        .with_context(|| format!("match {:?} against {path:?}", regex.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q0: &str = "model.layers.0.self_attn.q_proj";
    const Q1: &str = "model.layers.1.self_attn.q_proj";
    const UP1: &str = "model.layers.1.mlp.up_proj";

    fn taken(options: &str) -> Vec<&'static str> {
        let config = serde_json::from_str(&format!(r#"{{"type": "lora", {options}}}"#)).unwrap();
        let selection = Selection::of(&config).unwrap();
        let mut paths = vec![Q0, Q1, UP1, "model.layers.1.mlp.gate_up_proj"];
        paths.retain(|path| selection.takes(path).unwrap());
        paths
    }

    #[test]
    fn layers_are_taken_as_peft_takes_them() {
        assert_eq!(taken(r#""target_modules": ["q_proj"]"#), [Q0, Q1]);
        assert_eq!(taken(r#""target_modules": ["up_proj"]"#), [UP1]);
        assert_eq!(taken(r#""target_modules": ["1.self_attn.q_proj"]"#), [Q1]);
        assert_eq!(taken(r#""target_modules": ".*q_proj""#), [Q0, Q1]);
        // A regular expression fits the whole path, not a part of it.
        assert!(taken(r#""target_modules": "q_proj""#).is_empty());
        let all = taken(r#""target_modules": "All-Linear""#);
        assert_eq!((all.len(), taken(r#""rank": 2"#).len()), (4, 4));
        let blocks = taken(r#""target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]"#);
        assert_eq!(blocks, [Q1, UP1]);
        let excluded = taken(r#""target_modules": ["q_proj"], "exclude_modules": ["0.self_attn.q_proj"]"#);
        assert_eq!(excluded, [Q1]);
        let excluded = taken(r#""target_modules": ["q_proj"], "exclude_modules": ".*\\.1\\..*""#);
        assert_eq!(excluded, [Q0]);
        assert_eq!(taken(r#""target_modules": "(?!.*mlp).*\\.1\\..*""#), [Q1]);
    }

    #[test]
    fn the_first_pattern_that_fits_the_end_of_a_path_counts() {
        let text = r#"{"rank": 8, "alpha": 16, "use_rslora": true, "alpha_pattern": {"up_proj": 4},
            "rank_pattern": {"0.self_attn.q_proj": 4, "q_proj": 2, "^model.layers.1.*": 1, "proj": 7}}"#;
        let config: LoraConfig = serde_json::from_str(text).unwrap();
        let ranks = Ranks::of(&config).unwrap();
        let rank = |path| ranks.rank(path).unwrap();
        assert_eq!((rank(Q0), rank(Q1), rank(UP1)), (4, 2, 1));
        assert_eq!(ranks.scaling(Q0).unwrap(), 8.0);
        assert_eq!(ranks.scaling(UP1).unwrap(), 4.0);
        let error = ranks.check_used([Q0, UP1].into_iter()).unwrap_err().to_string();
        assert!(error.contains("(proj)"), "{error}");
    }

    #[test]
    fn what_is_no_regular_expression_is_named() {
        let config = serde_json::from_str(r#"{"type": "lora", "target_modules": "(q_proj"}"#).unwrap();
        let error = format!("{:#}", Selection::of(&config).err().unwrap());
        assert!(
            error.contains("target_modules") && error.contains("(q_proj"),
            "{error}"
        );
    }
}
