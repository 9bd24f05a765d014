//! The compiler for the browser part (wasm32), found or set up in this order: the active toolchain has it;
//! rustup may fetch it; Debian's packages plus a standard library built here once; otherwise say what to do.

use crate::{place::Place, say, shell};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

pub const TARGET: &str = "wasm32-unknown-unknown";
/// Leptos then boxes each view instead of compiling every combination of them: a smaller download.
const ERASE_VIEW_TYPES: &str = "--cfg erase_components";
const DEBIAN_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "rust-web-clippy",
];

/// How to call cargo for wasm32.
pub enum Toolchain {
    /// The cargo that runs this program can do it.
    Active,
    /// Debian's compiler with a standard library of our own making.
    Debian { sysroot: PathBuf },
}

impl Toolchain {
    pub fn ensure(place: &Place) -> Result<Self> {
        if active_has_target() {
            return Ok(Self::Active);
        }
        let may_fetch = env::var("RUSTUP_AUTO_INSTALL").map_or(true, |value| value != "0");
        if may_fetch && shell::find(&["rustup"]).is_some() {
            shell::run_quietly(
                "Fetch the wasm32 standard library (rustup target add)",
                Command::new("rustup").args(["target", "add", TARGET]),
            )?;
            if active_has_target() {
                return Ok(Self::Active);
            }
        }
        ensure_debian_packages()?;
        let sysroot = ensure_sysroot(place)?;
        Ok(Self::Debian { sysroot })
    }

    /// `cargo rustc` for wasm32: builds one program, with arguments for it alone. The caller adds them.
    pub fn rustc(&self, place: &Place) -> Command {
        self.command(place, "cargo", "rustc")
    }

    /// `cargo clippy` for wasm32. Called as `cargo-clippy` itself: `cargo` would look for it in its own home
    /// first and find the other toolchain's, whose compiler cannot read what this one built.
    pub fn clippy(&self, place: &Place) -> Command {
        self.command(place, "cargo-clippy", "clippy")
    }

    fn command(&self, place: &Place, program: &str, subcommand: &str) -> Command {
        let mut flags = ERASE_VIEW_TYPES.to_owned();
        let mut command = match self {
            Self::Active => shell::cargo(place),
            Self::Debian { sysroot } => {
                flags += &format!(" --sysroot={}", sysroot.display());
                let mut command = Command::new(debian(program));
                command
                    .current_dir(&place.root)
                    .env("CARGO", debian("cargo"))
                    .env("RUSTC", debian("rustc"))
                    // Set by the outer cargo for its own toolchain's libraries.
                    .env_remove("LD_LIBRARY_PATH");
                command
            }
        };
        command
            .arg(subcommand)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags)
            // Either would count instead of the flags above.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", &place.wasm_target);
        command
    }
}

fn active_has_target() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    shell::read(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET])).is_ok_and(|dir| {
        let dir = Path::new(dir.trim());
        fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some())
    })
}

fn debian(program: &str) -> PathBuf {
    Path::new("/usr/bin").join(program)
}

fn std_source() -> PathBuf {
    PathBuf::from("/usr/lib/rustlib/src/rust")
}

fn ensure_debian_packages() -> Result<()> {
    let there = || {
        ["rustc", "cargo", "clippy-driver"]
            .iter()
            .all(|program| debian(program).is_file())
            && std_source().join("library/sysroot/Cargo.toml").is_file()
    };
    if !there() {
        if !shell::apt_knows("rustc-web") {
            bail!(
                "no compiler for {TARGET}. With rustup: `rustup target add {TARGET}`. \
                 On Debian: `apt-get install {}`. Then start again",
                DEBIAN_PACKAGES.join(" ")
            );
        }
        shell::apt_install(&DEBIAN_PACKAGES, "building the front end")?;
    }
    // `rust-lld` is a link into a package of its own, whose version only the link tells.
    let lld = fs::read_link("/usr/bin/rust-lld").context("read the link /usr/bin/rust-lld")?;
    if !debian("rust-lld").exists() {
        let version = llvm_version(&lld).with_context(|| format!("{lld:?} names no LLVM version"))?;
        shell::apt_install(&[&format!("lld-{version}")], "linking the front end")?;
    }
    Ok(())
}

/// The version in a link such as `lld-22` or `../lib/llvm-22/bin/lld`: Debian has had both.
fn llvm_version(link: &Path) -> Option<&str> {
    link.components()
        .filter_map(|part| part.as_os_str().to_str())
        .find_map(|part| part.strip_prefix("llvm-").or(part.strip_prefix("lld-")))
        .filter(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Builds std for wasm32 from Debian's source, once per version of the compiler.
fn ensure_sysroot(place: &Place) -> Result<PathBuf> {
    let version = shell::read(Command::new(debian("rustc")).arg("-vV"))?;
    let sysroot = place.cache.join("wasm-sysroot");
    let stamp = sysroot.join("rustc-version");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == version) {
        return Ok(sysroot);
    }
    let step = say::step("Build the wasm32 standard library, once (about a minute)");
    shell::remove_dir(&sysroot)?;
    let build = place.cache.join("wasm-sysroot-build");
    shell::run(
        Command::new(debian("cargo"))
            .current_dir(std_source())
            .args([
                "build",
                "--manifest-path",
                "library/sysroot/Cargo.toml",
                "--locked",
                "--release",
            ])
            .args(["--target", TARGET, "--no-default-features"])
            .args(["--features", "panic-unwind,compiler-builtins-mem"])
            .arg("--target-dir")
            .arg(&build)
            .env("RUSTC", debian("rustc"))
            // What the compiler's own build uses; it touches this one folder only.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd")
            .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("LD_LIBRARY_PATH"),
    )?;
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    for file in fs::read_dir(build.join(TARGET).join("release/deps"))? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "rlib") {
            let name = file.file_name().expect("a listed file has a name");
            fs::copy(&file, libraries.join(name)).with_context(|| format!("copy {file:?}"))?;
        }
    }
    shell::remove_dir(&build)?;
    fs::write(&stamp, version)?;
    step.done();
    Ok(sysroot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_linkers_link_tell_the_version() {
        for link in ["lld-22", "../lib/llvm-22/bin/lld", "/usr/bin/lld-22"] {
            assert_eq!(llvm_version(Path::new(link)), Some("22"), "{link}");
        }
        assert_eq!(llvm_version(Path::new("lld")), None);
    }
}
