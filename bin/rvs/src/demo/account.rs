//! What became of the requests, and whether it is what was promised.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rvs_netlink::MacAddr;
use rvs_testkit::{Capture, Direction, Frame, Host, Report};
use rvs_wire::{eth, ipv4, ipv6};

/// Where the parts of an Ethernet frame with IP and TCP are: addresses, type, and the header's first byte.
const ETHERNET_SOURCE: std::ops::Range<usize> = 6..12;
const ETHERNET_TYPE: std::ops::Range<usize> = 12..14;
const IP_FIRST: usize = 14;
/// Its protocol number.
const TCP: u8 = 6;

/// # Errors
/// When a request failed: how many, and why.
pub(super) fn check_answered(report: &Report, requests: u64) -> Result<()> {
    if report.failed() == 0 && report.answered() == requests {
        return Ok(());
    }
    let reasons: Vec<String> =
        report.failures.iter().map(|(reason, count)| format!("{count} times {reason}")).collect();
    bail!("{} of {requests} requests were not answered: {}", requests - report.answered(), reasons.join(", "))
}

/// A reply as the client's interface saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    /// Address and port that it comes from.
    pub(super) source: SocketAddr,
    /// The Ethernet address that sent it.
    pub(super) sender: MacAddr,
}

/// Listens at the client's interface from now on.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn listen(client: &Host) -> Result<Capture> {
    Ok(Capture::open(client.netns(), "eth0")?)
}

/// The first TCP segment that came in since [`listen`].
///
/// # Errors
/// When none came.
pub(super) fn first_reply(capture: &mut Capture) -> Result<Reply> {
    let is_reply = |frame: &Frame| frame.direction == Direction::Received && reply(&frame.bytes).is_some();
    let frame = capture.next_matching(Duration::ZERO, is_reply)?;
    frame.and_then(|frame| reply(&frame.bytes)).context("the client's interface saw no reply")
}

fn reply(frame: &[u8]) -> Option<Reply> {
    let sender: [u8; 6] = frame.get(ETHERNET_SOURCE)?.try_into().ok()?;
    let ip = frame.get(IP_FIRST..)?;
    let (address, protocol, ip_len) = match frame.get(ETHERNET_TYPE)?.try_into().ok()? {
        eth::TYPE_IPV4 => {
            let address: [u8; 4] = ip.get(ipv4::at::SOURCE..ipv4::at::SOURCE + 4)?.try_into().ok()?;
            (IpAddr::from(address), *ip.get(9)?, usize::from(ip.first()? & 0xf) * 4)
        }
        eth::TYPE_IPV6 => {
            let address: [u8; 16] = ip.get(ipv6::at::SOURCE..ipv6::at::SOURCE + 16)?.try_into().ok()?;
            (IpAddr::from(address), *ip.get(6)?, ipv6::LEN)
        }
        _ => return None,
    };
    let port: [u8; 2] = ip.get(ip_len..ip_len + 2)?.try_into().ok()?;
    let source = SocketAddr::from((address, u16::from_be_bytes(port)));
    (protocol == TCP).then_some(Reply { source, sender: MacAddr(sender) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_from_frames() {
        let mut frame = vec![0; 54];
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[23]) = (0x45, 6);
        frame[26..30].copy_from_slice(&[203, 0, 113, 10]);
        frame[34..36].copy_from_slice(&[0, 80]);
        let source = SocketAddr::from(([203, 0, 113, 10], 80));
        assert_eq!(reply(&frame), Some(Reply { source, sender: MacAddr([2, 0, 0, 0, 0, 7]) }));
        assert_eq!(reply(&frame[..35]), None, "cut short");
        let mut frame6 = vec![0; 74];
        frame6[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame6[14], frame6[20], frame6[37], frame6[55]) = (0x60, 6, 1, 80);
        let source = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80));
        assert_eq!(reply(&frame6), Some(Reply { source, sender: MacAddr([0; 6]) }));
        frame6[20] = 58;
        assert_eq!(reply(&frame6), None, "ICMPv6");
        frame[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(reply(&frame), None, "ARP");
    }

    #[test]
    fn failures_are_told_with_their_reasons() {
        let mut report = Report::default();
        report.answers.insert("s1".to_owned(), 8);
        assert!(check_answered(&report, 8).is_ok());
        report.failures.insert("connect: timed out".to_owned(), 2);
        let error = check_answered(&report, 10).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("2 of 10 requests were not answered: 2 times connect: timed out"));
    }
}
