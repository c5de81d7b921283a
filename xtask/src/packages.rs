//! The Debian packages that the tasks use: the one list, with the reason of each.

use crate::command::output;
use std::process::Command;

/// What a package is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building the programs in the kernel.
    Ebpf,
    /// Tests with traffic between network namespaces.
    Namespaces,
    /// Fuzzing.
    Fuzzer,
    /// The virtual machine with the reference kernel.
    ReferenceVm,
}

/// A Debian package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) purpose: Purpose,
    reason: &'static str,
}

const fn package(purpose: Purpose, name: &'static str, reason: &'static str) -> Package {
    Package { name, purpose, reason }
}

/// Everything that is installed, and why. Names are those of Debian 12.
pub(crate) const PACKAGES: &[Package] = &[
    package(Purpose::Ebpf, "rustc-web", "rustc 1.96 on LLVM 22: a compiler for BPF without nightly"),
    package(Purpose::Ebpf, "libstd-rust-web-dev-bpf", "`core` compiled for bpfel-unknown-none"),
    package(
        Purpose::Ebpf,
        "llvm-22-dev",
        "bpf-linker links against this LLVM; brings llvm-strip and llvm-nm",
    ),
    package(Purpose::Fuzzer, "g++", "libFuzzer is C++"),
    package(Purpose::ReferenceVm, "iproute2", "links and addresses inside the virtual machine"),
    package(Purpose::Namespaces, "nginx", "a real server, which logs its clients' addresses"),
    package(Purpose::Namespaces, "curl", "a real client of HTTP and FTP"),
    package(Purpose::Namespaces, "vsftpd", "a real FTP server"),
    package(Purpose::Namespaces, "iperf3", "bulk TCP with offloads"),
    package(Purpose::Namespaces, "dnsmasq-base", "a real name server"),
    package(Purpose::Namespaces, "bind9-dnsutils", "dig, a real client of DNS"),
    package(Purpose::Namespaces, "websocketd", "a real server of WebSockets"),
    package(Purpose::Namespaces, "python3-websockets", "a real client of WebSockets"),
    package(Purpose::Namespaces, "nftables", "the kernel's own NAT, to compare with"),
    package(Purpose::Namespaces, "ethtool", "a second opinion on offloads"),
    package(Purpose::Namespaces, "tcpdump", "frames as they are on the wire"),
    package(Purpose::ReferenceVm, "qemu-system-x86", "runs the reference kernel under software emulation"),
    package(Purpose::ReferenceVm, "busybox-static", "the first program of the virtual machine"),
    package(Purpose::ReferenceVm, "kmod", "depmod for the unpacked kernel, modprobe inside"),
    package(Purpose::ReferenceVm, "ipvsadm", "the original, to compare with"),
    package(Purpose::ReferenceVm, "socat", "echoes over SCTP, of which the kernel there has sockets"),
];

/// The packages of the list that are not installed.
pub(crate) fn missing() -> Vec<&'static Package> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]);
    query.args(PACKAGES.iter().map(|package| package.name));
    // It fails when one is unknown, and still prints the others.
    let installed = query.output().map(|output| output.stdout).unwrap_or_default();
    let installed = String::from_utf8_lossy(&installed);
    let is_installed = |name: &str| installed.lines().any(|line| line == format!("{name} installed"));
    PACKAGES.iter().filter(|package| !is_installed(package.name)).collect()
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// Names, for a message.
pub(crate) fn names(packages: &[&Package]) -> String {
    packages.iter().map(|package| package.name).collect::<Vec<_>>().join(" ")
}

/// Whether this machine has Debian's package manager.
pub(crate) fn has_apt() -> bool {
    output(Command::new("apt-get").arg("--version")).is_ok()
}
