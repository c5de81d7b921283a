//! What a test works with: the directors, and a virtual address that no other test has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rvs_config::Setting;
use rvs_netlink::Prefix;

use super::differences::{self, Difference};
use super::frames::{Family, Flow, HOSTS, server_mac};
use super::lab::{Seen, Shown, Wire, add_address};
use super::tool::Ran;
use super::world::{Part, Rule, World};

/// The client's port in the first test.
const CPORT: u16 = 40000;
/// How long counters of IPVS may be behind (ipvs.md §9.2), with time to spare.
const COUNTERS_LIMIT: Duration = Duration::from_secs(6);
/// How far expiry times in seconds of the same connection may be apart, beside the time that the command takes.
const EXPIRY_TOLERANCE: u32 = 2;

/// The directors as one test sees them: without services. Connections of the tests before live on, to other addresses.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a mut World,
    /// The virtual address's, and the clients'.
    pub(crate) family: Family,
    /// The real servers'; another one than the clients' only for tunnels.
    pub(crate) servers: Family,
    pub(crate) vip: IpAddr,
    /// No other test has it: with the same one, replies to connections of theirs could not be told from ours.
    cport: u16,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(world: &'a mut World, number: usize, (part, family): (Part, Family)) -> Result<Self> {
        let number = u16::try_from(number).context("too many tests")?;
        world.choose(part);
        let vip = vip(family, number);
        let mut scene = Self { world, family, servers: family, vip, cport: CPORT + number };
        scene.tool("-C")?;
        scene.own()?;
        Ok(scene)
    }

    /// Goes on with another virtual address.
    pub(crate) fn move_to(&mut self, family: Family, number: u16) -> Result<()> {
        (self.family, self.servers, self.vip) = (family, family, vip(family, number));
        self.own()
    }

    /// Makes the virtual address the directors'. Those of IPv4 are.
    fn own(&mut self) -> Result<()> {
        let vip = self.vip;
        if vip.is_ipv6() && self.world.owned.insert(vip) {
            self.world.choose_all(|world| {
                world.directors(|director| {
                    let mut netlink = director.netlink()?;
                    let loopback = netlink.link("lo")?.index;
                    add_address(&mut netlink, loopback, Prefix::host(vip))
                })
            })?;
        }
        Ok(())
    }

    /// A connection of client .2 to the virtual address.
    pub(crate) fn flow(&self, vport: u16) -> Flow {
        Flow { cip: self.family.client(2), cport: self.cport, vip: self.vip, vport }
    }

    /// A text in which `VIP` stands for the virtual address, `CIP` for client .2, and `RS4` for real server .4.
    pub(crate) fn text(&self, text: &str) -> String {
        let text = text.replace("VIP", &bracketed(self.vip));
        let mut text = text.replace("CIP", &bracketed(self.family.client(2)));
        for number in HOSTS.rev() {
            let address = self.servers.server(number);
            text = text.replace(&format!("RS{number}:"), &format!("{}:", bracketed(address)));
            text = text.replace(&format!("RS{number}"), &address.to_string());
        }
        text
    }

    /// Rules, one per line, which all take.
    pub(crate) fn rules(&self, rules: &str) -> Result<()> {
        let ran = self.world.change(&["-R"], &self.text(rules), Rule::Same)?;
        ensure!(ran.status == Some(0) && ran.stderr.is_empty(), "{rules}\n{ran:?}");
        Ok(())
    }

    /// A service at port 80 with real servers .2 .3 .4 by that method.
    pub(crate) fn cluster(&self, service: &str, method: &str) -> Result<()> {
        let mut rules = format!("-A {service}\n");
        let name = service.split(" -s").next().unwrap_or(service);
        for number in 2..=4 {
            rules += &format!("-a {name} -r RS{number} {method}\n");
        }
        self.rules(&rules)
    }

    /// A command, which all answer the same.
    pub(crate) fn tool(&self, args: &str) -> Result<Ran> {
        self.tool_reading(args, "")
    }

    /// A command with something on its standard input.
    pub(crate) fn tool_reading(&self, args: &str, input: &str) -> Result<Ran> {
        let args = self.text(args);
        self.world.change(&args.split_whitespace().collect::<Vec<_>>(), &self.text(input), Rule::Same)
    }

    /// A command, which rvs answers differently.
    pub(crate) fn tool_differs(
        &self,
        args: &str,
        input: &str,
        difference: &'static Difference<Ran>,
    ) -> Result<Ran> {
        let args = self.text(args);
        self.world.change(
            &args.split_whitespace().collect::<Vec<_>>(),
            &self.text(input),
            Rule::Differs(difference),
        )
    }

    /// A command that all refuse with this status and this text.
    pub(crate) fn refused(&self, args: &str, status: i32, stderr: &str) -> Result<()> {
        let ran = self.tool(args)?;
        let expected = Ran { status: Some(status), stdout: String::new(), stderr: format!("{stderr}\n") };
        ensure!(ran == expected, "ipvsadm {args}: expected {expected:?}, got {ran:?}");
        Ok(())
    }

    /// A listing that all show alike, once it satisfies the condition.
    pub(crate) fn listing(&self, args: &str, is_wanted: impl Fn(&str) -> bool) -> Result<String> {
        let args = self.text(args);
        let view = |Shown { ran, .. }: &Shown| {
            ensure!(ran.status == Some(0) && ran.stderr.is_empty(), "{ran:?}");
            Ok(differences::normal_listing(&ran.stdout))
        };
        let args: Vec<&str> = args.split_whitespace().collect();
        self.world.show(&args, view, |text: &String| is_wanted(text), |a, b| a == b)
    }

    /// The numbers of a listing, by line, in which rvs differs: rvs shows these, once IPVS, which is late, shows its own.
    pub(crate) fn numbers_differ(
        &self,
        args: &str,
        wanted: &[Vec<u64>],
        difference: &'static Difference<Vec<Vec<u64>>>,
    ) -> Result<()> {
        let numbers = |text: &String| -> Vec<Vec<u64>> {
            let words =
                |line: &str| line.split_whitespace().skip(2).map_while(|word| word.parse().ok()).collect();
            text.lines().skip(3).map(words).collect()
        };
        let deadline = Instant::now() + COUNTERS_LIMIT;
        loop {
            let shown: Vec<_> = self.look(args)?.iter().map(numbers).collect();
            let (reference, others) = shown.split_first().context("nobody")?;
            let is_late = reference == wanted;
            if !is_late && others.iter().all(|other| other == wanted) && difference.apply(reference) == wanted
            {
                return difference.seen(wanted != *reference);
            }
            ensure!(
                Instant::now() < deadline,
                "{args}: expected {wanted:?}; IPVS, then the others: {shown:?}"
            );
        }
    }

    /// The numbers of a listing, alike for all, once each line of services and destinations is as wanted.
    pub(crate) fn numbers(&self, args: &str, is_wanted: impl Fn(&[u64]) -> bool) -> Result<()> {
        let words = |line: &str| -> Vec<u64> {
            line.split_whitespace().skip(2).map_while(|word| word.parse().ok()).collect()
        };
        let are_wanted = |text: &str| text.lines().skip(3).all(|line| is_wanted(&words(line)));
        self.listing(args, are_wanted).map(drop)
    }

    /// A listing as each shows it at this moment, IPVS first.
    pub(crate) fn look(&self, args: &str) -> Result<Vec<String>> {
        let args = self.text(args);
        let args: Vec<&str> = args.split_whitespace().collect();
        self.world.look(&args, |shown| Ok(shown.ran.stdout.clone()))
    }

    /// Active and inactive connections of the real servers of the one service there is, by last byte of their addresses,
    /// once they are as wanted.
    pub(crate) fn counts(&self, wanted: &[(u8, u32, u32)]) -> Result<()> {
        let counts = |text: &str| -> Vec<(u8, u32, u32)> {
            text.lines().filter_map(count).filter(|&(_, active, inactive)| active + inactive > 0).collect()
        };
        self.listing("-Ln", |text| counts(text) == wanted)
            .map(drop)
            .with_context(|| format!("wanted: {wanted:?}"))
    }

    /// The connections to the virtual address, which all list alike, once there are as many as wanted.
    pub(crate) fn conns(&self, number: usize) -> Result<Vec<Conn>> {
        self.conns_to(&self.text("VIP:"), |conns| conns.len() == number)
    }

    /// The connections to a port, which all list alike.
    pub(crate) fn conns_to_port(&self, port: u16) -> Result<Vec<Conn>> {
        self.conns_to(&self.text(&format!("VIP:{port}")), |_| true)
    }

    /// All connections to the virtual address, which all list alike.
    pub(crate) fn all_conns(&self) -> Result<Vec<Conn>> {
        self.conns_to(&self.text("VIP:"), |_| true)
    }

    /// The connections whose virtual address and port begin like this, once they are as wanted.
    pub(crate) fn conns_to(&self, vip: &str, is_wanted: impl Fn(&[Conn]) -> bool) -> Result<Vec<Conn>> {
        let view = |Shown { ran, age, within }: &Shown| {
            ensure!(ran.status == Some(0), "{ran:?}");
            let conns = ran.stdout.lines().filter_map(Conn::parse).filter(|conn| conn.vip.starts_with(vip));
            let mut conns: Vec<Conn> = conns.collect();
            for conn in &mut conns {
                conn.expiry += u32::try_from(age.as_secs())?;
                conn.within += u32::try_from(within.as_secs())?;
            }
            conns.sort();
            Ok(conns)
        };
        let is_same =
            |a: &Vec<Conn>, b: &Vec<Conn>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_like(b));
        self.world.show(&["-Lnc"], view, |conns| is_wanted(conns), is_same)
    }

    /// The state of the only connection, which the last frame restarted with this timeout in seconds.
    pub(crate) fn state(&self, state: &str, timeout: u32) -> Result<()> {
        let conns = self.conns(1)?;
        let conn = conns.first().context("no connection")?;
        let is_near = timeout.abs_diff(conn.expiry) <= conn.within;
        ensure!(conn.state == state && is_near, "expected {state} {timeout} s: {conn:?}");
        Ok(())
    }

    /// Sends a frame from the clients' side; all do the same with it.
    pub(crate) fn client(&mut self, frame: Vec<u8>) -> Result<Seen> {
        self.world.exchange(Wire::Clients, &[frame], Rule::Same)
    }

    /// Sends frames from the clients' side.
    pub(crate) fn clients(&mut self, frames: &[Vec<u8>]) -> Result<Seen> {
        self.world.exchange(Wire::Clients, frames, Rule::Same)
    }

    /// Sends a frame from the clients' side, with which rvs does something else.
    pub(crate) fn client_differs(
        &mut self,
        frame: Vec<u8>,
        difference: &'static Difference<Seen>,
    ) -> Result<Seen> {
        self.world.exchange(Wire::Clients, &[frame], Rule::Differs(difference))
    }

    /// Sends a frame from the clients' side, of which rvs tells the client by this one.
    pub(crate) fn client_is_told(
        &mut self,
        frame: Vec<u8>,
        told: Vec<u8>,
        difference: &'static Difference<Seen>,
    ) -> Result<Seen> {
        let told = Seen { to_clients: vec![told], to_servers: Vec::new() };
        let rule = Rule::Does(difference, differences::normal(&told)?);
        self.world.exchange(Wire::Clients, &[frame], rule)
    }

    /// Sends a frame from the servers' side, of which rvs tells the client by this one.
    pub(crate) fn server_is_told(
        &mut self,
        frame: Vec<u8>,
        told: Vec<u8>,
        difference: &'static Difference<Seen>,
    ) -> Result<()> {
        let told = Seen { to_clients: vec![told], to_servers: Vec::new() };
        let rule = Rule::Does(difference, differences::normal(&told)?);
        self.world.exchange(Wire::Servers, &[frame], rule).map(drop)
    }

    /// Sends a frame from the servers' side.
    pub(crate) fn server(&mut self, frame: Vec<u8>) -> Result<Seen> {
        self.world.exchange(Wire::Servers, &[frame], Rule::Same)
    }

    /// Sends a frame from the servers' side, with which rvs does something else.
    pub(crate) fn server_differs(
        &mut self,
        frame: Vec<u8>,
        difference: &'static Difference<Seen>,
    ) -> Result<Seen> {
        self.world.exchange(Wire::Servers, &[frame], Rule::Differs(difference))
    }

    /// Sends frames from the servers' side.
    pub(crate) fn servers_send(&mut self, frames: &[Vec<u8>]) -> Result<Seen> {
        self.world.exchange(Wire::Servers, frames, Rule::Same)
    }

    /// Does something with a setting of all changed; afterwards it has its default again.
    pub(crate) fn with<T>(
        &mut self,
        setting: Setting,
        value: u32,
        act: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.world.set(setting.name(), value)?;
        let result = act(self);
        self.world.set(setting.name(), setting.default())?;
        result
    }
}

