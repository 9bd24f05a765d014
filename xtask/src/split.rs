//! The front end's program in parts: what every page needs, and what only some pages fetch.
//!
//! `leptos::wasm_split` marks functions of `app` whose code may come later (`app/src/pages/admin.rs`). What can be
//! reached through such a function alone, says the call graph that the linker kept (`--emit-relocs`), becomes a part
//! of its own. It shares memory and table with the main program, of which wasm-bindgen then makes the JavaScript.

use anyhow::{Context, Result, anyhow, ensure};
use std::{fs, path::Path};
use walrus::ModuleConfig;
use wasm_bindgen_cli_support::Bindgen;
use wasm_split_cli_support::Options;

/// Keeps in the linked file what the split is read from; an argument of rustc.
pub const LINK_ARGUMENT: &str = "-Clink-args=--emit-relocs";

/// The program, not yet named and packed.
pub struct Program {
    /// The JavaScript side. It fetches each part from [`Part::address`].
    pub js: String,
    /// What every page needs.
    pub main: Vec<u8>,
    pub parts: Vec<Part>,
}

/// What is fetched when a page first needs it.
pub struct Part {
    pub name: String,
    pub wasm: Vec<u8>,
}

impl Part {
    /// What stands for its address in the JavaScript.
    pub fn address(&self) -> String {
        format!("\"./split_{}.wasm\"", self.name)
    }
}

/// The scripts' names for each other, until they are one.
const GLUE: &str = "./app.js";
const LOADER: &str = "./loader.js";

/// Splits what cargo linked; `folder` is for files on the way.
pub fn split(linked: &[u8], folder: &Path) -> Result<Program> {
    fs::create_dir_all(folder).with_context(|| format!("make {folder:?}"))?;
    let main = folder.join("main.wasm");
    let mut options = Options::new(linked);
    options.output_dir = folder;
    options.main_out_path = &main;
    options.main_module = GLUE;
    options.link_name = LOADER;
    let split = wasm_split_cli_support::transform(options)
        .map_err(|error| anyhow!("{error:#}"))
        .context("split the front end into parts")?;
    let parts = split.split_modules.iter().map(|file| part(file));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    bind(&main, folder)?;
    let read =
        |name| fs::read_to_string(folder.join(name)).with_context(|| format!("read the generated {name}"));
    Ok(Program {
        js: one_script(&read(GLUE)?, &read(LOADER)?)?,
        main: fs::read(folder.join("app_bg.wasm")).context("read the generated app_bg.wasm")?,
        parts,
    })
}

/// A part without names, and with its numbers as short as they can be: the linker left room in each.
fn part(file: &Path) -> Result<Part> {
    let name = file
        .file_stem()
        .context("a part's file has a name")?
        .to_string_lossy();
    let name = name
        .strip_prefix("split_")
        .context("with one entry a page there are no shared parts")?;
    let padded = fs::read(file).with_context(|| format!("read {file:?}"))?;
    let wasm = ModuleConfig::new()
        .generate_name_section(false)
        .generate_producers_section(false)
        .parse(&padded)
        .with_context(|| format!("read the part {name}"))?
        .emit_wasm();
    Ok(Part {
        name: name.to_owned(),
        wasm,
    })
}

/// Makes the JavaScript side of the main program.
fn bind(main: &Path, folder: &Path) -> Result<()> {
    Bindgen::new()
        .input_path(main)
        .out_name("app")
        .web(true)?
        .typescript(false)
        // The parts find memory, table and stack under the names that the linker gave them.
        .keep_lld_exports(true)
        .demangle(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .omit_default_module_path(true)
        .generate(folder)
        .context("make the JavaScript side of the wasm (wasm-bindgen)")
}

/// The glue and the loader import each other. As one script they are one request, and its name can carry a hash of
/// its contents.
fn one_script(glue: &str, loader: &str) -> Result<String> {
    let from_loader = format!("from \"{LOADER}\"");
    let from_glue = format!("from \"{GLUE}\"");
    let is_import =
        |line: &str, from: &str| line.starts_with("import ") && line.trim_end_matches(';').ends_with(from);
    // `import * as NAME from "./loader.js"`
    let namespace = glue
        .lines()
        .find(|line| is_import(line, &from_loader))
        .and_then(|line| line.strip_prefix("import * as ")?.split(' ').next())
        .context("the program imports no loader: does `app` mark a part?")?;
    let mut names = Vec::new();
    let mut script = String::new();
    for line in loader.lines().filter(|line| !is_import(line, &from_glue)) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some(name) = line.strip_prefix("const __wasm_split_load_") {
            let name = name.split(' ').next().unwrap_or_default();
            names.push(format!("__wasm_split_load_{name}"));
        }
        script += line;
        script.push('\n');
    }
    ensure!(!names.is_empty(), "the loader loads no part");
    script += &format!("const {namespace} = {{ {} }};\n", names.join(", "));
    for line in glue.lines().filter(|line| !is_import(line, &from_loader)) {
        script += line;
        script.push('\n');
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glue_and_loader_become_a_script_without_imports_of_each_other() {
        let glue = "import * as import1 from \"./loader.js\"\nexport { initSync };\nconst a = import1;\n";
        let loader = "import { initSync } from \"./app.js\";\n\nexport const __wasm_split_load_admin = 1;\n";
        let script = one_script(glue, loader).unwrap();
        assert_eq!(
            script,
            "\nconst __wasm_split_load_admin = 1;\nconst import1 = { __wasm_split_load_admin };\n\
             export { initSync };\nconst a = import1;\n"
        );
    }

    #[test]
    fn a_program_without_parts_is_refused() {
        let loader = "import { initSync } from \"./app.js\";\n";
        assert!(one_script("export { initSync };\n", loader).is_err());
        assert!(one_script("import * as import1 from \"./loader.js\"\n", loader).is_err());
    }
}
