//! One method, from an empty director to a drained server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rvs_netlink::MacAddr;
use rvs_testkit::{Family, Host, HttpClient, HttpRun, HttpServer, Report};

use super::account::{check_answered, first_reply, listen};
use super::drawing;
use super::interrupt::Interrupt;
use super::method::{Kind, Method};
use super::show::Show;
use super::stage::{Stage, WEIGHTS};

/// Requests, each over a connection of its own: a multiple of the sum of all weights, and of those that are left when
/// the last server is drained. So the shares are exact.
const REQUESTS: u64 = 600;
/// Connections at once.
const AT_ONCE: usize = 16;
/// Connections that stay open while a server is drained: one for each unit of weight.
const LASTING: usize = 6;
/// Answers over them that are waited for, before and after.
const LASTING_ANSWERS: u64 = 600;
/// How long a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Shows a method.
///
/// # Errors
/// When something can't be done, a request fails, or a signal comes.
pub(super) fn play(method: Method, show: &mut Show, interrupt: &Interrupt) -> Result<()> {
    let result = Stage::build(method, interrupt)
        .and_then(|stage| Round { method, stage: &stage, show, interrupt }.play());
    result.with_context(|| format!("demo {}", method.name))
}

struct Round<'a> {
    method: Method,
    stage: &'a Stage,
    show: &'a mut Show,
    interrupt: &'a Interrupt,
}

