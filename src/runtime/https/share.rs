//! A capacity that clients share fairly. If it is used up, a holding of the client that holds the most ends for a new one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Weight of a client that has proven itself. Such a client keeps as much as 16 other clients together.
const PROVEN_WEIGHT: u64 = 16;

/// Maximum number of proven clients. The API server proves itself with every review, so it is never the oldest.
const MAX_PROVEN: usize = 256;

/// A holding: an amount that one client uses.
pub type HoldingId = u64;

/// Why a client gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The client holds its maximum, and none of its holdings may end.
    Client,
    /// The capacity is used up, and no client with more has a holding that may end.
    Total,
}

/// A capacity that clients share. The unit is the caller's: a connection, or a byte. `C` is the address of a client.
#[derive(Debug)]
pub struct FairShare<C> {
    capacity: u64,
    max_per_client: u64,
    used: u64,
    /// The next number for a holding, an idle time or a proof.
    next: u64,
    holdings: BTreeMap<HoldingId, Holding<C>>,
    held: HashMap<C, u64>,
    /// The clients that have proven themselves; a larger number is a later proof.
    proven: HashMap<C, u64>,
}

#[derive(Debug)]
struct Holding<C> {
    client: C,
    size: u64,
    state: HoldingState,
    /// The beginning of the state; a smaller number is earlier.
    since: u64,
    is_proven: bool,
}

/// Whether a holding may end for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldingState {
    /// It ends before the active ones.
    Idle,
    /// It ends if no holding is idle.
    Active,
    /// It does not end.
    Fixed,
}

/// The order in which the holdings of a client end.
type Order = (HoldingState, bool, u64);

/// A granted holding.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    /// The new holding.
    pub id: HoldingId,
    /// The holdings that had to end for it. They are already removed.
    pub displaced: Vec<HoldingId>,
}

// === impl FairShare ===

impl<C: Copy + Eq + Hash> FairShare<C> {
    /// A capacity, and the maximum that one client may hold of it.
    #[must_use]
    pub fn new(capacity: u64, max_per_client: u64) -> Self {
        Self {
            capacity,
            max_per_client,
            used: 0,
            next: 0,
            holdings: BTreeMap::new(),
            held: HashMap::new(),
            proven: HashMap::new(),
        }
    }

    /// Gives `size` to a client. If the client holds its maximum, its own holdings end for it. If the capacity is used up, holdings of
    /// the client with the most end.
    ///
    /// # Errors
    /// Fails if too few holdings may end.
    pub fn take(&mut self, client: C, size: u64) -> Result<Grant, Full> {
        let mut displaced = vec![];
        while self.held(client) + size > self.max_per_client {
            let (_, id) = self.first_to_end().remove(&client).ok_or(Full::Client)?;
            self.release(id);
            displaced.push(id);
        }
        while self.used + size > self.capacity {
            let id = self.displaceable(client, self.held(client) + size).ok_or(Full::Total)?;
            self.release(id);
            displaced.push(id);
        }
        let id = self.number();
        self.used += size;
        *self.held.entry(client).or_default() += size;
        self.holdings
            .insert(id, Holding { client, size, state: HoldingState::Idle, since: id, is_proven: false });
        Ok(Grant { id, displaced })
    }

    /// Ends a holding. Does nothing if it has already ended.
    pub fn release(&mut self, id: HoldingId) {
        let Some(holding) = self.holdings.remove(&id) else { return };
        self.used -= holding.size;
        if let Some(held) = self.held.get_mut(&holding.client) {
            *held -= holding.size;
            if *held == 0 {
                self.held.remove(&holding.client);
            }
        }
    }

    /// Sets whether a holding may end for another one. A new holding is idle.
    pub fn set_state(&mut self, id: HoldingId, state: HoldingState) {
        let now = self.number();
        if let Some(holding) = self.holdings.get_mut(&id) {
            (holding.state, holding.since) = (state, now);
        }
    }

    /// Records that a holding was useful. Its client may then hold more than others.
    pub fn prove(&mut self, id: HoldingId) {
        let now = self.number();
        let Some(holding) = self.holdings.get_mut(&id) else { return };
        holding.is_proven = true;
        self.proven.insert(holding.client, now);
        if self.proven.len() > MAX_PROVEN {
            let oldest = self.proven.iter().min_by_key(|(_, proof)| **proof).map(|(client, _)| *client);
            oldest.and_then(|oldest| self.proven.remove(&oldest));
        }
    }

