//! The kernel's own connection tracking, which its NAT works with.

use std::io;

use anyhow::{Context as _, Result, bail};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rvs_netlink::{Netns, sysctl};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`.
const CONNTRACK_DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const REQUEST_AND_ACK: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is also what an acknowledgement is.
const ERROR: u16 = 2;
/// Header of a netlink message (RFC 3549 §2.3.2), and what netfilter adds: family, version, resource.
const MESSAGE_LEN: u8 = 16 + 4;

/// Ends all connections that are tracked in a network namespace.
pub(super) fn flush(netns: &Netns) -> Result<()> {
    netns.enter(|| -> Result<()> {
        let error = request().context("flush connection tracking")?;
        if error != 0 {
            bail!("flush connection tracking: {}", io::Error::from_raw_os_error(-error));
        }
        Ok(())
    })?
}

/// Asks; returns the error number of the answer, 0 for an acknowledgement.
fn request() -> Result<i32> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = [0; MESSAGE_LEN as usize];
    message[0] = MESSAGE_LEN;
    message[4..6].copy_from_slice(&CONNTRACK_DELETE.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match (answer.get(4..6), answer.get(16..20)) {
        (Some(kind), Some(&[a, b, c, d])) if kind == ERROR.to_ne_bytes() => {
            Ok(i32::from_ne_bytes([a, b, c, d]))
        }
        _ => bail!("an answer of {} bytes", answer.len()),
    }
}

/// The kernel's limit for connections that it tracks: one for all network namespaces, and by default less than the flows
/// here. Raised as long as this value lives.
#[derive(Debug)]
pub(crate) struct ConntrackMax {
    before: String,
}

impl ConntrackMax {
    const PATH: &str = "net/netfilter/nf_conntrack_max";
    const WANTED: u32 = 1 << 21;

    /// `None` if it is high enough, or may not be changed: what that costs shows in the times.
    pub(super) fn raise() -> Option<Self> {
        let before = sysctl::read(Self::PATH).ok()?;
        let is_low = before.parse::<u32>().is_ok_and(|max| max < Self::WANTED);
        (is_low && sysctl::write(Self::PATH, &Self::WANTED.to_string()).is_ok()).then_some(Self { before })
    }
}

impl Drop for ConntrackMax {
    fn drop(&mut self) {
        sysctl::write(Self::PATH, &self.before).ok();
    }
}
