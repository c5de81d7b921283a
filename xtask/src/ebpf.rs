//! `cargo xtask ebpf`: builds the programs in the kernel into the objects that are committed.
//!
//! Users build rvs without a BPF tool chain, since the objects lie in the repository; who changes the programs rebuilds
//! them. The bytes must depend on the source and the tool chain only, or CI could not compare them. Four things
//! would get in: paths (in the BTF line info, mended by `--remap-path-prefix`), cargo's `-C metadata`
//! (a hash over the absolute paths of path dependencies, which ends up in symbol names; mended by [`rustc`]), DWARF
//! (stripped), and where things lie in the linker's memory (mended by [`in_place`]).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, output, root, run as run_command, target};
use crate::packages::Purpose;
use crate::{metadata, setup};

/// Set in the environment of rustc's calls that go through [`rustc`].
pub(crate) const AS_RUSTC: &str = "RVS_XTASK_AS_RUSTC";
/// Debian's rustc-web. Only this one has a `core` for BPF; the cargo and rustc of the checkout can be any.
const RUSTC: &str = "/usr/bin/rustc";
const TARGET: &str = "bpfel-unknown-none";
const STRIP: &str = "llvm-strip-22";
const NM: &str = "llvm-nm-22";

/// Builds the objects and writes those in the repository, or with `--check` compares.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        _ => bail!("usage: cargo xtask ebpf [--check]"),
    };
    if let Some(what) = setup::lacks(Purpose::Ebpf) {
        bail!("{what}; cargo xtask setup installs it");
    }
    let objects = build(check)?;
    for object in &objects {
        refuse_panics(&object.built)?;
        println!(
            "{:>9} bytes  {}  {}",
            fs::metadata(&object.built)?.len(),
            sha256(&object.built)?,
            object.name()
        );
    }
    refuse_strangers(&objects)?;
    if check { compare(&objects) } else { commit(&objects) }
}

/// One object: fresh from the linker and stripped, and its place in the repository.
struct Object {
    built: PathBuf,
    committed: PathBuf,
}

impl Object {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.committed.file_name().unwrap_or_default().to_string_lossy()
    }
}

/// Where the objects are committed; `rvs-dataplane` embeds them from here.
fn committed_folder() -> PathBuf {
    root().join("crates/dataplane/programs")
}

fn build(locked: bool) -> Result<Vec<Object>> {
    let manifest = root().join("crates/ebpf/Cargo.toml");
    let folder = target().join("ebpf");
    // First, so that the folders of the sources exist and their paths can be remapped.
    run_command(
        cargo().arg("fetch").args(locked.then_some("--locked")).arg("--manifest-path").arg(&manifest),
    )?;

    let mut command = cargo();
    command
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET, "--manifest-path"])
        .arg(&manifest);
    command.arg("--target-dir").arg(&folder);
    for stray in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        command.env_remove(stray);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rust_flags()?);
    // aya-ebpf uses an unstable feature (`asm_experimental_arch`); this lets a stable compiler accept it.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", RUSTC);
    command.env("RUSTC_WRAPPER", std::env::current_exe()?).env(AS_RUSTC, "1");
    run_command(&mut command)?;

    let linked = folder.join(TARGET).join("release");
    let mut objects = Vec::new();
    for name in metadata::members(&manifest)?.into_iter().flat_map(|package| package.programs) {
        let file = format!("{name}.bpf.o");
        let built = folder.join(&file);
        run_command(Command::new(STRIP).arg("-g").arg(linked.join(&name)).arg("-o").arg(&built))?;
        objects.push(Object { built, committed: committed_folder().join(file) });
    }
    Ok(objects)
}

