//! The programs that the way of a packet is divided into.
//!
//! The kernel verifies each by itself, up to a million instructions, and gives each a stack of its own; both are too little for
//! the whole way. The first, [`crate::pipeline::ingress`], has all that most packets meet. What it can't end goes to another
//! by a tail call and does not come back: what is on its way is in [`crate::pipeline::Scratch`].

use rvs_abi::{Class, Outcome, Program, Settings};

use crate::fragment::{is_first, is_to_be_gathered};
use crate::icmp::{answer, schedule};
use crate::pipeline::{connect, find_mark};
use crate::{Link, Packet, Tables, Verdict};
use crate::{clamp, conn, ftp, guard, hold};

/// The program that goes on with packets that came to this outcome.
#[inline(always)]
const fn behind(outcome: Outcome) -> Option<Program> {
    match outcome {
        Outcome::NoConnection | Outcome::Classified => Some(Program::Connect),
        Outcome::IcmpError => Some(Program::Error),
        Outcome::LaterFragment => Some(Program::Fragment),
        Outcome::FragmentHeld => Some(Program::Gather),
        Outcome::ForwardCut | Outcome::TunnelCut => Some(Program::Cut),
        Outcome::FtpRequest | Outcome::FtpReply | Outcome::FtpLocalReply => Some(Program::Ftp),
        Outcome::Local | Outcome::LocalReply | Outcome::LocalPacket => Some(Program::Here),
        Outcome::Translate
        | Outcome::TranslateError
        | Outcome::ForwardTranslated
        | Outcome::ReplyTranslated => Some(Program::Translate),
        Outcome::Bypass => Some(Program::Bypass),
        Outcome::Clamp => Some(Program::Clamp),
        Outcome::Proxied | Outcome::ProxiedReply => Some(Program::Head),
        _ => None,
    }
}

/// The end of the first program, and of those behind it: sends the packet by its method, or hands it to the next.
#[inline(always)]
pub(crate) fn go_on<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if outcome == Outcome::Tunnel && tables.holds() && is_to_be_gathered(tables, outcome) {
        // Those behind it take its place for a moment: that has to be before it is in the tunnel.
        return tables.go_on(packet, Program::Gather, outcome);
    }
    let outcome = send(packet, tables, outcome);
    if outcome.class() == Class::Drop {
        return lose(packet, tables, outcome);
    }
    match behind(outcome) {
        Some(program) => tables.go_on(packet, program, outcome),
        None if is_followed(outcome) => leave(packet, tables, outcome),
        None => end(tables, outcome, false),
    }
}

/// The end of the first program for packets that this host made.
#[inline(always)]
pub(crate) fn go_on_here<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Balanced | Outcome::FromServer | Outcome::LocalPort | Outcome::MaybeMarked => {
            tables.go_on(packet, Program::Here, outcome)
        }
        Outcome::IcmpError => tables.go_on(packet, Program::Error, outcome),
        Outcome::LaterFragment => tables.go_on(packet, Program::Fragment, outcome),
        outcome if outcome.class() == Class::Drop => lose(packet, tables, outcome),
        outcome => end_without_link(outcome),
    }
}

/// Whether fragments of a packet that ends so go where the first went.
#[inline(always)]
const fn is_followed(outcome: Outcome) -> bool {
    match outcome.class() {
        Class::Forward => true,
        Class::Pass => matches!(
            outcome,
            Outcome::NoService
                | Outcome::NoSyn
                | Outcome::Rst
                | Outcome::NoKeyExchange
                | Outcome::AlreadyBalanced
                | Outcome::FtpDataPort
                | Outcome::FtpPort
                | Outcome::ReplyUnchanged
        ),
        Class::HandOver | Class::Drop => false,
    }
}

/// The end of a packet, unless it is the first fragment of one.
#[inline(always)]
fn leave<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if is_to_be_gathered(tables, outcome) {
        return tables.go_on(packet, Program::Gather, outcome);
    }
    end(tables, outcome, outcome.class() == Class::Forward)
}

/// The end of a packet that is dropped. Of a first fragment it is remembered, so that those behind it don't wait for it.
#[inline(always)]
fn lose<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if is_first(tables) {
        return tables.go_on(packet, Program::Gather, outcome);
    }
    tell(packet, tables, outcome)
}

/// The end of a packet that is dropped, behind which nothing waits: its sender is told, of some.
#[inline(always)]
fn tell<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if answer::is_for(outcome) {
        tables.go_on(packet, Program::Answer, outcome)
    } else {
        end_without_link(outcome)
    }
}

