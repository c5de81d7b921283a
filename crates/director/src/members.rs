//! The destinations of a service in list order.

use std::collections::BTreeMap;

use rvs_config::{DestKey, Destination, ForwardingMethod, Tunnel};

use crate::carry::WrrStep;
use crate::state::DestId;

/// A destination as the control plane knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: DestId,
    pub(crate) key: DestKey,
    pub(crate) method: ForwardingMethod,
    pub(crate) tunnel: Tunnel,
    pub(crate) weight: u32,
}

impl Member {
    /// A destination with that id.
    pub(crate) const fn new(id: DestId, dest: &Destination) -> Self {
        let Destination { key, method, tunnel, weight, .. } = *dest;
        Self { id, key, method, tunnel, weight }
    }

    /// As an operator would say it.
    pub(crate) const fn destination(&self) -> Destination {
        let Self { id: _, key, method, tunnel, weight } = *self;
        Destination { key, method, weight, upper_threshold: 0, lower_threshold: 0, tunnel }
    }
}

/// A service's list. New ones join at the head (ipvs.md §1.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// By a number that grows: the highest is the head.
    list: BTreeMap<u64, Member>,
    places: BTreeMap<DestKey, u64>,
    /// How many have each weight.
    weights: BTreeMap<u32, u32>,
    /// Greatest common divisor of the positive weights, 0 if there are none.
    gcd: u32,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, key: &DestKey) -> Option<&Member> {
        self.list.get(self.places.get(key)?)
    }

    /// From the head of the list.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Member> {
        self.list.values().rev()
    }

    /// In the order in which they joined.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = &Member> {
        self.list.values()
    }

    /// Puts a destination at the head. Its key must not be in the list.
    pub(crate) fn push(&mut self, member: Member) {
        let place = self.list.last_key_value().map_or(0, |(last, _)| last + 1);
        self.places.insert(member.key, place);
        self.list.insert(place, member);
        self.count_weight(member.weight);
    }

    /// Replaces the attributes of a destination where it stands.
    pub(crate) fn edit(&mut self, dest: &Destination) -> bool {
        let Some(member) = self.places.get(&dest.key).and_then(|place| self.list.get_mut(place)) else {
            return false;
        };
        let old = member.weight;
        *member = Member::new(member.id, dest);
        self.forget_weight(old);
        self.count_weight(dest.weight);
        true
    }

    /// Takes a destination out; also says who stood before it, towards the head.
    pub(crate) fn remove(&mut self, key: &DestKey) -> Option<(Member, Option<DestId>)> {
        let place = self.places.remove(key)?;
        let member = self.list.remove(&place)?;
        self.forget_weight(member.weight);
        let before = self.list.range(place..).next().map(|(_, member)| member.id);
        Some((member, before))
    }

    /// `wrr`'s numbers for the weights as they are (ipvs.md §6.4).
    pub(crate) fn wrr(&self) -> WrrStep {
        let di = self.gcd.max(1);
        let max = self.weights.last_key_value().map_or(0, |(weight, _)| *weight);
        WrrStep { di, mw: max.saturating_sub(di - 1) }
    }

    fn count_weight(&mut self, weight: u32) {
        *self.weights.entry(weight).or_default() += 1;
        self.gcd = gcd(self.gcd, weight);
    }

    fn forget_weight(&mut self, weight: u32) {
        let Some(count) = self.weights.get_mut(&weight) else { return };
        *count -= 1;
        if *count == 0 {
            self.weights.remove(&weight);
            self.gcd = self.weights.keys().fold(0, |all, weight| gcd(all, *weight));
        }
    }
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn member(n: u8, weight: u32) -> Member {
        let key = DestKey { address: [192, 168, 9, n].into(), port: 80 };
        let (method, tunnel) = (ForwardingMethod::Masq, Tunnel::Ipip);
        Member { id: DestId(u32::from(n)), key, method, tunnel, weight }
    }

    fn edited(n: u8, weight: u32) -> Destination {
        Destination { method: ForwardingMethod::Dr, ..member(n, weight).destination() }
    }

    fn order(members: &Members) -> Vec<u32> {
        members.newest_first().map(|member| member.id.0).collect()
    }

    #[test]
    fn newest_stands_first_and_edit_does_not_move() {
        let mut members = Members::default();
        for n in 1..=4 {
            members.push(member(n, 1));
        }
        assert!(members.edit(&edited(2, 7)));
        assert_eq!(order(&members), [4, 3, 2, 1]);
        let changed = members.get(&member(2, 1).key).unwrap();
        assert_eq!((changed.id, changed.destination()), (DestId(2), edited(2, 7)));
    }

    #[test]
    fn removal_names_the_one_before() {
        let mut members = Members::default();
        for n in 1..=3 {
            members.push(member(n, 1));
        }
        assert_eq!(members.remove(&member(2, 1).key).unwrap().1, Some(DestId(3)));
        assert_eq!(members.remove(&member(3, 1).key).unwrap().1, None, "it was the head");
        members.push(member(2, 1));
        assert_eq!(order(&members), [2, 1]);
    }

    #[test]
    fn wrr_numbers_follow_the_weights() {
        let mut members = Members::default();
        assert_eq!(members.wrr(), WrrStep { di: 1, mw: 0 });
        members.push(member(1, 0));
        assert_eq!(members.wrr(), WrrStep { di: 1, mw: 0 });
        members.push(member(2, 6));
        assert_eq!(members.wrr(), WrrStep { di: 6, mw: 1 });
        members.push(member(3, 4));
        assert_eq!(members.wrr(), WrrStep { di: 2, mw: 5 });
        members.remove(&member(3, 4).key);
        assert_eq!(members.wrr(), WrrStep { di: 6, mw: 1 });
        assert!(members.edit(&edited(2, 5)));
        assert_eq!(members.wrr(), WrrStep { di: 5, mw: 1 });
    }
}
