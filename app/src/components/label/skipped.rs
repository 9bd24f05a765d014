//! Reasons for a skip in words.

use crate::words::t;
use laurel_protocol::SkipReason;

pub fn reason_text(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::CannotJudge => t("cannot judge"),
        SkipReason::PromptUnclear => t("the prompt is unclear"),
        SkipReason::Offensive => t("offensive"),
        SkipReason::Broken => t("broken"),
        SkipReason::Other => t("another reason"),
    }
}