/// The virtual address of a test.
fn vip(family: Family, number: u16) -> IpAddr {
    let [high, low] = (number + 256).to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, number + 256).into(),
    }
}

/// An address as it stands before a port.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Number of a real server, its active and its inactive connections, by its line in a listing.
fn count(line: &str) -> Option<(u8, u32, u32)> {
    let words: Vec<&str> = line.strip_prefix("  -> ")?.split_whitespace().collect();
    let (address, _) = words.first()?.rsplit_once(':')?;
    let number = address.trim_end_matches(']').rsplit(['.', ':']).next()?.parse().ok()?;
    Some((number, words.get(3)?.parse().ok()?, words.get(4)?.parse().ok()?))
}

/// A line of `ipvsadm -Lnc`. In the order in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conn {
    pub(crate) client: String,
    pub(crate) vip: String,
    protocol: String,
    pub(crate) state: String,
    pub(crate) dest: String,
    /// Seconds, at the time of the last frame.
    expiry: u32,
    /// How exactly that is known.
    within: u32,
}

impl Conn {
    /// `None` for titles.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[protocol, expiry, state, client, vip, dest] = words.as_slice() else { return None };
        let (minutes, seconds) = expiry.split_once(':')?;
        let expiry = minutes.parse::<u32>().ok()? * 60 + seconds.parse::<u32>().ok()?;
        let [client, vip, protocol, state, dest] = [client, vip, protocol, state, dest].map(str::to_owned);
        Some(Self { client, vip, protocol, state, dest, expiry, within: EXPIRY_TOLERANCE })
    }

    fn is_like(&self, other: &Self) -> bool {
        let Self { expiry, within, .. } = *self;
        let is_near = expiry.abs_diff(other.expiry) <= within.max(other.within);
        is_near && *self == Self { expiry, within, ..other.clone() }
    }
}

