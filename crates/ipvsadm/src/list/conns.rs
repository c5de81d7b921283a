//! Connections: `-L -c`.

use rvs_config::ConnListing;

use super::Endpoints;
use crate::Names;

/// A table of connections. There may be millions, so lines can be had one at a time; they come in the order in which
/// the director gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnTable {
    /// `-n`: no names.
    pub numeric: bool,
    /// `--persistent-conn`: titles for the data of persistence engines too, which no connection has yet.
    pub persistence_data: bool,
}

impl ConnTable {
    /// The two lines above the connections.
    #[must_use]
    pub fn titles(&self) -> String {
        let (state, source, vip, dest) = ("state", "source", "virtual", "destination");
        let columns = if self.persistence_data {
            format!("{state:<11} {source:<18} {vip:<18} {dest:<18} {:<16} pe_data", "pe name")
        } else {
            format!("{state:<11} {source:<18} {vip:<18} {dest}")
        };
        format!("IPVS connection entries\npro expire {columns}\n")
    }

    /// The line of one connection.
    #[must_use]
    pub fn line(&self, conn: &ConnListing, names: &dyn Names) -> String {
        let endpoints = Endpoints::new(self.numeric, names);
        let protocol = conn.protocol;
        let expires = format!("{:02}:{:02}", conn.expires_s / 60, conn.expires_s % 60);
        let source = endpoints.show(conn.client, conn.client_port, protocol);
        let vip = endpoints.show(conn.vip, conn.vport, protocol);
        let dest = endpoints.show(conn.destination, conn.dport, protocol);
        format!("{protocol:<3} {expires:<6} {:<11} {source:<18} {vip:<18} {dest}\n", conn.state)
    }

    /// The whole table.
    #[must_use]
    pub fn render(&self, conns: &[ConnListing], names: &dyn Names) -> String {
        let mut out = self.titles();
        for conn in conns {
            out.push_str(&self.line(conn, names));
        }
        out
    }
}
