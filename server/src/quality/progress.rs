//! The figures of progress: what `store/progress.rs` counted, put in its place in the reader's days and hours.

use super::{
    agreement,
    answers::Judged,
    forecast::{Forecast, N_DAYS, forecast},
    given::{self, Rated, Said},
    table::Tables,
};
use laurel_protocol::{
    AgreementWindow, AnnotatorProgress, DayFigures, Finish, FinishRange, HourFigures, ProgressQuery,
    ProjectProgress, Queue, TasksWith, Timestamp, UserId,
};
use std::collections::{BTreeMap, BTreeSet};

pub const HOUR_MS: i64 = 60 * 60 * 1000;
pub const DAY_MS: i64 = 24 * HOUR_MS;
const N_HOURS: i64 = 48;

/// Which days and hours are told of, by their number since 1970 where the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub now: Timestamp,
    /// What the reader's clock is ahead.
    pub ahead_ms: i64,
    first_day: i64,
    first_hour: i64,
    n_days: i64,
}

impl Calendar {
    pub fn of(query: ProgressQuery, now: Timestamp) -> Self {
        let ahead_ms = i64::from(query.tz_offset_minutes) * 60 * 1000;
        let n_days = i64::from(query.days);
        let local = now.0 + ahead_ms;
        Self {
            now,
            ahead_ms,
            first_day: local.div_euclid(DAY_MS) + 1 - n_days,
            first_hour: local.div_euclid(HOUR_MS) + 1 - N_HOURS,
            n_days,
        }
    }

    /// When the first of the days begins.
    pub fn days_begin(self) -> Timestamp {
        Timestamp(self.first_day * DAY_MS - self.ahead_ms)
    }

    /// When the first of the days and hours begins.
    pub fn begins(self) -> Timestamp {
        let hours_begin = self.first_hour * HOUR_MS - self.ahead_ms;
        Timestamp(hours_begin.min(self.days_begin().0))
    }

    /// Whether this day is told of.
    pub fn has(self, day: i64) -> bool {
        self.day(day).is_some()
    }

    /// The place of a day that is told of.
    fn day(self, day: i64) -> Option<usize> {
        let at = usize::try_from(day - self.first_day).ok()?;
        (at < self.n_days as usize).then_some(at)
    }

    fn hour(self, hour: i64) -> Option<usize> {
        let at = usize::try_from(hour - self.first_hour).ok()?;
        (at < N_HOURS as usize).then_some(at)
    }
}

/// So many annotations of one person in one hour, by the reader's clock.
#[derive(Clone, Copy, Debug)]
pub struct InHour {
    pub hour: i64,
    pub user: UserId,
    pub n: u64,
}

/// So many annotations of one day took so many tenths of a second.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub day: i64,
    pub tenths: u64,
    pub n: u64,
}

/// The answers to some of the shared tasks.
#[derive(Clone, Debug)]
pub struct Window {
    pub since: Timestamp,
    pub until: Timestamp,
    pub n_tasks: u64,
    pub n_read: u64,
    pub judged: Vec<Judged>,
}

/// What the database has of a project.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub n_annotations: u64,
    /// How often any of them changed, so far.
    pub n_changes: i64,
    pub people: BTreeMap<UserId, String>,
    pub in_hours: Vec<InHour>,
    pub took: Vec<Took>,
    pub said: Vec<Said>,
    pub rated: Vec<Rated>,
    pub tasks: Vec<TasksWith>,
    /// Without its estimate.
    pub queue: Queue,
    /// How many were given in the 24 hours up to now, in those before them, and so on.
    pub by_day_ago: [u64; N_DAYS],
}

/// Agreement over time, and when it was looked at.
#[derive(Clone, Debug)]
pub struct OverTime {
    pub as_of: Timestamp,
    pub windows: Vec<AgreementWindow>,
}

pub fn report(counted: &Counted, over_time: OverTime, calendar: Calendar) -> ProjectProgress {
    ProjectProgress {
        as_of: calendar.now,
        n_annotations: counted.n_annotations,
        days: days(counted, calendar),
        hours: hours(counted, calendar),
        annotators: annotators(counted, calendar),
        queue: Queue {
            estimate: forecast(counted.queue.n_open_slots, &counted.by_day_ago)
                .map(|found| finish(found, calendar.now)),
            ..counted.queue
        },
        tasks: counted.tasks.clone(),
        agreement: over_time.windows,
        agreement_as_of: over_time.as_of,
        given: given::given(
            &counted.said,
            &counted.rated,
            counted.took.iter().map(|took| (took.tenths, took.n)),
        ),
    }
}

