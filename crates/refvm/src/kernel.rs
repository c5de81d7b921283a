//! The kernel: Debian's stock package, unpacked into a folder of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// The package that depends on the current kernel of the distribution.
const META_PACKAGE: &str = "linux-image-amd64";

/// An unpacked kernel.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    /// The folder which the package was unpacked into.
    folder: PathBuf,
}

impl Kernel {
    /// The kernel in `folder`, which [`unpack`] made.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let modules = folder.join("lib/modules");
        let mut entries = fs::read_dir(&modules).map_err(Error::file(&modules))?;
        let entry = entries.next().ok_or(Error::KernelIncomplete { missing: "lib/modules".to_owned() })?;
        let entry = entry.map_err(Error::file(&modules))?;
        let kernel =
            Self { release: entry.file_name().to_string_lossy().into_owned(), folder: folder.to_owned() };
        if !kernel.image().is_file() {
            return Err(Error::KernelIncomplete { missing: format!("boot/vmlinuz-{}", kernel.release) });
        }
        Ok(kernel)
    }

    /// What the boot loader starts.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Folder of the modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// The files of these modules and of all that they need, in the order in which they must be loaded.
    pub(crate) fn module_files(&self, modules: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for module in modules {
            let mut modprobe = Command::new(program("modprobe"));
            modprobe.arg("--dirname").arg(&self.folder).args([
                "--set-version",
                &self.release,
                "--show-depends",
            ]);
            for line in output(modprobe.arg(module))?.lines() {
                let Some(file) = line.strip_prefix("insmod ") else { continue };
                let file = PathBuf::from(file.trim_end());
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }
}

/// Downloads the kernel's package and unpacks it into `folder`, which must exist.
pub(crate) fn unpack(folder: &Path) -> Result<(), Error> {
    // Without package lists the name is unknown; they may also be older than the archive.
    let package = match package_name() {
        Ok(package) => package,
        Err(_) => {
            output(Command::new("apt-get").arg("update"))?;
            package_name()?
        }
    };
    let download = folder.join("download");
    fs::create_dir_all(&download).map_err(Error::file(&download))?;
    let fetch = || output(Command::new("apt-get").args(["download", &package]).current_dir(&download));
    if fetch().is_err() {
        output(Command::new("apt-get").arg("update"))?;
        fetch()?;
    }
    for entry in fs::read_dir(&download).map_err(Error::file(&download))? {
        let archive = entry.map_err(Error::file(&download))?.path();
        output(Command::new("dpkg").arg("--extract").arg(&archive).arg(folder))?;
    }
    fs::remove_dir_all(&download).map_err(Error::file(&download))?;
    let kernel = Kernel::open(folder)?;
    output(Command::new(program("depmod")).arg("--basedir").arg(folder).arg(&kernel.release)).map(drop)
}

/// Name of the kernel's package, such as `linux-image-6.1.0-35-amd64`.
fn package_name() -> Result<String, Error> {
    let mut query = Command::new("apt-cache");
    query.args(["depends", META_PACKAGE]);
    let text = output(&mut query)?;
    let dependencies = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let package = dependencies.into_iter().find(|name| name.starts_with("linux-image-"));
    package.map(str::to_owned).ok_or_else(|| Error::program(&query, "it names no kernel; is this Debian?"))
}

/// A program of the administrator, which the search path of others may lack.
pub(crate) fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| name.into())
}

fn output(command: &mut Command) -> Result<String, Error> {
    command.env("LC_ALL", "C");
    let output = command.output().map_err(|error| Error::program(command, error))?;
    if !output.status.success() {
        return Err(Error::program(command, String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