/// Flags for rustc, in cargo's encoding: separated by 0x1f, so that paths may hold blanks.
fn rust_flags() -> Result<OsString> {
    let linker = setup::bpf_linker().context("bpf-linker not found")?;
    let mut linker_flag = OsString::from("linker=");
    linker_flag.push(linker);
    let mut flags = vec![OsString::from("-C"), linker_flag];
    // BTF, which needs the debug information of level 2: maps, callbacks and global functions are declared in it.
    flags.extend(["-C", "link-arg=--btf", "-C", "debuginfo=2"].map(OsString::from));
    // v3: atomics that return a value. Not v4, which kernel 6.1 doesn't know.
    flags.extend(["-C", "target-cpu=v3"].map(OsString::from));
    // Headers are not aligned in a frame, and the kernel allows such reads; without this LLVM reads byte by byte (DR: 124
    // against 111 ns).
    flags.extend(["-C", "target-feature=+allows-misaligned-mem-access"].map(OsString::from));
    flags.push(remap(root(), "/rvs"));
    for registry in registry_folders()? {
        flags.push(remap(&registry, "/crates"));
    }
    Ok(flags.join(OsStr::new("\x1f")))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// Where cargo unpacked the sources of dependencies: a folder for each registry, named after it. All of them get the
/// same name, so that a mirror makes no difference.
fn registry_folders() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("no home folder")?;
    let sources = home.join("registry/src");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| format!("can't list {}", sources.display()))? {
        folders.push(entry?.path());
    }
    folders.sort();
    Ok(folders)
}

/// A panic would be an endless loop, which the verifier refuses at load; better to learn it here.
fn refuse_panics(object: &Path) -> Result<()> {
    let symbols = output(Command::new(NM).arg(object))?;
    let panics: Vec<_> = symbols.lines().filter(|line| line.to_lowercase().contains("panic")).collect();
    if !panics.is_empty() {
        bail!(
            "{} holds a path that panics, which the kernel refuses:\n{}",
            object.display(),
            panics.join("\n")
        );
    }
    Ok(())
}

/// Every committed object has a source.
fn refuse_strangers(objects: &[Object]) -> Result<()> {
    let Ok(entries) = fs::read_dir(committed_folder()) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let is_object = path.extension().is_some_and(|extension| extension == "o");
        if is_object && !objects.iter().any(|object| object.committed == path) {
            bail!("{} has no source; remove it", path.display());
        }
    }
    Ok(())
}

fn compare(objects: &[Object]) -> Result<()> {
    let mut differing = Vec::new();
    for object in objects {
        if fs::read(&object.built)? != fs::read(&object.committed).unwrap_or_default() {
            differing.push(object.name());
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    let committed = fs::read_to_string(tool_chain_file()).unwrap_or_default();
    let here = tool_chain()?;
    if committed != here {
        println!("tool chain of the committed objects:\n{committed}tool chain here:\n{here}");
    }
    bail!(
        "not what the sources make (cargo xtask ebpf builds them; commit the result): {}",
        differing.join(" ")
    )
}

fn commit(objects: &[Object]) -> Result<()> {
    fs::create_dir_all(committed_folder())?;
    for object in objects {
        fs::copy(&object.built, &object.committed)?;
    }
    fs::write(tool_chain_file(), tool_chain()?)?;
    Ok(())
}

/// Beside the objects: the versions of what made them, for whoever finds that the bytes differ.
fn tool_chain_file() -> PathBuf {
    committed_folder().join("tool-chain.txt")
}

fn tool_chain() -> Result<String> {
    let rustc = output(Command::new(RUSTC).arg("--version"))?;
    let linker = setup::bpf_linker().context("bpf-linker not found")?;
    let linker = output(Command::new(linker).arg("--version"))?;
    let mut llvm = Command::new("dpkg-query");
    let llvm = output(llvm.args(["--show", "--showformat=libllvm22 ${Version}\n", "libllvm22"]))?;
    Ok(rustc + &linker + &llvm)
}

fn sha256(file: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg(file))?;
    line.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

/// Stands in for rustc: called by cargo with the compiler and its arguments, it calls the compiler with another
/// `-C metadata`: the package's version instead of a hash over paths. Names of crates and versions tell them apart, since
/// rustc mixes in the crate's name itself and the lock file holds no crate twice in one version.
pub(crate) fn rustc() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(compiler) = arguments.next() else { return ExitCode::FAILURE };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let mut command = in_place(&compiler);
    let error = command
        .args(arguments.map(|argument| match argument.to_str() {
            Some(text) if text.starts_with("metadata=") => format!("metadata={version}").into(),
            _ => argument,
        }))
        .exec();
    eprintln!("xtask: can't start {}: {error}", compiler.display());
    ExitCode::FAILURE
}

/// Starts a program without random addresses, where that is allowed. LLVM writes the types in BTF that are declared only
/// in the order of their addresses in its memory (`FixupDerivedTypes`): about one link in four came out differently.
fn in_place(program: &OsStr) -> Command {
    let allowed = Command::new("setarch").args(["-R", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("setarch");
    command.arg("-R").arg(program);
    command
}