fn days(counted: &Counted, calendar: Calendar) -> Vec<DayFigures> {
    let mut people = vec![BTreeSet::new(); calendar.n_days as usize];
    let mut took = vec![Vec::new(); calendar.n_days as usize];
    let mut n = vec![0; calendar.n_days as usize];
    for in_hour in &counted.in_hours {
        if let Some(at) = calendar.day(in_hour.hour.div_euclid(24)) {
            n[at] += in_hour.n;
            people[at].insert(in_hour.user);
        }
    }
    for one in &counted.took {
        if let Some(at) = calendar.day(one.day) {
            took[at].push((one.tenths, one.n));
        }
    }
    (0..calendar.n_days as usize)
        .map(|at| DayFigures {
            starts: Timestamp((calendar.first_day + at as i64) * DAY_MS - calendar.ahead_ms),
            n_annotations: n[at],
            n_people: people[at].len() as u64,
            median_seconds: median(&mut took[at]).map(|tenths| tenths / 10.0),
        })
        .collect()
}

fn hours(counted: &Counted, calendar: Calendar) -> Vec<HourFigures> {
    let hour = |at: i64| HourFigures {
        starts: Timestamp((calendar.first_hour + at) * HOUR_MS - calendar.ahead_ms),
        n_annotations: 0,
    };
    let mut hours: Vec<_> = (0..N_HOURS).map(hour).collect();
    for in_hour in &counted.in_hours {
        if let Some(at) = calendar.hour(in_hour.hour) {
            hours[at].n_annotations += in_hour.n;
        }
    }
    hours
}

fn annotators(counted: &Counted, calendar: Calendar) -> Vec<AnnotatorProgress> {
    let mut by_user = BTreeMap::<UserId, AnnotatorProgress>::new();
    for in_hour in &counted.in_hours {
        let places = (
            calendar.day(in_hour.hour.div_euclid(24)),
            calendar.hour(in_hour.hour),
        );
        if places == (None, None) {
            continue;
        }
        let one = by_user.entry(in_hour.user).or_insert_with(|| AnnotatorProgress {
            user: in_hour.user,
            name: counted.people.get(&in_hour.user).cloned().unwrap_or_default(),
            by_day: vec![0; calendar.n_days as usize],
            by_hour: vec![0; N_HOURS as usize],
        });
        if let Some(at) = places.0 {
            one.by_day[at] += in_hour.n;
        }
        if let Some(at) = places.1 {
            one.by_hour[at] += in_hour.n;
        }
    }
    let mut annotators: Vec<_> = by_user.into_values().collect();
    annotators.sort_by_key(|one| std::cmp::Reverse(one.by_day.iter().sum::<u64>()));
    annotators
}

/// Of values that come so many times each.
fn median(counts: &mut [(u64, u64)]) -> Option<f64> {
    counts.sort_unstable();
    let n: u64 = counts.iter().map(|(_, n)| n).sum();
    let at = |place: u64| {
        let mut before = 0;
        let found = counts.iter().find(|(_, n)| {
            before += n;
            before > place
        });
        found.map(|(value, _)| *value as f64)
    };
    let (low, high) = (at(n.checked_sub(1)? / 2)?, at(n / 2)?);
    Some((low + high) / 2.0)
}

fn finish(found: Forecast, now: Timestamp) -> Finish {
    let after = |days: f64| Timestamp(now.0 + (days * DAY_MS as f64) as i64);
    Finish {
        n_days: found.n_days as u64,
        per_day: found.per_day,
        at: after(found.days),
        range: found.range.map(|range| FinishRange {
            earliest: after(range.low),
            latest: range.high.map(after),
        }),
    }
}

pub fn over_time(windows: &[Window]) -> Vec<AgreementWindow> {
    windows.iter().map(window).collect()
}

