//! The built front end: wasm, its JavaScript, styles, fonts and the page, in `target/dist`.
//!
//! Input: the crate `laurel-app`, the template `app/index.html` and the folder `assets/`. Files whose names
//! carry a hash of their contents may be cached for ever; beside each compressible file lie `.br` and `.gz`.
//! The template's placeholders: `{{boot}}`, `{{js}}`, `{{wasm}}`, `{{css}}` (paths), `{{critical_css}}` (text) and
//! `{{languages}}` (each by its code, with its own name and the path of its table).

use crate::{
    compress,
    model::hex,
    place::Place,
    say, shell,
    split::{self, split},
    wasm::{TARGET, Toolchain},
    words,
};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Builds what is out of date and returns the folder.
pub fn build(place: &Place) -> Result<PathBuf> {
    let wasm = compile(place)?;
    let sources = Sources::read(place, &wasm)?;
    let dist = place.dist();
    let stamp_file = dist.join(".stamp");
    let stamp = sources.stamp();
    if fs::read_to_string(&stamp_file).is_ok_and(|built| built == stamp) {
        return Ok(dist);
    }
    // Made beside the old one and put in its place whole: a running server never sees half of it.
    let fresh = dist.with_extension("new");
    shell::remove_dir(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("make {fresh:?}"))?;
    sources.write(&fresh)?;
    compress::folder(&fresh)?;
    fs::write(fresh.join(".stamp"), stamp)?;
    shell::remove_dir(&dist)?;
    fs::rename(&fresh, &dist).with_context(|| format!("move the front end to {dist:?}"))?;
    Ok(dist)
}

/// The path of the raw wasm that cargo made.
fn compile(place: &Place) -> Result<PathBuf> {
    let toolchain = Toolchain::ensure(place)?;
    let step = say::step("Build the front end");
    shell::run(toolchain.rustc(place).args([
        "--package",
        "laurel-app",
        "--bin",
        "laurel-app",
        "--profile",
        "wasm",
        "--target",
        TARGET,
        "--",
        // For the program alone: a flag of every crate would build all libraries a second time for clippy.
        split::LINK_ARGUMENT,
    ]))?;
    step.done();
    let folder = place.wasm_target.join(TARGET).join("wasm");
    let wasm = folder.join("laurel-app.wasm");
    ensure!(wasm.is_file(), "cargo built no {wasm:?}");
    Ok(wasm)
}

/// Everything that the front end is made of.
struct Sources {
    /// As the linker made it.
    wasm: Vec<u8>,
    template: String,
    critical_css: String,
    css: String,
    /// The other files of `assets/`: path below it, contents.
    assets: Vec<(String, Vec<u8>)>,
}