/// [`end_without_link`] of a packet that may be dropped.
#[inline(always)]
fn stay<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if outcome.class() == Class::Drop { lose(packet, tables, outcome) } else { end_without_link(outcome) }
}

/// A program behind the first, for a packet that came to this outcome.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(program: Program, packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    match program {
        Program::Connect => begin_flow(packet, tables, outcome),
        Program::Error => relay(packet, tables, outcome),
        Program::Fragment => follow(packet, tables, outcome),
        Program::Here => {
            let outcome = here(packet, tables, outcome);
            go_on(packet, tables, outcome)
        }
        Program::Bypass => {
            let outcome = past(packet, tables);
            go_on(packet, tables, outcome)
        }
        Program::Cut => cut(packet, tables, outcome),
        // Under XDP nothing comes here: it hands over.
        Program::Ftp | Program::Heard if !tables.holds() => end_without_link(Outcome::Inconsistent),
        Program::Ftp => match ftp::handle(packet, tables, outcome) {
            Outcome::Balanced => tables.go_on(packet, Program::Heard, outcome),
            outcome => stay(packet, tables, outcome),
        },
        Program::Heard => {
            let outcome = ftp::send(packet, tables, outcome);
            go_on(packet, tables, outcome)
        }
        Program::Gather => gather(packet, tables, outcome),
        Program::Answer => {
            let sent = tables.answer(packet, outcome);
            end(tables, outcome, sent)
        }
        Program::Translate => translate(packet, tables, outcome),
        Program::Clamp => clamp_size(packet, tables),
        Program::Head => {
            let outcome = tables.proxy(packet, outcome);
            go_on(packet, tables, outcome)
        }
    }
}

/// A packet without a connection, or an ICMP error about one without.
#[inline(always)]
fn begin_flow<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    let sender = guard::sender(packet);
    let _kept = tables.with_scratch(|scratch| scratch.sender = sender);
    if outcome == Outcome::IcmpError {
        note_origin(tables);
        return match schedule::begin(tables) {
            Outcome::Balanced => tables.go_on(packet, Program::Error, Outcome::Balanced),
            outcome => end(tables, outcome, false),
        };
    }
    let outcome = begin(packet, tables, outcome);
    go_on(packet, tables, outcome)
}

/// An ICMP error.
#[inline(always)]
fn relay<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    match error(packet, tables, outcome) {
        Outcome::NoConnection => {
            tables.take_quoted();
            tables.go_on(packet, Program::Connect, Outcome::IcmpError)
        }
        Outcome::TranslateError => tables.go_on(packet, Program::Translate, Outcome::TranslateError),
        Outcome::TunnelCut => tables.go_on(packet, Program::Cut, Outcome::TunnelCut),
        Outcome::Bypass => tables.go_on(packet, Program::Bypass, Outcome::Bypass),
        outcome => end(tables, outcome, outcome.class() == Class::Forward),
    }
}

/// A fragment behind the first of its packet, or a first one for a tunnel that the others are gathered behind.
#[inline(always)]
fn follow<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if outcome == Outcome::Tunnel {
        return go_on(packet, tables, outcome);
    }
    let outcome = match tables.fragment_stage(packet) {
        Outcome::Local => tables.deliver(packet),
        outcome => outcome,
    };
    go_on(packet, tables, outcome)
}

/// A packet that is too large for its way, in its tunnel already or not.
#[inline(always)]
fn cut<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if outcome != Outcome::TunnelCut {
        let outcome = tables.cut(packet);
        return stay(packet, tables, outcome);
    }
    let outcome = tables.cut_outer(packet);
    match outcome.class() {
        Class::Drop => lose(packet, tables, outcome),
        class => end(tables, outcome, class == Class::Forward),
    }
}

/// A fragment that comes before the first of its packet, which is held; or a first one that is ready, or dropped, behind which
/// those go that are held.
#[inline(always)]
fn gather<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Verdict {
    if outcome == Outcome::FragmentHeld {
        return match tables.hold(packet) {
            // Its first fragment has come at this very moment.
            Outcome::LaterFragment => tables.go_on(packet, Program::Fragment, Outcome::LaterFragment),
            outcome => end_without_link(outcome),
        };
    }
    let is_dropped = outcome.class() == Class::Drop;
    // In this order: who holds one looks for the first afterwards, so that one of both sees the other.
    tables.keep(if outcome == Outcome::Tunnel { Outcome::ForwardTunnel } else { outcome });
    if is_dropped && outcome != Outcome::RewriteFailed && is_handed_over(tables) {
        return end_without_link(Outcome::HandOverFragment);
    }
    // Of what this host makes, the first comes first.
    if tables.holds() && !tables.is_local() && !tables.release(packet) {
        let lost = if is_dropped { outcome } else { Outcome::RewriteFailed };
        tables.keep(lost);
        return end_without_link(lost);
    }
    if is_dropped {
        return tell(packet, tables, outcome);
    }
    if outcome == Outcome::Tunnel {
        return tables.go_on(packet, Program::Fragment, outcome);
    }
    if is_translated(outcome) {
        return tables.go_on(packet, Program::Translate, outcome);
    }
    end(tables, outcome, outcome.class() == Class::Forward)
}

