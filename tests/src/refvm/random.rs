//! Random histories for the schedulers: commands and packets by a seed, the same to IPVS and to rvs. Whatever leaves the
//! director is compared, so that the destination of each new connection is.

use anyhow::{Context as _, Result};
use rvs_wire::tcp;

use super::differences::NO_ICMP_ERRORS;
use super::frames::{FIN_ACK, Flow, server};
use super::lab::Wire;
use super::scene::{Scene, chosen};
use super::tests;
use super::world::{Part, Rule};

tests![random_rr, random_wrr, random_lc, random_wlc, random_sh];

/// Those of this version.
const SCHEDULERS: [&str; 5] = ["rr", "wrr", "lc", "wlc", "sh"];
/// Histories per scheduler.
const SEEDS: u64 = 20;
/// Steps of a history: each some commands, then some packets.
const STEPS: u64 = 4;

fn random_rr(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "rr")
}

fn random_wrr(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "wrr")
}

fn random_lc(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "lc")
}

fn random_wlc(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "wlc")
}

fn random_sh(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "sh")
}

fn histories(scene: &mut Scene<'_>, scheduler: &str) -> Result<()> {
    let seeds = scene.seed.map_or(1..SEEDS + 1, |seed| seed..seed + 1);
    for seed in seeds {
        // The places take turns.
        scene.world.choose(Part::One(usize::try_from(seed)?));
        History::new(scheduler, seed).play(scene).with_context(|| {
            format!(
                "repeat with: RVS_BINARY=$PWD/target/release/rvs cargo xtask refvm -t 600 -- \
                 target/release/refvm-suite random_{scheduler} --seed {seed}"
            )
        })?;
    }
    Ok(())
}

/// A destination as the history made it.
#[derive(Clone, Copy)]
struct Dest {
    number: u8,
    method: &'static str,
}

struct History {
    scheduler: &'static str,
    port: u16,
    random: Random,
    dests: Vec<Dest>,
    /// Connections, and the destination each went to.
    conns: Vec<(Flow, u8)>,
}

impl History {
    fn new(scheduler: &str, seed: u64) -> Self {
        let index = SCHEDULERS.iter().position(|name| *name == scheduler).unwrap_or(0);
        // A port of its own: whatever is left of other histories belongs to other services.
        let port = 1000 * (u16::try_from(index).unwrap_or(0) + 1) + u16::try_from(seed % 1000).unwrap_or(0);
        let scheduler = SCHEDULERS[index];
        Self { scheduler, port, random: Random::new(seed), dests: Vec::new(), conns: Vec::new() }
    }

    fn play(mut self, scene: &mut Scene<'_>) -> Result<()> {
        let options = match (self.scheduler, self.random.below(3)) {
            ("sh", 0) => " -b sh-port",
            ("sh", 1) => " -b sh-port,sh-fallback",
            _ => "",
        };
        let mut rules = format!("-C\n-A -t VIP:{} -s {}{options}\n", self.port, self.scheduler);
        for _ in 0..=self.random.below(4) {
            rules += &self.add();
        }
        for step in 0..STEPS {
            scene.rules(&rules)?;
            self.packets(scene).with_context(|| format!("step {step}, after\n{rules}"))?;
            rules = (0..self.random.below(4)).map(|_| self.edit()).collect();
        }
        Ok(())
    }

    /// A command that adds a destination; none if there is no address left.
    fn add(&mut self) -> String {
        let free = (2..=10).filter(|number| self.dests.iter().all(|dest| dest.number != *number));
        let free: Vec<u8> = free.collect();
        let Some(&number) = self.random.choose(&free) else { return String::new() };
        // By the number: IPVS keeps the route of a destination that comes back with another method, and asks for the
        // Ethernet address of the virtual address then.
        let method = if number % 2 == 0 { "-m" } else { "-g" };
        self.dests.push(Dest { number, method });
        self.command("-a", Dest { number, method })
    }

    fn command(&mut self, verb: &str, Dest { number, method }: Dest) -> String {
        let weight = [0, 1, 1, 2, 3, 5, 100][self.random.index(7)];
        format!("{verb} -t VIP:{} -r 192.168.9.{number} {method} -w {weight}\n", self.port)
    }

    /// A command that changes something.
    fn edit(&mut self) -> String {
        if self.dests.is_empty() {
            return self.add();
        }
        let index = self.random.index(self.dests.len());
        match self.random.below(10) {
            0..=2 => self.add(),
            3..=4 => {
                let dest = self.dests.remove(index);
                format!("-d -t VIP:{} -r 192.168.9.{}\n", self.port, dest.number)
            }
            5 => format!("-E -t VIP:{} -s {}\n", self.port, self.scheduler),
            _ => self.command("-e", self.dests[index]),
        }
    }

    /// New connections one by one, and packets of old ones.
    fn packets(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        for _ in 0..5 + self.random.below(8) {
            let is_new = self.conns.is_empty() || self.random.below(3) > 0;
            if is_new {
                let flow = self.new_flow(scene);
                let seen =
                    scene.world.exchange(Wire::Clients, &[flow.syn()], Rule::MayDiffer(&NO_ICMP_ERRORS))?;
                if let [number] = chosen(&seen)[..] {
                    self.conns.push((flow, number));
                }
                continue;
            }
            let (flow, number) = self.conns[self.random.index(self.conns.len())];
            let flags = [tcp::ACK, tcp::ACK, FIN_ACK, FIN_ACK, tcp::RST][self.random.index(5)];
            let (from, frame) = match self.random.below(3) {
                0 => (Wire::Servers, flow.at(server(number), self.port).tcp(flags)),
                _ => (Wire::Clients, flow.tcp(flags)),
            };
            scene.world.exchange(from, &[frame], Rule::Same)?;
        }
        Ok(())
    }

    fn new_flow(&mut self, scene: &Scene<'_>) -> Flow {
        let ports = u16::try_from(self.conns.len()).unwrap_or(0);
        let client = 2 + u8::try_from(self.random.below(8)).unwrap_or(0);
        let cport = 20000 + ports * 8 + u16::try_from(self.random.below(8)).unwrap_or(0);
        scene.flow(self.port).with_client(client).with_client_port(cport)
    }
}

/// Numbers by a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(1))).unwrap_or(0)
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.index(of.len()))
    }
}
