//! `cargo xtask setup`: installs what the other tasks need. Quick when all is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, find, is_root, output, run as run_command, target};
use crate::packages::{self, Purpose};

/// The linker of BPF programs. Another version may put other bytes into the objects.
const BPF_LINKER_VERSION: &str = "0.13.0";
/// Where Debian's llvm-22-dev lies; bpf-linker's build asks the `llvm-config` in it.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Where the BPF file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// Installs everything; an error names what could not be had.
pub(crate) fn run() -> Result<()> {
    install_components()?;
    install_packages()?;
    install_bpf_linker()?;
    mount_bpffs()
}

/// What a purpose lacks on this machine, in one line; nothing if it lacks nothing.
pub(crate) fn lacks(purpose: Purpose) -> Option<String> {
    let missing: Vec<_> =
        packages::missing().into_iter().filter(|package| package.purpose == purpose).collect();
    if !missing.is_empty() {
        return Some(format!("Debian packages not installed: {}", packages::names(&missing)));
    }
    match purpose {
        Purpose::Ebpf if bpf_linker().is_none() => {
            Some(format!("bpf-linker {BPF_LINKER_VERSION} not installed"))
        }
        Purpose::Namespaces if !is_root() => Some("the rights of root".to_owned()),
        Purpose::Namespaces if !is_bpffs_mounted() => Some(format!("the BPF file system at {BPFFS}")),
        _ => None,
    }
}

/// The bpf-linker to use: our own, or one of the right version in the search path.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    let candidates = [Some(tools().join("bin/bpf-linker")), find("bpf-linker")];
    candidates.into_iter().flatten().find(|program| {
        let version = output(Command::new(program).arg("--version")).unwrap_or_default();
        version.split_whitespace().nth(1) == Some(BPF_LINKER_VERSION)
    })
}

/// Parts of the Rust tool chain that its smallest installation lacks.
fn install_components() -> Result<()> {
    for (task, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if output(cargo().args([task, "--version"])).is_err() {
            println!("installing {component}");
            output(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn tools() -> PathBuf {
    target().join("tools")
}

fn install_packages() -> Result<()> {
    let missing = packages::missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !packages::has_apt() {
        bail!("this is no Debian; install what corresponds to: {}", packages::names(&missing));
    }
    if !is_root() {
        bail!("only root can install: {}", packages::names(&missing));
    }
    for package in &missing {
        println!("installing {package}");
    }
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing.iter().map(|package| package.name));
    apt_get(Command::new("apt-get").arg("update")).and_then(|()| apt_get(&mut install))
}

/// apt-get without questions; what it says is shown only if it fails.
fn apt_get(command: &mut Command) -> Result<()> {
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    output(command).map(drop)
}

fn install_bpf_linker() -> Result<()> {
    if bpf_linker().is_some() {
        return Ok(());
    }
    if !Path::new(LLVM_PREFIX).is_dir() {
        bail!("{LLVM_PREFIX} is missing, which bpf-linker is built with");
    }
    println!("building bpf-linker {BPF_LINKER_VERSION}");
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", "bpf-linker", "--version", BPF_LINKER_VERSION]);
    install.args(["--no-default-features", "--features", "llvm-22", "--root"]).arg(tools());
    install.env("LLVM_PREFIX", LLVM_PREFIX);
    run_command(&mut install)?;
    bpf_linker()
        .map(drop)
        .with_context(|| format!("bpf-linker {BPF_LINKER_VERSION} was installed and isn't found"))
}

fn mount_bpffs() -> Result<()> {
    if is_bpffs_mounted() {
        return Ok(());
    }
    if !is_root() {
        bail!("only root can mount the BPF file system at {BPFFS}");
    }
    println!("mounting the BPF file system at {BPFFS}");
    run_command(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}

fn is_bpffs_mounted() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}
