//! What can go wrong between the browser and the server, and the sentence that a person reads about it.
//!
//! Comes from `api`, is shown by pages: beside the fields it names, or in a notice.

use crate::words::{fill, later, t, t_owned};
use laurel_protocol::{ApiError, ErrorCode, FieldError};
use leptos::wasm_split::SplitLoaderError;

#[derive(Clone, Debug, PartialEq)]
pub enum AppError {
    /// The server answered with a problem.
    Api(Box<ApiError>),
    /// No answer came: the network or the server is down.
    Offline,
    /// An answer came that this version of the page cannot read.
    Unreadable { status: u16 },
    /// The browser cannot read the file of this name any more.
    File(String),
    /// A part of the pages themselves did not come.
    Part,
}

impl AppError {
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Api(error) => Some(error.code),
            Self::Offline | Self::Unreadable { .. } | Self::File(_) | Self::Part => None,
        }
    }

    /// The fields that were refused, empty for every other error.
    pub fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::Api(error) => error.fields.clone(),
            Self::Offline | Self::Unreadable { .. } | Self::File(_) | Self::Part => Vec::new(),
        }
    }

    /// Names the request in the server's log, where it is our fault.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) if error.code == ErrorCode::Internal => Some(&error.request_id),
            _ => None,
        }
    }

    /// Whether trying the same again later may work.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Offline | Self::Part => true,
            Self::Api(error) => matches!(
                error.code,
                ErrorCode::Unavailable | ErrorCode::RateLimited | ErrorCode::Internal
            ),
            Self::Unreadable { status } => *status >= 500,
            Self::File(_) => false,
        }
    }

    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        match self {
            // The server joins the reasons in one sentence; each has its own translation.
            Self::Api(error) if error.detail.starts_with("Correct the input:") => {
                let reason = |error: &FieldError| fill("{0} {1}", &[&error.field, &t_owned(&error.reason)]);
                let reasons: Vec<String> = error.fields.iter().take(3).map(reason).collect();
                fill("Correct the input: {0}.", &[&reasons.join("; ")])
            }
            Self::Api(error) => t_owned(&error.detail),
            Self::Offline => t("The server cannot be reached. Check the connection, then try again.").to_owned(),
            Self::Unreadable { .. } => {
                t("The server's answer could not be read. Reload the page, then try again.").to_owned()
            }
            Self::File(name) => {
                fill("The file “{0}” cannot be read, or was changed since. Choose it again.", &[name])
            }
            Self::Part => t(
                "This page could not be fetched. Check the connection, then try again; if it stays so, reload the page.",
            )
            .to_owned(),
        }
    }
}

impl From<SplitLoaderError> for AppError {
    fn from(_: SplitLoaderError) -> Self {
        Self::Part
    }
}

/// What the fields of an answer are called in such a sentence.
pub const FIELDS: [&str; 12] = [
    later("acceptable"),
    later("comment"),
    later("demonstration"),
    later("edits"),
    later("judgement"),
    later("ranks"),
    later("ratings"),
    later("revision"),
    later("seconds"),
    later("spans"),
    later("strength"),
    later("type"),
];

/// Why a value was refused, for a person: "The comment is longer than 8 KiB."
pub fn said(reasons: &[FieldError]) -> String {
    let sentences = reasons.iter().map(|error| {
        let field = error.field.rsplit('.').next().unwrap_or_default();
        let field = t_owned(&field.replace('_', " "));
        fill("The {0} {1}.", &[&field, &t_owned(&error.reason)])
    });
    sentences.collect::<Vec<_>>().join(" ")
}
