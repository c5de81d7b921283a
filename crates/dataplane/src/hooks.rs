//! Which programs hang on which interface, and how to change that without losing a packet.
//!
//! Every interface has a program under TC; one with XDP has another one in front of it. Changes go through
//! the state "TC alone", in which everything is handled too, only slower: there is no moment without a
//! program.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;

use crate::error::{Error, Result};
use crate::filter::{self, Way};
use crate::instance::{Instance, TcHook};
use crate::links::{self, Kind, Links, NetnsId, Place};
use crate::netlink::{Interface, Rtnetlink};
use crate::programs::{First, Programs};

/// Largest MTU in bytes at which a driver surely takes an XDP program for single-buffer frames: what fits a
/// page beside headroom and bookkeeping (ebpf-notes §5).
const XDP_MTU_SURE: u32 = 1500;

/// How an interface is to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachMode {
    /// XDP where a driver has it, TC otherwise.
    #[default]
    Auto,
    /// XDP in the driver.
    Xdp,
    /// XDP in the network stack: for tests, and for drivers without.
    XdpGeneric,
    /// TC.
    Tc,
}

impl AttachMode {
    const NAMES: [(Self, &'static str); 4] =
        [(Self::Auto, "auto"), (Self::Xdp, "xdp"), (Self::XdpGeneric, "xdp-generic"), (Self::Tc, "tc")];
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for AttachMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(mode, _)| *mode)
            .ok_or_else(|| format!("expected auto, xdp, xdp-generic or tc, got {text:?}"))
    }
}

/// How an interface is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver, and TC behind it.
    Xdp,
    /// XDP in the network stack, and TC behind it.
    XdpGeneric,
    /// TC alone.
    Tc,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        })
    }
}

/// An interface that was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Number of the interface.
    pub ifindex: u32,
    /// Its name at this moment.
    pub name: String,
    /// How.
    pub mode: Mode,
    /// Why so; one sentence without a full stop.
    pub reason: String,
    /// What the user should know besides.
    pub warnings: Vec<String>,
}

/// An interface that is attached, as found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Number of the interface.
    pub ifindex: u32,
    /// Its name at this moment.
    pub name: String,
    /// How.
    pub mode: Mode,
    /// TC by a filter of a clsact queueing discipline; otherwise by a tcx link.
    pub clsact: bool,
}

/// The attachments of an instance. Interfaces are those of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Hooks {
    links: Links,
    filter_name: String,
    tc: TcHook,
}

impl Hooks {
    pub(crate) fn open(instance: &Instance, tc: TcHook) -> Result<Self> {
        let links = Links::open(instance.directory().join(links::DIRECTORY))?;
        Ok(Self { links, filter_name: filter::name(instance.name()), tc })
    }

    /// Removes links whose interface is gone; says what is still attached elsewhere.
    pub(crate) fn tidy(&self) -> Result<Vec<String>> {
        let here = NetnsId::current()?;
        let mut rtnetlink = Rtnetlink::open()?;
        let mut elsewhere = 0;
        for place in self.links.places()? {
            let mut live = self.links.is_live(place).map_err(|e| Error::system("look at a link", e))?;
            if place.netns == here {
                // A link that lives without its interface moved to another namespace with it.
                live &= !matches!(rtnetlink.interface(place.ifindex), Err(Error::NoSuchInterface { .. }));
            } else {
                elsewhere += usize::from(live);
            }
            if !live {
                self.links.remove(place).map_err(|e| Error::system("remove a dead link", e))?;
            }
        }
        let warning =
            || format!("{elsewhere} links of this instance are in other network namespaces, and stay");
        Ok((elsewhere != 0).then(warning).into_iter().collect())
    }

    /// Attaches an interface, or replaces the programs of one that is attached.
    pub(crate) fn attach(
        &self,
        interface: &Interface,
        mode: AttachMode,
        programs: &mut Programs,
    ) -> Result<Attached> {
        if !interface.is_ethernet {
            return Err(Error::NotEthernet { interface: interface.name.clone() });
        }
        let mut attach = Attach {
            hooks: self,
            interface,
            programs,
            netns: NetnsId::current()?,
            rtnetlink: Rtnetlink::open()?,
        };
        let mut attached = match mode {
            AttachMode::Auto => attach.auto(),
            AttachMode::Xdp if attach.is_on_top() => attach.on_top(),
            AttachMode::Xdp => attach.xdp(Kind::Xdp).map(|()| attach.done(Mode::Xdp, AS_ASKED.into())),
            AttachMode::XdpGeneric => {
                attach.xdp(Kind::XdpGeneric).map(|()| attach.done(Mode::XdpGeneric, AS_ASKED.into()))
            }
            AttachMode::Tc => attach.tc_alone().map(|()| attach.done(Mode::Tc, AS_ASKED.into())),
        }?;
        // What others send is balanced without this: no reason to refuse.
        if let Err(e) = attach.put_tc(First::Local, Way::Out) {
            attached.warnings.push(format!("{e}; what this host sends there itself is not balanced"));
        }
        Ok(attached)
    }

