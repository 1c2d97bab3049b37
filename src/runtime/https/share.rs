//! A capacity that clients share fairly. If it is used up, a holding of the client that holds the most ends for a new one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

/// Weight of a client that has proven itself. Such a client keeps as much as 16 other clients together.
const PROVEN_WEIGHT: u64 = 16;

/// Maximum number of proven clients. The API server proves itself with every review, so it is never the oldest.
const MAX_PROVEN: usize = 256;

/// Number of a holding. A later holding has a larger number.
pub type HoldingId = u64;

/// A capacity that clients share. The unit is the caller's: a connection, or a byte. `T` is the caller's value of a holding.
#[derive(Debug)]
pub struct FairShare<T> {
    capacity: u64,
    used: u64,
    /// The latest number of a holding, a state or a proof.
    last_number: u64,
    holdings: BTreeMap<HoldingId, Holding<T>>,
    clients: HashMap<IpAddr, ClientUse>,
    /// The clients that have proven themselves, by the number of their latest proof.
    proofs: BTreeMap<u64, IpAddr>,
}

/// An amount that one client uses.
#[derive(Debug)]
struct Holding<T> {
    client: IpAddr,
    size: u64,
    state: HoldingState,
    /// The beginning of the state; a smaller number is earlier.
    since: u64,
    is_proven: bool,
    value: T,
}

/// What a client holds in all.
#[derive(Debug, Default, PartialEq, Eq)]
struct ClientUse {
    held: u64,
    /// Number of the client's latest proof.
    proof: Option<u64>,
}

/// Whether a holding may end for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldingState {
    /// It ends before the active ones.
    Idle,
    /// It ends if no holding of the client is idle.
    Active,
    /// It does not end.
    Fixed,
}

/// A granted holding.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant<T> {
    /// The new holding.
    pub id: HoldingId,
    /// The holdings that have ended for it.
    pub displaced: Vec<T>,
}

// === impl FairShare ===

impl<T> FairShare<T> {
    /// An unused capacity.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            used: 0,
            last_number: 0,
            holdings: BTreeMap::new(),
            clients: HashMap::new(),
            proofs: BTreeMap::new(),
        }
    }

    /// Gives `size` to a client. Other holdings end if the capacity is used up. Returns `None`, and nothing changes, if too few holdings
    /// may end.
    pub fn take(&mut self, client: IpAddr, size: u64, value: T) -> Option<Grant<T>> {
        if self.used + size > self.capacity && self.fixed() + size > self.capacity {
            return None;
        }
        // The new holding counts before others end, so that a client with the most displaces its own.
        self.used += size;
        self.clients.entry(client).or_default().held += size;
        let mut displaced = vec![];
        while self.used > self.capacity
            && let Some(id) = self.first_to_end()
        {
            displaced.extend(self.release(id));
        }
        let id = self.number();
        let state = HoldingState::Idle;
        self.holdings.insert(id, Holding { client, size, state, since: id, is_proven: false, value });
        Some(Grant { id, displaced })
    }

    /// Ends a holding. Returns its value, or `None` if it has already ended.
    pub fn release(&mut self, id: HoldingId) -> Option<T> {
        let holding = self.holdings.remove(&id)?;
        self.used -= holding.size;
        self.change(holding.client, |uses| uses.held -= holding.size);
        Some(holding.value)
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
        let Some(Holding { client, is_proven, .. }) = self.holdings.get_mut(&id) else { return };
        let client = *client;
        *is_proven = true;
        if let Some(earlier) = self.clients.entry(client).or_default().proof.replace(now) {
            self.proofs.remove(&earlier);
        }
        self.proofs.insert(now, client);
        if self.proofs.len() > MAX_PROVEN
            && let Some((_, oldest)) = self.proofs.pop_first()
        {
            self.change(oldest, |uses| uses.proof = None);
        }
    }

    /// Number of holdings.
    #[must_use]
    pub fn count(&self) -> usize {
        self.holdings.len()
    }

    /// The value of a holding.
    pub fn get_mut(&mut self, id: HoldingId) -> Option<&mut T> {
        self.holdings.get_mut(&id).map(|holding| &mut holding.value)
    }

    /// Ends the holdings for which `ends` has a reason. Returns their values, each with the reason.
    pub fn release_where<R>(&mut self, ends: impl Fn(&T) -> Option<R>) -> Vec<(T, R)> {
        let holdings = self.holdings.iter();
        let ended: Vec<_> = holdings.filter_map(|(id, holding)| Some((*id, ends(&holding.value)?))).collect();
        ended.into_iter().filter_map(|(id, reason)| Some((self.release(id)?, reason))).collect()
    }

    /// The amount that cannot end for another holding.
    fn fixed(&self) -> u64 {
        let fixed = self.holdings.values().filter(|holding| holding.state == HoldingState::Fixed);
        fixed.map(|holding| holding.size).sum()
    }

    /// The holding that ends next: of the client that holds the most for its weight an idle one, one without a proof, and of these the
    /// one with the earliest state.
    fn first_to_end(&self) -> Option<HoldingId> {
        let candidates = self.holdings.iter().filter(|(_, holding)| holding.state != HoldingState::Fixed);
        let order = |holding: &Holding<T>| (holding.state, holding.is_proven, holding.since);
        let share = |holding: &Holding<T>| self.clients.get(&holding.client).map(ClientUse::share);
        candidates.max_by_key(|(_, holding)| (share(holding), Reverse(order(holding)))).map(|(id, _)| *id)
    }

    /// Changes what is known about a client, and forgets a client without a holding and a proof.
    fn change(&mut self, client: IpAddr, change: impl FnOnce(&mut ClientUse)) {
        let uses = self.clients.entry(client).or_default();
        change(uses);
        if *uses == ClientUse::default() {
            self.clients.remove(&client);
        }
    }

    const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

