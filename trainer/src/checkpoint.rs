//! Checkpoints: adapter weights, optimiser moments and position of a round, written so that a kill at any moment
//! leaves a whole one. Random draws come from named streams, so the position is all the state they need.

use crate::rounds::{Carried, Seen};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const BEST: &str = "best.safetensors";

/// Where a round stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Hash of all that decides the round: a checkpoint of another round is not taken.
    pub fingerprint: String,
    /// Steps done.
    pub step: u64,
    /// Updates of the optimiser; as many as steps where it is absent.
    #[serde(default)]
    pub n_updates: Option<u64>,
    /// Bytes of the metrics file at that point; what was written later is cut off.
    pub metrics_bytes: u64,
    /// What the evaluations have shown.
    #[serde(default)]
    pub seen: Seen,
    /// What a PPO round has besides.
    #[serde(default)]
    pub carried: Option<Carried>,
}

pub struct Checkpoint {
    pub state: State,
    pub weights: HashMap<String, Tensor>,
    pub moments: HashMap<String, Tensor>,
    /// Weights of the best evaluation, where the round keeps them.
    pub best: Option<HashMap<String, Tensor>>,
}

/// Writes a checkpoint into `dir` and removes older ones.
pub fn save(
    dir: &Path,
    state: &State,
    weights: &BTreeMap<String, Tensor>,
    moments: &BTreeMap<String, Tensor>,
    best: Option<&BTreeMap<String, Tensor>>,
) -> Result<()> {
    let target = dir.join(format!("step-{:08}", state.step));
    let draft = dir.join(format!("draft-{:08}", state.step));
    let mut tensors = vec![(WEIGHTS, weights), (MOMENTS, moments)];
    tensors.extend(best.map(|best| (BEST, best)));
    write(&draft, &target, state, &tensors).with_context(|| format!("write checkpoint {target:?}"))?;
    for (step, old) in steps(dir)? {
        if step != state.step {
            fs::remove_dir_all(&old).with_context(|| format!("remove old checkpoint {old:?}"))?;
        }
    }
    Ok(())
}

fn write(
    draft: &Path,
    target: &Path,
    state: &State,
    tensors: &[(&str, &BTreeMap<String, Tensor>)],
) -> Result<()> {
    if draft.exists() {
        fs::remove_dir_all(draft)?;
    }
    fs::create_dir_all(draft)?;
    for (name, tensors) in tensors {
        safetensors::serialize_to_file(*tensors, None, &draft.join(name))?;
        File::open(draft.join(name))?.sync_all()?;
    }
    fs::write(draft.join(STATE), serde_json::to_vec(state)?)?;
    File::open(draft.join(STATE))?.sync_all()?;
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    fs::rename(draft, target)?;
    // The new name itself must be on disk before the old checkpoint goes.
    if let Some(parent) = target.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// The newest checkpoint in `dir`.
pub fn newest(dir: &Path, device: &Device) -> Result<Option<Checkpoint>> {
    let Some((_, path)) = steps(dir)?.pop() else {
        return Ok(None);
    };
    read(&path, device)
        .map(Some)
        .with_context(|| format!("read checkpoint {path:?}"))
}

fn read(path: &Path, device: &Device) -> Result<Checkpoint> {
    Ok(Checkpoint {
        state: serde_json::from_slice(&fs::read(path.join(STATE))?)?,
        weights: candle_core::safetensors::load(path.join(WEIGHTS), device)?,
        moments: candle_core::safetensors::load(path.join(MOMENTS), device)?,
        best: match path.join(BEST).exists() {
            true => Some(candle_core::safetensors::load(path.join(BEST), device)?),
            false => None,
        },
    })
}

/// Finished checkpoints, oldest first.
fn steps(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {dir:?}"))? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(step) = name
            .to_str()
            .and_then(|name| name.strip_prefix("step-")?.parse().ok())
        {
            steps.push((step, entry.path()));
        }
    }
    steps.sort();
    Ok(steps)
}

/// Writes a file whole or not at all.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("draft");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("write {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_checkpoint_comes_back_and_drafts_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let tensor = |x: f32| BTreeMap::from([("w".to_owned(), Tensor::new(&[x], &Device::Cpu).unwrap())]);
        for step in [9, 10] {
            let state = State {
                n_updates: None,
                carried: None,
                fingerprint: "f".into(),
                step,
                metrics_bytes: 1,
                seen: Seen::default(),
            };
            let best = tensor(0.25);
            save(
                dir.path(),
                &state,
                &tensor(step as f32),
                &tensor(0.5),
                Some(&best),
            )
            .unwrap();
        }
        fs::create_dir(dir.path().join("draft-00000011")).unwrap();
        let checkpoint = newest(dir.path(), &Device::Cpu).unwrap().unwrap();
        assert_eq!(checkpoint.state.step, 10);
        assert_eq!(checkpoint.weights["w"].to_vec1::<f32>().unwrap(), [10.0]);
        assert_eq!(checkpoint.best.unwrap()["w"].to_vec1::<f32>().unwrap(), [0.25]);
        assert_eq!(steps(dir.path()).unwrap().len(), 1);
    }
}
