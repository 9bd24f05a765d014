//! Reasons for a skip in words.

use laurel_protocol::SkipReason;

pub fn reason_text(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::CannotJudge => "cannot judge",
        SkipReason::PromptUnclear => "the prompt is unclear",
        SkipReason::Offensive => "offensive",
        SkipReason::Broken => "broken",
        SkipReason::Other => "another reason",
    }
}
