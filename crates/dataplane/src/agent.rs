//! Real servers: the end of a director's tunnels, IP in IP (RFC 2003, RFC 2473, RFC 4213), GRE (RFC 2784) and GUE, on
//! kernels without devices for them too. Outside may be IPv4 or IPv6, whatever is inside.
//!
//! A program at an interface takes the outer headers off; the stack then sees the client's packet to the virtual
//! address, which the server has on its loopback interface. Nothing is pinned: the programs go with the guard.
//!
//! The server's reverse-path filter (`rp_filter`) must not be strict on the interface if replies to clients leave by
//! another one: to the stack, the client's packet came in here.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{MapError, PerCpuArray};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use rvs_abi::{Addr, DECAP_OUTCOMES, DecapOutcome};

use crate::error::{Error, Result};
use crate::filter::{self, Way};
use crate::hooks::{text, xdp_refusal};
use crate::instance::TcHook;
use crate::links::Kind;
use crate::netlink::{Interface, Rtnetlink};
use crate::{bpf, programs};

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../programs/agent.bpf.o");

/// Packets as a driver hands them in.
const XDP: &str = "rvs_decap_xdp";
/// Packets on their way to the stack.
const TC: &str = "rvs_decap_tc";
/// Name of the filter, where TC has no links.
const FILTER_NAME: &str = "rvs-agent";

/// Where packets are taken out of their tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecapMode {
    /// XDP in the driver. What XDP needs of senders holds (ebpf-notes §5): full checksums, no large segments.
    Xdp,
    /// XDP in the network stack.
    XdpGeneric,
    /// TC, which keeps segmentation and checksum offload.
    Tc,
}

/// What is taken out of its tunnel, and where. Other packets pass, and the stack does with them what it does without
/// this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecapOptions {
    /// Where.
    pub mode: DecapMode,
    /// Only packets to this address. `None`: to any, as long as the frame is for this host.
    pub destination: Option<IpAddr>,
    /// Only packets from this address, the director's. `None`: from any.
    pub source: Option<IpAddr>,
    /// UDP port of GUE. `None`: no GUE.
    pub gue_port: Option<u16>,
    /// How the program is attached to TC.
    pub tc: TcHook,
}

impl DecapOptions {
    /// Every tunnel that ends here, but for GUE, which has no port of its own by itself.
    #[must_use]
    pub const fn new(mode: DecapMode) -> Self {
        Self { mode, destination: None, source: None, gue_port: None, tc: TcHook::Auto }
    }
}

/// An interface that takes packets out of their tunnel, until this value is dropped.
#[derive(Debug)]
pub struct Decap {
    ebpf: Ebpf,
    hook: Hook,
}

/// How the program hangs on the interface.
#[derive(Debug)]
enum Hook {
    Link(OwnedFd),
    /// The socket is of the interface's network namespace, wherever the guard is dropped.
    Filter(Rtnetlink, u32),
}

/// Has an interface of the calling thread's network namespace take packets out of their tunnels.
///
/// # Errors
/// When there is no such interface, its frames have no Ethernet header, or the kernel refuses.
pub fn attach_decap(interface: &str, options: &DecapOptions) -> Result<Decap> {
    let mut rtnetlink = Rtnetlink::open()?;
    let interface = rtnetlink.interface_by_name(interface)?;
    if !interface.is_ethernet {
        return Err(Error::NotEthernet { interface: interface.name });
    }
    let name = if options.mode == DecapMode::Tc { TC } else { XDP };
    let ebpf = load(name, options)?;
    let program = descriptor(&ebpf, name)?;
    let hook = match options.mode {
        DecapMode::Xdp => Hook::Link(link(program, &interface, Kind::Xdp)?),
        DecapMode::XdpGeneric => Hook::Link(link(program, &interface, Kind::XdpGeneric)?),
        DecapMode::Tc => put_tc(program, &interface, rtnetlink, options.tc)?,
    };
    Ok(Decap { ebpf, hook })
}