/// Whether others wait, perhaps, for this first fragment, which is as it came and would be dropped under XDP: TC sends them.
#[inline(always)]
fn is_handed_over<T: Tables>(tables: &T) -> bool {
    let is_any = tables
        .with_scratch(|scratch| hold::is_handed_over(tables, &scratch.parsed, conn::ticks(scratch.clock)));
    is_any.unwrap_or(false)
}

/// The outcome of a reply whose connection was there a moment ago.
#[inline(always)]
const fn still(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Balanced | Outcome::FromServer => Outcome::ConnContended,
        outcome => outcome,
    }
}

/// Whether a packet that ends so has become one of the other family.
#[inline(always)]
const fn is_translated(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ForwardTranslated | Outcome::ReplyTranslated)
}

/// A packet between families. It comes by [`Outcome::Translate`], and is rewritten last of all: a first fragment comes
/// again when those that are held have been sent behind it, and fragments behind it come for that only.
#[inline(always)]
fn translate<P: Packet, T: Tables>(packet: &mut P, tables: &T, came: Outcome) -> Verdict {
    let mut outcome = came;
    if came == Outcome::TranslateError {
        outcome = tables.translate_error(packet);
        if outcome == Outcome::IcmpToClient {
            tables.proxy_quoted(packet);
        }
        if outcome.class() == Class::Forward && !tables.error_becomes_other(packet) {
            outcome = Outcome::RewriteFailed;
        }
        return end(tables, outcome, outcome.class() == Class::Forward);
    }
    if came == Outcome::Translate {
        outcome = tables.translate(packet);
        if is_translated(outcome) && is_first(tables) {
            return tables.go_on(packet, Program::Gather, outcome);
        }
    }
    if is_translated(outcome) {
        outcome = tables.proxy(packet, outcome);
    }
    if outcome.class() == Class::Drop {
        return lose(packet, tables, outcome);
    }
    if !is_translated(outcome) {
        return match behind(outcome) {
            Some(program) => tables.go_on(packet, program, outcome),
            None => end_without_link(outcome),
        };
    }
    if tables.become_other(packet) {
        end(tables, outcome, true)
    } else {
        lose(packet, tables, Outcome::RewriteFailed)
    }
}

/// A TCP segment whose service lowers the size that it announces.
#[inline(always)]
fn clamp_size<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let mut outcome = match clamp::begin(tables) {
        Outcome::Balanced => tables.request(packet),
        Outcome::FromServer => still(tables.reply(packet)),
        Outcome::LocalPort => still(tables.local_reply(packet)),
        // Under TC, which hands nothing over.
        Outcome::Local if tables.clamp(packet) => {
            return tables.go_on(packet, Program::Here, Outcome::Balanced);
        }
        Outcome::LocalReply if tables.clamp(packet) => {
            return tables.go_on(packet, Program::Here, Outcome::LocalReply);
        }
        Outcome::Local | Outcome::LocalReply => Outcome::RewriteFailed,
        outcome => outcome,
    };
    if clamp::is_for(outcome) && !tables.clamp(packet) {
        outcome = Outcome::RewriteFailed;
    }
    go_on(packet, tables, outcome)
}

/// The stages that send by methods of which packets are rewritten whole.
#[inline(always)]
fn send<P: Packet, T: Tables>(packet: &mut P, tables: &T, mut outcome: Outcome) -> Outcome {
    if outcome == Outcome::Tunnel {
        outcome = tables.tunnel(packet);
    }
    if matches!(outcome, Outcome::FullNat | Outcome::FullNatReply) {
        outcome = tables.full_nat_stage(packet, outcome);
    }
    if outcome == Outcome::ClientOption {
        outcome = tables.client_option(packet);
    }
    outcome
}

/// For the connection that is to be made.
#[inline(always)]
fn note_origin<T: Tables>(tables: &T) {
    let _noted = tables.with_scratch(|scratch| scratch.is_local = u64::from(tables.is_local()));
}

