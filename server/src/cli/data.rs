//! `laurel sample load`, `export`, `import`, `backup`.

use crate::{
    clock, sample as sample_project,
    store::{Db, exports, projects, prompts},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use laurel_protocol::{ExportFormat, ProjectId};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

#[derive(Subcommand)]
pub enum Sample {
    /// Make the sample project.
    Load {
        #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
        data: PathBuf,
        #[arg(long, env = "LAUREL_SAMPLE")]
        sample: PathBuf,
    },
}

#[derive(Args)]
pub struct Export {
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// The project's number, as in its address.
    #[arg(long)]
    project: ProjectId,
    #[arg(long, value_enum)]
    format: FormatName,
    /// Standard output where absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Preference,
    ImplicitPreference,
    Ranking,
}

#[derive(Args)]
pub struct Import {
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
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
    #[arg(long, env = "LAUREL_DATA", default_value = "laurel-data")]
    data: PathBuf,
    /// A file that is not there yet.
    #[arg(long)]
    out: PathBuf,
}

pub async fn sample(command: Sample) -> Result<()> {
    let Sample::Load { data, sample } = command;
    let db = Db::open(&data).await?;
    let id = sample_project::load(&db, &sample, clock::now()).await?;
    println!("Made the sample project, number {id}");
    db.close().await;
    Ok(())
}

pub async fn export(options: Export) -> Result<()> {
    let db = Db::open(&options.data).await?;
    let format = match options.format {
        FormatName::Preference => ExportFormat::Preference,
        FormatName::ImplicitPreference => ExportFormat::ImplicitPreference,
        FormatName::Ranking => ExportFormat::Ranking,
    };
    projects::require(&db, options.project)
        .await
        .with_context(|| format!("find project {}", options.project))?;
    let mut out: Box<dyn Write> = match &options.out {
        Some(file) => Box::new(BufWriter::new(
            File::create(file).with_context(|| format!("write {}", file.display()))?,
        )),
        None => Box::new(io::stdout().lock()),
    };
    let mut export = exports::Export::begin(&db, options.project, format).await?;
    while let Some(lines) = export.next_page().await? {
        out.write_all(lines.as_bytes()).context("write the export")?;
        after = last;
    }
    out.flush().context("write the export")?;
    db.close().await;
    Ok(())
}

pub async fn import(options: Import) -> Result<()> {
    let body = std::fs::read(&options.file).with_context(|| format!("read {}", options.file.display()))?;
    let db = Db::open(&options.data).await?;
    let report = prompts::import(&db, options.project, &body, options.skip_bad_lines, clock::now()).await?;
    for bad in &report.bad_lines {
        eprintln!("line {}: {}", bad.line, bad.reason);
    }
    db.close().await;
    if report.n_bad > 0 && !options.skip_bad_lines {
        bail!(
            "{} lines are bad; nothing was imported (--skip-bad-lines imports the others)",
    drop(export);
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
    if options.out.exists() {
        bail!("{} is there already: name another file", options.out.display());
    }
    let db = Db::open(&options.data).await?;
    db.backup(&options.out).await?;
    println!("Wrote {}", options.out.display());
    db.close().await;
    Ok(())
}
