//! `laurel sample load`, `export`, `import`, `backup`.

use crate::{
    adapter_files, clock, sample as sample_project,
    store::{Db, adapters, db, exports, projects, prompts},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use laurel_protocol::{ExportFormat, ProjectId};
use std::{
    fs::{self, File},
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
    /// A folder that is not there yet. It becomes a data folder: start a server on it to restore.
    #[arg(long)]
    out: PathBuf,
}

pub async fn sample(command: Sample) -> Result<()> {
    let Sample::Load {
        data,
        sample,
        if_empty,
    } = command;
    let db = Db::open(&data).await?;
    if !(if_empty && projects::any(&db).await?) {
        let id = sample_project::load(&db, &sample, clock::now()).await?;
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
    let mut out: Box<dyn Write> = match &options.out {
        Some(file) => Box::new(BufWriter::new(
            File::create(file).with_context(|| format!("write {}", file.display()))?,
        )),
        None => Box::new(io::stdout().lock()),
    };
    let mut export = exports::Export::begin(&db, options.project, format).await?;
    while let Some(lines) = export.next_page().await? {
        out.write_all(lines.as_bytes()).context("write the export")?;
    }
    drop(export);
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
    let out = &options.out;
    if out.exists() {
        bail!("{} is there already: name another folder", out.display());
    }
    let db = Db::open_as_it_is(&options.data).await?;
    // Under another name until it is whole, so that nobody takes a part for a backup.
    let mut partial = out.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    }
    copy(&db, &options.data, &partial)
        .await
        .with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, out).with_context(|| format!("name {}", out.display()))?;
    println!("Wrote {}", out.display());
    db.close().await;
    Ok(())
}

/// The database first: the files of every adapter that it names were in their place before it named them, and they
/// never change.
async fn copy(db: &Db, data: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let file = out.join(db::FILE);
    db.copy_to(&file).await?;
    File::open(&file)?.sync_all()?;
    adapter_files::copy(data, &adapters::hashes(db).await?, out)?;
    adapter_files::sync_folder(out)?;
    Ok(())
}