/// A packet without a connection: finds its mark unless that is known, makes its connection, and sends it by that.
#[inline(always)]
fn begin<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> Outcome {
    note_origin(tables);
    if outcome == Outcome::NoConnection {
        find_mark(tables);
    }
    // What this host itself begins is no data connection.
    let expected = if tables.is_local() { Outcome::NoConnection } else { tables.expected() };
    let prepared = if expected == Outcome::NoConnection { tables.prepare() } else { expected };
    let connected = connect(prepared, tables);
    if expected != Outcome::NoConnection && connected == Outcome::Balanced {
        tables.arrived();
    }
    match connected {
        Outcome::Balanced if tables.is_local() => Outcome::Local,
        Outcome::OnePacket if tables.is_local() => Outcome::LocalPacket,
        Outcome::Balanced => match tables.request(packet) {
            // Made, and gone at once: others are at work on the same slots.
            Outcome::NoConnection => Outcome::ConnContended,
            outcome => outcome,
        },
        Outcome::OnePacket => tables.one_packet(packet),
        outcome => outcome,
    }
}

/// A packet from or for this host's own stack, see [`crate::here`]. [`Outcome::NoConnection`]: it may begin one; it comes back
/// as [`Outcome::Local`] if it did.
#[inline(always)]
fn here<P: Packet, T: Tables>(packet: &mut P, tables: &T, begun: Outcome) -> Outcome {
    let mut outcome = begun;
    if outcome == Outcome::MaybeMarked {
        outcome = match tables.classify() {
            Outcome::NoConnection => Outcome::Classified,
            outcome => outcome,
        };
    }
    // No reply of full NAT comes from here: its destinations are elsewhere.
    if matches!(outcome, Outcome::FromServer | Outcome::LocalPort | Outcome::LocalReply) {
        outcome = tables.reply_here(packet);
        if outcome == Outcome::Balanced && tables.settings() & Settings::NAT_ICMP_SEND != 0 {
            outcome = tables.server();
        }
    }
    outcome = match outcome {
        Outcome::LocalPacket => tables.one_packet_here(packet),
        Outcome::Balanced => tables.request_here(packet),
        Outcome::Local if begun == Outcome::Local => match tables.request_here(packet) {
            // It was there just now.
            Outcome::NoConnection => Outcome::ConnContended,
            outcome => outcome,
        },
        outcome => outcome,
    };
    if outcome == Outcome::Local { tables.deliver(packet) } else { outcome }
}

/// A packet of a connection that has no destination, or that gets one: it is made once its way is known.
#[inline(always)]
fn past<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    match tables.bypass(packet) {
        Outcome::NoConnection => match connect(Outcome::Balanced, tables) {
            Outcome::Balanced => match tables.bypass(packet) {
                // Made, and gone at once.
                Outcome::NoConnection => Outcome::ConnContended,
                outcome => outcome,
            },
            outcome => outcome,
        },
        outcome => outcome,
    }
}

/// An ICMP error: to the client, to the real server, or about a tunnel's packet. [`Outcome::NoConnection`]: it may begin one;
/// it comes back as [`Outcome::Balanced`] if it did.
#[inline(always)]
fn error<P: Packet, T: Tables>(packet: &mut P, tables: &T, begun: Outcome) -> Outcome {
    let mut outcome = tables.icmp(packet);
    if outcome == Outcome::IcmpToClient {
        tables.proxy_quoted(packet);
    }
    if outcome == Outcome::TunnelError {
        outcome = tables.tunnel_error(packet);
        if outcome == Outcome::NoConnection {
            // It was looked at as a tunnel's: what is quoted is read anew.
            let _read = tables.icmp(packet);
        }
    }
    if outcome == Outcome::NoConnection && begun == Outcome::Balanced {
        // Made, and gone at once.
        outcome = Outcome::ConnContended;
    }
    if outcome == Outcome::Tunnel {
        outcome = match tables.tunnel(packet) {
            Outcome::ForwardTunnel => Outcome::IcmpToServer,
            outcome => outcome,
        };
    }
    outcome
}

/// What becomes of a packet.
#[inline(always)]
fn end<T: Tables>(tables: &T, outcome: Outcome, leaves: bool) -> Verdict {
    if leaves {
        let link = tables.with_scratch(|scratch| scratch.way.hop.link).unwrap_or_default();
        Verdict { outcome, link }
    } else {
        end_without_link(outcome)
    }
}

#[inline(always)]
fn end_without_link(outcome: Outcome) -> Verdict {
    Verdict { outcome, link: Link::default() }
}