impl Round<'_> {
    fn play(&mut self) -> Result<()> {
        let (title, explanation) = (self.method.title(), self.method.explanation());
        self.show.print(&format!("━━━ {title} ━━━\n\n{explanation}\n"))?;
        self.show.print(&indent(&drawing::topology(&self.stage.cluster, self.method)))?;
        self.configure()?;
        self.balance()?;
        self.drain()
    }

    /// Runs a command of `ipvsadm` for everybody to see.
    fn ipvsadm(&mut self, args: &str) -> Result<()> {
        let text = self.stage.director.ipvsadm(args)?;
        self.show.print(&format!("  $ ipvsadm {args}"))?;
        if text.is_empty() { Ok(()) } else { self.show.print(&indent(&text)) }
    }

    fn configure(&mut self) -> Result<()> {
        self.ipvsadm(&format!("-A -t {} -s wrr", self.stage.service()))?;
        for (server, weight) in self.stage.cluster.servers().iter().zip(WEIGHTS) {
            self.ipvsadm(&self.destination("-a", server, weight))?;
        }
        Ok(())
    }

    fn destination(&self, command: &str, server: &Host, weight: u32) -> String {
        let address = SocketAddr::new(server.address_in(self.method.servers), self.method.server_port());
        format!("{command} -t {} -r {address} {} -w {weight}", self.stage.service(), self.method.options())
    }

    /// New connections by the weights, and where replies come from.
    fn balance(&mut self) -> Result<()> {
        let mut capture = listen(self.stage.cluster.client())?;
        let report = self.request(REQUESTS)?;
        let text = format!(
            "\n  {REQUESTS} HTTP requests, each over a new connection: 0 failed\n\n{}",
            self.bars(&report, WEIGHTS)
        );
        self.show.print(&text)?;
        let reply = first_reply(&mut capture)?;
        let service = self.stage.service();
        ensure!(reply.source == service, "a reply came from {}, not from {service}", reply.source);
        let expected = self.sender();
        let way = if self.method.comes_back() { "through the director" } else { "past the director" };
        ensure!(reply.sender == expected, "a reply was sent by {}, not {way}, by {expected}", reply.sender);
        let client = self.seen_by_servers()?;
        ensure!(
            report.client_addresses == BTreeSet::from([client]),
            "servers saw {:?}",
            report.client_addresses
        );
        self.show.print(&format!(
            "  The client's replies come from {service}, {way}. The servers see the client as {client}.\n"
        ))
    }

    /// Where servers see requests come from.
    fn seen_by_servers(&self) -> Result<IpAddr> {
        let cluster = &self.stage.cluster;
        if self.method.kind != Kind::FullNat {
            return Ok(cluster.client().address_in(self.method.family));
        }
        let inside = cluster.director().interface("to-servers");
        let address = match self.method.servers {
            Family::V4 => inside.address.map(IpAddr::from),
            Family::V6 => inside.address_v6.map(IpAddr::from),
        };
        address.context("a director without an address at the servers")
    }

    /// The Ethernet address that replies to the client are sent from.
    fn sender(&self) -> MacAddr {
        let cluster = &self.stage.cluster;
        match (self.method.comes_back(), cluster.fabric()) {
            (false, Some(router)) => router.interface("clients").mac,
            _ => cluster.director().interface("to-client").mac,
        }
    }

    /// The last server gets no new connections, and goes on with those it has.
    fn drain(&mut self) -> Result<()> {
        let accepted = self.accepted();
        let lasting = self.start(self.stage.client().connections(LASTING).requests(u64::MAX))?;
        let opened = LASTING as u64;
        self.await_that("connections that stay open", || self.accepted() == accepted + opened)?;
        self.await_answers(&lasting)?;
        self.ipvsadm("-Ln")?;

        let (drained, rest) = (self.stage.cluster.servers().last(), self.stage.servers.last());
        let (drained, server) = drained.zip(rest).context("a cluster without servers")?;
        self.show
            .print(&format!("  {LASTING} connections are in use while {} is drained:\n", drained.name()))?;
        self.ipvsadm(&self.destination("-e", drained, 0))?;
        let (connections, requests) = (server.connections(), server.requests());
        let report = self.request(REQUESTS)?;
        self.await_answers(&lasting)?;
        self.await_that("answers of the drained server", || server.requests() > requests)?;
        let taken = server.connections() - connections;
        ensure!(taken == 0, "{} was given {taken} new connections after its weight was 0", drained.name());
        let lasting = lasting.stop();
        check_answered(&lasting, lasting.answered() + lasting.failed())?;
        let weights = [WEIGHTS[0], WEIGHTS[1], 0];
        let text = format!(
            "\n  {REQUESTS} more requests, each over a new connection: 0 failed\n\n{}",
            self.bars(&report, weights)
        );
        self.show.print(&text)?;
        self.show.print(&format!(
            "  Over the {LASTING} connections from before, requests went on all the time, also to {}: 0 failed.\n",
            drained.name()
        ))
    }

    /// Makes requests over new connections, and has all of them answered.
    fn request(&self, count: u64) -> Result<Report> {
        let client = self.stage.client().connections(AT_ONCE).requests(count).requests_per_connection(1);
        let run = self.start(client)?;
        self.await_that("answers", || run.is_finished())?;
        let report = run.wait();
        check_answered(&report, count)?;
        Ok(report)
    }

    fn start(&self, client: HttpClient) -> Result<HttpRun> {
        Ok(client.timeout(REQUEST_LIMIT).start(self.stage.cluster.client().netns())?)
    }

    /// Waits until some more requests were answered.
    fn await_answers(&self, run: &HttpRun) -> Result<()> {
        let enough = run.answered() + LASTING_ANSWERS;
        self.await_that("answers over connections that stay open", || run.answered() >= enough)
    }

    fn await_that(&self, what: &str, condition: impl FnMut() -> bool) -> Result<()> {
        self.interrupt.wait(what, LIMIT, condition)
    }

    /// Connections that the servers have accepted so far.
    fn accepted(&self) -> u64 {
        self.stage.servers.iter().map(HttpServer::connections).sum()
    }

    fn bars(&self, report: &Report, weights: [u32; WEIGHTS.len()]) -> String {
        let servers = self.stage.servers.iter().zip(weights);
        let rows: Vec<_> = servers
            .map(|(server, weight)| (server.name(), weight, report.answers_of(server.name())))
            .collect();
        drawing::bars(&rows)
    }
}

fn indent(text: &str) -> String {
    // Columns of a table are padded; nobody wants that in a document.
    text.lines().map(|line| format!("{}\n", format!("  {line}").trim_end())).collect()
}
