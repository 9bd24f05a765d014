//! Group commit: small writes that come at the same moment share one transaction, and with it one wait for the disk. Each
//! is a savepoint of its own, so that one that fails takes back itself alone; nobody is answered before all are on disk.

use super::{Error, Result};
use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{Acquire, SqliteConnection, SqlitePool};
use std::panic::AssertUnwindSafe;
use tokio::sync::{mpsc, oneshot};

/// Writes that share a transaction at most: whoever wants one alone waits for it.
const MOST: usize = 32;
/// Writes that wait; more come to a stop where they are handed in.
const MOST_WAITING: usize = 1024;

/// What is to be written; it answers with `T` once that is on disk.
pub(super) type Work<T> =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send>;

/// Hands writes to the one task that makes them.
#[derive(Clone, Debug)]
pub(super) struct Together(mpsc::Sender<Box<dyn Member>>);

impl Together {
    /// Starts the task; it ends when the last handle has gone.
    pub fn start(write: SqlitePool) -> Self {
        let (send, waiting) = mpsc::channel(MOST_WAITING);
        tokio::spawn(write_all(write, waiting));
        Self(send)
    }

    pub async fn write<T: Send + 'static>(&self, work: Work<T>) -> Result<T> {
        let (to, answer) = oneshot::channel();
        let one = One {
            work: Some(work),
            outcome: Err(has_ended()),
            to,
        };
        self.0.send(Box::new(one)).await.map_err(|_| has_ended())?;
        answer.await.map_err(|_| has_ended())?
    }
}

fn has_ended() -> Error {
    sqlx::Error::WorkerCrashed.into()
}

/// One write of a group, whatever it answers.
trait Member: Send + std::fmt::Debug {
    /// Whether it is to stay.
    fn run<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, bool>;
    /// After the commit, or what went wrong with the whole.
    fn answer(self: Box<Self>, committed: &sqlx::Result<()>);
}

struct One<T> {
    work: Option<Work<T>>,
    outcome: Result<T>,
    to: oneshot::Sender<Result<T>>,
}

impl<T: Send> Member for One<T> {
    fn run<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return false;
            };
            // A bug in one must not end the task that writes for all.
            let done = AssertUnwindSafe(async { work(conn).await }).catch_unwind().await;
            self.outcome = done.unwrap_or_else(|_| Err(has_ended()));
            self.outcome.is_ok()
        })
    }

    fn answer(self: Box<Self>, committed: &sqlx::Result<()>) {
        let outcome = match (self.outcome, committed) {
            (Ok(_), Err(error)) => Err(sqlx::Error::Protocol(error.to_string()).into()),
            (outcome, _) => outcome,
        };
        // Whoever asked may have gone away meanwhile.
        let _ = self.to.send(outcome);
    }
}

impl<T> std::fmt::Debug for One<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a write")
    }
}

async fn write_all(pool: SqlitePool, mut waiting: mpsc::Receiver<Box<dyn Member>>) {
    let mut group = Vec::with_capacity(MOST);
    // What came while the last group was written makes the next.
    while waiting.recv_many(&mut group, MOST).await > 0 {
        let committed = write_group(&pool, &mut group).await;
        for member in group.drain(..) {
            member.answer(&committed);
        }
    }
}

async fn write_group(pool: &SqlitePool, group: &mut [Box<dyn Member>]) -> sqlx::Result<()> {
    let mut tx = pool.begin_with("begin immediate").await?;
    for member in group {
        let mut part = tx.begin().await?;
        match member.run(&mut part).await {
            true => part.commit().await?,
            false => part.rollback().await?,
        }
    }
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    async fn numbers() -> (SqlitePool, Together) {
        let options = SqliteConnectOptions::new().in_memory(true);
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(options).await.unwrap();
        sqlx::query("create table number (n integer primary key) strict")
            .execute(&pool)
            .await
            .unwrap();
        let together = Together::start(pool.clone());
        (pool, together)
    }

    /// Writes a number twice where it is odd, which fails half-way.
    fn write(n: i64) -> Work<i64> {
        Box::new(move |conn| {
            Box::pin(async move {
                for _ in 0..=n % 2 {
                    let insert = sqlx::query("insert into number (n) values (?1)").bind(n);
                    insert.execute(&mut *conn).await?;
                }
                assert!(n < 100, "a bug");
                Ok(n)
            })
        })
    }

    async fn written(pool: &SqlitePool) -> Vec<i64> {
        let numbers = sqlx::query_scalar("select n from number order by n");
        numbers.fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn one_that_fails_takes_back_itself_alone() {
        let (pool, together) = numbers().await;
        // Held back until all wait, so that they make one group.
        let busy = pool.acquire().await.unwrap();
        let writes = futures_util::future::join_all((0..9).map(|n| together.write(write(n))));
        let (outcomes, ()) = tokio::join!(writes, async { drop(busy) });
        let good: Vec<i64> = outcomes.into_iter().flatten().collect();
        assert_eq!(good, [0, 2, 4, 6, 8]);
        assert_eq!(written(&pool).await, good);
    }

    #[tokio::test]
    async fn a_bug_in_one_ends_that_one() {
        let (pool, together) = numbers().await;
        assert!(together.write(write(100)).await.is_err());
        assert_eq!(together.write(write(2)).await.unwrap(), 2);
        assert_eq!(written(&pool).await, [2]);
    }

    #[tokio::test]
    async fn what_cannot_be_committed_is_an_error_for_each() {
        let (pool, together) = numbers().await;
        pool.close().await;
        let writes = futures_util::future::join_all([0, 2].map(|n| together.write(write(n))));
        assert!(writes.await.iter().all(Result::is_err));
    }
}