    /// The amount that is in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    fn held(&self, client: C) -> u64 {
        self.held.get(&client).copied().unwrap_or_default()
    }

    fn weight(&self, client: C) -> u64 {
        if self.proven.contains_key(&client) { PROVEN_WEIGHT } else { 1 }
    }

    /// The holding that ends for a new one of `client`, which then holds `after`: of the client that holds the most for its weight. None
    /// if that client holds no more than `client`. A client can always displace its own holding.
    fn displaceable(&self, client: C, after: u64) -> Option<HoldingId> {
        let weight = self.weight(client);
        let is_larger = |other: C| other == client || self.held(other) * weight > after * self.weight(other);
        let share = |other: C| self.held(other) * PROVEN_WEIGHT / self.weight(other);
        let candidates = self.first_to_end().into_iter().filter(|(other, _)| is_larger(*other));
        let (_, (_, id)) = candidates.max_by_key(|(other, (order, _))| (share(*other), Reverse(*order)))?;
        Some(id)
    }

    /// For each client the holding that ends first, and its place in the order: an idle one, one without a proof, and of these the one
    /// with the earliest state.
    fn first_to_end(&self) -> HashMap<C, (Order, HoldingId)> {
        let mut first = HashMap::new();
        for (id, holding) in self.holdings.iter().filter(|(_, holding)| holding.state != HoldingState::Fixed)
        {
            let candidate = ((holding.state, holding.is_proven, holding.since), *id);
            let first = first.entry(holding.client).or_insert(candidate);
            *first = candidate.min(*first);
        }
        first
    }

    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    /// Takes one unit. Returns what it displaced.
    fn take(share: &mut FairShare<IpAddr>, number: u8) -> Result<Vec<HoldingId>, Full> {
        share.take(client(number), 1).map(|grant| grant.displaced)
    }

    /// Takes one unit for each client, in this order.
    fn filled(capacity: u64, numbers: &[u8]) -> (FairShare<IpAddr>, Vec<HoldingId>) {
        let mut share = FairShare::new(capacity, capacity);
        let ids = numbers.iter().map(|number| share.take(client(*number), 1).unwrap().id).collect();
        (share, ids)
    }

    #[test]
    fn a_client_at_its_maximum_displaces_its_own_idle_holdings() {
        let mut share = FairShare::new(10, 3);
        let ids = [1, 1, 1, 2].map(|number| share.take(client(number), 1).unwrap().id);
        share.set_state(ids[0], HoldingState::Active);
        share.prove(ids[1]);
        assert_eq!(take(&mut share, 1), Ok(vec![ids[2]]), "the idle one without a proof");
        (0..99).for_each(|id| share.set_state(id, HoldingState::Fixed));
        assert_eq!((take(&mut share, 1), take(&mut share, 2)), (Err(Full::Client), Ok(vec![])));
        share.release(ids[0]);
        share.release(ids[0]);
        assert_eq!((take(&mut share, 1), share.used()), (Ok(vec![]), 5));
    }

    #[test]
    fn a_new_client_takes_the_longest_idle_holding_of_the_client_with_the_most() {
        let (mut share, ids) = filled(6, &[1, 2, 1, 1, 1, 2]);
        share.set_state(ids[0], HoldingState::Active);
        assert_eq!(take(&mut share, 3), Ok(vec![ids[2]]), "an active holding ends later");
        share.set_state(ids[0], HoldingState::Idle);
        assert_eq!(take(&mut share, 4), Ok(vec![ids[3]]), "the first one is idle for a shorter time");
        assert_eq!(share.used(), 6);
        (0..99).for_each(|id| share.set_state(id, HoldingState::Active));
        assert_eq!(take(&mut share, 5), Ok(vec![ids[0]]), "no holding is idle");
    }

    #[test]
    fn a_client_with_the_most_displaces_only_itself() {
        let (mut share, ids) = filled(4, &[1, 1, 2, 2]);
        assert_eq!(take(&mut share, 1), Ok(vec![ids[0]]));
        (0..99).for_each(|id| share.set_state(id, HoldingState::Fixed));
        assert_eq!([take(&mut share, 1), take(&mut share, 3)], [Err(Full::Total), Err(Full::Total)]);
    }

    #[test]
    fn many_strangers_leave_a_proven_client_its_share() {
        let (mut share, ids) = filled(64, &[1; 64]);
        ids.into_iter().for_each(|id| share.prove(id));
        for number in (2..=17).flat_map(|number| [number; 32]) {
            let _ = take(&mut share, number);
        }
        let held = share.held(client(1));
        assert!((32..=34).contains(&held), "{held} for the proven client, which counts as 16 of 32");
        assert!((2..=17).all(|number| (1..=2).contains(&share.held(client(number)))), "{:?}", share.held);
    }

    #[test]
    fn a_client_without_proof_takes_from_a_proven_client_with_much_more() {
        for (held, is_taken) in [(16, false), (17, true)] {
            let (mut share, ids) = filled(held, &vec![1; usize::try_from(held).unwrap()]);
            share.prove(ids[0]);
            assert_eq!(take(&mut share, 2), if is_taken { Ok(vec![ids[1]]) } else { Err(Full::Total) });
        }
    }

    #[test]
    fn a_large_amount_displaces_as_many_as_it_needs() {
        let mut share = FairShare::new(100, 100);
        let ids: Vec<_> = (0..10).map(|_| share.take(client(1), 10).unwrap().id).collect();
        let grant = share.take(client(2), 25).unwrap();
        assert_eq!((grant.displaced, share.used()), (ids[..3].to_vec(), 95));
    }

    #[test]
    fn the_number_of_proven_clients_is_limited() {
        let mut share = FairShare::new(2, 2);
        let own = share.take(client(1), 1).unwrap().id;
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            let id = share.take([10, 1, high, low].into(), 1).unwrap().id;
            share.prove(id);
            share.release(id);
            share.prove(own);
        }
        assert_eq!((share.proven.len(), share.weight(client(1))), (MAX_PROVEN, PROVEN_WEIGHT));
    }
}
