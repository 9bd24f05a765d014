//! Which key does what on the labelling page. The page hands over every key press that was not typed into a
//! field; the command goes to the page or to the board.

use crate::components::label::letters::{Press, letter};
use laurel_protocol::label::Choice;

/// What the keys mean right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pick,
    /// A winner was chosen and the page waits for how much better it is.
    Strength,
    Rank,
    BestWorst,
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Choose(Choice),
    Strength(u8),
    /// Put the focused completion at this rank.
    Place(u8),
    Clear,
    Next,
    Previous,
    Raise,
    Lower,
    TieWithAbove,
    Submit,
    Skip,
    Undo,
    Guidelines,
    Shortcuts,
    Comment,
    /// Go to the first rating that is missing.
    Ratings,
    /// Write an answer of one's own.
    Demonstration,
    /// Show what differs between two answers.
    Differences,
    /// What stands at and below the focused completion is unacceptable.
    Line,
    /// Take a choice back that waits for its strength.
    Escape,
}

/// The command of a key press, if it has one. `meant` is what the person's own letters stand for.
pub fn command(press: Press<'_>, mode: Mode, meant: impl FnOnce(char) -> char) -> Option<Command> {
    if press.modified {
        return None;
    }
    let command = match by_name(press, mode) {
        Some(command) => command,
        None => by_letter(meant(letter(press)?), mode)?,
    };
    // A key that is held down must not answer one task after the other.
    let may_repeat = matches!(
        command,
        Command::Next | Command::Previous | Command::Raise | Command::Lower
    );
    (may_repeat || !press.repeat).then_some(command)
}

fn by_name(press: Press<'_>, mode: Mode) -> Option<Command> {
    let command = match (press.key, mode) {
        ("Escape", _) => Command::Escape,
        ("?", _) => Command::Shortcuts,
        ("ArrowUp", Mode::Rank) if press.shift => Command::Raise,
        ("ArrowDown", Mode::Rank) if press.shift => Command::Lower,
        ("ArrowUp" | "ArrowLeft", Mode::Rank) => Command::Previous,
        ("ArrowDown" | "ArrowRight", Mode::Rank) => Command::Next,
        ("Enter", _) => Command::Submit,
        ("Backspace" | "Delete", Mode::Rank | Mode::BestWorst) => Command::Clear,
        _ => return None,
    };
    Some(command)
}

