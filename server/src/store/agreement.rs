//! How often people who compared the same two answers agree.

use super::{Db, Result, rounds, text};
use laurel_protocol::{Agreement, RoundId};

/// Over the strict comparisons of a round's snapshot, as far as their annotations stand. Pairs of answers that one person
/// alone compared do not count, nor does who chose both of them in two tasks.
pub async fn of_round(db: &Db, round: RoundId) -> Result<Agreement> {
    let snapshot = rounds::get(db, round).await?.snapshot.id;
    let (n_shared, n_compared, n_same): (i64, i64, i64) = sqlx::query_as(
        "with chosen as (
             select min(c.chosen_id, c.rejected_id) as low, max(c.chosen_id, c.rejected_id) as high, s.user_id,
                    min(c.chosen_id) as choice
             from comparison c
             join annotation a on a.id = c.annotation_id
             join assignment s on s.id = a.assignment_id
             where c.tie = 0
               and c.annotation_id in (select annotation_id from snapshot_row where snapshot_id = ?1)
             group by 1, 2, 3 having min(c.chosen_id) = max(c.chosen_id)),
         pair as (
             select count(*) as n, sum(choice = low) as n_low from chosen group by low, high having count(*) > 1)
         select count(*), coalesce(sum(n * (n - 1) / 2), 0),
                coalesce(sum(n_low * (n_low - 1) / 2 + (n - n_low) * (n - n_low - 1) / 2), 0)
         from pair",
    )
    .bind(snapshot.0)
    .fetch_one(db.read())
    .await?;
    Ok(Agreement {
        n_shared: text::count(n_shared),
        n_compared: text::count(n_compared),
        n_same: text::count(n_same),
    })
}
