//! One machine of a cluster: a network namespace with its interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command};

use rvs_netlink::{MacAddr, Netlink, Netns, Prefix, Route, sysctl};

use super::Family;
use super::address::v6;
use crate::error::Result;

/// An interface of a host.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the host's namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its first address; `None` for ports of a bridge.
    pub address: Option<Ipv4Addr>,
    /// Its first IPv6 address that is not link-local; `None` also in clusters without IPv6.
    pub address_v6: Option<Ipv6Addr>,
}

/// A machine of the cluster.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    netlink: Netlink,
    interfaces: Vec<Interface>,
    has_ipv6: bool,
}

impl Host {
    /// A host with nothing but loopback, and the parameters that all hosts share.
    pub(super) fn new(name: &str, netns: Netns, has_ipv6: bool) -> Result<Self> {
        let netlink = netns.netlink()?;
        netns.enter(|| -> rvs_netlink::Result<()> {
            // Replies to DR and TUN arrive where the kernel would not send to their source. The kernel takes the
            // stricter of `all` and the interface's own, which starts as `default`.
            sysctl::write("net/ipv4/conf/all/rp_filter", "0")?;
            sysctl::write("net/ipv4/conf/default/rp_filter", "0")?;
            for group in ["all", "default"] {
                set_ipv6(group, has_ipv6)?;
            }
            Ok(())
        })??;
        Ok(Self { name: name.to_owned(), netns, netlink, interfaces: Vec::new(), has_ipv6 })
    }

    /// What it is in the cluster: `client`, `director`, `s1`, ...
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// An rtnetlink handle on its namespace.
    pub fn netlink(&mut self) -> &mut Netlink {
        &mut self.netlink
    }

    /// Its interfaces but loopback, in the order in which they were connected.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interface of that name.
    ///
    /// # Panics
    /// If there is none: the names are fixed by the layout.
    #[must_use]
    pub fn interface(&self, name: &str) -> &Interface {
        match self.interfaces.iter().find(|i| i.name == name) {
            Some(interface) => interface,
            None => panic!("host {} has no interface {name}", self.name),
        }
    }

    /// The address of its first interface that has one.
    ///
    /// # Panics
    /// If no interface has one, as on no host of a finished cluster.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        match self.interfaces.iter().find_map(|i| i.address) {
            Some(address) => address,
            None => panic!("host {} has no address", self.name),
        }
    }

    /// The same of a family.
    ///
    /// # Panics
    /// If no interface has one, as on no host of a finished cluster that has the family.
    #[must_use]
    pub fn address_in(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.address().into(),
            Family::V6 => match self.interfaces.iter().find_map(|i| i.address_v6) {
                Some(address) => address.into(),
                None => panic!("host {} has no IPv6 address", self.name),
            },
        }
    }

    /// Starts a program on this host.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        Ok(self.netns.spawn(command)?)
    }

    /// Connects a cable: `name` here, `peer_name` at `peer`. Both ends are up.
    pub(super) fn connect(&mut self, name: &str, peer: &mut Host, peer_name: &str) -> Result<()> {
        self.netlink.create_veth(name, peer_name, &peer.netns)?;
        self.adopt(name)?;
        peer.adopt(peer_name)
    }

    /// Makes a bridge, up.
    pub(super) fn add_bridge(&mut self, name: &str) -> Result<()> {
        self.netlink.create_bridge(name)?;
        self.adopt(name)?;
        // Told its address, even the one it has, a bridge keeps it; else it takes the lowest one of its ports.
        let Interface { index, mac, .. } = *self.interface(name);
        Ok(self.netlink.set_mac(index, mac)?)
    }

    fn adopt(&mut self, name: &str) -> Result<()> {
        let link = self.netlink.link(name)?;
        self.netlink.set_up(link.index)?;
        let mac = link.mac.unwrap_or(MacAddr([0; 6]));
        let name = name.to_owned();
        self.interfaces.push(Interface { name, index: link.index, mac, address: None, address_v6: None });
        Ok(())
    }

    /// Makes `port` a port of `bridge`.
    pub(super) fn add_port(&mut self, bridge: &str, port: &str) -> Result<()> {
        let master = self.interface(bridge).index;
        let index = self.interface(port).index;
        Ok(self.netlink.set_master(index, Some(master))?)
    }

    /// Gives an interface its first address, in a network of 24 bits, and its counterpart in IPv6.
    pub(super) fn set_address(&mut self, name: &str, address: Ipv4Addr) -> Result<()> {
        let index = self.interface(name).index;
        let prefix = Prefix::new(address, super::address::PREFIX_LEN).expect("24 bits are fewer than 32");
        self.netlink.add_address(index, prefix)?;
        let address_v6 = self.has_ipv6.then(|| v6(address));
        if let Some(address) = address_v6 {
            let prefix =
                Prefix::new(address, super::address::PREFIX_LEN_V6).expect("64 bits are fewer than 128");
            self.netlink.add_address(index, prefix)?;
        }
        for interface in &mut self.interfaces {
            if interface.name == name {
                interface.address = Some(address);
                interface.address_v6 = address_v6;
            }
        }
        Ok(())
    }

    /// Makes the gateway that has this address the one of the default routes.
    pub(super) fn set_gateway(&mut self, gateway: Ipv4Addr) -> Result<()> {
        self.netlink.replace_route(&Route::default_v4().via(gateway))?;
        if self.has_ipv6 {
            self.netlink.replace_route(&Route::to(Prefix::default_v6()).via(v6(gateway)))?;
        }
        Ok(())
    }

    /// Gives a link an address for this host alone, and its counterpart in IPv6.
    pub(super) fn add_host_address(&mut self, ifindex: u32, address: Ipv4Addr) -> Result<()> {
        self.netlink.add_address(ifindex, Prefix::host(address))?;
        if self.has_ipv6 {
            self.netlink.add_address(ifindex, Prefix::host(v6(address)))?;
        }
        Ok(())
    }

    /// Takes that address away again.
    pub(super) fn delete_host_address(&mut self, ifindex: u32, address: Ipv4Addr) -> Result<()> {
        self.netlink.delete_address(ifindex, Prefix::host(address))?;
        if self.has_ipv6 {
            self.netlink.delete_address(ifindex, Prefix::host(v6(address)))?;
        }
        Ok(())
    }

    /// Whether its kernel forwards packets.
    pub(super) fn set_forwarding(&self, on: bool) -> Result<()> {
        let value = if on { "1" } else { "0" };
        self.netns.sysctl("net/ipv4/ip_forward", value)?;
        if self.has_ipv6 {
            self.netns.sysctl("net/ipv6/conf/all/forwarding", value)?;
        }
        Ok(())
    }
}

/// IPv6 on the interfaces of a group, as far as the kernel has it: none, since router and listener discovery show up in
/// packet counters; or only what was configured, and at once.
fn set_ipv6(group: &str, on: bool) -> rvs_netlink::Result<()> {
    let set = |name: &str, value: &str| {
        let path = format!("net/ipv6/conf/{group}/{name}");
        if sysctl::exists(&path) { sysctl::write(&path, value) } else { Ok(()) }
    };
    if !on {
        return set("disable_ipv6", "1");
    }
    set("disable_ipv6", "0")?;
    set("accept_dad", "0")?;
    set("accept_ra", "0")
}
