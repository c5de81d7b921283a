//! All directors together: what one is sent, all are sent.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::iter;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rvs_config::Setting;
use rvs_netlink::Netns;

use super::differences::{self, Difference};
use super::frames;
use super::lab::{Kind, Lab, Seen, Shown, Wire};
use super::tool::Ran;

/// Modules of the kernel that the statements need.
const MODULES: &[&str] = &["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sh"];
/// Where the programs of rvs hang.
const PLACES: &[&str] = &["tc", "xdp", "xdp-generic"];
/// How long answers may differ until it counts: counters follow with a delay of up to two seconds (ipvs.md §9.2).
const AGREE_LIMIT: Duration = Duration::from_secs(6);
/// How long frames may be on their way after all was handled.
const FRAMES_LIMIT: Duration = Duration::from_secs(2);
/// rvs sends one error to an address in this time, in the long run.
const ERROR_INTERVAL: Duration = Duration::from_secs(1);
/// So far it may run ahead of that, less one.
const ERRORS_BEHIND: Duration = Duration::from_secs(5);
/// How long to listen for what nobody waits for any more.
const SETTLE: Duration = Duration::from_millis(100);
/// How long to listen before comparing again.
const PAUSE: Duration = Duration::from_millis(5);

/// The directors.
pub(crate) struct World {
    pub(crate) ipvs: Lab,
    rvs: Vec<Lab>,
    /// Those of rvs that take part.
    part: Range<usize>,
    /// Virtual addresses of IPv6 that were given to all.
    pub(crate) owned: HashSet<IpAddr>,
    /// When each client may get as many errors again as at first.
    budgets: HashMap<IpAddr, Instant>,
}

/// Which directors of rvs take part in a test.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// All.
    All,
    /// One, counted round: enough where all are the same program, and quicker.
    One(usize),
}

/// What rvs has to do where IPVS does something.
pub(crate) enum Rule<'a, T: 'static> {
    /// The same.
    Same,
    /// Something else, as listed.
    Differs(&'a Difference<T>),
    /// Something else, as listed: this.
    Does(&'a Difference<T>, T),
}

impl<T: Clone + PartialEq> Rule<'_, T> {
    fn expected(&self, reference: &T) -> T {
        match self {
            Self::Same => reference.clone(),
            Self::Differs(difference) => difference.apply(reference),
            Self::Does(_, expected) => expected.clone(),
        }
    }

    /// To be called when rvs did what was expected.
    fn met(&self, reference: &T, expected: &T) -> Result<()> {
        match *self {
            Self::Differs(difference) | Self::Does(difference, _) => difference.seen(reference != expected),
            Self::Same => Ok(()),
        }
    }
}

impl World {
    pub(crate) fn new(binary: &Path) -> Result<Self> {
        let modprobe = Command::new("modprobe").arg("-a").args(MODULES).status()?;
        ensure!(modprobe.success(), "modprobe -a {}: {modprobe}", MODULES.join(" "));
        let ipvs = Lab::new(Kind::Ipvs, binary)?;
        let rvs: Vec<_> =
            PLACES.iter().map(|place| Lab::new(Kind::Rvs(place), binary)).collect::<Result<_>>()?;
        // Packets are handled on the CPU that sends them: on one only, they keep their order.
        let mut cpus = CpuSet::new();
        cpus.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpus)?;
        Ok(Self { ipvs, part: 0..rvs.len(), rvs, owned: HashSet::new(), budgets: HashMap::new() })
    }

    /// Chooses which directors of rvs take part from now on.
    pub(crate) fn choose(&mut self, part: Part) {
        self.part = match part {
            Part::All => 0..self.rvs.len(),
            Part::One(number) => number % self.rvs.len()..number % self.rvs.len() + 1,
        };
    }

    /// Does something while all take part.
    pub(crate) fn choose_all<T>(&mut self, act: impl FnOnce(&Self) -> T) -> T {
        let part = self.part.clone();
        self.choose(Part::All);
        let result = act(self);
        self.part = part;
        result
    }

    /// Does something in the namespace of each director.
    pub(crate) fn directors(&self, act: impl Fn(&Netns) -> Result<()>) -> Result<()> {
        let labs = self.labs().iter().chain([&self.ipvs]);
        labs.map(|lab| &lab.director).try_for_each(act)
    }

    /// Has packets to an address get a mark at all that take part, before they are balanced; 0: no packet gets one.
    pub(crate) fn mark(&self, to: std::net::IpAddr, mark: u32) -> Result<()> {
        self.each(|lab| lab.mark(to, mark)).map(drop)
    }

    fn labs(&self) -> &[Lab] {
        &self.rvs[self.part.clone()]
    }

    /// Sends the frames to all; they must do the same as far as the rule says. Answers what IPVS did.
    pub(crate) fn exchange(&mut self, from: Wire, frames: &[Vec<u8>], rule: Rule<'_, Seen>) -> Result<Seen> {
        self.wait_for_budgets(frames);
        let mut reference = self.ipvs.exchange(from, frames)?;
        let part = self.part.clone();
        let labs = self.rvs[part.clone()].iter_mut();
        let mut others = labs.map(|lab| lab.exchange(from, frames)).collect::<Result<Vec<_>>>()?;
        let deadline = Instant::now() + FRAMES_LIMIT;
        loop {
            let normal = differences::normal(&reference)?;
            let expected = rule.expected(&normal);
            let normals = others.iter().map(differences::normal).collect::<Result<Vec<_>>>()?;
            let other = differences::of_fragments(&normal, frames);
            let is_right = |seen: &Seen| *seen == expected || other.as_ref() == Some(seen);
            let Some(wrong) = normals.iter().position(|seen| !is_right(seen)) else {
                self.note_errors(&expected);
                return rule.met(&normal, &expected).map(|()| reference);
            };
            if Instant::now() >= deadline {
                let line = |frame: &Vec<u8>| format!("  from {from:?}: {}\n", frames::describe(frame));
                bail!(
                    "sent\n{}expected\n{}{} sent\n{}(IPVS sent\n{})\nits reasons so far\n{}",
                    frames.iter().map(line).collect::<String>(),
                    expected.describe(),
                    self.labs()[wrong].kind.name(),
                    normals[wrong].describe(),
                    normal.describe(),
                    self.labs()[wrong].reasons()
                );
            }
            self.ipvs.collect(&mut reference, PAUSE)?;
            for (lab, seen) in self.rvs[part.clone()].iter_mut().zip(&mut others) {
                lab.collect(seen, PAUSE)?;
            }
        }
    }

