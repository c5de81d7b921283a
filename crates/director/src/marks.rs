//! The classifier's rules, between what an operator says and the maps, and the counts that say which look-ups there are to do
//! beside that of a packet's address and port.

use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::fence;

use rvs_abi::map::Region;
use rvs_abi::{Addr, Rule, limits, mark};
use rvs_config::{CommandError, MarkRule, MarkRules, PortRange, Prefix, Protocol};
use rvs_model::{Memory, records};
use zerocopy::transmute;

use crate::director::Director;
use crate::state::{Family, ServiceState};

const RULE_WORDS: usize = size_of::<Rule>() / 8;
const _: () = assert!(rvs_config::limits::MARK_RULES_MAX == limits::RULES_MAX as usize);

/// Services that packets are looked for in other ways than by address and port (ipvs.md §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special {
    /// By mark, IPv4 and IPv6: removed ones too as long as destinations of theirs are kept, since their connections are.
    pub marks: [u32; 2],
    /// At TCP port 21.
    pub ftp: u32,
    /// At port 0.
    pub any_port: u32,
}

impl Special {
    /// What a service adds.
    pub(crate) fn of(service: &ServiceState) -> Self {
        let key = &service.key;
        let (is_live, is_mark) = (service.live.is_some(), key.mark().is_some());
        let of_family = |family| u32::from(is_mark && service.is_needed() && service.family() == family);
        Self {
            marks: Family::ALL.map(of_family),
            ftp: u32::from(is_live && key.protocol == Protocol::Tcp && key.port == 21),
            any_port: u32::from(is_live && !is_mark && key.port == 0),
        }
    }

    fn with(self, other: Self, change: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            marks: [0, 1].map(|i| change(self.marks[i], other.marks[i])),
            ftp: change(self.ftp, other.ftp),
            any_port: change(self.any_port, other.any_port),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.with(other, |a, b| a.saturating_sub(b))
    }

    /// The larger of each: with which no packet misses a service, before a change or after it.
    pub(crate) fn max(self, other: Self) -> Self {
        self.with(other, u32::max)
    }

    /// Tells the programs. Without a service by mark there are no connections by mark, and none is remembered.
    pub(crate) fn write<M: Memory>(self, memory: &M) {
        let mut config = records::config(memory);
        [config.marks_v4, config.marks_v6] = self.marks;
        (config.ftp_services, config.any_port_services) = (self.ftp, self.any_port);
        records::write_config(memory, &config);
        if self.marks == [0, 0] {
            let words = memory.region(Region::Marked).iter().take(limits::FILTER_WORDS as usize);
            words.filter(|word| word.load(Relaxed) != 0).for_each(|word| word.store(0, Relaxed));
        }
    }
}

/// The rules, and where in `CLASSIFIER` they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleList {
    /// First rule of the list.
    pub(crate) first: u32,
    pub(crate) rules: Vec<MarkRule>,
}

impl RuleList {
    /// As [`rvs_abi::Config::rules`] says it.
    #[allow(clippy::cast_possible_truncation, reason = "at most RULES_MAX")]
    fn word(&self) -> u32 {
        mark::list(self.first, self.rules.len() as u32)
    }

    /// The same place's next list: packets in flight read the last one to their end.
    pub(crate) fn next(&self, rules: Vec<MarkRule>) -> Self {
        Self { first: (self.first + limits::RULES_MAX) % (limits::RULES_MAX * limits::RULE_LISTS), rules }
    }

    /// Adds a rule with that number, or behind all.
    pub(crate) fn add(
        rules: &mut Vec<MarkRule>,
        number: Option<u32>,
        rule: &MarkRule,
    ) -> Result<(), CommandError> {
        rule.check()?;
        let end = rules.len() + 1;
        let number = number.map_or(end, |number| number as usize);
        if !(1..=end).contains(&number) {
            let what = format!("mark rule number {number}: expected 1 to {end}");
            return Err(CommandError::OutOfRange { what });
        }
        if rules.len() >= limits::RULES_MAX as usize {
            let what = format!("mark rules: {} are the maximum", limits::RULES_MAX);
            return Err(CommandError::LimitReached { what });
        }
        rules.insert(number - 1, *rule);
        Ok(())
    }

