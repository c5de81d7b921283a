//! `rvs ipvsadm`, and the binary under the names of the ipvsadm package: the grammar and the texts of `rvs-ipvsadm`, the
//! names of the system, and the director at the other end of the socket (`RVS_SOCKET`).

use std::io::{self, BufWriter, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Error;
use rvs_config::{Command, CommandError, Listing, Timeouts};
use rvs_control::{Client, Error as ControlError, api};
use rvs_ipvsadm::{ConnTable, Failure, Invocation, ListRequest, Rules, ServiceTable, Tool, UnknownScheduler};

use crate::names::System;
use crate::{output, socket};

/// There is no director, or none for this user, where ipvsadm finds no IPVS in the kernel (ipvs.md §10.4).
const NO_DIRECTOR: u8 = 2;
/// Anything that goes wrong in the kernel, or here in the director (ipvs.md §1.6).
const REFUSED: u8 = 255;

/// Does what the arguments, without the tool's name, ask for.
pub(crate) fn run(tool: Tool, args: &[String]) -> ExitCode {
    let names = System::default();
    match tool.parse(args, &names).and_then(|invocation| carry_out(tool, invocation, &names)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, status }) => {
            eprintln!("{message}");
            ExitCode::from(status)
        }
    }
}

fn carry_out(tool: Tool, invocation: Invocation, names: &System) -> Result<(), Failure> {
    match invocation {
        Invocation::Help => print(&tool.help()),
        Invocation::Version => print(&rvs_ipvsadm::version()),
        Invocation::Change(command) => {
            connect()?.apply(&[command]).map(drop).map_err(|error| failure(error, Failure::refused))
        }
        Invocation::UnknownScheduler(unknown) => Err(unknown_scheduler(&mut connect()?, &unknown)),
        Invocation::List(request) => list(&mut connect()?, &request, names),
        Invocation::Save { numeric } => {
            let listing = connect()?.services().map_err(|error| failure(error, Failure::not_listed))?;
            print(&rvs_ipvsadm::save(&listing, numeric, names))
        }
        Invocation::Restore(rules) => restore(rules, names),
    }
}

fn connect() -> Result<Client, Failure> {
    socket::Which::default().connect().map_err(|error| failure(error, Failure::refused))
}

/// What to say about an error of the socket; `refusal` tells it of an error of the director.
fn failure(error: ControlError, refusal: fn(&CommandError) -> Failure) -> Failure {
    match error {
        ControlError::NoDirector { path, reason } => Failure {
            message: format!(
                "Can't initialize ipvs: {}: {reason}\nAre you sure that a director is running ('rvs director')?",
                path.display()
            ),
            status: NO_DIRECTOR,
        },
        ControlError::NotPermitted { .. } => not_root(),
        ControlError::Answered { body, .. } => match &body.error {
            api::ErrorDetail::Command(error) => refusal(error),
            api::ErrorDetail::Request(api::RequestError::Forbidden { .. }) => not_root(),
            api::ErrorDetail::Request(_) | api::ErrorDetail::Other(_) => {
                Failure { message: body.message.clone(), status: REFUSED }
            }
        },
        other => Failure { message: other.to_string(), status: REFUSED },
    }
}

/// What `ipvsadm` says to others than root, whatever they ask for (ipvs.md §10.4, statement 156): to it, the kernel has no
/// IPVS then. Here it is said of changes only, for everybody may ask.
fn not_root() -> Failure {
    let message = "Can't initialize ipvs: Permission denied (you must be root)\n\
        Are you sure that IP Virtual Server is built in the kernel or as module?";
    Failure { message: message.to_owned(), status: NO_DIRECTOR }
}

fn unknown_scheduler(client: &mut Client, unknown: &UnknownScheduler) -> Failure {
    match client.service(&unknown.service) {
        Ok(_) => Failure::refused(&unknown.error(true)),
        Err(ControlError::Answered { status: 404, .. }) => Failure::refused(&unknown.error(false)),
        Err(error) => failure(error, Failure::refused),
    }
}

fn list(client: &mut Client, request: &ListRequest, names: &System) -> Result<(), Failure> {
    let failed = |error| failure(error, Failure::not_listed);
    match request {
        ListRequest::Services(table) => {
            let listing = listing(client, table).map_err(failed)?;
            let text = table.render(&listing, names).map_err(|error| Failure::not_listed(&error))?;
            print(&text)
        }
        ListRequest::Connections(table) => connections(client, table, names),
        ListRequest::Timeouts => {
            let timeouts = client.timeouts().map_err(failed)?;
            print(&rvs_ipvsadm::timeouts(&timeouts))
        }
        ListRequest::SyncDaemons => Ok(()),
    }
}

/// What a table shows: one service is asked for alone, for there may be a hundred thousand.
fn listing(client: &mut Client, table: &ServiceTable) -> Result<Listing, ControlError> {
    match &table.service {
        None => client.services(),
        Some(key) => {
            let services = vec![client.service(key)?];
            // The line with the size is not part of such a table.
            Ok(Listing { services, conn_table_size: 0, timeouts: Timeouts::default() })
        }
    }
}

/// Prints connections as they come: there may be millions.
fn connections(client: &mut Client, table: &ConnTable, names: &System) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = out.write_all(table.titles().as_bytes());
    let shown = client.each_connection(|conn| {
        written = out.write_all(table.line(&conn, names).as_bytes());
        written.is_ok()
    });
    let written = written.and_then(|()| out.flush());
    output::done(written).map_err(|error| broken_output(&error))?;
    shown.map_err(|error| failure(error, Failure::not_listed))
}

/// `-R` and `ipvsadm-restore`: all lines as one transaction.
fn restore(rules: Rules, names: &System) -> Result<(), Failure> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut text)
        .map_err(|error| Failure { message: format!("standard input: {error}"), status: REFUSED })?;
    let text = String::from_utf8_lossy(&text);
    let rules = rvs_ipvsadm::restore(&text, rules, names).map_err(|error| Failure::from(&error))?;
    let (lines, commands): (Vec<usize>, Vec<Command>) = rules.into_iter().unzip();
    if commands.is_empty() {
        return Ok(());
    }
    connect()?.apply(&commands).map(drop).map_err(|error| {
        let line = refused_line(&error, &lines);
        let failure = failure(error, Failure::refused);
        line.map_or(failure.clone(), |line| failure.at_line(line))
    })
}

/// The line whose command was refused. Line 0, the clearing before a restore, is none of the input's.
fn refused_line(error: &ControlError, lines: &[usize]) -> Option<usize> {
    let ControlError::Answered { body, .. } = error else { return None };
    let index = usize::try_from(body.index?).ok()?;
    lines.get(index).copied().filter(|&line| line > 0)
}

fn print(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| broken_output(&error))
}

fn broken_output(error: &Error) -> Failure {
    Failure { message: format!("{error:#}"), status: REFUSED }
}
