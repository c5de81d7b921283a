//! `rvs connections`: the connection table, printed as it is read, for there may be millions.

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;

use anyhow::Result;
use rvs_config::ConnListing;
use rvs_control::Client;

use crate::{output, socket};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the director and prints what it says.
///
/// # Errors
/// When there is no director, or it does not answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut client = args.socket.connect()?;
    let out = BufWriter::new(io::stdout().lock());
    if args.json { json(&mut client, out) } else { table(&mut client, out) }
}

fn table(client: &mut Client, mut out: impl Write) -> Result<()> {
    let mut written = out.write_all(titles().as_bytes());
    let shown = client.each_connection(|conn| {
        written = out.write_all(line(&conn).as_bytes());
        written.is_ok()
    });
    output::done(written.and_then(|()| out.flush()))?;
    Ok(shown?)
}

/// `{"connections": [...]}`, like a page of the control protocol, with a line for each connection.
fn json(client: &mut Client, mut out: impl Write) -> Result<()> {
    let mut written = out.write_all(b"{\"connections\": [");
    let mut separator = "\n";
    let shown = client.each_connection(|conn| {
        written = out
            .write_all(separator.as_bytes())
            .and_then(|()| serde_json::to_writer(&mut out, &conn).map_err(io::Error::from));
        separator = ",\n";
        written.is_ok()
    });
    // What was cut short must not look whole.
    let end: &[u8] = if shown.is_ok() { b"\n]}\n" } else { b"\n" };
    output::done(written.and_then(|()| out.write_all(end)).and_then(|()| out.flush()))?;
    Ok(shown?)
}

fn titles() -> String {
    columns(["Protocol", "Client", "Virtual", "Destination", "Method", "State", "Expires", "Packets"])
}

fn line(conn: &ConnListing) -> String {
    let client = SocketAddr::new(conn.client, conn.client_port).to_string();
    let vip = SocketAddr::new(conn.vip, conn.vport).to_string();
    let dest = SocketAddr::new(conn.destination, conn.dport).to_string();
    let (protocol, method) = (conn.protocol.to_string(), conn.method.to_string());
    let (expires, packets) = (format!("{} s", conn.expires_s), conn.packets.to_string());
    columns([&protocol, &client, &vip, &dest, &method, &conn.state, &expires, &packets])
}

/// Lines come one at a time, so widths are fixed: those of IPv4 with five digits of port. An IPv6 address that is longer
/// pushes what follows to the right.
fn columns([protocol, client, vip, dest, method, state, expires, packets]: [&str; 8]) -> String {
    format!(
        "{protocol:<8}  {client:<21}  {vip:<21}  {dest:<21}  {method:<7}  {state:<11}  {expires:>7}  {packets:>8}\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use rvs_config::{ForwardingMethod, Protocol};

    use super::*;

    #[test]
    fn an_ipv6_line_has_every_column() {
        let conn = ConnListing {
            protocol: Protocol::Sctp,
            client: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
            client_port: 45_678,
            vip: "2001:db8::1".parse().unwrap(),
            vport: 80,
            destination: [10, 10, 0, 11].into(),
            dport: 80,
            method: ForwardingMethod::Tunnel,
            state: "C-SENT".to_owned(),
            expires_s: 61,
            packets: 5,
        };
        let expected = "\
SCTP      [2001:db8:1111:2222:3333:4444:5555:6666]:45678  [2001:db8::1]:80       10.10.0.11:80          tunnel   C-SENT          61 s         5
";
        assert_eq!(line(&conn), expected);
    }

    #[test]
    fn a_line_fits_below_its_titles() {
        let conn = ConnListing {
            protocol: Protocol::Tcp,
            client: [192, 0, 2, 10].into(),
            client_port: 45_678,
            vip: [203, 0, 113, 10].into(),
            vport: 80,
            destination: [10, 10, 0, 11].into(),
            dport: 8080,
            method: ForwardingMethod::Masq,
            state: "ESTABLISHED".to_owned(),
            expires_s: 899,
            packets: 5,
        };
        let expected = "\
Protocol  Client                 Virtual                Destination            Method   State        Expires   Packets
TCP       192.0.2.10:45678       203.0.113.10:80        10.10.0.11:8080        masq     ESTABLISHED    899 s         5
";
        assert_eq!(titles() + &line(&conn), expected);
    }
}
