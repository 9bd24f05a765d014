//! The model card (`README.md`) of a merged folder: what it was made of, and how near it is to that.

use super::Report;
use anyhow::Result;
use serde_json::json;
use std::{fs, path::Path};

pub fn write(report: &Report, dir: &Path) -> Result<()> {
    let (base, adapter, check) = (&report.base_model, &report.adapter, &report.verification);
    let pipeline = match report.is_reward_model {
        true => "text-classification",
        false => "text-generation",
    };
    let checked = match report.is_reward_model {
        true => format!(
            "scores differ from those of base and adapter apart by {:.1e} at most",
            check.written.largest
        ),
        false => format!(
            "log-probabilities differ from those of base and adapter apart by {:.1e} at most; the mean divergence is \
             {:.1e} nats, and the likeliest token is the same at {:.1} % of {} positions",
            check.written.largest,
            check.written.divergence,
            100.0 * check.written.top1_agreement,
            check.n_positions,
        ),
    };
    // A JSON string is a YAML string too, whatever stands in it.
    let text = format!(
        "---\nbase_model: {}\nlibrary_name: transformers\npipeline_tag: {pipeline}\ntags:\n- laurel\n- merged\n---\n\n\
         # {adapter} merged into {base}\n\n\
         The weights of `{base}` with the adapter `{adapter}` in them, written by `laurel-trainer merge`.\n\n\
         | | |\n|---|---|\n\
         | base model | `{base}` |\n\
         | base weights | `{}` (Laurel's hash of shape and first numbers) |\n\
         | adapter | `{adapter}` ({}) |\n\
         | adapter's weights | SHA-256 `{}` |\n\
         | tensors changed | {} of {} |\n\
         | type | {} |\n\n\
         Read back from these files, {checked}.\n",
        json!(base),
        report.base_weights_hash,
        report.adapter_kind,
        report.adapter_sha256,
        report.n_changed,
        report.n_tensors,
        report.dtype,
    );
    Ok(fs::write(dir.join("README.md"), text)?)
}
