//! How addresses and ports are shown.

use core::net::{IpAddr, SocketAddr};

use rvs_config::{Protocol, ServiceKey};

use crate::Names;

/// Shows addresses and ports, by name or as numbers (`-n`).
#[derive(Clone, Copy)]
pub(crate) struct Endpoints<'a> {
    names: Option<&'a dyn Names>,
}

impl<'a> Endpoints<'a> {
    pub(crate) fn new(numeric: bool, names: &'a dyn Names) -> Self {
        Self { names: (!numeric).then_some(names) }
    }

    /// `10.0.0.1:80`, `[2001:db8::1]:80`, `www.example.net:http`; numbers where there is no name.
    pub(crate) fn show(self, address: IpAddr, port: u16, protocol: Protocol) -> String {
        let Some(names) = self.names else {
            return SocketAddr::new(address, port).to_string();
        };
        let host = names.host_of(address).unwrap_or_else(|| address.to_string());
        let port = names.port_name(port, protocol).unwrap_or_else(|| port.to_string());
        if address.is_ipv6() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The same as a column of a table: cut to `width` characters unless it is for IPv6.
    pub(crate) fn column(self, address: IpAddr, port: u16, protocol: Protocol, width: usize) -> String {
        cut(self.show(address, port, protocol), address, width)
    }

    /// The first column of a service's line.
    pub(super) fn service_column(self, key: &ServiceKey, width: usize) -> String {
        let ServiceKey { protocol, address, port } = *key;
        if let Some(mark) = key.mark() {
            return format!("{protocol:<4} {mark}{}", if address.is_ipv6() { " IPv6" } else { "" });
        }
        cut(format!("{protocol:<4} {}", self.show(address, port, protocol)), address, width)
    }
}

fn cut(mut text: String, address: IpAddr, width: usize) -> String {
    if address.is_ipv4()
        && let Some((end, _)) = text.char_indices().nth(width)
    {
        text.truncate(end);
    }
    text
}
