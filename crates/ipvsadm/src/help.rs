//! The help text, made from the table of options.

use rvs_config::Scheduler;

use crate::table::{COMMANDS, CommandSpec, FLAGS, FlagSpec, Value, Verb};

/// What `-v` prints, and the first line of the help text.
#[must_use]
pub fn version() -> String {
    format!("ipvsadm v1.31 2019/12/24 (rvs {}, IPVS v1.2.1)\n", env!("CARGO_PKG_VERSION"))
}

/// What `-h` prints.
#[must_use]
pub fn help() -> String {
    let mut out = version();
    out.push_str("Usage: ipvsadm COMMAND [OPTION]...\n\nCommands:\n");
    for spec in COMMANDS {
        row(&mut out, &command_forms(spec), spec.help, spec.supported);
    }
    out.push_str("\nOptions, and the commands that take them:\n");
    let mut with: &[Verb] = &[];
    for spec in FLAGS {
        if spec.with != with {
            with = spec.with;
            out.push_str(&format!(" {}:\n", verbs(with)));
        }
        row(&mut out, &flag_forms(spec), spec.help, spec.supported);
    }
    let schedulers: Vec<&str> = Scheduler::ALL.iter().map(|scheduler| scheduler.name()).collect();
    out.push_str(&format!("\nSchedulers: {}\n", schedulers.join(" ")));
    out.push_str("[not yet]: understood, but not supported by this version of rvs\n");
    out
}

fn row(out: &mut String, forms: &str, help: &str, supported: bool) {
    let not_yet = if supported { "" } else { " [not yet]" };
    out.push_str(&format!("  {forms:<38} {help}{not_yet}\n"));
}

fn command_forms(spec: &CommandSpec) -> String {
    let shorts: String = spec.shorts.iter().map(|short| format!("-{short}, ")).collect();
    let operands = if spec.operands.is_empty() { String::new() } else { format!(" {}", spec.operands) };
    format!("{shorts}--{}{}{operands}", spec.long, value(spec.value))
}

fn flag_forms(spec: &FlagSpec) -> String {
    let short = spec.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("{short}--{}{}", spec.long, value(spec.value))
}

fn value(value: Value) -> String {
    match value {
        Value::None => String::new(),
        Value::Required(name) => format!(" {name}"),
        Value::Optional(name) => format!(" [{name}]"),
    }
}

/// The commands by their shortest forms.
fn verbs(with: &[Verb]) -> String {
    let shortest = |spec: &CommandSpec| match spec.shorts.first() {
        Some(short) => format!("-{short}"),
        None => format!("--{}", spec.long),
    };
    let forms: Vec<String> = COMMANDS.iter().filter(|spec| with.contains(&spec.verb)).map(shortest).collect();
    forms.join(" ")
}
