//! `laurel user add` and `laurel token add`.

use crate::{
    clock, passwords,
    store::{Db, accounts, audit::Actor, tokens},
};
use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use laurel_protocol::{Credentials, NewToken, Role, TokenScope};
use std::{
    fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

#[derive(Subcommand)]
pub enum User {
    /// Make an account.
    Add {
        /// Folder of the database; made when it is not there.
        #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
        data: PathBuf,
        /// The name to sign in with.
        #[arg(long)]
        name: String,
        /// What the person may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// File with the password. Without it a terminal asks, and anything else gives it on standard input.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum Token {
    /// Make a token and write its secret to a file that only you can read.
    Add {
        /// Folder of the database; made when it is not there.
        #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
        data: PathBuf,
        /// What the list of tokens shows.
        #[arg(long)]
        name: String,
        /// A trainer's token opens the worker part of the API, a script's all that its owner may do.
        #[arg(long, value_enum)]
        scope: ScopeName,
        /// Whose token it is; the first admin's where absent.
        #[arg(long)]
        user: Option<String>,
        /// File to write the secret to.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RoleName {
    Admin,
    Reviewer,
    Annotator,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ScopeName {
    Worker,
    Script,
}

pub async fn user(command: User) -> Result<()> {
    let User::Add {
        data,
        name,
        role,
        password_file,
    } = command;
    let password = match &password_file {
        Some(file) => fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
        None => ask_for_password()?,
    };
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    let credentials = Credentials { name, password };
    if let Err(errors) = credentials.validate() {
        let reasons: Vec<_> = errors
            .iter()
            .map(|error| format!("{} {}", error.field, error.reason))
            .collect();
        bail!("{}", reasons.join("; "));
    }
    let role = match role {
        RoleName::Admin => Role::Admin,
        RoleName::Reviewer => Role::Reviewer,
        RoleName::Annotator => Role::Annotator,
    };
    let hash =
        passwords::hash_blocking(&credentials.password).map_err(|error| anyhow::anyhow!("hash: {error}"))?;
    let db = Db::open(&data).await?;
    let user = accounts::create(&db, &credentials.name, &hash, role, clock::now()).await?;
    println!("Made the account {}", user.name);
    db.close().await;
    Ok(())
}

/// From a terminal without showing it, and twice, for nobody sees a slip of the finger.
fn ask_for_password() -> Result<String> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().read_line(&mut line).context("read the password")?;
        return Ok(line);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).context("read the password");
    let password = ask("Password: ")?;
    if ask("The same again: ")? != password {
        bail!("the two passwords differ: start again");
    }
    Ok(password)
}

pub async fn token(command: Token) -> Result<()> {
    let Token::Add {
        data,
        name,
        scope,
        user,
        out,
    } = command;
    let db = Db::open(&data).await?;
    let now = clock::now();
    let users = accounts::list(&db).await?;
    let owner = match &user {
        Some(name) => users.iter().find(|user| user.name.eq_ignore_ascii_case(name)),
        None => users
            .iter()
            .find(|user| user.role == Role::Admin && !user.disabled),
    };
    let scope = match scope {
        ScopeName::Worker => TokenScope::Worker,
        ScopeName::Script => TokenScope::Script,
    };
    let owner = match (owner, user, scope) {
        (Some(owner), _, _) => owner.id,
        (None, Some(name), _) => bail!("there is no account named {name}"),
        // The local trainer of a first start comes before the first person.
        (None, None, TokenScope::Worker) => accounts::local_trainer(&db, now).await?,
        (None, None, TokenScope::Script) => bail!("there is no admin yet: make one with `laurel user add`"),
    };
    let new = NewToken { name, scope };
    if let Err(errors) = new.validate() {
        bail!("name {}", errors[0].reason);
    }
    let (_, secret) = tokens::create(&db, &new, owner, Actor::CommandLine, now).await?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&out)
        .with_context(|| format!("write {}", out.display()))?;
    writeln!(file, "{secret}")?;
    println!("Wrote the token's secret to {}", out.display());
    db.close().await;
    Ok(())
}