// === impl ClientUse ===

impl ClientUse {
    /// What the client holds for its weight.
    const fn share(&self) -> u64 {
        if self.proof.is_some() { self.held } else { self.held * PROVEN_WEIGHT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Share = FairShare<()>;

    fn client(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    /// Takes one unit for each client, in this order.
    fn filled(capacity: u64, numbers: &[u8]) -> (FairShare<usize>, Vec<HoldingId>) {
        let mut share = FairShare::new(capacity);
        let ids = numbers.iter().enumerate();
        let ids = ids.map(|(index, number)| share.take(client(*number), 1, index).unwrap().id).collect();
        (share, ids)
    }

    /// Takes one unit. Returns the indices of what it displaced.
    fn take(share: &mut FairShare<usize>, number: u8) -> Option<Vec<usize>> {
        share.take(client(number), 1, usize::MAX).map(|grant| grant.displaced)
    }

    fn held<T>(share: &FairShare<T>, number: u8) -> u64 {
        share.clients.get(&client(number)).map_or(0, |uses| uses.held)
    }

    #[test]
    fn a_new_client_takes_the_longest_idle_holding_of_the_client_with_the_most() {
        let (mut share, ids) = filled(6, &[1, 2, 1, 1, 1, 2]);
        share.set_state(ids[0], HoldingState::Active);
        share.prove(ids[5]);
        assert_eq!(take(&mut share, 3), Some(vec![2]), "an active holding ends later");
        share.set_state(ids[0], HoldingState::Idle);
        assert_eq!(take(&mut share, 4), Some(vec![3]), "the first one is idle for a shorter time");
        assert_eq!((share.used, share.count()), (6, 6));
    }

    #[test]
    fn a_client_with_the_most_displaces_its_own_holding_without_a_proof() {
        let (mut share, ids) = filled(4, &[1, 1, 1, 2]);
        share.set_state(ids[0], HoldingState::Active);
        share.prove(ids[1]);
        assert_eq!(take(&mut share, 2), Some(vec![3]), "a client with a proof may hold more");
        let (mut share, ids) = filled(4, &[1, 1, 1, 2]);
        share.set_state(ids[0], HoldingState::Active);
        share.holdings.get_mut(&ids[1]).unwrap().is_proven = true;
        assert_eq!(take(&mut share, 1), Some(vec![2]));
        assert_eq!(held(&share, 1), 3);
    }

    #[test]
    fn a_client_that_is_one_of_many_gets_the_longest_idle_holding() {
        let (mut share, _) = filled(4, &[1, 2, 3, 4]);
        assert_eq!(take(&mut share, 5), Some(vec![0]));
        assert_eq!(take(&mut share, 6), Some(vec![1]));
    }

    #[test]
    fn fixed_holdings_do_not_end() {
        let (mut share, ids) = filled(3, &[1, 1, 2]);
        ids.iter().for_each(|id| share.set_state(*id, HoldingState::Fixed));
        assert_eq!(take(&mut share, 3), None);
        share.set_state(ids[2], HoldingState::Active);
        assert_eq!(share.take(client(3), 2, 0), None);
        assert_eq!((share.used, share.count(), held(&share, 3)), (3, 3, 0), "nothing has changed");
        assert_eq!(take(&mut share, 3), Some(vec![2]));
        assert_eq!((share.release(ids[0]), share.release(ids[0])), (Some(0), None));
        assert_eq!((share.used, held(&share, 1)), (2, 1));
    }

    #[test]
    fn many_strangers_leave_a_proven_client_its_share() {
        let (mut share, ids) = filled(64, &[1; 64]);
        ids.into_iter().for_each(|id| share.prove(id));
        for number in (2..=17).flat_map(|number| [number; 32]) {
            take(&mut share, number).unwrap();
        }
        let proven = held(&share, 1);
        assert!((32..=34).contains(&proven), "{proven} for the proven client, which counts as 16 of 32");
        let strangers = (2..=17).map(|number| held(&share, number));
        assert!(strangers.clone().all(|held| (1..=2).contains(&held)), "{:?}", strangers.collect::<Vec<_>>());
    }

    #[test]
    fn a_large_amount_displaces_as_many_as_it_needs() {
        let mut share = FairShare::new(100);
        (0..10).for_each(|index| drop(share.take(client(1), 10, index)));
        let grant = share.take(client(2), 25, 10).unwrap();
        assert_eq!((grant.displaced, share.used), (vec![0, 1, 2], 95));
    }

    #[test]
    fn the_number_of_proven_clients_is_limited() {
        let mut share = Share::new(2);
        let own = share.take(client(1), 1, ()).unwrap().id;
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            let id = share.take([10, 1, high, low].into(), 1, ()).unwrap().id;
            share.prove(id);
            share.release(id);
            share.prove(own);
        }
        assert_eq!((share.proofs.len(), share.clients.len()), (MAX_PROVEN, MAX_PROVEN));
        assert!(share.clients[&client(1)].proof.is_some());
    }
}