    /// Attaches the loopback interface, for what this host sends to itself.
    pub(crate) fn attach_loopback(&self, interface: &Interface, programs: &mut Programs) -> Result<()> {
        let (netns, rtnetlink) = (NetnsId::current()?, Rtnetlink::open()?);
        let mut attach = Attach { hooks: self, interface, programs, netns, rtnetlink };
        attach.put_tc(First::Local, Way::Out)
    }

    /// Detaches an interface; tells whether anything was attached.
    pub(crate) fn detach(&self, ifindex: u32) -> Result<bool> {
        let netns = NetnsId::current()?;
        let mut found = false;
        for kind in Kind::ALL {
            let removed = self.links.remove(Place { netns, ifindex, kind });
            found |= removed.map_err(|e| Error::system(format!("detach interface {ifindex}"), e))?;
        }
        Ok(found | self.remove_filter(&mut Rtnetlink::open()?, ifindex)?)
    }

    /// Detaches every interface: links wherever they are, filters in this network namespace.
    pub(crate) fn detach_all(&self) -> Result<()> {
        for place in self.links.places()? {
            let operation = || format!("detach interface {}", place.ifindex);
            self.links.remove(place).map_err(|e| Error::system(operation(), e))?;
        }
        let mut rtnetlink = Rtnetlink::open()?;
        for interface in rtnetlink.interfaces()? {
            self.remove_filter(&mut rtnetlink, interface.index)?;
        }
        Ok(())
    }

    fn remove_filter(&self, rtnetlink: &mut Rtnetlink, ifindex: u32) -> Result<bool> {
        let incoming = self.remove_filter_of(rtnetlink, ifindex, Way::In)?;
        Ok(incoming | self.remove_filter_of(rtnetlink, ifindex, Way::Out)?)
    }

    fn remove_filter_of(&self, rtnetlink: &mut Rtnetlink, ifindex: u32, way: Way) -> Result<bool> {
        let mut remove = || {
            let ours =
                filter::find(rtnetlink, ifindex, way)?.is_some_and(|filter| filter.name == self.filter_name);
            if ours {
                filter::remove(rtnetlink, ifindex, way)?;
            }
            Ok(ours)
        };
        remove().map_err(|e: crate::netlink::Refusal| {
            Error::system(format!("remove the filter of interface {ifindex}"), e)
        })
    }

    /// What is attached in this network namespace, by number of interface.
    pub(crate) fn attachments(&self) -> Result<Vec<Attachment>> {
        let here = NetnsId::current()?;
        let mut kinds: BTreeMap<u32, Vec<Kind>> = BTreeMap::new();
        for place in self.links.places()? {
            let live = self.links.is_live(place).map_err(|e| Error::system("look at a link", e))?;
            if place.netns == here && live && place.kind != Kind::TcxOut {
                kinds.entry(place.ifindex).or_default().push(place.kind);
            }
        }
        let mut rtnetlink = Rtnetlink::open()?;
        let mut attachments = Vec::new();
        for interface in rtnetlink.interfaces()? {
            let filter = filter::find(&mut rtnetlink, interface.index, Way::In)
                .map_err(|e| Error::system(format!("look at filters of {}", interface.name), e))?;
            let clsact = filter.is_some_and(|filter| filter.name == self.filter_name);
            let kinds = kinds.remove(&interface.index).unwrap_or_default();
            if kinds.is_empty() && !clsact {
                continue;
            }
            let mode = match kinds.first() {
                Some(Kind::Xdp) => Mode::Xdp,
                Some(Kind::XdpGeneric) => Mode::XdpGeneric,
                Some(Kind::Tcx | Kind::TcxOut) | None => Mode::Tc,
            };
            attachments.push(Attachment { ifindex: interface.index, name: interface.name, mode, clsact });
        }
        attachments.sort_by_key(|attachment| attachment.ifindex);
        Ok(attachments)
    }
}

/// Why, if the user said so.
const AS_ASKED: &str = "as configured";

/// One interface while it is attached.
struct Attach<'a> {
    hooks: &'a Hooks,
    interface: &'a Interface,
    programs: &'a mut Programs,
    netns: NetnsId,
    rtnetlink: Rtnetlink,
}

