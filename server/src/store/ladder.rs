//! Who was chosen over whom how often, read from counts that migration 0018 keeps: a large project's comparisons are not read
//! again for each look.

use super::{Db, Result, contests::contender, projects, text};
use crate::quality::standings::{Met, Result as Outcome};
use laurel_protocol::{Contender, LadderSource, ProjectId, RoundKind};

/// Who met whom, and all who could.
pub struct Counted {
    pub met: Vec<Met>,
    pub all: Vec<Contender>,
}

/// The chosen one's adapter and its name, the rejected one's, whether it was a tie, and how often.
type CountRow = (
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
    bool,
    i64,
);

pub async fn counted(db: &Db, project: ProjectId, source: LadderSource) -> Result<Counted> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let rows: Vec<CountRow> = sqlx::query_as(
        "select nullif(c.chosen, 0), w.name, nullif(c.rejected, 0), l.name, c.tie, sum(c.n)
         from pair_count c left join adapter w on w.id = c.chosen left join adapter l on l.id = c.rejected
         where c.project_id = ?1 and (?2 = 'all' or c.source = ?2)
         group by c.chosen, c.rejected, c.tie",
    )
    .bind(project.0)
    .bind(text::name_of(&source))
    .fetch_all(&mut *tx)
    .await?;
    let adapters: Vec<(i64, String, String)> =
        sqlx::query_as("select id, name, kind from adapter where project_id = ?1")
            .bind(project.0)
            .fetch_all(&mut *tx)
            .await?;
    let mut all = vec![contender(None, None)];
    for (id, name, kind) in adapters {
        if text::from_name::<RoundKind>(&kind)?.makes_policy() {
            all.push(contender(Some(id), Some(name)));
        }
    }
    let met = rows
        .into_iter()
        .map(|(winner, winner_name, loser, loser_name, tie, n)| Met {
            first: contender(winner, winner_name),
            second: contender(loser, loser_name),
            result: if tie { Outcome::Tie } else { Outcome::FirstWins },
            n: text::count(n),
        });
    Ok(Counted {
        met: met.collect(),
        all,
    })
}