    /// Removes the rule with that number.
    pub(crate) fn delete(rules: &mut Vec<MarkRule>, number: u32) -> Result<(), CommandError> {
        let at = (number as usize).checked_sub(1).filter(|at| *at < rules.len());
        let Some(at) = at else {
            let what = match rules.len() {
                0 => format!("mark rule number {number}: there are no rules"),
                count => format!("mark rule number {number}: expected 1 to {count}"),
            };
            return Err(CommandError::OutOfRange { what });
        };
        rules.remove(at);
        Ok(())
    }

    /// Puts these rules in force, by one store; the bits that lead there are set before, and those that don't any more
    /// cleared after it.
    pub(crate) fn write<M: Memory>(&self, memory: &M) {
        let words = memory.region(Region::Classifier).iter().skip(self.first as usize * RULE_WORDS);
        let records = self.rules.iter().flat_map(|rule| {
            let words: [u64; RULE_WORDS] = transmute!(record(rule));
            words
        });
        words.zip(records).for_each(|(word, new)| word.store(new, Relaxed));
        let bits = self.bits();
        write_bits(memory, |word, needed| word | needed, &bits);
        fence(Release);
        let mut config = records::config(memory);
        config.rules = self.word();
        records::write_config(memory, &config);
        fence(Release);
        write_bits(memory, |_, needed| needed, &bits);
    }

    /// The rules in force, as memory has them.
    pub(crate) fn read<M: Memory>(memory: &M) -> Result<Self, String> {
        let (first, count) = mark::list_parts(records::config(memory).rules);
        let end = limits::RULES_MAX * limits::RULE_LISTS;
        if first % limits::RULES_MAX != 0 || first >= end || count > limits::RULES_MAX {
            return Err(format!("list of {count} rules at {first}"));
        }
        let words = memory.region(Region::Classifier).as_chunks::<RULE_WORDS>().0;
        let rules = words.iter().skip(first as usize).take(count as usize).enumerate().map(|(at, words)| {
            let words: [u64; RULE_WORDS] = core::array::from_fn(|i| words[i].load(Relaxed));
            let understood = rule(&transmute!(words));
            understood.ok_or_else(|| format!("rule {} is none that this version writes", at + 1))
        });
        Ok(Self { first, rules: rules.collect::<Result<_, _>>()? })
    }

    /// Makes the bits in memory those that the rules need.
    pub(crate) fn repair<M: Memory>(&self, memory: &M) {
        write_bits(memory, |_, needed| needed, &self.bits());
    }

    /// The words of `MARKED` about rules, from [`mark::RULED_V4`] on: the destinations of these.
    fn bits(&self) -> Vec<u64> {
        let mut words = vec![0; (limits::MARKED_WORDS - mark::RULED_V4) as usize];
        self.rules.iter().flat_map(ruled_bits).for_each(|bits| set_bits(&mut words, bits));
        words
    }
}

/// Writes the words about rules of `MARKED`; those that are right are not touched.
fn write_bits<M: Memory>(memory: &M, new: impl Fn(u64, u64) -> u64, bits: &[u64]) {
    let words = memory.region(Region::Marked).iter().skip(mark::RULED_V4 as usize);
    for (word, &needed) in words.zip(bits) {
        let old = word.load(Relaxed);
        if new(old, needed) != old {
            word.store(new(old, needed), Relaxed);
        }
    }
}

/// Sets bits, a word at a time: a rule for all destinations has some hundred thousand.
fn set_bits(words: &mut [u64], bits: Range<u32>) {
    let mut bit = bits.start;
    while bit < bits.end {
        let count = (64 - bit % 64).min(bits.end - bit);
        words[(bit / 64) as usize] |= u64::MAX >> (64 - count) << (bit % 64);
        bit += count;
    }
}

