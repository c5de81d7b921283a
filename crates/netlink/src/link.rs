//! Network interfaces.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::mac::MacAddr;
use crate::netns::Netns;
use crate::socket::Netlink;

/// A network interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number of the link in its namespace; never reused while the namespace lives.
    pub index: u32,
    /// Name; may be changed by others at any time.
    pub name: String,
    /// The kernel's word for virtual links (`veth`, `bridge`, `vlan`, ...); `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Largest packet in bytes, without the link-layer header.
    pub mtu: u32,
    /// Largest IPv6 packet in bytes, which a router may have told to be less than [`Self::mtu`]; `None` where there is no
    /// IPv6.
    pub mtu_v6: Option<u32>,
    /// Ethernet address; `None` for links without one.
    pub mac: Option<MacAddr>,
    /// Switched on by the administrator.
    pub up: bool,
    /// There is a carrier: for veth, the peer is up too.
    pub carrier: bool,
    /// The loopback link.
    pub loopback: bool,
    /// Index of the bridge, bond or VRF this link is a port of.
    pub master: Option<u32>,
}

impl Link {
    pub(crate) fn from_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mtu: 0,
            mtu_v6: None,
            mac: None,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            master: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::AfSpecUnspec(families) => link.mtu_v6 = mtu_v6(families),
                LinkAttribute::Address(bytes) => link.mac = MacAddr::from_attribute(bytes),
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
                _ => {}
            }
        }
        link
    }
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn mtu_v6(families: &[AfSpecUnspec]) -> Option<u32> {
    let settings = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(settings) => Some(settings),
        _ => None,
    })?;
    settings.iter().find_map(|setting| match setting {
        AfSpecInet6::DevConf(conf) => u32::try_from(conf.mtu6).ok().filter(|mtu| *mtu > 0),
        _ => None,
    })
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn only_link(answers: Vec<RouteNetlinkMessage>) -> Option<Link> {
    answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(&message)),
        _ => None,
    })
}

impl Netlink {
    /// All links, in the order of their indices.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .map_err(|e| e.during("list links"))?;
        let mut links: Vec<Link> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(&message)),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link of that name; [`Error::NoSuchLink`] if there is none.
    pub fn link(&mut self, name: &str) -> Result<Link> {
        let operation = || format!("look up link {name}");
        match self.request(RouteNetlinkMessage::GetLink(named(name)), 0) {
            Ok(answers) => only_link(answers)
                .ok_or_else(|| Error::Reply { operation: operation(), reason: "no link in it".to_owned() }),
            Err(e) if e.errno() == Some(Errno::ENODEV) => Err(Error::NoSuchLink { name: name.to_owned() }),
            Err(e) => Err(e.during(operation())),
        }
    }

    /// The link with that index, or `None` if there is none (any more).
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        match self.request(RouteNetlinkMessage::GetLink(indexed(index)), 0) {
            Ok(answers) => Ok(only_link(answers)),
            Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(e) => Err(e.during(format!("look up link {index}"))),
        }
    }

    /// Creates a veth pair: `name` in this handle's namespace, `peer` in `peer_namespace`. Both are down.
    pub fn create_veth(&mut self, name: &str, peer: &str, peer_namespace: &Netns) -> Result<()> {
        let mut other_end = named(peer);
        other_end.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other_end))),
        ]));
        self.create(message, || format!("create veth {name}/{peer}"))
    }

    /// Creates a bridge. It is down and has no ports.
    pub fn create_bridge(&mut self, name: &str) -> Result<()> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.create(message, || format!("create bridge {name}"))
    }

    fn create(&mut self, message: LinkMessage, operation: impl Fn() -> String) -> Result<()> {
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map(drop)
            .map_err(|e| e.during(operation()))
    }

    /// Deletes a link, and with it the other end if it is a veth.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        self.request(RouteNetlinkMessage::DelLink(indexed(index)), 0)
            .map(drop)
            .map_err(|e| e.during(format!("delete link {index}")))
    }

    /// Switches a link on.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        self.set_flag_up(index, true)
    }

    /// Switches a link off; its routes go away.
    pub fn set_down(&mut self, index: u32) -> Result<()> {
        self.set_flag_up(index, false)
    }

    fn set_flag_up(&mut self, index: u32, up: bool) -> Result<()> {
        let mut message = indexed(index);
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let state = if up { "up" } else { "down" };
        self.set(message, || format!("set link {index} {state}"))
    }

    /// Gives a link another name. Kernels before 6.2 refuse it while the link is up.
    pub fn rename(&mut self, index: u32, name: &str) -> Result<()> {
        let mut message = indexed(index);
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.set(message, || format!("rename link {index} to {name}"))
    }

    /// Sets the largest packet, in bytes without the link-layer header.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<()> {
        let mut message = indexed(index);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.set(message, || format!("set MTU of link {index} to {mtu}"))
    }

    /// Sets the Ethernet address.
    pub fn set_mac(&mut self, index: u32, mac: MacAddr) -> Result<()> {
        let mut message = indexed(index);
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        self.set(message, || format!("set address of link {index} to {mac}"))
    }

    /// Makes a link a port of a bridge or bond; `None` takes it out again.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<()> {
        let mut message = indexed(index);
        message.attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
        self.set(message, || match master {
            Some(master) => format!("make link {index} a port of link {master}"),
            None => format!("take link {index} out of its bridge"),
        })
    }

    fn set(&mut self, message: LinkMessage, operation: impl Fn() -> String) -> Result<()> {
        self.request(RouteNetlinkMessage::SetLink(message), 0).map(drop).map_err(|e| e.during(operation()))
    }
}
