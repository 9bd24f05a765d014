//! The command line `laurel`: `serve`, and what an operator does beside it. Every flag has an environment variable of
//! the same name.

mod admin;
mod data;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "laurel",
    version,
    about = "Compare answers of a language model and train on the comparisons"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server.
    Serve(serve::Options),
    /// Make accounts.
    #[command(subcommand)]
    User(admin::User),
    /// Make API tokens.
    #[command(subcommand)]
    Token(admin::Token),
    /// The sample project.
    #[command(subcommand)]
    Sample(data::Sample),
    /// Write a project's data as JSON Lines.
    Export(data::Export),
    /// Import prompts from JSON Lines.
    Import(data::Import),
    /// Copy the database consistently while the server runs.
    Backup(data::Backup),
}

/// Reads the command line and runs it; an error is one line on standard error.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(options) => serve::run(options).await,
            Command::User(command) => admin::user(command).await,
            Command::Token(command) => admin::token(command).await,
            Command::Sample(command) => data::sample(command).await,
            Command::Export(options) => data::export(options).await,
            Command::Import(options) => data::import(options).await,
            Command::Backup(options) => data::backup(options).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("laurel: {error:#}");
    ExitCode::FAILURE
}
