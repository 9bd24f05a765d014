//! The command line `laurel`: `serve`, and what an operator does beside it. Every setting of `serve`, and the folders
//! that the other commands share with it, has an environment variable of the same name.

mod admin;
mod data;
mod serve;

use clap::{Parser, Subcommand};
use std::{process::ExitCode, time::Duration};

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
    /// Make the sample project.
    #[command(subcommand)]
    Sample(data::Sample),
    /// Write a project's data as JSON Lines.
    Export(data::Export),
    /// Write the audit log, who changed what and when, as JSON Lines.
    Audit(data::Audit),
    /// Import prompts from JSON Lines.
    Import(data::Import),
    /// Copy database and adapters consistently, also while the server runs; or check such a copy.
    Backup(data::Backup),
    /// Make a data folder from a backup, after checking every part of it.
    Restore(data::Restore),
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
            Command::Audit(options) => data::audit(options).await,
            Command::Import(options) => data::import(options).await,
            Command::Backup(options) => data::backup(options).await,
            Command::Restore(options) => data::restore(options).await,
        }
    });
    // What still runs, such as requests that a stop cut off, must not hold the program up.
    runtime.shutdown_timeout(Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("laurel: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn check(command: &clap::Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} does not say what it does");
        for argument in command.get_arguments() {
            let id = argument.get_id();
            assert!(argument.get_help().is_some(), "{name} does not explain {id}");
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn help_explains_every_command_and_flag() {
        check(&Cli::command());
    }

    #[test]
    fn every_setting_of_the_server_has_a_variable_of_its_name() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        for argument in serve
            .get_arguments()
            .filter(|argument| argument.get_id() != "help")
        {
            let flag = argument.get_long().unwrap();
            let expected = format!("LAUREL_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str().unwrap(), expected);
        }
    }
}
