//! IPVS's objects, written down as slowly and obviously as possible (ipvs.md §1, §6): lists are vectors, the scheduler's
//! position is a place in a vector, every command looks at everything.

use rvs_config::*;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dest {
    pub(crate) key: DestKey,
    pub(crate) method: ForwardingMethod,
    pub(crate) tunnel: Tunnel,
    pub(crate) weight: u32,
    pub(crate) conns: u32,
    pub(crate) counted: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) key: ServiceKey,
    pub(crate) scheduler: Scheduler,
    pub(crate) flags: SchedulerFlags,
    /// Newest first.
    pub(crate) list: Vec<Dest>,
    pub(crate) counted: u64,
    /// 0: the list's head; else one more than the place of the last choice.
    rr: usize,
    wrr: Wrr,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wrr {
    cl: usize,
    cw: u32,
    di: u32,
    mw: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reference {
    pub(crate) services: Vec<Service>,
    trash: Vec<(ServiceKey, Dest)>,
    pub(crate) timeouts: Timeouts,
    pub(crate) settings: Settings,
    pub(crate) counted: u64,
}

fn gcd(a: u32, b: u32) -> u32 {
    (1..=a.max(b)).rev().find(|d| a.is_multiple_of(*d) && b.is_multiple_of(*d)).unwrap_or(0)
}

impl Service {
    fn numbers(&mut self) {
        self.wrr.di = self.list.iter().map(|dest| dest.weight).filter(|w| *w > 0).reduce(gcd).unwrap_or(1);
        let max = self.list.iter().map(|dest| dest.weight).max().unwrap_or(0);
        self.wrr.mw = if max == 0 { 0 } else { max - (self.wrr.di - 1) };
    }

    fn bind(&mut self) {
        self.rr = 0;
        self.numbers();
        self.wrr.cl = 0;
        self.wrr.cw = self.wrr.mw;
    }

    fn list_changed(&mut self) {
        self.numbers();
        let wrr = &mut self.wrr;
        wrr.cl = 0;
        if wrr.cw > wrr.mw || wrr.cw == 0 {
            wrr.cw = wrr.mw;
        } else if wrr.di > 1 {
            wrr.cw = (wrr.cw / wrr.di) * wrr.di + 1;
        }
    }

    fn choose(&mut self, client: [u8; 4]) -> Option<usize> {
        match self.scheduler {
            Scheduler::Rr => {
                let n = self.list.len();
                let found = (0..n).map(|i| (self.rr + i) % n).find(|i| self.list[*i].weight > 0)?;
                self.rr = found + 1;
                Some(found)
            }
            Scheduler::Wrr => self.choose_wrr(),
            Scheduler::Lc => {
                let usable = self.list.iter().enumerate().filter(|(_, dest)| dest.weight > 0);
                usable.min_by_key(|(_, dest)| dest.conns).map(|(i, _)| i)
            }
            Scheduler::Wlc => {
                let mut usable = self.list.iter().enumerate().filter(|(_, dest)| dest.weight > 0);
                let first = usable.next()?;
                let better = |best: (usize, &Dest), other: &Dest| {
                    u64::from(best.1.conns) * u64::from(other.weight)
                        > u64::from(other.conns) * u64::from(best.1.weight)
                };
                Some(usable.fold(first, |best, other| if better(best, other.1) { other } else { best }).0)
            }
            Scheduler::Sh => {
                let mut buckets = Vec::new();
                while buckets.len() < 256 && !self.list.is_empty() {
                    for (i, dest) in self.list.iter().enumerate() {
                        buckets.extend(std::iter::repeat_n(i, dest.weight.max(1) as usize));
                    }
                }
                let hash = u32::from_be_bytes(client).wrapping_mul(0x61C8_8647) >> 24;
                buckets.get(hash as usize).copied().filter(|i| self.list[*i].weight > 0)
            }
        }
    }

    /// With every destination usable up to its weight, one pass over the list per current weight.
    fn choose_wrr(&mut self) -> Option<usize> {
        if self.wrr.mw == 0 {
            return None;
        }
        // Somebody has the largest weight, so at most two turns of the wheel find someone.
        for _ in 0..2 * self.wrr.mw + 2 {
            let next = (self.wrr.cl..self.list.len()).find(|i| self.list[*i].weight >= self.wrr.cw);
            if let Some(i) = next {
                self.wrr.cl = i + 1;
                return Some(i);
            }
            self.wrr.cl = 0;
            self.wrr.cw = self.wrr.cw.saturating_sub(self.wrr.di);
            if self.wrr.cw == 0 {
                self.wrr.cw = self.wrr.mw;
            }
        }
        panic!("wrr finds nobody in {self:?}");
    }
}

impl Reference {
    fn find(&mut self, key: &ServiceKey) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.key == *key)
    }

    /// A whole list, or nothing.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Result<(), (usize, CommandError)> {
        let mut copy = self.clone();
        for (index, command) in commands.iter().enumerate() {
            copy.command(command).map_err(|error| (index, error))?;
        }
        *self = copy;
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), CommandError> {
        match command {
            Command::AddService(new) => {
                let service = new.key;
                if self.find(&new.key).is_some() {
                    return Err(CommandError::ServiceExists { service });
                }
                for (key, dest) in &mut self.trash {
                    if *key == new.key {
                        dest.counted = 0;
                    }
                }
                let mut service = Service {
                    key: new.key,
                    scheduler: new.scheduler,
                    flags: new.flags,
                    list: vec![],
                    counted: 0,
                    rr: 0,
                    wrr: Wrr::default(),
                };
                service.bind();
                self.services.push(service);
            }
            Command::EditService(new) => {
                let missing = CommandError::NoSuchService { service: new.key };
                let service = self.find(&new.key).ok_or(missing)?;
                if service.scheduler != new.scheduler {
                    service.scheduler = new.scheduler;
                    service.bind();
                }
                service.flags = new.flags;
            }
            Command::DeleteService { service } => {
                let at = self.services.iter().position(|other| other.key == *service);
                let gone = self.services.remove(at.ok_or(CommandError::NoSuchService { service: *service })?);
                self.trash.extend(gone.list.into_iter().map(|dest| (gone.key, dest)));
            }
            Command::Clear => {
                for gone in std::mem::take(&mut self.services) {
                    self.trash.extend(gone.list.into_iter().map(|dest| (gone.key, dest)));
                }
            }
            Command::AddDestination { service, destination } => self.add(service, destination)?,
            Command::EditDestination { service, destination } => {
                let missing = CommandError::ServiceNotDefined { service: *service };
                let found = self.find(service).ok_or(missing)?;
                let missing =
                    CommandError::NoSuchDestination { service: *service, destination: destination.key };
                let dest = found.list.iter_mut().find(|dest| dest.key == destination.key).ok_or(missing)?;
                dest.weight = destination.weight;
                dest.method = destination.method;
                dest.tunnel = destination.tunnel;
                found.list_changed();
            }
            Command::DeleteDestination { service, destination } => self.delete(service, destination)?,
            Command::Zero { service } => self.zero(service.as_ref())?,
            // A list of its own, with tests of its own.
            Command::AddMarkRule { .. } | Command::DeleteMarkRule { .. } | Command::ClearMarkRules => {}
            Command::SetTimeouts(new) => {
                let set = |old: u32, new: u32| if new == 0 { old } else { new };
                self.timeouts.tcp_s = set(self.timeouts.tcp_s, new.tcp_s);
                self.timeouts.tcp_fin_s = set(self.timeouts.tcp_fin_s, new.tcp_fin_s);
                self.timeouts.udp_s = set(self.timeouts.udp_s, new.udp_s);
            }
            Command::SetSettings { settings } => {
                for (name, value) in settings {
                    self.settings.set(Setting::named(name)?, *value);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &ServiceKey, new: &Destination) -> Result<(), CommandError> {
        let old = self.trash.iter().position(|(service, dest)| service == key && dest.key == new.key);
        let service = self.find(key).ok_or(CommandError::ServiceNotDefined { service: *key })?;
        if service.list.iter().any(|dest| dest.key == new.key) {
            return Err(CommandError::DestinationExists { service: *key, destination: new.key });
        }
        let Destination { key: new_key, method, tunnel, weight, .. } = *new;
        let mut dest = Dest { key: new_key, method, tunnel, weight, conns: 0, counted: 0 };
        if let Some(old) = old {
            let (_, old) = self.trash.remove(old);
            dest.conns = old.conns;
            dest.counted = old.counted;
        }
        let service = self.find(key).ok_or(CommandError::ServiceNotDefined { service: *key })?;
        service.list.insert(0, dest);
        // The element that rr points to moved down by one.
        if service.rr > 0 {
            service.rr += 1;
        }
        service.list_changed();
        Ok(())
    }

    fn delete(&mut self, key: &ServiceKey, dest: &DestKey) -> Result<(), CommandError> {
        let service = self.find(key).ok_or(CommandError::ServiceNotDefined { service: *key })?;
        let at = service.list.iter().position(|other| other.key == *dest);
        let missing = CommandError::NoSuchDestination { service: *key, destination: *dest };
        let at = at.ok_or(missing)?;
        let gone = service.list.remove(at);
        // At it: to its predecessor. Behind it: the element moved up by one.
        if service.rr > at {
            service.rr -= 1;
        }
        service.list_changed();
        self.trash.push((*key, gone));
        Ok(())
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), CommandError> {
        if let Some(service) = key {
            self.find(service).ok_or(CommandError::NoSuchService { service: *service })?;
        } else {
            self.counted = 0;
        }
        for service in self.services.iter_mut().filter(|service| key.is_none_or(|key| service.key == *key)) {
            service.counted = 0;
            service.list.iter_mut().for_each(|dest| dest.counted = 0);
        }
        Ok(())
    }

    /// A connection, counted once: who gets it.
    pub(crate) fn connect(&mut self, key: &ServiceKey, client: [u8; 4]) -> Option<DestKey> {
        let service = self.find(key)?;
        let chosen = service.choose(client)?;
        service.counted += 1;
        service.list[chosen].conns += 1;
        service.list[chosen].counted += 1;
        let dest = service.list[chosen].key;
        self.counted += 1;
        Some(dest)
    }

    /// The end of all connections of a destination, in its list or removed.
    pub(crate) fn disconnect(&mut self, key: &ServiceKey, dest: &DestKey) {
        let listed = self.services.iter_mut().filter(|service| service.key == *key).flat_map(|s| &mut s.list);
        let trashed = self.trash.iter_mut().filter(|(service, _)| service == key).map(|(_, dest)| dest);
        listed.chain(trashed).filter(|other| other.key == *dest).for_each(|dest| dest.conns = 0);
    }
}
