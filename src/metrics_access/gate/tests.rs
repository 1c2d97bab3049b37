use super::*;

const GOOD: Key = Key([1; 32]);
const BAD: Key = Key([2; 32]);
const SCRAPER: u8 = 1;
const ATTACKER: u8 = 2;

fn forbidden() -> Verdict {
    Verdict::Forbidden { user: "system:serviceaccount:monitoring:prometheus".into() }
}

/// A key that no other key of the test is equal to.
fn random_token(number: u32) -> Key {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Key(bytes)
}

/// Requests one review and answers it at once.
fn review(gate: &mut Gate<u8>, key: Key, client: u8, verdict: &Verdict, now: Instant) -> Step {
    let step = gate.begin(key, client, now);
    if let Step::Review(lane) = step {
        gate.record(key, verdict, now);
        gate.end(lane);
    }
    step
}

#[test]
fn an_answer_is_valid_for_its_time() {
    let answer = |verdict: Verdict| Step::Answer(verdict);
    let (known, unknown) = (Step::Review(LaneName::Known), Step::Review(LaneName::Unknown));
    for (verdict, seconds, expected) in [
        (Verdict::Allowed, 0, answer(Verdict::Allowed)),
        (Verdict::Allowed, 59, answer(Verdict::Allowed)),
        (Verdict::Allowed, 60, known.clone()),
        (Verdict::Allowed, 659, known),
        (Verdict::Allowed, 660, unknown.clone()),
        (Verdict::Invalid, 0, answer(Verdict::Invalid)),
        (Verdict::Invalid, 4, answer(Verdict::Invalid)),
        (Verdict::Invalid, 5, unknown.clone()),
        (forbidden(), 4, answer(forbidden())),
        (forbidden(), 5, unknown),
    ] {
        let (mut gate, start) = (Gate::new(), Instant::now());
        review(&mut gate, GOOD, SCRAPER, &verdict, start);
        let step = gate.begin(GOOD, SCRAPER, start + Duration::from_secs(seconds));
        assert_eq!(step, expected, "{verdict:?} after {seconds} s");
    }
}

#[test]
fn a_token_that_is_revoked_is_not_known_any_more() {
    let (mut gate, start) = (Gate::new(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    review(&mut gate, GOOD, SCRAPER, &Verdict::Allowed, start);
    assert_eq!(review(&mut gate, GOOD, SCRAPER, &Verdict::Invalid, at(60)), Step::Review(LaneName::Known));
    assert_eq!(gate.begin(GOOD, SCRAPER, at(61)), Step::Answer(Verdict::Invalid));
    assert_eq!(gate.begin(GOOD, SCRAPER, at(65)), Step::Review(LaneName::Unknown));
}

#[test]
fn a_review_without_an_answer_is_not_cached() {
    let (mut gate, now) = (Gate::new(), Instant::now());
    let step = gate.begin(GOOD, SCRAPER, now);
    assert_eq!(step, Step::Review(LaneName::Unknown));
    gate.end(LaneName::Unknown);
    assert_eq!(gate.begin(GOOD, SCRAPER, now), step);
}

/// One client sends 100 new tokens per second for 10 minutes.
#[test]
fn a_flood_of_bad_tokens_is_bounded_and_does_not_delay_known_tokens_or_other_clients() {
    let (mut gate, start) = (Gate::new(), Instant::now());
    review(&mut gate, GOOD, SCRAPER, &Verdict::Allowed, start);
    let (mut reviews, mut number) = (0, 0);
    for second in 0..600 {
        let now = start + Duration::from_secs(second);
        for _ in 0..100 {
            number += 1;
            let step = review(&mut gate, random_token(number), ATTACKER, &Verdict::Invalid, now);
            reviews += u32::from(step != Step::TooMany);
        }
        let scrape = review(&mut gate, GOOD, SCRAPER, &Verdict::Allowed, now);
        assert_ne!(scrape, Step::TooMany, "a known token in second {second}");
        let new_token = review(&mut gate, random_token(!number), SCRAPER, &Verdict::Invalid, now);
        assert_ne!(new_token, Step::TooMany, "a new token of another client in second {second}");
    }
    assert_eq!(reviews, 5 + 599, "a burst of 5, then one per second");
}

/// 300 clients send one new token each, ten times per second.
#[test]
fn a_flood_of_many_clients_is_bounded_and_does_not_delay_known_tokens() {
    let (mut gate, start) = (Gate::<u32>::new(), Instant::now());
    let mut reviews = 0;
    let mut scrape = |gate: &mut Gate<u32>, key, client, verdict, now| match gate.begin(key, client, now) {
        Step::Review(lane) => {
            gate.record(key, &verdict, now);
            gate.end(lane);
            reviews += u32::from(lane == LaneName::Unknown);
            true
        }
        step => step != Step::TooMany,
    };
    assert!(scrape(&mut gate, GOOD, 0, Verdict::Allowed, start));
    for tick in 0..600 {
        let now = start + Duration::from_millis(100 * tick);
        for client in 1..=300 {
            let key = random_token(u32::try_from(tick).unwrap() * 1000 + client);
            scrape(&mut gate, key, client, Verdict::Invalid, now);
        }
        assert!(scrape(&mut gate, GOOD, 0, Verdict::Allowed, now), "a known token at tick {tick}");
    }
    assert!((300..=310).contains(&reviews), "{reviews} reviews in 60 s");
}

#[test]
fn reviews_that_hang_are_limited_and_do_not_block_known_tokens() {
    let (mut gate, start) = (Gate::new(), Instant::now());
    review(&mut gate, GOOD, SCRAPER, &Verdict::Allowed, start);
    let now = start + Duration::from_secs(60);
    let unknown = |gate: &mut Gate<u8>, number: u8| gate.begin(random_token(number.into()), number, now);
    let steps: Vec<_> = (10..15).map(|number| unknown(&mut gate, number)).collect();
    assert_eq!(steps[..4], [const { Step::Review(LaneName::Unknown) }; 4]);
    assert_eq!(steps[4], Step::TooMany);
    assert_eq!(gate.begin(GOOD, SCRAPER, now), Step::Review(LaneName::Known));
    gate.end(LaneName::Unknown);
    assert_eq!(unknown(&mut gate, 20), Step::Review(LaneName::Unknown));
    assert_eq!(gate.begin(BAD, ATTACKER, now), Step::TooMany);
}
