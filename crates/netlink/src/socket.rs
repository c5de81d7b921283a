//! The rtnetlink handle. Its operations stand beside the things they are about: `link`, `address`, `route`, `neighbour`.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::Result;
use crate::transport::{Failure, Transport};

/// A handle on one network namespace: that of the thread that opened it, from whatever thread it is used later.
#[derive(Debug)]
pub struct Netlink {
    transport: Transport,
}

impl Netlink {
    /// Opens a handle on the calling thread's network namespace.
    pub fn new() -> Result<Self> {
        let transport =
            Transport::open(NETLINK_ROUTE).map_err(|e| Failure::from(e).during("open rtnetlink socket"))?;
        Ok(Self { transport })
    }

    pub(crate) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.transport.request(message, flags)
    }

    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.transport.dump(message)
    }
}
