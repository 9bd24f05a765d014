//! Who won: comparisons of two contenders that stand, those of battles and those of completion jobs apart.

use crate::{
    quality::standings::{Met, Result as Outcome},
    store::{Db, Result, completion_jobs::BASE_MODEL, projects, text},
};
use laurel_protocol::{AdapterId, Contender, ProjectId};
use sqlx::SqliteConnection;

/// Comparisons of one origin, and the picks that called both bad.
#[derive(Default)]
pub struct Results {
    pub met: Vec<Met>,
    pub n_both_bad: u64,
}

/// Those of battles, then those of completion jobs, at one moment.
pub async fn read(db: &Db, project: ProjectId) -> Result<[Results; 2]> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let live = Results {
        met: met(&mut tx, project, true).await?,
        n_both_bad: n_both_bad(&mut tx, project, true).await?,
    };
    let offline = Results {
        met: met(&mut tx, project, false).await?,
        n_both_bad: n_both_bad(&mut tx, project, false).await?,
    };
    Ok([live, offline])
}

/// The chosen one's adapter and its name, the rejected one's, whether it was a tie, and how often.
type MetRow = (
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
    bool,
    i64,
);

/// What a person wrote is no contender's, and two completions of one contender say nothing about it.
async fn met(conn: &mut SqliteConnection, project: ProjectId, live: bool) -> Result<Vec<Met>> {
    let rows: Vec<MetRow> = sqlx::query_as(
        "select w.adapter_id, wa.name, l.adapter_id, la.name, c.tie, count(*)
         from comparison c
         join completion w on w.id = c.chosen_id left join adapter wa on wa.id = w.adapter_id
         join completion l on l.id = c.rejected_id left join adapter la on la.id = l.adapter_id
         where c.project_id = ?1 and w.annotation_id is null and l.annotation_id is null
           and w.adapter_id is not l.adapter_id and (w.battle_id is not null) = ?2
         group by w.adapter_id, l.adapter_id, c.tie order by 1, 3, 5",
    )
    .bind(project.0)
    .bind(live)
    .fetch_all(conn)
    .await?;
    let met = rows
        .into_iter()
        .map(|(winner, winner_name, loser, loser_name, tie, n)| Met {
            first: contender(winner, winner_name),
            second: contender(loser, loser_name),
            result: if tie { Outcome::Tie } else { Outcome::FirstWins },
            n: text::count(n),
        });
    Ok(met.collect())
}

async fn n_both_bad(conn: &mut SqliteConnection, project: ProjectId, live: bool) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "select count(*) from assignment s join annotation a on a.assignment_id = s.id
         where s.project_id = ?1 and s.kind = 'label' and s.live = ?2 and a.replaced_by is null and a.withdrawn = 0
           and json_extract(a.judgement, '$.choice') = 'both_bad'",
    )
    .bind(project.0)
    .bind(live)
    .fetch_one(conn)
    .await?;
    Ok(text::count(n))
}

fn contender(adapter: Option<i64>, name: Option<String>) -> Contender {
    Contender {
        adapter: adapter.map(AdapterId),
        name: name.unwrap_or_else(|| BASE_MODEL.to_owned()),
    }
}
