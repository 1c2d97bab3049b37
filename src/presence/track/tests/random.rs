//! For random reads, the sums are the bytes of the viewers that two reads in a row have seen, and no sum falls.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

/// What happens to one of the sockets between two reads.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A client connects. A slot keeps its ports, so the same pair of ports returns with another cookie.
    Opens,
    Closes,
    Transfers(u32),
    /// The peer stops to answer, or answers again.
    Silences,
    Answers,
    /// The peer begins to scrape the sidecar.
    Scrapes,
    /// The next read does not have the socket.
    Misses,
}

/// Changes of the slots between two reads, and seconds until the next read.
type RandomRead = (Vec<(usize, Change)>, u64);

const SLOTS: usize = 4;

fn random_read() -> impl Strategy<Value = RandomRead> {
    let change = prop_oneof![
        3 => Just(Change::Opens),
        2 => Just(Change::Closes),
        8 => (0_u32..100_000).prop_map(Change::Transfers),
        1 => Just(Change::Silences),
        1 => Just(Change::Answers),
        1 => Just(Change::Scrapes),
        1 => Just(Change::Misses),
    ];
    (vec((0..SLOTS, change), 0..6), 1_u64..400)
}

/// The sockets of the pod.
#[derive(Default)]
struct World {
    slots: [Option<Connection>; SLOTS],
    is_scraping: [bool; SLOTS],
    is_missed: [bool; SLOTS],
    /// A dump does not miss a socket twice in a row.
    was_missed: [bool; SLOTS],
    cookie: u64,
}

// === impl World ===

impl World {
    fn change(&mut self, slot: usize, change: Change) {
        match (change, &mut self.slots[slot]) {
            (Change::Opens, empty @ None) => {
                self.cookie += 1;
                let mut connection = viewer(self.cookie, 0);
                connection.remote.address = Address::v4(peer(slot));
                *empty = Some(connection);
            }
            (Change::Closes, slot) => *slot = None,
            (Change::Transfers(bytes), Some(connection)) => {
                let stream = connection.stream.as_mut().unwrap();
                stream.transmitted += u64::from(bytes);
                stream.received += u64::from(bytes) / 3;
                stream.retransmitted += u64::from(bytes) / 100;
            }
            (Change::Silences, Some(connection)) => {
                connection.answers = Answers::Outstanding(Duration::from_secs(61));
            }
            (Change::Answers, Some(connection)) => connection.answers = Answers::InTime,
            (Change::Scrapes, _) => self.is_scraping[slot] = true,
            (Change::Misses, _) => self.is_missed[slot] = true,
            _ => {}
        }
    }

    /// The peers that scrape the sidecar before the next read.
    fn scrapers(&mut self) -> Vec<[u8; 4]> {
        let is_scraping = std::mem::take(&mut self.is_scraping);
        (0..SLOTS).filter(|slot| is_scraping[*slot]).map(peer).collect()
    }

    /// The connections of a read.
    fn connections(&mut self) -> Vec<Connection> {
        let was_missed = std::mem::replace(&mut self.was_missed, self.is_missed);
        let is_missed = std::mem::take(&mut self.is_missed);
        let slots = (0..SLOTS).filter(|slot| !is_missed[*slot] || was_missed[*slot]);
        slots.filter_map(|slot| self.slots[slot]).collect()
    }
}

fn peer(slot: usize) -> [u8; 4] {
    [10, 0, 1, slot as u8]
}

/// What the sums must be: a slower calculation with the history of each cookie.
#[derive(Default)]
struct Model {
    /// For each cookie: the counters at each read that has it, and whether it was a viewer.
    history: BTreeMap<u64, Vec<(StreamCounters, bool)>>,
    scraped: Vec<(Address, Duration)>,
}

// === impl Model ===

impl Model {
    fn observe(&mut self, connections: &[Connection], scrapers: &[[u8; 4]], at: Duration) {
        self.scraped.extend(scrapers.iter().map(|scraper| (Address::v4(*scraper), at)));
        for connection in connections {
            let recent = |(address, seen): &(Address, Duration)| {
                *address == connection.remote.address && at - *seen < Duration::from_secs(300)
            };
            let is_viewer = connection.answers == Answers::InTime && !self.scraped.iter().any(recent);
            let stream = connection.stream.unwrap();
            self.history.entry(connection.identity).or_default().push((stream, is_viewer));
        }
    }

    /// The bytes of each connection in the intervals that count: those between two reads at which it was a viewer, with the interval before
    /// them, and the one after them.
    fn transmitted(&self) -> u64 {
        let counts = |history: &Vec<(StreamCounters, bool)>| {
            let is_viewer = |read: usize| history.get(read).is_some_and(|(_, is_viewer)| *is_viewer);
            let is_counted = |read: usize| read > 0 && is_viewer(read - 1) && is_viewer(read);
            let bytes = |read: usize| {
                history[read].0.transmitted - if read == 0 { 0 } else { history[read - 1].0.transmitted }
            };
            let reads = 0..history.len();
            let counted = reads.filter(|read| {
                let begins = is_viewer(*read) && is_counted(read + 1);
                begins || is_counted(*read) || *read > 0 && is_counted(read - 1)
            });
            counted.map(bytes).sum::<u64>()
        };
        self.history.values().map(counts).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_sums_are_the_bytes_of_the_viewers_and_never_fall(reads in vec(random_read(), 1..30)) {
        let (mut session, mut world, mut model) = (Session::new(), World::default(), Model::default());
        let (mut earlier, mut passed) = (session.track.snapshot().clone(), Duration::ZERO);
        for (changes, seconds) in reads {
            changes.into_iter().for_each(|(slot, change)| world.change(slot, change));
            let (scrapers, connections) = (world.scrapers(), world.connections());
            let interval = Duration::from_secs(seconds);
            passed += interval;
            let at = session.at + interval;
            scrapers.iter().for_each(|scraper| session.monitors.add(Some((*scraper).into()), at));
            let seen = session.read_after(interval, dump(&connections));
            model.observe(&connections, &scrapers, passed);
            prop_assert_eq!(transmitted(&seen), model.transmitted());
            let (old, new) = (earlier.bytes.unwrap(), seen.bytes.unwrap());
            prop_assert!(old.received <= new.received && old.retransmitted <= new.retransmitted);
            prop_assert!(new.received <= new.transmitted);
            prop_assert!(earlier.connected <= seen.connected && seen.connected.unwrap() <= passed);
            prop_assert!(seen.connections.unwrap() as usize <= connections.len());
            earlier = seen;
        }
    }
}
