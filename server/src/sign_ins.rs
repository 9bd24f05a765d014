//! Limits on guessing passwords. Three budgets, each spent by a try that fails and filled up again with time: of a
//! name from one address, of an address whatever the name, and of a name whatever the address. The last one slows
//! a guesser with many addresses down and never stops for long who has forgotten a password.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many tries at once, and then one each time this passes.
#[derive(Clone, Copy)]
struct Budget {
    n_tries: u32,
    one_each: Duration,
}

const OF_PAIR: Budget = Budget {
    n_tries: 8,
    one_each: Duration::from_secs(38), // 8 in five minutes
};
const OF_ADDRESS: Budget = Budget {
    n_tries: 50,
    one_each: Duration::from_secs(6),
};
const OF_NAME: Budget = Budget {
    n_tries: 40,
    one_each: Duration::from_secs(5),
};
/// Keys that each table holds: bounds the memory.
const MAX_KEYS: usize = 10_000;
/// Longer names belong to nobody; they are not kept whole.
const MAX_NAME_CHARS: usize = 64;

/// Where a try comes from, as far as it counts: of IPv6 the network, for one machine has the rest for itself.
type Source = Option<IpAddr>;

#[derive(Default)]
pub struct SignIns(Mutex<Spent>);

#[derive(Default)]
struct Spent {
    by_pair: Table<(String, Source)>,
    by_address: Table<Source>,
    by_name: Table<String>,
    /// Names that have signed in from an address: they do not share the name's budget with strangers.
    at_home: Table<(String, Source)>,
}

impl SignIns {
    /// Whether this name may be tried from this address at this time. The try counts as failed until
    /// [`Self::forget`], so that tries at the same time cannot get past the limit.
    pub fn may_try(&self, name: &str, address: Option<IpAddr>, now: Instant) -> bool {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = &mut *guard;
        let (name, source) = (shortened(name), source(address));
        let pair = (name.clone(), source);
        let is_stranger = !spent.at_home.0.contains_key(&pair);
        let left = spent.by_pair.has(&pair, OF_PAIR, now)
            && spent.by_address.has(&source, OF_ADDRESS, now)
            && (!is_stranger || spent.by_name.has(&name, OF_NAME, now));
        if left {
            spent.by_pair.spend(pair, OF_PAIR, now);
            spent.by_address.spend(source, OF_ADDRESS, now);
            if is_stranger {
                spent.by_name.spend(name, OF_NAME, now);
            }
        }
        left
    }

    /// The name signed in from there: this try costs nothing, and the pair's earlier ones no longer count.
    pub fn forget(&self, name: &str, address: Option<IpAddr>, now: Instant) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, source) = (shortened(name), source(address));
        let pair = (name.clone(), source);
        spent.by_pair.0.remove(&pair);
        spent.by_address.give_back(&source, OF_ADDRESS);
        if !spent.at_home.0.contains_key(&pair) {
            spent.by_name.give_back(&name, OF_NAME);
        }
        spent.at_home.make_room();
        spent.at_home.0.insert(pair, now);
    }
}

/// For each key the time at which its budget is whole again. Each try moves it on by the time that one try takes to
/// come back: one number says all.
struct Table<K>(HashMap<K, Instant>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn has(&self, key: &K, budget: Budget, now: Instant) -> bool {
        let owed = self
            .0
            .get(key)
            .map_or(Duration::ZERO, |whole| whole.saturating_duration_since(now));
        owed <= budget.one_each * (budget.n_tries - 1)
    }

    fn spend(&mut self, key: K, budget: Budget, now: Instant) {
        if !self.0.contains_key(&key) {
            self.make_room();
        }
        let whole = self.0.entry(key).or_insert(now);
        *whole = (*whole).max(now) + budget.one_each;
    }

    fn give_back(&mut self, key: &K, budget: Budget) {
        if let Some(whole) = self.0.get_mut(key) {
            *whole -= budget.one_each;
        }
    }

    /// Drops the tenth of the keys that is whole again, or will be so first.
    fn make_room(&mut self) {
        if self.0.len() < MAX_KEYS {
            return;
        }
        let mut times: Vec<Instant> = self.0.values().copied().collect();
        let (_, last_to_go, _) = times.select_nth_unstable(MAX_KEYS / 10);
        let last_to_go = *last_to_go;
        self.0.retain(|_, whole| *whole > last_to_go);
    }
}

fn shortened(name: &str) -> String {
    let name: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
    name.to_lowercase()
}

fn source(address: Option<IpAddr>) -> Source {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// An IPv4 address of its own for each number.
    fn nth(n: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(n.into()))
    }

    #[test]
    fn one_address_may_not_try_name_after_name() {
        let (limits, now) = (SignIns::default(), Instant::now());
        let n_let_in = (0..60)
            .filter(|n| limits.may_try(&format!("name {n}"), address("203.0.113.7"), now))
            .count();
        assert_eq!(n_let_in, 50);
        assert!(!limits.may_try("another", address("203.0.113.7"), now));
        assert!(limits.may_try("another", address("203.0.113.8"), now));
        let later = now + OF_ADDRESS.one_each;
        assert!(limits.may_try("another", address("203.0.113.7"), later));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let (limits, now) = (SignIns::default(), Instant::now());
        let n_let_in = (0..20)
            .filter(|n| limits.may_try("ada", address(&format!("2001:db8::{n}")), now))
            .count();
        assert_eq!(n_let_in, 8);
        assert!(limits.may_try("ada", address("2001:db8:0:1::1"), now));
    }

    #[test]
    fn many_addresses_slow_a_name_down_without_shutting_its_owner_out() {
        let (limits, now) = (SignIns::default(), Instant::now());
        let home = address("198.51.100.1");
        assert!(limits.may_try("ada", home, now));
        limits.forget("ada", home, now);
        let n_let_in = (0..500).filter(|n| limits.may_try("ada", nth(*n), now)).count();
        assert_eq!(n_let_in, 40);
        assert!(limits.may_try("ada", home, now), "her own address is not theirs");
        let elsewhere = address("198.51.100.2");
        assert!(!limits.may_try("ada", elsewhere, now));
        assert!(limits.may_try("ada", elsewhere, now + OF_NAME.one_each));
        assert!(limits.may_try("bob", elsewhere, now));
    }

    #[test]
    fn who_signs_in_has_spent_nothing() {
        let (limits, now) = (SignIns::default(), Instant::now());
        for _ in 0..100 {
            assert!(limits.may_try("ada", address("203.0.113.7"), now));
            limits.forget("ADA ", address("203.0.113.7"), now);
        }
    }

    #[test]
    fn a_flood_of_new_names_does_not_wipe_out_what_was_counted() {
        let (limits, begun) = (SignIns::default(), Instant::now());
        while limits.may_try("ada", nth(0), begun) {}
        for n in 1..=2 * MAX_KEYS as u32 {
            limits.may_try(&format!("name {n}"), nth(n), begun);
        }
        assert!(!limits.may_try("ada", nth(0), begun));
        let spent = limits.0.lock().unwrap();
        assert!(spent.by_pair.0.len() <= MAX_KEYS && spent.by_name.0.len() <= MAX_KEYS);
    }
}
