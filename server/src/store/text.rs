//! How Rust values lie in text columns: enums under their JSON names, structures as JSON. Reading checks, so that
//! a row which this version does not understand is an error and never a guess. Also the secrets whose hashes are
//! stored: leases of jobs.

use super::Result;
use laurel_protocol::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// An enum from the name that it has in JSON.
pub fn from_name<T: DeserializeOwned>(name: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(unreadable)
}

/// The name that an enum has in JSON.
pub fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("an enum without fields is a JSON string, got {other:?}"),
    }
}

pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

pub fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> super::Error {
    sqlx::Error::Decode(error.into()).into()
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Thirty-two bytes from the operating system's generator, in hex.
pub fn random_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
    Ok(hex(&bytes))
}

/// Puts `items` in a random order, every order equally likely (Fisher and Yates).
pub fn shuffle<T>(items: &mut [T]) -> Result<()> {
    for last in (1..items.len()).rev() {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
        // Lists are shorter than ten: the bias of the remainder is below 2^-60.
        let at = (u64::from_le_bytes(bytes) % (last as u64 + 1)) as usize;
        items.swap(at, last);
    }
    Ok(())
}

pub fn time(milliseconds: Option<i64>) -> Option<Timestamp> {
    milliseconds.map(Timestamp)
}

/// A count as SQLite gives it.
pub fn count(value: i64) -> u64 {
    value.try_into().unwrap_or(0)
}
