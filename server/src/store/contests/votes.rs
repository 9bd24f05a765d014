//! The votes of a contest, read as scores of its prompts. Where a reviewer has decided a task, the decision stands in place of
//! the votes.

use crate::{
    quality::sequential::Scores,
    store::{Result, text},
};
use laurel_protocol::{Choice, ContestFigures, ContestId};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// The prompt, what was chosen, and whether the first contender's answer was shown first.
type Vote = (i64, String, bool);

/// Votes for the first contender, ties, and votes for the second.
type Tally = [u64; 3];

pub(super) async fn figures(conn: &mut SqliteConnection, id: ContestId) -> Result<ContestFigures> {
    let (alpha, n_prompts, n_same, n_left_out): (f64, i64, i64, i64) = sqlx::query_as(
        "select c.alpha, count(*), sum(p.state = 'same'), sum(p.state = 'left_out')
         from contest c join contest_prompt p on p.contest_id = c.id where c.id = ?1",
    )
    .bind(id.0)
    .fetch_one(&mut *conn)
    .await?;
    let votes: Vec<Vote> = sqlx::query_as(
        "select p.prompt_id, n.judgement ->> '$.choice', s.display_order ->> '$[0]' = p.first_answer_id
         from contest_prompt p
         join task t on t.id = p.task_id and t.status = 'done'
         left join task r on r.source_id = t.id and r.kind = 'review' and r.status = 'done'
         join assignment s on s.task_id = coalesce(r.id, t.id)
         join annotation n on n.assignment_id = s.id and n.replaced_by is null and n.withdrawn = 0
         where p.contest_id = ?1",
    )
    .bind(id.0)
    .fetch_all(conn)
    .await?;
    let mut prompts = BTreeMap::<i64, Tally>::new();
    for (prompt, choice, first_is_first) in votes {
        prompts.entry(prompt).or_default()[place(text::from_name(&choice)?, first_is_first)] += 1;
    }
    let n_same = text::count(n_same);
    let mut scores: Scores = prompts.values().map(score).collect();
    for _ in 0..n_same {
        scores.add(0.5);
    }
    let mut all: Tally = [0; 3];
    for tally in prompts.values() {
        all.iter_mut().zip(tally).for_each(|(all, own)| *all += own);
    }
    let [wins, ties, losses] = all;
    Ok(ContestFigures {
        n_prompts: text::count(n_prompts),
        n_counted: scores.n(),
        n_same,
        n_left_out: text::count(n_left_out),
        wins,
        ties,
        losses,
        win_rate: scores.mean(),
        interval: scores.interval(alpha),
    })
}

fn place(choice: Choice, first_is_first: bool) -> usize {
    match (choice, first_is_first) {
        (Choice::First, true) | (Choice::Second, false) => 0,
        (Choice::Tie | Choice::BothBad, _) => 1,
        (Choice::First, false) | (Choice::Second, true) => 2,
    }
}

/// The first contender's share of the votes on one prompt.
fn score(&[wins, ties, losses]: &Tally) -> f64 {
    (2 * wins + ties) as f64 / (2 * (wins + ties + losses)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_is_the_first_contenders_wherever_its_answer_was_shown() {
        assert_eq!(place(Choice::First, true), place(Choice::Second, false));
        assert_eq!(place(Choice::Second, true), place(Choice::First, false));
        assert_eq!(place(Choice::BothBad, true), place(Choice::Tie, false));
    }

    #[test]
    fn a_prompt_counts_by_the_mean_of_its_votes() {
        assert_eq!(score(&[2, 1, 0]), 5.0 / 6.0);
        assert_eq!(score(&[0, 1, 0]), 0.5);
    }
}
