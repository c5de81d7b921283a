//! Pictures of text.

use std::fmt::Write as _;
use std::net::IpAddr;

use rvs_testkit::{Cluster, Family};

use super::method::Method;

/// Columns of the longest bar.
const BAR: u64 = 40;

/// Who is connected to whom, and the way of requests and replies.
pub(super) fn topology(cluster: &Cluster, method: Method) -> String {
    let director = cluster.director();
    let address = |name: &str, family: Family| {
        let interface = director.interface(name);
        let address = match family {
            Family::V4 => interface.address.map(IpAddr::from),
            Family::V6 => interface.address_v6.map(IpAddr::from),
        };
        address.map(|address| address.to_string()).unwrap_or_default()
    };
    let vip = cluster.vip_in(method.family);
    let (outside, inside) = (address("to-client", method.family), address("to-servers", method.servers));
    let client = cluster.client().address_in(method.family).to_string();
    let server = |number: usize| {
        let server = &cluster.servers()[number];
        let address = server.address_in(method.servers);
        format!("{} {address}  {}", server.name(), method.at_servers(vip)).trim_end().to_owned()
    };
    let (s1, s2, s3) = (server(0), server(1), server(2));
    let vip = vip.to_string();
    // Columns of the director: IPv6 addresses are a bit longer.
    let wide = if method.has_ipv6() { 18 } else { 15 };
    let line = |columns: usize| "─".repeat(columns);
    if method.comes_back() {
        format!(
            "client ◀────────▶ director ◀{}┬──▶ {s1}\n\
             {client:<18}{vip:<wide$}├──▶ {s2}\n\
             {:<18}{outside:<wide$}└──▶ {s3}\n\
             {:<18}{inside}",
            line(wide - 10),
            "",
            ""
        )
    } else {
        format!(
            "client ─────────▶ director {}┬──▶ {s1}\n\
             {client:<18}{vip:<wide$}├──▶ {s2}\n\
             {:<18}{outside:<wide$}└──▶ {s3}\n\
             {:<18}{inside:<to_router$}│\n\
             {:<3}└───────────── router ◀{}┘",
            line(wide - 9),
            "   ▲",
            "   │",
            "",
            line(wide - 2),
            to_router = wide + 6
        )
    }
}

/// A bar per server with its count.
pub(super) fn bars(rows: &[(&str, u32, u64)]) -> String {
    let most = rows.iter().map(|(_, _, count)| *count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for (name, weight, count) in rows {
        let full = usize::try_from(count * BAR / most).unwrap_or(0);
        let bar = "█".repeat(full);
        // Writing to a string can't fail.
        writeln!(
            text,
            "  {name}  weight {weight}  {bar}{blank}{count}",
            blank = if full > 0 { " " } else { "" }
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        let text = bars(&[("s1", 3, 80), ("s2", 1, 40), ("s3", 0, 0)]);
        let (long, short) = ("█".repeat(40), "█".repeat(20));
        let expected = format!("  s1  weight 3  {long} 80\n  s2  weight 1  {short} 40\n  s3  weight 0  0\n");
        assert_eq!(text, expected);
        assert_eq!(bars(&[("s1", 1, 0)]), "  s1  weight 1  0\n");
    }
}