/// The bits that packets to a rule's destinations look at, IPv4 and IPv6, counted from [`mark::RULED_V4`] on.
fn ruled_bits(rule: &MarkRule) -> [Range<u32>; 2] {
    const NONE: Range<u32> = 0..0;
    const ALL: [Range<u32>; 2] = {
        let start = (mark::RULED_V6 - mark::RULED_V4) * 64;
        [0..limits::FILTER_WORDS * 64, start..start + limits::FILTER_WORDS * 64]
    };
    let [all_v4, all_v6] = ALL;
    let Some(prefix) = rule.destination else {
        return match rule.source.map(|source| source.address().is_ipv4()) {
            None => ALL,
            Some(true) => [all_v4, NONE],
            Some(false) => [NONE, all_v6],
        };
    };
    let is_v4 = prefix.address().is_ipv4();
    let free = mark::ruled_bits(is_v4).saturating_sub(prefix.bits().into());
    let (word, bit) = mark::ruled_bit(Addr::from_ip(prefix.address()));
    let first = (word - mark::RULED_V4) * 64 + bit;
    match (is_v4, free) {
        // In order, since IPv4 addresses are not folded.
        (true, _) => [first..first + (1 << free), NONE],
        (false, 0) => [NONE, first..first + 1],
        (false, _) => [NONE, all_v6],
    }
}

/// A rule as the programs read it.
fn record(rule: &MarkRule) -> Rule {
    let MarkRule { mark, source, destination, protocol, source_ports, ports } = *rule;
    let family = source.or(destination).map_or(0, |prefix| Family::of(prefix.address()).number());
    let address = |prefix: Option<Prefix>| prefix.map_or_else(Addr::default, |p| Addr::from_ip(p.address()));
    let range = |range: Option<PortRange>| range.map_or([0, u16::MAX], |range| [range.first, range.last]);
    Rule {
        source: address(source),
        source_mask: source.map_or_else(Addr::default, mask),
        destination: address(destination),
        destination_mask: destination.map_or_else(Addr::default, mask),
        source_ports: range(source_ports),
        destination_ports: range(ports),
        protocol: protocol.map_or(0, Protocol::number),
        family,
        given: u16::from(source.is_some())
            | u16::from(destination.is_some()) << 1
            | u16::from(source_ports.is_some()) << 2
            | u16::from(ports.is_some()) << 3,
        mark,
        spare: 0,
    }
}

/// Which bits of an address count: of IPv4 those in front of it, too.
fn mask(prefix: Prefix) -> Addr {
    let bits = u32::from(prefix.bits()) + if prefix.address().is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Addr::from_bytes(&mask.to_be_bytes())
}

/// The rule of a record; `None` if it is none that this version writes.
fn rule(record: &Rule) -> Option<MarkRule> {
    let given = |bit: u16| record.given >> bit & 1 != 0;
    let prefix = |address: Addr, mask: Addr| {
        let bits = u128::from_be_bytes(mask.to_bytes()).leading_ones();
        let address = address.to_ip();
        Prefix::new(address, u8::try_from(bits.checked_sub(if address.is_ipv4() { 96 } else { 0 })?).ok()?)
    };
    let range = |[first, last]: [u16; 2]| PortRange { first, last };
    let found = MarkRule {
        mark: record.mark,
        source: given(0).then(|| prefix(record.source, record.source_mask)).flatten(),
        destination: given(1).then(|| prefix(record.destination, record.destination_mask)).flatten(),
        protocol: Protocol::ALL.iter().copied().find(|protocol| protocol.number() == record.protocol),
        source_ports: given(2).then(|| range(record.source_ports)),
        ports: given(3).then(|| range(record.destination_ports)),
    };
    (found.check().is_ok() && self::record(&found) == *record).then_some(found)
}

impl<M: Memory> Director<M> {
    /// The rules that give packets a mark, in their order.
    #[must_use]
    pub fn mark_rules(&self) -> MarkRules {
        MarkRules { rules: self.state.rules.rules.clone(), rules_max: limits::RULES_MAX }
    }
}
