//! Filters of a clsact queueing discipline: how programs hang on TC before kernel 6.6.
//!
//! A filter needs no pin: it stays until it is removed or its interface is. It is found again by a handle and
//! a priority that never change, and told from those of others by its name.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use crate::netlink::{Refusal, Rtnetlink};

/// Priority of the filter: "rv". A large number, so that filters of others come first, as they do for a tcx
/// link.
const PRIORITY: u16 = 0x7276;
/// Its handle.
const HANDLE: TcHandle = TcHandle { major: 0, minor: 0x7276 };
/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 3;
/// Where a filter hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On packets that come in.
    In,
    /// On packets that go out.
    Out,
}

impl Way {
    const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::In => TcHandle::MIN_INGRESS,
            Self::Out => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: TcHandle::CLSACT.major, minor }
    }
}

/// A filter with our handle and priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Its name: ours, or there is somebody else with the same handle and priority.
    pub(crate) name: String,
}

/// Name of the filters of an instance.
pub(crate) fn name(instance: &str) -> String {
    format!("rvs:{instance}")
}

/// An interface's number as it is in messages of traffic control; the kernel never gives one beyond
/// `i32::MAX`.
fn message(ifindex: u32, way: Way) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.handle = HANDLE;
    message.header.parent = way.parent();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(EVERY_PROTOCOL.to_be());
    message
}

fn filter_name(message: &TcMessage) -> Option<String> {
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    options.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
        _ => None,
    })
}

/// The filter at our place, if there is one.
pub(crate) fn find(rtnetlink: &mut Rtnetlink, ifindex: u32, way: Way) -> Result<Option<Filter>, Refusal> {
    match rtnetlink.request(RouteNetlinkMessage::GetTrafficFilter(message(ifindex, way)), 0) {
        Ok(answers) => Ok(answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(message) => {
                Some(Filter { name: filter_name(message).unwrap_or_default() })
            }
            _ => None,
        })),
        // No such filter; no such queueing discipline; no such interface (any more).
        Err(e) if matches!(e.errno, Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes the interface's filter, or puts another program into it between two packets.
pub(crate) fn put(
    rtnetlink: &mut Rtnetlink,
    (ifindex, way): (u32, Way),
    name: &str,
    program: BorrowedFd<'_>,
) -> Result<(), Refusal> {
    add_clsact(rtnetlink, ifindex)?;
    let mut filter = message(ifindex, way);
    filter.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    filter.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
        TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    rtnetlink.request(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE).map(drop)
}

/// Removes the interface's filter. Its queueing discipline stays: others may use it, and without filters it
/// does nothing.
pub(crate) fn remove(rtnetlink: &mut Rtnetlink, ifindex: u32, way: Way) -> Result<(), Refusal> {
    let mut filter = message(ifindex, way);
    filter.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    match rtnetlink.request(RouteNetlinkMessage::DelTrafficFilter(filter), 0) {
        Err(e) if !matches!(e.errno, Some(libc::ENOENT | libc::ENODEV)) => Err(e),
        _ => Ok(()),
    }
}

fn add_clsact(rtnetlink: &mut Rtnetlink, ifindex: u32) -> Result<(), Refusal> {
    let mut discipline = TcMessage::with_index(ifindex.cast_signed());
    discipline.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    discipline.header.parent = TcHandle::CLSACT;
    discipline.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    let request = RouteNetlinkMessage::NewQueueDiscipline(discipline);
    match rtnetlink.request(request, NLM_F_CREATE | NLM_F_EXCL) {
        // A clsact, or an ingress discipline, which takes filters for ingress alone.
        Err(e) if e.errno != Some(libc::EEXIST) => Err(e),
        _ => Ok(()),
    }
}