fn by_letter(letter: char, mode: Mode) -> Option<Command> {
    use Command::{Choose, Strength};
    let command = match (letter, mode) {
        ('s', _) => Command::Skip,
        ('u', _) => Command::Undo,
        ('g', _) => Command::Guidelines,
        ('c', _) => Command::Comment,
        ('r', _) => Command::Ratings,
        ('w', _) => Command::Demonstration,
        ('d', Mode::Pick | Mode::Strength) => Command::Differences,
        ('x', Mode::Rank) => Command::Line,
        ('1'..='4', Mode::Strength) => Strength(letter as u8 - b'0'),
        ('1' | 'a', Mode::Pick) | ('a', Mode::Strength) => Choose(Choice::First),
        ('2' | 'b', Mode::Pick) | ('b', Mode::Strength) => Choose(Choice::Second),
        ('3' | 't', Mode::Pick) | ('t', Mode::Strength) => Choose(Choice::Tie),
        ('4' | 'x', Mode::Pick) | ('x', Mode::Strength) => Choose(Choice::BothBad),
        ('1'..='8', Mode::Rank | Mode::BestWorst) => Command::Place(letter as u8 - b'0'),
        ('0', Mode::Rank | Mode::BestWorst) => Command::Clear,
        ('j', Mode::Rank) => Command::Next,
        ('k', Mode::Rank) => Command::Previous,
        ('t', Mode::Rank) => Command::TieWithAbove,
        _ => return None,
    };
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::label::letters::Letters;

    fn command(press: Press<'_>, mode: Mode) -> Option<Command> {
        super::command(press, mode, |letter| letter)
    }

    fn press<'a>(key: &'a str, code: &'a str) -> Press<'a> {
        Press {
            key,
            code,
            ..Press::default()
        }
    }

    #[test]
    fn pick_answers_by_digit_and_by_letter() {
        for (key, choice) in [
            ("1", Choice::First),
            ("a", Choice::First),
            ("2", Choice::Second),
            ("B", Choice::Second),
            ("3", Choice::Tie),
            ("t", Choice::Tie),
            ("4", Choice::BothBad),
            ("x", Choice::BothBad),
        ] {
            assert_eq!(
                command(press(key, ""), Mode::Pick),
                Some(Command::Choose(choice)),
                "{key}"
            );
        }
    }

    #[test]
    fn digits_are_the_strength_once_a_winner_is_chosen() {
        assert_eq!(
            command(press("2", ""), Mode::Strength),
            Some(Command::Strength(2))
        );
        assert_eq!(
            command(press("b", ""), Mode::Strength),
            Some(Command::Choose(Choice::Second))
        );
        assert_eq!(command(press("5", ""), Mode::Strength), None);
    }

    #[test]
    fn other_layouts_fall_back_to_the_place_of_the_key() {
        assert_eq!(
            command(press("&", "Digit1"), Mode::Pick),
            Some(Command::Choose(Choice::First))
        );
        assert_eq!(
            command(press("ф", "KeyA"), Mode::Pick),
            Some(Command::Choose(Choice::First))
        );
        // Hangul is typed letter by letter: ㅁ lies on A, ㅅ on T.
        assert_eq!(
            command(press("ㅁ", "KeyA"), Mode::Pick),
            Some(Command::Choose(Choice::First))
        );
        assert_eq!(
            command(press("ㅅ", "KeyT"), Mode::Rank),
            Some(Command::TieWithAbove)
        );
        assert_eq!(
            command(press("Process", "KeyB"), Mode::Pick),
            Some(Command::Choose(Choice::Second))
        );
        // Dvorak types "o" where a US keyboard has "s": typed letters win.
        assert_eq!(command(press("o", "KeyS"), Mode::Pick), None);
        let bang = Press {
            shift: true,
            ..press("!", "Digit1")
        };
        assert_eq!(command(bang, Mode::Pick), None);
    }

    #[test]
    fn a_key_held_down_answers_once() {
        let held = |key| Press {
            repeat: true,
            ..press(key, "")
        };
        assert_eq!(command(held("1"), Mode::Pick), None);
        assert_eq!(command(held("Enter"), Mode::Rank), None);
        assert_eq!(command(held("ArrowDown"), Mode::Rank), Some(Command::Next));
    }

    #[test]
    fn shift_and_arrows_move_a_rank() {
        let shifted = |key| Press {
            shift: true,
            ..press(key, "")
        };
        assert_eq!(command(shifted("ArrowUp"), Mode::Rank), Some(Command::Raise));
        assert_eq!(command(shifted("ArrowDown"), Mode::Rank), Some(Command::Lower));
        assert_eq!(command(press("ArrowUp", ""), Mode::Rank), Some(Command::Previous));
        assert_eq!(command(press("ArrowUp", ""), Mode::Pick), None);
    }

    #[test]
    fn browser_shortcuts_are_left_alone() {
        let copy = Press {
            modified: true,
            ..press("a", "KeyA")
        };
        assert_eq!(command(copy, Mode::Pick), None);
    }

    #[test]
    fn own_letters_move_the_commands_and_leave_the_digits() {
        let mut letters = Letters::default();
        letters.change('a', 'j');
        let command = |key, mode| super::command(press(key, ""), mode, |letter| letters.meant(letter));
        for key in ["j", "1"] {
            assert_eq!(
                command(key, Mode::Pick),
                Some(Command::Choose(Choice::First)),
                "{key}"
            );
        }
        assert_eq!(command("a", Mode::Pick), None);
        assert_eq!(command("a", Mode::Rank), Some(Command::Next));
    }
}