/// Last bytes of the servers' addresses to which the frames went.
pub(crate) fn chosen(seen: &Seen) -> Vec<u8> {
    let number = |frame: &Vec<u8>| { HOSTS }.find(|&number| frame.starts_with(&server_mac(number)));
    seen.to_servers.iter().map(|frame| number(frame).unwrap_or(0)).collect()
}

/// The only frame, if it went to this server.
pub(crate) fn only(seen: &Seen, number: u8) -> Result<&[u8]> {
    let is_only = chosen(seen) == [number] && seen.to_clients.is_empty();
    ensure!(is_only, "expected one frame, to .{number}, got\n{}", seen.describe());
    seen.to_servers.first().map(Vec::as_slice).context("no frame")
}

/// The only frame, if it went to the clients.
pub(crate) fn only_to_client(seen: &Seen) -> Result<&[u8]> {
    ensure!(
        seen.to_servers.is_empty() && seen.to_clients.len() == 1,
        "expected one frame, to a client, got\n{}",
        seen.describe()
    );
    seen.to_clients.first().map(Vec::as_slice).context("no frame")
}

/// Nothing came out.
pub(crate) fn nothing(seen: &Seen) -> Result<()> {
    ensure!(*seen == Seen::default(), "expected nothing, got\n{}", seen.describe());
    Ok(())
}
