//! The commands in the documents: each does what it is shown for, or is a step of CI.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};

use rvs_netlink::{Netns, Prefix};

use crate::program;
use crate::turn::await_turn;

const README: &str = include_str!("../../../README.md");
const SETTINGS: &str = include_str!("../../../docs/settings.md");
const TUNNELS: &str = include_str!("../../../docs/tunnels.md");
const FULL_NAT: &str = include_str!("../../../docs/full-nat.md");
const NAT64: &str = include_str!("../../../docs/nat64.md");
const DOCUMENTS: [&str; 14] = [
    README,
    include_str!("../../../ARCHITECTURE.md"),
    include_str!("../../../CONTRIBUTING.md"),
    include_str!("../../../CHANGELOG.md"),
    include_str!("../../../SPECIFICATION.md"),
    include_str!("../../../docs/compatibility.md"),
    include_str!("../../../docs/ftp.md"),
    include_str!("../../../docs/links.md"),
    include_str!("../../../docs/marks.md"),
    FULL_NAT,
    NAT64,
    crate::client_address::PAGE,
    SETTINGS,
    TUNNELS,
];
/// Steps of `cargo xtask test` that are commands of their own, or run the tests of one.
const STEPS: &[(&str, &str)] = &[
    ("cargo xtask setup", "setup"),
    ("cargo xtask tidy", "tidy"),
    ("cargo xtask ebpf", "ebpf"),
    ("cargo xtask ebpf --check", "ebpf"),
    ("cargo xtask fuzz", "fuzz"),
    ("cargo xtask fuzz --keep", "fuzz"),
    ("cargo test -p CRATE", "unit"),
    ("cargo test -p rvs-director", "unit"),
    ("cargo xtask test", "kernel"),
    ("cargo xtask test kernel", "kernel"),
    ("cargo xtask test refvm", "refvm"),
    ("cargo xtask test kernel refvm", "refvm"),
    ("cargo xtask test unit kernel", "unit"),
    ("cargo xtask test --allow-skips", "kernel"),
];
/// Commands that tests of this package run.
const TESTED: [&str; 14] = [
    "cargo run --release -- demo",
    "rvs agent",
    "rvs agent --client-address",
    "rvs agent --mss",
    "rvs demo",
    "rvs director",
    "rvs director --full-nat-sources 10.0.0.128/28 --full-nat-sources fd00:250::/120",
    "rvs connections",
    "rvs director --ftp-ports 21",
    "rvs status",
    "rvs director --tunnel-sources 10.250.0.0/16 --tunnel-sources fd00:250::/64",
    "rvs ipvsadm",
    REFERENCE_KERNEL,
    "cargo xtask bench",
];
const REFERENCE_KERNEL: &str = "cargo xtask refvm -- bash -c 'modprobe ip_vs; ipvsadm -Ln'";
/// What is only a name, and no command.
const NAMES: [&str; 1] = ["cargo xtask"];

/// The lines of the code block `sh` below a heading, without comments.
fn block(document: &'static str, heading: &str) -> Vec<&'static str> {
    let (_, below) = document.split_once(heading).unwrap();
    let (_, block) = below.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(without_comment).collect()
}

fn without_comment(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line).trim_end()
}

