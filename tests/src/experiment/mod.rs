//! What the programs of `cargo xtask experiment` share: the trainer's command line, and means with their intervals.

pub mod statistics;
pub mod trainer;

use std::fs;

/// The precision that is meant: `auto` is bf16 where the CPU multiplies it.
#[must_use]
pub fn precision(asked: &str) -> &str {
    let multiplies_bf16 =
        || fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("avx512_bf16"));
    match asked {
        "auto" if multiplies_bf16() => "bf16",
        "auto" => "f32",
        given => given,
    }
}