fn window(window: &Window) -> AgreementWindow {
    AgreementWindow {
        since: window.since,
        until: window.until,
        n_tasks: window.n_tasks,
        n_read: window.n_read,
        figures: agreement::main_figures(&Tables::of(&window.judged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::answers::tests::pick;
    use laurel_protocol::{Choice, Measure};

    /// 2026-03-01 00:30 in Seoul is still February in UTC.
    const NOW: Timestamp = Timestamp(1_772_292_600_000);

    fn calendar(tz_offset_minutes: i32, days: u16) -> Calendar {
        let query = ProgressQuery {
            tz_offset_minutes,
            days,
        };
        Calendar::of(query, NOW)
    }

    fn no_windows() -> OverTime {
        OverTime {
            as_of: NOW,
            windows: Vec::new(),
        }
    }

    /// So many annotations of person 1, so many hours ago.
    fn ago(hours: i64, n: u64, calendar: Calendar) -> InHour {
        let at = NOW.0 - hours * HOUR_MS + calendar.ahead_ms;
        InHour {
            hour: at.div_euclid(HOUR_MS),
            user: UserId(1),
            n,
        }
    }

    #[test]
    fn a_day_begins_at_the_readers_midnight() {
        let in_days = |calendar: Calendar| -> Vec<u64> {
            let counted = Counted {
                in_hours: vec![ago(0, 1, calendar), ago(1, 10, calendar), ago(40, 100, calendar)],
                ..Counted::default()
            };
            let days = report(&counted, no_windows(), calendar).days;
            days.iter().map(|day| day.n_annotations).collect()
        };
        assert_eq!(in_days(calendar(0, 3)), [100, 0, 11]);
        assert_eq!(in_days(calendar(540, 3)), [100, 10, 1]);
        assert_eq!(in_days(calendar(540, 1)), [1]);
        let seoul = calendar(540, 3);
        let today = report(&Counted::default(), no_windows(), seoul).days[2].starts;
        assert_eq!(NOW.0 - today.0, HOUR_MS / 2);
    }

    #[test]
    fn the_last_48_hours_are_told_of_whatever_the_days() {
        let calendar = calendar(540, 1);
        assert!(calendar.begins().0 <= NOW.0 - 47 * HOUR_MS);
        let counted = Counted {
            in_hours: vec![ago(0, 1, calendar), ago(47, 5, calendar), ago(48, 7, calendar)],
            people: [(UserId(1), "ada".to_owned())].into(),
            ..Counted::default()
        };
        let found = report(&counted, no_windows(), calendar);
        assert_eq!((found.hours.len(), found.hours[0].n_annotations), (48, 5));
        assert_eq!(found.hours[47].n_annotations, 1);
        let ada = &found.annotators[0];
        assert_eq!((ada.name.as_str(), ada.by_day.as_slice()), ("ada", &[1][..]));
        assert_eq!(ada.by_hour.iter().sum::<u64>(), 6);
    }

    #[test]
    fn the_median_of_a_day_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&mut [(30, 1), (10, 2), (20, 1)]), Some(15.0));
        assert_eq!(median(&mut [(30, 3), (10, 1)]), Some(30.0));
        assert_eq!(median(&mut [(7, 1)]), Some(7.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn an_estimate_lies_ahead_of_now_within_its_range() {
        let counted = Counted {
            queue: Queue {
                n_open_slots: 50,
                ..Queue::default()
            },
            by_day_ago: [10; N_DAYS],
            ..Counted::default()
        };
        let found = report(&counted, no_windows(), calendar(0, 1))
            .queue
            .estimate
            .unwrap();
        assert_eq!(found.at.0 - NOW.0, 5 * DAY_MS);
        let range = found.range.unwrap();
        assert_eq!((range.earliest, range.latest), (found.at, Some(found.at)));
    }

    #[test]
    fn a_window_has_percent_agreement_and_alpha_of_its_own_tasks() {
        let same = |task| {
            [
                pick(task, 1, Choice::First, &[0, 1]),
                pick(task, 2, Choice::Second, &[1, 0]),
            ]
        };
        let window = Window {
            since: Timestamp(1),
            until: Timestamp(2),
            n_tasks: 6,
            n_read: 6,
            judged: (0..6).flat_map(same).collect(),
        };
        let found = over_time(&[window]).remove(0);
        let measures: Vec<_> = found.figures.iter().map(|figure| figure.measure).collect();
        assert_eq!(measures, [Measure::Percent, Measure::AlphaNominal]);
        assert_eq!(found.figures[0].estimate.unwrap().value, 1.0);
        assert_eq!(found.figures[1].estimate, None, "everybody said one and the same");
    }
}