    /// rvs sends errors as seldom as Linux by default, which tests have to wait for. The kernel's limits are off: it takes
    /// them by routes, and their state could not be seen.
    fn wait_for_budgets(&self, frames: &[Vec<u8>]) {
        let sources = frames.iter().filter_map(|frame| frames::addresses(frames::packet(frame)));
        let full = sources.filter_map(|(source, _)| self.budgets.get(&source)).max();
        let early = full.and_then(|full| full.checked_duration_since(Instant::now() + ERRORS_BEHIND));
        thread::sleep(early.unwrap_or_default());
    }

    /// Takes what rvs sent off the budgets of those who got it.
    fn note_errors(&mut self, seen: &Seen) {
        for frame in seen.to_clients.iter().chain(&seen.to_servers) {
            let packet = frames::packet(frame);
            // What it sends on has a lower time to live.
            let is_own = frames::ttl(packet) == Some(64) && frames::error(packet).is_some();
            if let (true, Some((_, to))) = (is_own, frames::addresses(packet)) {
                let now = Instant::now();
                let full = self.budgets.entry(to).or_insert(now);
                *full = (*full).max(now) + ERROR_INTERVAL;
            }
        }
    }

    /// Does something for all, IPVS first, side by side: most of the time goes into programs that start.
    fn each<T: Send>(&self, act: impl Fn(&Lab) -> Result<T> + Sync) -> Result<Vec<T>> {
        thread::scope(|scope| {
            let labs = iter::once(&self.ipvs).chain(self.labs());
            let act = &act;
            let running: Vec<_> =
                labs.map(|lab| scope.spawn(move || spread().and_then(|()| act(lab)))).collect();
            let results =
                running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a panic")));
            results.collect()
        })
    }

    /// Runs an `ipvsadm` for all, once; they must answer the same as far as the rule says.
    pub(crate) fn change(&self, args: &[&str], input: &str, rule: Rule<'_, Ran>) -> Result<Ran> {
        let mut others = self.each(|lab| lab.tool.run(&lab.director, args, input))?;
        let reference = others.remove(0);
        let expected = rule.expected(&reference);
        for (lab, ran) in self.labs().iter().zip(&others) {
            ensure!(
                *ran == expected,
                "ipvsadm {}\n{input}expected {expected:?}\n{} answered {ran:?}\nIPVS answered {reference:?}",
                args.join(" "),
                lab.kind.name()
            );
        }
        rule.met(&reference, &expected).map(|()| reference)
    }

    /// Sets a setting of all.
    pub(crate) fn set(&self, name: &str, value: u32) -> Result<()> {
        self.each(|lab| lab.set(&[(name, value)])).map(drop)
    }

    /// Sets some settings of all.
    pub(crate) fn set_all(&self, settings: &[(Setting, u32)]) -> Result<()> {
        if settings.is_empty() {
            return Ok(());
        }
        let settings: Vec<_> = settings.iter().map(|&(setting, value)| (setting.name(), value)).collect();
        self.each(|lab| lab.set(&settings)).map(drop)
    }

    /// Forgets what is on its way, after something went wrong.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for lab in iter::once(&mut self.ipvs).chain(&mut self.rvs) {
            lab.collect(&mut Seen::default(), SETTLE)?;
        }
        Ok(())
    }

    /// What an `ipvsadm` shows of each at this moment, IPVS first.
    pub(crate) fn look<T>(&self, args: &[&str], view: impl Fn(&Shown) -> Result<T>) -> Result<Vec<T>> {
        self.each(|lab| lab.show(args))?.iter().map(view).collect()
    }

    /// Runs an `ipvsadm` that only shows something, until all show what is wanted and the same, as far as `view` goes.
    pub(crate) fn show<T: PartialEq + Debug>(
        &self,
        args: &[&str],
        view: impl Fn(&Shown) -> Result<T>,
        is_wanted: impl Fn(&T) -> bool,
        is_same: impl Fn(&T, &T) -> bool,
    ) -> Result<T> {
        let deadline = Instant::now() + AGREE_LIMIT;
        loop {
            let mut views = self.look(args, &view)?;
            let expected = views.remove(0);
            let wrong = views.iter().position(|view| !is_same(&expected, view));
            if wrong.is_none() && is_wanted(&expected) {
                return Ok(expected);
            }
            if Instant::now() >= deadline {
                let Some(wrong) = wrong else {
                    bail!("ipvsadm {}: not what the statement says: {expected:#?}", args.join(" "));
                };
                let name = self.labs()[wrong].kind.name();
                bail!(
                    "ipvsadm {}\nIPVS shows {expected:#?}\n{name} shows {:#?}",
                    args.join(" "),
                    views[wrong]
                );
            }
        }
    }
}

/// Lets this thread, and what it starts, run on all CPUs.
fn spread() -> Result<()> {
    let mut cpus = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        cpus.set(cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}
