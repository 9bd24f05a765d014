//! Passwords: argon2id off the async threads, a few at a time so that a flood of sign-ins cannot take the memory.

use crate::error::Failure;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use std::sync::LazyLock;
use tokio::sync::Semaphore;

/// Each hash takes about 19 MiB.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// What an unknown name is compared with, so that it takes as long as a known one.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash_blocking("nobody has this password").unwrap_or_default());

/// The PHC string to store.
pub async fn hash(password: String) -> Result<String, Failure> {
    let _permit = AT_ONCE.acquire().await.map_err(Failure::internal)?;
    tokio::task::spawn_blocking(move || hash_blocking(&password))
        .await
        .map_err(Failure::internal)?
        .map_err(Failure::internal)
}

/// Whether the password fits the stored hash; without a hash it takes as long and is `false`.
pub async fn verify(password: String, stored: Option<String>) -> Result<bool, Failure> {
    let _permit = AT_ONCE.acquire().await.map_err(Failure::internal)?;
    let check = move || {
        let (known, stored) = (stored.is_some(), stored.unwrap_or_else(|| NOBODY.clone()));
        let fits = PasswordVerifier::<str>::verify_password(&Argon2::default(), password.as_bytes(), &stored)
            .is_ok();
        known && fits
    };
    tokio::task::spawn_blocking(check)
        .await
        .map_err(Failure::internal)
}

/// For the command line.
pub fn hash_blocking(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}
