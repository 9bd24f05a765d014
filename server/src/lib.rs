//! Laurel's server: the API over SQLite, the front end's files, and the command line `laurel`.

pub mod adapter_files;
pub mod chats;
pub mod cli;
pub mod clock;
pub mod csv;
pub mod document;
pub mod error;
pub mod events;
pub mod extract;
mod figures;
pub mod guards;
pub mod listen;
pub mod passwords;
pub mod plan;
pub mod quality;
pub mod render;
pub mod reports;
pub mod router;
pub mod routes;
pub mod sample;
pub mod sign_ins;
pub mod spool;
pub mod state;
pub mod static_files;
pub mod store;
mod thin;
pub mod webhooks;