fn load(name: &'static str, options: &DecapOptions) -> Result<Ebpf> {
    let address = |wanted: Option<IpAddr>| wanted.map_or([0; 2], |address| Addr::from_ip(address).0);
    let (destination, source) = (address(options.destination), address(options.source));
    let mut loader = EbpfLoader::new();
    // Nothing in the object is relocated against the kernel's own types.
    loader.btf(None);
    loader.override_global("OUTER_DESTINATION", &destination, true);
    loader.override_global("OUTER_SOURCE", &source, true);
    let port = options.gue_port.unwrap_or(0).to_be();
    loader.override_global("GUE_PORT", &port, true);
    let mut ebpf = loader.load(OBJECT).map_err(|e| programs::refused_maps(&e))?;
    programs::load_of(&mut ebpf, name).map_err(|e| programs::refusal(name, e))?;
    Ok(ebpf)
}

fn descriptor<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>> {
    let program = ebpf.program(name).ok_or_else(|| programs::missing(name))?;
    let fd = if name == TC {
        <&SchedClassifier>::try_from(program).and_then(SchedClassifier::fd)
    } else {
        <&Xdp>::try_from(program).and_then(Xdp::fd)
    };
    fd.map(AsFd::as_fd).map_err(|e| programs::refusal(name, e))
}

fn link(program: BorrowedFd<'_>, interface: &Interface, kind: Kind) -> Result<OwnedFd> {
    bpf::link_create(program, interface.index, kind.attach_type(), kind.flags()).map_err(|e| Error::Attach {
        interface: interface.name.clone(),
        hook: if kind == Kind::Xdp { "XDP" } else { "generic XDP" },
        reason: xdp_refusal(interface, &e),
    })
}

/// A tcx link where the kernel has it, otherwise a filter.
fn put_tc(
    program: BorrowedFd<'_>,
    interface: &Interface,
    mut rtnetlink: Rtnetlink,
    tc: TcHook,
) -> Result<Hook> {
    let refused = |reason| Error::Attach { interface: interface.name.clone(), hook: "TC", reason };
    if tc == TcHook::Auto {
        let (attach_type, flags) = (Kind::Tcx.attach_type(), Kind::Tcx.flags());
        match bpf::link_create(program, interface.index, attach_type, flags) {
            Ok(link) => return Ok(Hook::Link(link)),
            // This kernel doesn't know the attach type: before 6.6.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            Err(e) => return Err(refused(text(&e))),
        }
    }
    match filter::find(&mut rtnetlink, interface.index, Way::In) {
        Ok(Some(other)) if other.name != FILTER_NAME => {
            return Err(refused(format!("filter {:?} of somebody else has the place", other.name)));
        }
        Ok(_) => {}
        Err(e) => return Err(refused(e.to_string())),
    }
    filter::put(&mut rtnetlink, (interface.index, Way::In), FILTER_NAME, program)
        .map_err(|e| refused(e.to_string()))?;
    Ok(Hook::Filter(rtnetlink, interface.index))
}

impl Decap {
    /// How many packets ended in an outcome, since this value was made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn count(&self, outcome: DecapOutcome) -> Result<u64> {
        self.read(outcome)
            .map_err(|e| Error::system("read the counters of the tunnel's end", std::io::Error::other(e)))
    }

    fn read(&self, outcome: DecapOutcome) -> Result<u64, MapError> {
        let map = self.ebpf.map(DECAP_OUTCOMES).ok_or(MapError::ElementNotFound)?;
        let counters = PerCpuArray::<_, u64>::try_from(map)?;
        Ok(counters.get(&(outcome as u32), 0)?.iter().sum())
    }
}

impl Drop for Decap {
    /// Off the interface, if that is still there.
    fn drop(&mut self) {
        match &mut self.hook {
            Hook::Link(link) => drop(bpf::link_detach(link.as_fd())),
            Hook::Filter(rtnetlink, ifindex) => drop(filter::remove(rtnetlink, *ifindex, Way::In)),
        }
    }
}