impl Attach<'_> {
    /// Whether frames come to it through another interface, and it never has native XDP: what the program there passes on is
    /// to be taken here.
    fn is_on_top(&self) -> bool {
        matches!(self.interface.kind.as_deref(), Some("vlan" | "bridge"))
    }

    fn on_top(&mut self) -> Result<Attached> {
        self.tc_alone()?;
        let kind = self.interface.kind.as_deref().unwrap_or_default();
        let reason = format!("a {kind} has no XDP of its own: TC takes what XDP passes on below it");
        Ok(self.done(Mode::Tc, reason))
    }

    fn auto(&mut self) -> Result<Attached> {
        if !self.interface.is_device {
            self.tc_alone()?;
            let kind = self.interface.kind.as_deref().unwrap_or("virtual device");
            let reason =
                format!("{kind} without a driver of its own: TC keeps segmentation and checksum offload");
            return Ok(self.done(Mode::Tc, reason));
        }
        match self.xdp(Kind::Xdp) {
            Ok(()) => Ok(self.done(Mode::Xdp, "its driver takes XDP".into())),
            Err(Error::Attach { reason, .. }) => {
                self.tc_alone()?;
                Ok(self.done(Mode::Tc, format!("no native XDP: {reason}")))
            }
            Err(e) => Err(e),
        }
    }

    fn done(&self, mode: Mode, reason: String) -> Attached {
        let mut warnings = Vec::new();
        if mode == Mode::Xdp && self.interface.kind.as_deref() == Some("veth") {
            warnings.push(
                "frames redirected to a veth are lost unless its other end has GRO on or an XDP program, and senders on \
                 veth must have checksum offload off (ethtool -K NAME gro on tx off)"
                    .to_owned(),
            );
        }
        let Interface { index, name, .. } = self.interface;
        Attached { ifindex: *index, name: name.clone(), mode, reason, warnings }
    }

    fn place(&self, kind: Kind) -> Place {
        Place { netns: self.netns, ifindex: self.interface.index, kind }
    }

    fn tc_alone(&mut self) -> Result<()> {
        self.put_tc(First::Tc, Way::In)?;
        self.remove_link(Kind::Xdp)?;
        self.remove_link(Kind::XdpGeneric)
    }

    fn xdp(&mut self, kind: Kind) -> Result<()> {
        let (hook, other) = match kind {
            Kind::XdpGeneric => ("generic XDP", Kind::Xdp),
            Kind::Xdp | Kind::Tcx | Kind::TcxOut => ("XDP", Kind::XdpGeneric),
        };
        // An interface has room for one of them.
        if self.is_live(other)? {
            self.tc_alone()?;
        }
        let program = self.programs.first(First::Xdp)?;
        let put = self.hooks.links.put(self.place(kind), program.as_fd());
        let replaced = put.map_err(|e| self.refused(hook, xdp_refusal(self.interface, &e)))?;
        let behind = self.put_tc(First::TcAfterXdp, Way::In);
        if behind.is_err() && !replaced {
            self.remove_link(kind)?;
        }
        behind
    }

    /// Puts a program on TC: a tcx link where the kernel has it, otherwise a filter. Whichever it is, the
    /// other one goes.
    fn put_tc(&mut self, program: First, way: Way) -> Result<()> {
        let program = self.programs.first(program)?;
        let kind = if way == Way::In { Kind::Tcx } else { Kind::TcxOut };
        let index = self.interface.index;
        if self.hooks.tc == TcHook::Auto {
            match self.hooks.links.put(self.place(kind), program.as_fd()) {
                Ok(_) => return self.hooks.remove_filter_of(&mut self.rtnetlink, index, way).map(drop),
                // This kernel doesn't know the attach type: before 6.6.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
                Err(e) => return Err(self.refused("TC", text(&e))),
            }
        }
        let name = &self.hooks.filter_name;
        let put = match filter::find(&mut self.rtnetlink, index, way) {
            Ok(Some(other)) if other.name != *name => {
                Err(format!("filter {:?} of somebody else has the place", other.name))
            }
            Ok(_) => filter::put(&mut self.rtnetlink, (index, way), name, program.as_fd())
                .map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        put.map_err(|reason| self.refused("TC", reason))?;
        self.remove_link(kind)
    }

    fn is_live(&self, kind: Kind) -> Result<bool> {
        let live = self.hooks.links.is_live(self.place(kind));
        live.map_err(|e| Error::system(format!("look at the link of {}", self.interface.name), e))
    }

    fn remove_link(&self, kind: Kind) -> Result<()> {
        let removed = self.hooks.links.remove(self.place(kind));
        removed.map(drop).map_err(|e| Error::system(format!("detach {}", self.interface.name), e))
    }

    fn refused(&self, hook: &'static str, reason: String) -> Error {
        Error::Attach { interface: self.interface.name.clone(), hook, reason }
    }
}

pub(crate) fn text(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::EPERM) => format!("{e}; CAP_NET_ADMIN and CAP_BPF are needed"),
        _ => e.to_string(),
    }
}

/// Why a driver refused XDP. Its own sentence goes to the kernel's trace only.
pub(crate) fn xdp_refusal(interface: &Interface, e: &io::Error) -> String {
    let Interface { mtu, .. } = interface;
    match e.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            format!("its driver has no XDP, or not together with an offload that is on, such as LRO ({e})")
        }
        Some(libc::EBUSY | libc::EEXIST) => format!("another XDP program is attached ({e})"),
        Some(libc::ERANGE | libc::EINVAL | libc::E2BIG) if *mtu > XDP_MTU_SURE => {
            format!(
                "its MTU of {mtu} bytes is more than fits a page, about 3500 at most, depending on the driver ({e})"
            )
        }
        Some(libc::ENOMEM | libc::ENOSPC) => {
            format!("its driver has too few queues or too little memory ({e})")
        }
        _ => text(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modes_are_read_back() {
        for (mode, name) in AttachMode::NAMES {
            assert_eq!((mode.to_string().as_str(), name.parse()), (name, Ok(mode)));
        }
        assert!("XDP".parse::<AttachMode>().is_err());
    }
}
