//! What the form of a new round stands on: the project, what a round can go on from, and what the form begins with.

use crate::{api, error::AppError, words::fill};
use laurel_protocol::{
    Adapter, NewPlanned, Origin, PlannedId, PlannedStatus, Project, ProjectId, Round, RoundId, RoundKind,
    RoundQueue, WaitFor, When,
};

/// Where the form begins, by its address.
#[derive(Clone, Copy)]
pub enum From {
    Nothing,
    /// A copy of this round.
    Round(RoundId),
    /// The planned round that is to be changed.
    Planned(PlannedId),
}

#[derive(Clone, PartialEq)]
pub struct Ground {
    pub project: Project,
    pub sources: Vec<Source>,
    pub begin: Option<Begin>,
}

/// An adapter, or a round that will make one.
#[derive(Clone, PartialEq)]
pub struct Source {
    pub origin: Origin,
    pub name: String,
    pub kind: RoundKind,
}

/// What the form is filled with at first.
#[derive(Clone, PartialEq)]
pub struct Begin {
    pub round: NewPlanned,
    pub name: String,
    /// The planned round that is changed; none: another one is made.
    pub planned: Option<PlannedId>,
}

pub async fn load(id: ProjectId, from: From) -> Result<Ground, AppError> {
    let project = api::project::load(id).await?;
    let adapters = api::adapter::list(id).await?;
    let rounds = api::round::list(id).await?;
    let queue = api::planned::queue(id).await?;
    let begin = match from {
        From::Nothing => None,
        From::Round(id) => rounds.iter().find(|round| round.id == id).map(copy_of),
        From::Planned(id) => change_of(&queue, id),
    };
    let own = begin.as_ref().and_then(|begin| begin.planned);
    Ok(Ground {
        sources: sources(&adapters, &rounds, &queue, own),
        project,
        begin,
    })
}

fn copy_of(round: &Round) -> Begin {
    let origin = |adapter| match adapter {
        Some(id) => Origin::Adapter { id },
        None => Origin::Base,
    };
    Begin {
        round: NewPlanned {
            name: String::new(),
            spec: round.spec.clone(),
            start: origin(round.starting_adapter),
            reward: origin(round.reward_adapter),
            when: When::default(),
        },
        name: round.name.clone(),
        planned: None,
    }
}

fn change_of(queue: &RoundQueue, id: PlannedId) -> Option<Begin> {
    let planned = queue.planned.iter().find(|planned| planned.id == id)?;
    Some(Begin {
        round: planned.round.clone(),
        name: planned.round.name.clone(),
        planned: (planned.status != PlannedStatus::Launched).then_some(id),
    })
}

/// Adapters, newest first, then rounds under way, then planned ones.
fn sources(
    adapters: &[Adapter],
    rounds: &[Round],
    queue: &RoundQueue,
    own: Option<PlannedId>,
) -> Vec<Source> {
    let made = adapters.iter().map(|adapter| Source {
        origin: Origin::Adapter { id: adapter.id },
        name: adapter.name.clone(),
        kind: adapter.kind,
    });
    let under_way = rounds.iter().filter(|round| !round.status.is_over());
    let under_way = under_way.map(|round| Source {
        origin: Origin::Round { id: round.id },
        name: fill("what {0} makes", &[&round.name]),
        kind: round.spec.kind,
    });
    let planned = queue
        .planned
        .iter()
        .filter(|planned| planned.status == PlannedStatus::Waiting && Some(planned.id) != own);
    let planned = planned.map(|planned| Source {
        origin: Origin::Planned { id: planned.id },
        name: fill("what {0} makes", &[&planned_name(&planned.round, planned.id)]),
        kind: planned.round.spec.kind,
    });
    made.chain(under_way).chain(planned).collect()
}

/// A planned round has no name of its own unless it was given one.
pub fn planned_name(round: &NewPlanned, id: PlannedId) -> String {
    match round.name.trim() {
        "" => format!("{} (#{id})", super::super::overview::kind_name(round.spec.kind)),
        name => name.to_owned(),
    }
}

/// An origin as the value of an option: nothing, `3`, `round:5`, `planned:2`.
pub fn value_of(origin: Origin) -> String {
    match origin {
        Origin::Base => String::new(),
        Origin::Adapter { id } => id.to_string(),
        Origin::Round { id } => format!("round:{id}"),
        Origin::Planned { id } => format!("planned:{id}"),
    }
}

pub fn origin_of(value: &str) -> Origin {
    let parsed = match value.split_once(':') {
        None => value.parse().ok().map(|id| Origin::Adapter { id }),
        Some(("round", id)) => id.parse().ok().map(|id| Origin::Round { id }),
        Some((_, id)) => id.parse().ok().map(|id| Origin::Planned { id }),
    };
    parsed.unwrap_or_default()
}

pub fn wait_for(value: &str) -> Option<WaitFor> {
    origin_of(value).waits_for()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::AdapterId;

    #[test]
    fn an_origin_comes_back_from_its_option() {
        for origin in [
            Origin::Base,
            Origin::Adapter { id: AdapterId(3) },
            Origin::Round { id: RoundId(5) },
            Origin::Planned { id: PlannedId(2) },
        ] {
            assert_eq!(origin_of(&value_of(origin)), origin);
        }
        assert_eq!(origin_of("planned:x"), Origin::Base);
        assert_eq!(wait_for("3"), None);
    }
}
