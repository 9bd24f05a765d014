//! A file of gold items: JSON Lines, or a table of comma-separated values. Each line names a prompt, its completions and
//! what is right, by places from 1 in the order in which the line has them.

use crate::{
    csv,
    store::{completions::MAX_TEXT_BYTES, import, prompts::joined},
};
use laurel_protocol::{
    Answer, Choice, Expected, Extras, ImportReport, Judgement, LabelType, Message, NewGold, ProjectSettings,
    PromptText, Questions, validate_prompt,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// A line that is good.
#[derive(Debug)]
pub(super) struct Item {
    pub line: u64,
    pub messages: Vec<Message>,
    pub completions: Vec<String>,
    pub judgement: Judgement,
    pub ratings: BTreeMap<String, Vec<u8>>,
    pub explanation: String,
}

/// The items of a file, and which of its lines are bad and why. A file that begins with a brace is JSON Lines.
pub(super) fn read(body: &[u8], project: &ProjectSettings) -> (Vec<Item>, ImportReport) {
    let start = import::without_mark(body).trim_ascii_start();
    let lines = match start.first() {
        Some(b'{') => import::lines(body)
            .map(|(number, line)| (number, import::json(line).and_then(Line::of_json)))
            .collect(),
        _ => of_table(import::without_mark(body)),
    };
    let mut items = Vec::new();
    let mut report = ImportReport::default();
    for (number, line) in lines {
        match line.and_then(|line| line.item(number, project)) {
            Ok(item) => items.push(item),
            Err(reason) => import::note_bad(&mut report, number, reason),
        }
    }
    (items, report)
}

type Read = Result<Line, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    prompt: Value,
    completions: Vec<String>,
    best: Option<Best>,
    worst: Option<u8>,
    ranks: Option<Vec<u8>>,
    ratings: BTreeMap<String, Vec<u8>>,
    explanation: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Best {
    Place(u8),
    Word(NoBest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoBest {
    Tie,
    BothBad,
}

/// The rows of a table, whose first row names its columns.
fn of_table(body: &[u8]) -> Vec<(u64, Read)> {
    let Ok(text) = std::str::from_utf8(body) else {
        let before = body.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let line = before.matches('\n').count() as u64 + 1;
        return vec![(line, Err("is not UTF-8".to_owned()))];
    };
    let mut rows = csv::rows(text);
    let Some(head) = rows.next() else {
        return Vec::new();
    };
    let columns = head
        .cells
        .map_err(str::to_owned)
        .and_then(|names| Column::all(&names));
    match columns {
        Err(reason) => vec![(head.line, Err(reason))],
        Ok(columns) => rows
            .map(|row| {
                let cells = row.cells.map_err(str::to_owned);
                (row.line, cells.and_then(|cells| Line::of_cells(&columns, cells)))
            })
            .collect(),
    }
}

enum Column {
    Prompt,
    /// Its number, from 1.
    Completion(usize),
    Best,
    Worst,
    Ranks,
    Rating(String),
    Explanation,
}

impl Column {
    fn all(names: &[String]) -> Result<Vec<Self>, String> {
        let columns: Vec<Self> = names
            .iter()
            .map(|name| Self::of(name))
            .collect::<Result<_, _>>()?;
        let numbers = columns.iter().filter_map(|column| match column {
            Self::Completion(number) => Some(*number),
            _ => None,
        });
        match numbers.enumerate().all(|(at, number)| number == at + 1) {
            true => Ok(columns),
            false => Err("must name completion_1, completion_2 … in this order".to_owned()),
        }
    }

    fn of(name: &str) -> Result<Self, String> {
        let name = name.trim();
        match name {
            "prompt" => return Ok(Self::Prompt),
            "best" => return Ok(Self::Best),
            "worst" => return Ok(Self::Worst),
            "ranks" => return Ok(Self::Ranks),
            "explanation" => return Ok(Self::Explanation),
            _ => {}
        }
        let number = name
            .strip_prefix("completion_")
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            return Ok(Self::Completion(number));
        }
        let dimension = name.strip_prefix("rating:").map(|name| name.trim().to_owned());
        dimension.map(Self::Rating).ok_or_else(|| {
            "must be a JSON object, as every line, or name the columns of a table: prompt, completion_1, completion_2 …, \
             best, worst, ranks, rating:NAME, explanation"
                .to_owned()
        })
    }
}

impl Line {
    fn of_json(value: Value) -> Read {
        serde_json::from_value(value).map_err(|error| format!("is no gold item: {error}"))
    }

    fn of_cells(columns: &[Column], cells: Vec<String>) -> Read {
        if cells.len() > columns.len() {
            return Err("has more cells than the first line names".to_owned());
        }
        let mut line = Self::default();
        for (column, cell) in columns.iter().zip(cells) {
            let short = cell.trim();
            match column {
                Column::Prompt => line.prompt = Value::String(cell),
                Column::Completion(_) => line.completions.push(cell),
                Column::Explanation => line.explanation = cell,
                _ if short.is_empty() => {}
                Column::Best => line.best = Some(best(short)?),
                Column::Worst => line.worst = Some(number(short)?),
                Column::Ranks => line.ranks = Some(numbers(short)?),
                Column::Rating(name) => drop(line.ratings.insert(name.clone(), numbers(short)?)),
            }
        }
        while line.completions.last().is_some_and(|last| last.trim().is_empty()) {
            line.completions.pop();
        }
        Ok(line)
    }

    /// The line as an item of this project, or the reason why it is none.
    fn item(self, line: u64, project: &ProjectSettings) -> Result<Item, String> {
        let prompt: PromptText = serde_json::from_value(self.prompt.clone())
            .map_err(|_| "must have a \"prompt\": a text, or a list of messages".to_owned())?;
        let messages = prompt.into_messages();
        validate_prompt(&messages).map_err(joined)?;
        self.check_completions(project)?;
        let judgement = self.judgement(project.label_type)?;
        let new = NewGold {
            explanation: self.explanation,
        };
        new.validate().map_err(joined)?;
        let texts: Vec<&str> = self.completions.iter().map(String::as_str).collect();
        let unasked = Questions::default();
        let may_be_silent = self.ratings.is_empty() && project.label_type != LabelType::Rate;
        let answer = Answer {
            judgement,
            comment: String::new(),
            extras: Extras {
                ratings: self.ratings,
                ..Extras::default()
            },
            seconds: 0.0,
            revision: 0,
        };
        let expected = Expected {
            label_type: project.label_type,
            ask_strength: project.ask_strength,
            questions: if may_be_silent {
                &unasked
            } else {
                &project.questions
            },
            texts: &texts,
        };
        answer.validate(&expected).map_err(joined)?;
        Ok(Item {
            line,
            messages,
            judgement: answer.judgement,
            ratings: answer.extras.ratings,
            explanation: new.explanation.trim().to_owned(),
            completions: self.completions,
        })
    }

    fn check_completions(&self, project: &ProjectSettings) -> Result<(), String> {
        let (least, most) = (project.label_type.min_completions(), project.completions_per_task);
        let n = self.completions.len();
        if !(usize::from(least)..=usize::from(most)).contains(&n) {
            return Err(match least == most {
                true => format!("must have {least} completions"),
                false => format!("must have {least} to {most} completions"),
            });
        }
        let texts: HashSet<&str> = self.completions.iter().map(|text| text.trim()).collect();
        if texts.contains("") {
            return Err("has an empty completion".to_owned());
        }
        if texts.len() < n {
            return Err("has the same completion twice".to_owned());
        }
        match self.completions.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
            true => Err("has a completion that is longer than 512 KiB".to_owned()),
            false => Ok(()),
        }
    }

    fn judgement(&self, label_type: LabelType) -> Result<Judgement, String> {
        match (label_type, self.best, self.worst, &self.ranks) {
            (LabelType::Pick, Some(best), None, None) => Ok(Judgement::Pick {
                choice: choice(best)?,
                strength: None,
            }),
            (LabelType::Rank, None, None, Some(ranks)) => Ok(Judgement::Rank { ranks: ranks.clone() }),
            (LabelType::BestWorst, Some(Best::Place(best)), Some(worst), None) => Ok(Judgement::BestWorst {
                best: from_zero(best)?,
                worst: from_zero(worst)?,
            }),
            (LabelType::Rate, None, None, None) => Ok(Judgement::Rate),
            _ => Err("must say what is right as the project's label type asks: \"best\" (pick), \"ranks\" (rank), \"best\" \
                      and \"worst\" (best-worst) or \"ratings\" alone (rate)"
                .to_owned()),
        }
    }
}

fn choice(best: Best) -> Result<Choice, String> {
    match best {
        Best::Place(1) => Ok(Choice::First),
        Best::Place(2) => Ok(Choice::Second),
        Best::Place(_) => {
            Err("must have a \"best\" of \"tie\", \"both_bad\" or the place of one of the two".to_owned())
        }
        Best::Word(NoBest::Tie) => Ok(Choice::Tie),
        Best::Word(NoBest::BothBad) => Ok(Choice::BothBad),
    }
}

fn from_zero(place: u8) -> Result<u8, String> {
    place
        .checked_sub(1)
        .ok_or_else(|| "must count places from 1".to_owned())
}

fn best(cell: &str) -> Result<Best, String> {
    match cell {
        "tie" => Ok(Best::Word(NoBest::Tie)),
        "both_bad" => Ok(Best::Word(NoBest::BothBad)),
        _ => number(cell).map(Best::Place),
    }
}

fn number(cell: &str) -> Result<u8, String> {
    cell.parse()
        .map_err(|_| format!("has \"{cell}\" where a number is expected"))
}

/// Several in one cell, with blank space between them.
fn numbers(cell: &str) -> Result<Vec<u8>, String> {
    cell.split_whitespace().map(number).collect()
}