impl Sources {
    fn read(place: &Place, wasm_file: &Path) -> Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("read {path:?}"));
        let folder = place.root.join("assets");
        let mut sources = Self {
            wasm: fs::read(wasm_file).with_context(|| format!("read {wasm_file:?}"))?,
            template: read(&place.root.join("app").join("index.html"))?,
            critical_css: String::new(),
            css: String::new(),
            assets: Vec::new(),
        };
        for path in files_below(&folder)? {
            let name = path.strip_prefix(&folder)?.to_string_lossy().replace('\\', "/");
            if name.starts_with("sample/") {
                continue;
            }
            if name == "critical.css" {
                sources.critical_css = read(&path)?;
            } else if name.ends_with(".css") {
                // All style sheets become one, in the order of their paths.
                sources.css.push_str(&read(&path)?);
                sources.css.push('\n');
            } else {
                let contents = fs::read(&path).with_context(|| format!("read {path:?}"))?;
                sources.assets.push((name, contents));
            }
        }
        Ok(sources)
    }

    /// What the page says of its languages: by code, the name in the index and the path of the table. English has none.
    fn languages(&self, tables: &BTreeMap<&str, String>) -> Result<String> {
        let index = self.assets.iter().find(|(name, _)| name == words::INDEX);
        let (_, index) = index.with_context(|| format!("there is no assets/{}", words::INDEX))?;
        let names: BTreeMap<String, String> = serde_json::from_slice(index).context("read the languages")?;
        let mut languages = BTreeMap::new();
        for (code, name) in &names {
            let table = match code.as_str() {
                words::ENGLISH => "",
                code => tables
                    .get(words::table_name(code).as_str())
                    .with_context(|| format!("there is no assets/{}", words::table_name(code)))?,
            };
            languages.insert(code, [name, table]);
        }
        let text = serde_json::to_string(&languages)?;
        // It stands between such marks in the page.
        ensure!(!text.contains('\''), "the name of a language has a '");
        Ok(text)
    }

    /// Names these sources: the same stamp means the same output.
    fn stamp(&self) -> String {
        let mut hasher = Sha256::new();
        let assets = self
            .assets
            .iter()
            .flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        let texts = [&self.template, &self.critical_css, &self.css].map(|text| text.as_bytes());
        // The rules themselves are part of the output too.
        let rules = [
            include_str!("dist.rs"),
            include_str!("split.rs"),
            include_str!("compress.rs"),
        ]
        .map(str::as_bytes);
        for part in [self.wasm.as_slice()]
            .into_iter()
            .chain(assets)
            .chain(texts)
            .chain(rules)
        {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hex(&hasher.finalize())
    }

    fn write(&self, dist: &Path) -> Result<()> {
        let bindings = dist.join(".bindgen");
        let mut program = split(&self.wasm, &bindings)?;
        for part in &program.parts {
            let path = put(dist, &format!("app_{}.wasm", part.name), &part.wasm)?;
            let address = part.address();
            ensure!(
                program.js.contains(&address),
                "the script does not load {address}"
            );
            program.js = program.js.replace(&address, &format!("\"{path}\""));
        }
        let js = put(dist, "app.js", program.js.as_bytes())?;
        let wasm = put(dist, "app_bg.wasm", &program.main)?;
        let snippets = bindings.join("snippets");
        if snippets.is_dir() {
            // Small scripts that libraries bring along; their folder's name carries a hash already.
            fs::rename(&snippets, dist.join("snippets"))?;
        }
        shell::remove_dir(&bindings)?;

        let mut css = self.css.clone();
        let mut html = self.template.clone();
        let mut critical_css = self.critical_css.clone();
        let mut tables = BTreeMap::new();
        for (name, contents) in &self.assets {
            let path = dist.join(name);
            fs::create_dir_all(path.parent().context("an asset lies in a folder")?)?;
            if name == words::INDEX {
                continue;
            }
            if name.starts_with("languages/") {
                tables.insert(name.as_str(), put(dist, name, contents)?);
                continue;
            }
            if !name.starts_with("fonts/") {
                fs::write(&path, contents).with_context(|| format!("write {path:?}"))?;
                continue;
            }
            let hashed = put(dist, name, contents)?;
            for text in [&mut css, &mut html, &mut critical_css] {
                *text = text.replace(&format!("/{name}"), &hashed);
            }
        }
        let css = put(dist, "styles.css", css.as_bytes())?;
        // The page's content security policy forbids inline scripts, so the first call is a file.
        let boot = format!("import init from \"{js}\";\ninit({{ module_or_path: \"{wasm}\" }});\n");
        let boot = put(dist, "boot.js", boot.as_bytes())?;
        let values = [
            ("{{boot}}", boot.as_str()),
            ("{{js}}", &js),
            ("{{wasm}}", &wasm),
            ("{{css}}", &css),
            ("{{critical_css}}", &critical_css),
            ("{{languages}}", &self.languages(&tables)?),
        ];
        for (placeholder, value) in values {
            html = html.replace(placeholder, value);
        }
        ensure!(html.contains(&boot), "app/index.html does not load {{{{boot}}}}");
        ensure!(!html.contains("{{"), "app/index.html has an unknown placeholder");
        fs::write(dist.join("index.html"), html)?;
        Ok(())
    }
}

/// Writes `contents` under a name that carries their hash; returns the path as the browser asks for it.
fn put(dist: &Path, name: &str, contents: &[u8]) -> Result<String> {
    let hash = hex(&Sha256::digest(contents)[..8]);
    let (stem, extension) = name
        .rsplit_once('.')
        .context("a file of the front end has an extension")?;
    let hashed = format!("{stem}-{hash}.{extension}");
    let path = dist.join(&hashed);
    fs::write(&path, contents).with_context(|| format!("write {path:?}"))?;
    Ok(format!("/{hashed}"))
}

/// All files below a folder, in the order of their paths.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {folder:?}"))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
