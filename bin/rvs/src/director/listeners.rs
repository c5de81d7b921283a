//! The threads that turn what happens outside into messages. None of them owns anything; they end with the process, or
//! when nobody listens any more.

use std::io;
use std::process;
use std::sync::mpsc::{Sender, sync_channel};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use rvs_control::{Peer, api};
use rvs_netlink::Monitor;

use super::message::Message;

/// The signals that end the daemon.
fn ends() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// Keeps the signals for [`signals`]. To be called before any thread is started: threads inherit it.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn hold_signals() -> Result<()> {
    ends().thread_block().context("hold SIGTERM and SIGINT")
}

/// Starts the thread that waits for signals. The second one ends the process at once: the first is then being obeyed for
/// longer than somebody is willing to wait, and the data plane needs nobody to say goodbye.
///
/// # Errors
/// When no thread can be started.
pub(super) fn signals(inbox: Sender<Message>) -> Result<()> {
    let listen = move || {
        let signals = ends();
        while let Ok(signal) = signals.wait() {
            if inbox.send(Message::Signal(signal)).is_err() {
                process::exit(1);
            }
            if let Ok(signal) = signals.wait() {
                process::exit(128 + signal as i32);
            }
        }
    };
    start("rvs-signals", listen)
}

/// Starts the thread that listens to netlink.
///
/// # Errors
/// When no thread can be started.
pub(super) fn network(mut monitor: Monitor, inbox: Sender<Message>) -> Result<()> {
    let listen = move || {
        loop {
            let message = match monitor.next(None) {
                Ok(Some(event)) => Message::Network(event),
                Ok(None) => continue,
                Err(error) => Message::NetworkLost(error),
            };
            let lost = matches!(message, Message::NetworkLost(_));
            if inbox.send(message).is_err() || lost {
                return;
            }
        }
    };
    start("rvs-netlink", listen)
}

/// Starts the thread that waits for the end of standard input, which is the other end of a pipe that the parent has.
///
/// # Errors
/// When no thread can be started.
pub(super) fn stdin(inbox: Sender<Message>) -> Result<()> {
    let listen = move || {
        // What comes is nothing to us, and an input that can't be read has ended.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        // The main loop may have ended before.
        drop(inbox.send(Message::StdinEnded));
    };
    start("rvs-stdin", listen)
}

fn start(name: &str, listen: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(listen);
    thread.map(drop).with_context(|| format!("start thread {name}"))
}

/// Asks the main loop on behalf of a client, and waits for its answer.
pub(super) fn ask(inbox: &Sender<Message>, request: api::Request, peer: Peer) -> api::Response {
    let (reply, answer) = sync_channel(1);
    let sent = inbox.send(Message::Request { request, peer, reply });
    let answer = sent.ok().and_then(|()| answer.recv().ok());
    answer.unwrap_or_else(|| {
        let message = "the director is ending".to_owned();
        api::Response::Failed(api::Failure::Unavailable { message })
    })
}