/// Code in the text of a document that begins like a command.
fn commands_in_text(document: &'static str) -> impl Iterator<Item = &'static str> {
    let prose = document.split("```").step_by(2);
    let code = prose.flat_map(|text| text.split('`').skip(1).step_by(2));
    code.filter(|code| code.starts_with("cargo ") || code.starts_with("rvs "))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}\n{shown}{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// `cargo xtask …` as a document shows it, run where somebody would who reads it.
fn xtask(command: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = run(Command::new("sh").args(["-c", command]).current_dir(folder));
    String::from_utf8(output.stdout).unwrap()
}

/// A machine with two network cards, as far as the README's commands can tell.
fn machine() -> (Netns, Netns) {
    let (machine, others) =
        (Netns::create_unique("rvs-readme").unwrap(), Netns::create_unique("rvs-readme").unwrap());
    let (mut netlink, mut far) = (machine.netlink().unwrap(), others.netlink().unwrap());
    for (name, address) in [("eth0", [192, 0, 2, 1]), ("eth1", [10, 0, 0, 1])] {
        netlink.create_veth(name, name, &others).unwrap();
        let index = netlink.link(name).unwrap().index;
        netlink.add_address(index, Prefix::new(Ipv4Addr::from(address), 24).unwrap()).unwrap();
        netlink.set_up(index).unwrap();
        let far_index = far.link(name).unwrap().index;
        far.set_up(far_index).unwrap();
    }
    (machine, others)
}

/// The commands of the README's section Use, one after the other, and between them those that its text names.
fn script() -> String {
    let mut lines = block(README, "## Use");
    let start = lines.remove(0);
    let stop = lines.pop().unwrap();
    assert!(start.ends_with('&') && stop == "rvs director --stop", "{start}\n{stop}");
    let named = commands_in_text(README).filter(|command| !TESTED.contains(command));
    let named: BTreeSet<_> = named.filter(|command| command.starts_with("rvs ")).collect();
    let mut script = vec![
        // A machine's own places, which end with the script.
        "mount -t tmpfs none /run",
        "mount -t bpf none /sys/fs/bpf",
        start,
        "trap 'kill $! 2>/dev/null || true' EXIT",
        "timeout 60 sh -c 'until rvs status >/dev/null 2>&1; do sleep 0.02; done'",
    ];
    script.extend(lines);
    script.extend(named);
    script.extend(block(SETTINGS, "# Settings"));
    script.extend(block(TUNNELS, "# Tunnels"));
    script.extend(block(FULL_NAT, "# Full NAT"));
    script.extend(block(NAT64, "# NAT64 and NAT46"));
    script.extend(block(crate::client_address::PAGE, "## The PROXY protocol"));
    script.extend([stop, "wait", "echo ended"]);
    script.join("\n")
}

#[test]
fn the_readme_is_right_about_its_use() {
    let (machine, _others) = machine();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &script()]);
    let folder = program::path().parent().unwrap();
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
    let output = machine.enter(|| run(&mut command)).unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("rvs director ready"), "{shown}");
    assert!(shown.contains("\nTCP  192.0.2.1:80 "), "{shown}");
    assert!(shown.contains("\n  -> 10.0.0.11:80 "), "{shown}");
    assert!(shown.contains("\n  -> 10.0.0.12:80 "), "{shown}");
    assert!(shown.contains("\"openapi\""), "{shown}");
    assert!(shown.ends_with("ended\n"), "{shown}");
}

#[test]
fn every_command_in_the_documents_is_run() {
    let steps = xtask("cargo xtask test --list");
    let blocks = [("## Two commands", README), ("## Set-up", DOCUMENTS[2])];
    let mut commands: BTreeSet<_> = blocks.iter().flat_map(|(heading, text)| block(text, heading)).collect();
    commands.extend(DOCUMENTS.iter().flat_map(|document| commands_in_text(document)));
    for command in commands {
        if let Some((_, step)) = STEPS.iter().find(|(of_step, _)| *of_step == command) {
            assert!(steps.lines().any(|line| line.split(' ').next() == Some(step)), "{command}: {step}");
        } else if !TESTED.contains(&command) && !NAMES.contains(&command) {
            assert!(script().lines().any(|line| line == command), "{command}: no test runs it");
        }
    }
    // Nor is there another block with commands, but the six of the script, that of random histories, that of the servers'
    // ends of tunnels (`real_ends` under the reference kernel), and those that the tests of the agent and of `rvs marks` call.
    let shown = DOCUMENTS.iter().map(|document| document.matches("```sh\n").count()).sum::<usize>();
    assert_eq!(shown, blocks.len() + 10);
}

#[test]
fn a_command_runs_under_the_reference_kernel() {
    let shown = xtask(REFERENCE_KERNEL);
    assert!(shown.contains("IP Virtual Server version 1.2.1"), "{shown}");
}

/// The same commands, with fewer seeds.
#[test]
fn random_histories_run_as_shown() {
    let _turn = await_turn();
    let commands = block(DOCUMENTS[2], "Random histories").join(" && ");
    assert!(commands.contains(" --seeds 0..500"), "{commands}");
    let shown = xtask(&commands.replace(" --seeds 0..500", " --seeds 0..3"));
    assert!(shown.contains("3 seeds"), "{shown}");
}

#[test]
fn the_benchmarks_run() {
    let _turn = await_turn();
    let shown = xtask("cargo xtask bench --quick");
    assert!(shown.contains("\nresults: "), "{shown}");
}
