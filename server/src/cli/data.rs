//! `laurel sample load`, `export`, `import`, `backup`, `restore`.

use crate::{
    backup, clock, sample as sample_project,
    store::{
        Db,
        audit::{self, Actor},
        exports, projects, prompts,
    },
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use laurel_protocol::{AuditFilter, AuditId, ExportFormat, ProjectId, Timestamp, Verb};
use serde_json::json;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub enum Sample {
    /// Make the sample project, prompts included.
    Load {
        /// Folder of the database; made when it is not there.
        #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
        data: PathBuf,
        /// Folder with project.json and prompts.jsonl.
        #[arg(long, env = "LAUREL_SAMPLE")]
        sample: PathBuf,
        /// Do nothing where there is a project already.
        #[arg(long)]
        if_empty: bool,
    },
}

#[derive(Args)]
pub struct Export {
    /// Folder of the database.
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// The project's number, as in its address.
    #[arg(long)]
    project: ProjectId,
    /// TRL's explicit preference columns, its implicit form for reward models, its unpaired form for KTO, or whole
    /// rankings.
    #[arg(long, value_enum)]
    format: FormatName,
    /// File to write; standard output where absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Preference,
    ImplicitPreference,
    #[value(alias = "kto")]
    UnpairedPreference,
    Ranking,
    Sft,
}

#[derive(Args)]
pub struct Import {
    /// Folder of the database.
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// The project's number, as in its address.
    #[arg(long)]
    project: ProjectId,
    /// JSON Lines of prompts.
    #[arg(long)]
    file: PathBuf,
    /// Import the good lines even if some are bad.
    #[arg(long)]
    skip_bad_lines: bool,
}

#[derive(Args)]
pub struct Backup {
    /// Folder of the database and the adapters.
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// A folder that is not there yet. It gets the database, the adapters and a manifest with the hash of each file.
    #[arg(long, required_unless_present = "verify")]
    out: Option<PathBuf>,
    /// Check an earlier backup in place of making one: every hash, the database, and its version.
    #[arg(long, value_name = "BACKUP", conflicts_with = "out")]
    verify: Option<PathBuf>,
}

#[derive(Args)]
pub struct Restore {
    /// The backup's folder.
    #[arg(long)]
    from: PathBuf,
    /// The data folder to make: it must be empty, or not there.
    #[arg(long, env = "LAUREL_DATA")]
    data: PathBuf,
}

/// Who changed what and when, as JSON Lines, oldest first.
#[derive(Args)]
pub struct Audit {
    /// Folder of the database.
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// Changes of this project alone, by its number.
    #[arg(long)]
    project: Option<ProjectId>,
    /// The whole name of an account or a token.
    #[arg(long)]
    who: Option<String>,
    /// What was done, by the name that it has in the log, for example answer_given.
    #[arg(long)]
    verb: Option<String>,
    /// From this time on, in milliseconds since 1970 UTC.
    #[arg(long)]
    since: Option<i64>,
    /// Entries behind this number.
    #[arg(long)]
    after: Option<AuditId>,
    /// File to write; standard output where absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub async fn sample(command: Sample) -> Result<()> {
    let Sample::Load {
        data,
        sample,
        if_empty,
    } = command;
    let db = Db::open(&data).await?;
    if !(if_empty && projects::any(&db).await?) {
        let id = sample_project::load(&db, &sample, Actor::CommandLine, clock::now()).await?;
        println!("Made the sample project, number {id}");
    }
    db.close().await;
    Ok(())
}

pub async fn export(options: Export) -> Result<()> {
    let db = Db::open_as_it_is(&options.data).await?;
    db.require_own_schema().await?;
    let format = match options.format {
        FormatName::Preference => ExportFormat::Preference,
        FormatName::ImplicitPreference => ExportFormat::ImplicitPreference,
        FormatName::UnpairedPreference => ExportFormat::UnpairedPreference,
        FormatName::Ranking => ExportFormat::Ranking,
        FormatName::Sft => ExportFormat::Sft,
    };
    projects::require(&db, options.project)
        .await
        .with_context(|| format!("find project {}", options.project))?;
    let detail = json!({"format": format});
    let (by, project) = (Actor::CommandLine, Some(options.project));
    audit::note_taken(&db, by, Verb::ExportTaken, project, detail, clock::now()).await?;
    let mut out = open_out(options.out.as_deref())?;
    let mut export = exports::Export::begin(&db, options.project, format).await?;
    while let Some(lines) = export.next_page().await? {
        out.write_all(lines.as_bytes()).context("write the export")?;
    }
    drop(export);
    out.flush().context("write the export")?;
    db.close().await;
    Ok(())
}

/// A file, or standard output.
fn open_out(file: Option<&Path>) -> Result<Box<dyn Write>> {
    let Some(file) = file else {
        return Ok(Box::new(io::stdout().lock()));
    };
    let made = File::create(file).with_context(|| format!("write {}", file.display()))?;
    Ok(Box::new(BufWriter::new(made)))
}

pub async fn audit(options: Audit) -> Result<()> {
    let db = Db::open_as_it_is(&options.data).await?;
    db.require_own_schema().await?;
    let filter = options.filter()?;
    let mut out = open_out(options.out.as_deref())?;
    let mut lines = audit::Lines::begin(&db, filter, options.after);
    while let Some(page) = lines.next_page().await? {
        out.write_all(page.as_bytes()).context("write the log")?;
    }
    out.flush().context("write the log")?;
    db.close().await;
    Ok(())
}

impl Audit {
    fn filter(&self) -> Result<AuditFilter> {
        let known =
            |name: &String| Verb::from_name(name).with_context(|| format!("{name} is no verb of the log"));
        Ok(AuditFilter {
            project: self.project,
            who: self.who.clone(),
            verb: self.verb.as_ref().map(known).transpose()?,
            since: self.since.map(Timestamp),
        })
    }
}

pub async fn import(options: Import) -> Result<()> {
    let body = std::fs::read(&options.file).with_context(|| format!("read {}", options.file.display()))?;
    let db = Db::open(&options.data).await?;
    let report = prompts::import(
        &db,
        options.project,
        &body,
        options.skip_bad_lines,
        Actor::CommandLine,
        clock::now(),
    )
    .await?;
    for bad in &report.bad_lines {
        eprintln!("line {}: {}", bad.line, bad.reason);
    }
    db.close().await;
    if report.n_bad > 0 && !options.skip_bad_lines {
        bail!(
            "{} lines are bad; nothing was imported (--skip-bad-lines imports the others)",
            report.n_bad
        );
    }
    println!(
        "Imported {} prompts, {} were there already, {} bad lines were skipped",
        report.n_imported, report.n_duplicates, report.n_bad
    );
    Ok(())
}

pub async fn backup(options: Backup) -> Result<()> {
    if let Some(folder) = &options.verify {
        let manifest = backup::verify(folder).await?;
        println!(
            "{} is whole: {} files, {} bytes, schema {}, made by laurel {}",
            folder.display(),
            manifest.files.len(),
            manifest.size_bytes(),
            manifest.schema,
            manifest.laurel
        );
        return Ok(());
    }
    let out = options.out.context("name a folder with --out")?;
    let db = Db::open_as_it_is(&options.data).await?;
    let manifest = backup::write(&db, &options.data, &out, clock::now()).await?;
    // A database of another version may have no log to note it in.
    if db.require_own_schema().await.is_ok() {
        let by = Actor::CommandLine;
        audit::note_taken(&db, by, Verb::BackupTaken, None, json!({}), clock::now()).await?;
    }
    println!(
        "Wrote {}: {} files, {} bytes",
        out.display(),
        manifest.files.len(),
        manifest.size_bytes()
    );
    db.close().await;
    Ok(())
}

pub async fn restore(options: Restore) -> Result<()> {
    let manifest = backup::restore(&options.from, &options.data, clock::now()).await?;
    println!(
        "Restored {} files, {} bytes: start the server with --data {}",
        manifest.files.len(),
        manifest.size_bytes(),
        options.data.display()
    );
    Ok(())
}
