//! What the virtual machine runs: its first program, and the script of one run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::initrd::Archive;
use crate::kernel::Kernel;
use crate::machine::Options;

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";
/// Modules which the first program needs: the devices of the host's folders, and the file systems.
const MODULES: &[&str] = &["virtio_pci", "9p", "9pnet_virtio", "overlay"];

/// The folder of a run as the machine sees it: the script, and the files by which it answers.
pub(crate) const LOG: &str = "log";
pub(crate) const STATUS: &str = "status";

/// The initial file system for a kernel.
pub(crate) fn initrd(kernel: &Kernel) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "proc", "sys", "dev"] {
        archive.directory(folder);
    }
    archive.program("init", INIT.as_bytes());
    archive.program("bin/busybox", &read(Path::new(BUSYBOX))?);
    let mut order = String::new();
    for file in kernel.module_files(MODULES)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.program(&format!("modules/{name}"), &read(&file)?);
        order.push_str(&name);
        order.push('\n');
    }
    archive.program("modules/order", order.as_bytes());
    Ok(archive.finish())
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(Error::file(file))
}

/// The script of one run: the command with its environment, in its folder; its output to a file, its status to another;
/// then the machine goes off.
pub(crate) fn script<S: AsRef<OsStr>>(kernel: &Kernel, command: &[S], options: &Options) -> Vec<u8> {
    let mut script = Script::default();
    script.line("ip link set lo up");
    let modules = Path::new("/host").join(strip_root(&kernel.modules()));
    let place = format!("/lib/modules/{}", kernel.release);
    script.words("rm -rf", [OsStr::new(&place)]);
    script.words("ln -s", [modules.as_os_str(), OsStr::new(&place)]);
    for variable in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
        if let Some(value) = std::env::var_os(variable) {
            script.export(OsStr::new(variable), &value);
        }
    }
    script.line("export REFVM=1 OUT=/out");
    for (name, value) in &options.environment {
        script.export(name, value);
    }
    script.words("cd", [options.folder.as_os_str()]);
    script.words("(exec", command.iter().map(AsRef::as_ref));
    script.line(&format!(") >/ctl/{LOG} 2>&1 </dev/null"));
    // In two steps: the host takes the file's presence for its completeness.
    script.line(&format!("echo $? >/ctl/{STATUS}.new; mv /ctl/{STATUS}.new /ctl/{STATUS}"));
    script.line("sync; echo o >/proc/sysrq-trigger; sleep 10");
    script.0
}

fn strip_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// A shell script under construction.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn line(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.push(b'\n');
    }

    /// A line of a beginning and of words that the shell shall not interpret.
    fn words<'a>(&mut self, beginning: &str, words: impl IntoIterator<Item = &'a OsStr>) {
        self.0.extend_from_slice(beginning.as_bytes());
        for word in words {
            self.0.push(b' ');
            quote(word, &mut self.0);
        }
        self.0.push(b'\n');
    }

    fn export(&mut self, name: &OsStr, value: &OsStr) {
        let mut assignment = name.to_owned().into_vec();
        assignment.push(b'=');
        assignment.extend_from_slice(value.as_bytes());
        self.words("export", [OsStr::from_bytes(&assignment)]);
    }
}

/// Writes a word in single quotes; a single quote in it as `'\''`.
fn quote(word: &OsStr, script: &mut Vec<u8>) {
    script.push(b'\'');
    for &byte in word.as_bytes() {
        if byte == b'\'' {
            script.extend_from_slice(b"'\\''");
        } else {
            script.push(byte);
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_takes_quoted_words_as_they_are() {
        let word = "it's $HOME; \"a\" \\ *\nb";
        let mut script = b"printf %s ".to_vec();
        quote(OsStr::new(word), &mut script);
        let output = std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output();
        let output = output.expect("every system has sh").stdout;
        assert_eq!(String::from_utf8_lossy(&output), word);
    }
}
