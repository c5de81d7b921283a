//! The threads that turn what happens outside into messages. None of them owns anything; they end with the process, or
//! when nobody listens any more.

use std::io;
use std::sync::mpsc::{Sender, sync_channel};
use std::thread;

use anyhow::{Context as _, Result};
use rvs_control::{Peer, api};
use rvs_netlink::Monitor;

use super::message::Message;
use crate::signals;

/// Starts the thread that waits for signals.
///
/// # Errors
/// When no thread can be started.
pub(super) fn signals(inbox: Sender<Message>) -> Result<()> {
    signals::start(move |signal| inbox.send(Message::Signal(signal)).is_ok())
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
