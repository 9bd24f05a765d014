//! Passwords: argon2id off the async threads, a few at a time so that a flood of sign-ins cannot take the memory, and
//! in a short line so that it cannot take the time either.

use crate::error::Failure;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use laurel_protocol::ErrorCode;
use std::sync::LazyLock;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Each hash takes about 19 MiB.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
/// Those being hashed and those that wait for it: about two seconds of work.
static IN_LINE: Semaphore = Semaphore::const_new(N_IN_LINE);
const N_IN_LINE: usize = 64;

/// A turn to hash, or a refusal where too many wait already.
async fn turn() -> Result<[SemaphorePermit<'static>; 2], Failure> {
    let place = IN_LINE.try_acquire().map_err(|_| {
        let detail = "Too many people sign in at this moment: try again in a few seconds.";
        Failure::new(ErrorCode::Unavailable, detail)
    })?;
    let turn = AT_ONCE.acquire().await.map_err(Failure::internal)?;
    Ok([place, turn])
}

/// What an unknown name is compared with, so that it takes as long as a known one.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash_blocking("nobody has this password").unwrap_or_default());

/// The PHC string to store.
pub async fn hash(password: String) -> Result<String, Failure> {
    let _turn = turn().await?;
    tokio::task::spawn_blocking(move || hash_blocking(&password))
        .await
        .map_err(Failure::internal)?
        .map_err(Failure::internal)
}

/// Whether the password fits the stored hash; without a hash it takes as long and is `false`.
pub async fn verify(password: String, stored: Option<String>) -> Result<bool, Failure> {
    let _turn = turn().await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn a_flood_of_sign_ins_is_turned_away_beyond_a_short_line() {
        let tries = (0..N_IN_LINE + 3).map(|_| verify("guess".to_owned(), None));
        let answers = join_all(tries).await;
        let n_refused = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(n_refused, 3);
        assert!(
            verify("guess".to_owned(), None).await.is_ok(),
            "the line is free again"
        );
    }
}
