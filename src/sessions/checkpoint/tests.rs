pub(in crate::sessions) mod memory;

use std::{collections::BTreeMap, io::Write};

use flate2::{Compression, write::GzEncoder};

use super::*;
use memory::{FaultKind, Memory, now};

/// The totals and the sessions of the tests.
type State = Checkpoint<BTreeMap<String, u64>, u64>;

fn empty() -> State {
    Checkpoint { resource_version: 0, totals: BTreeMap::new(), live: LiveSessions::default() }
}

fn compressed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Saves what has changed, as a leader does.
fn save(writer: &mut CheckpointWriter<Memory>, state: &mut State) -> Result<(), SaveError> {
    let unsaved = state.take_unsaved().unwrap();
    let saved = now(writer.save(&unsaved));
    if saved.is_err() {
        state.not_saved(&unsaved);
    }
    saved
}

fn take_over(store: &Memory, writer: &str) -> Result<(CheckpointWriter<Memory>, State), LoadError> {
    now(CheckpointWriter::take_over(store.clone(), writer.to_owned(), empty()))
}

/// The state that a new leader would load now. The store stays as it is.
fn stored(store: &Memory) -> State {
    take_over(&store.copy(), "reader").unwrap().1
}

/// The state after the event of this number: one session starts, and another one ends.
fn advance(state: &mut State, event: u64) {
    state.resource_version = event;
    *state.totals.entry("started".to_owned()).or_default() += 1;
    state.live.insert(format!("pod-{event}"), event);
    if let Some(ended) = event.checked_sub(3) {
        state.live.remove(&format!("pod-{ended}"));
    }
}

fn clean(state: &State) -> State {
    let mut state = state.clone();
    state.live.take_dirty().for_each(drop);
    state
}

#[test]
fn a_saved_state_is_loaded_again() {
    let store = Memory::default();
    let (mut writer, mut state) = take_over(&store, "one").unwrap();
    assert_eq!(state, empty());
    for event in 1..100 {
        advance(&mut state, event);
        save(&mut writer, &mut state).unwrap();
        assert_eq!(stored(&store), state);
    }
    assert!(store.names().len() <= 1 + 2 * state::SHARDS);
    assert_eq!(state.live.iter().count(), 3);
    assert_eq!((state.live.get("pod-99"), state.live.get("pod-1")), (Some(&99), None));
}

#[test]
fn only_changed_shards_are_written() {
    let store = Memory::default();
    let (mut writer, mut state) = take_over(&store, "one").unwrap();
    (1..50).for_each(|event| advance(&mut state, event));
    save(&mut writer, &mut state).unwrap();
    let before = store.operations();
    save(&mut writer, &mut state).unwrap();
    assert_eq!(store.operations() - before, 1, "the head");
    state.live.insert("pod-1000".to_owned(), 7);
    save(&mut writer, &mut state).unwrap();
    assert_eq!(store.operations() - before, 3, "a shard and the head");
}

/// A leader saves four states. One operation has a fault. What is stored is always the last state whose save succeeded, or the one of a
/// save without an answer; later saves succeed; and a new leader loads the last state.
#[test]
fn a_fault_at_any_operation_leaves_a_complete_state() {
    let delayed = (1..6).map(FaultKind::Delayed);
    for kind in [FaultKind::Fails, FaultKind::AnswerLost].into_iter().chain(delayed) {
        for operation in 0..24 {
            let what = format!("{kind:?} at operation {operation}");
            let store = Memory::default();
            let (mut writer, mut state) = take_over(&store, "one").unwrap();
            store.fault(operation, kind);
            let mut possible = vec![clean(&state)];
            for event in 1..=12 {
                advance(&mut state, event);
                match save(&mut writer, &mut state) {
                    Ok(()) => possible = vec![clean(&state)],
                    Err(SaveError::Store(StoreError::Failed(_) | StoreError::Conflict)) => {
                        possible.push(clean(&state))
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
                let stored = stored(&store);
                assert!(possible.contains(&stored), "{what}, event {event}: {stored:?}");
            }
            save(&mut writer, &mut state).unwrap();
            assert_eq!(stored(&store), clean(&state), "{what}");
        }
    }
}

/// The first leader stops at any operation: it is killed, or it waits and goes on after the second leader has taken over and saved.
#[test]
fn a_leader_that_was_replaced_changes_nothing() {
    for operation in 0..24 {
        let store = Memory::default();
        let (mut first, mut state) = take_over(&store, "one").unwrap();
        // The first leader saves until it has a fault, as if it were killed or paused there.
        store.fault(operation, FaultKind::Fails);
        let mut event = 0;
        while event < 8 {
            event += 1;
            advance(&mut state, event);
            if save(&mut first, &mut state).is_err() {
                break;
            }
        }
        store.fault(usize::MAX, FaultKind::Fails);
        let (mut second, mut taken) = take_over(&store, "two").unwrap();
        for next in taken.resource_version + 1..=taken.resource_version + 4 {
            advance(&mut taken, next);
            save(&mut second, &mut taken).unwrap();
            advance(&mut state, 1000 + next);
            let refused = save(&mut first, &mut state);
            assert!(matches!(refused, Err(SaveError::Lost)), "operation {operation}: {refused:?}");
            assert_eq!(stored(&store), clean(&taken), "operation {operation}");
        }
    }
}

/// The second leader takes over while the first one is between two writes of a save. The first one has written shards by then.
#[test]
fn shards_of_a_leader_that_lost_do_not_stop_the_next_leader() {
    let store = Memory::default();
    let (mut first, mut state) = take_over(&store, "one").unwrap();
    (1..40).for_each(|event| advance(&mut state, event));
    let (mut second, mut taken) = take_over(&store, "two").unwrap();
    assert!(matches!(save(&mut first, &mut state), Err(SaveError::Lost)));
    (1..60).for_each(|event| advance(&mut taken, event));
    save(&mut second, &mut taken).unwrap();
    assert_eq!(stored(&store), taken);
}

#[test]
fn a_damaged_newer_or_missing_object_is_rejected_and_not_overwritten() {
    let store = Memory::default();
    let (mut writer, mut state) = take_over(&store, "one").unwrap();
    (1..40).for_each(|event| advance(&mut state, event));
    save(&mut writer, &mut state).unwrap();
    let shard = store.names().into_iter().find(|name| name.ends_with("-0")).unwrap();
    let head = "vdi-metrics-ledger".to_owned();
    let newer = store.text(&head).replacen("\"format\":1", "\"format\":2", 1);
    let cases = [
        (&shard, compressed("{}"), "was changed or damaged"),
        (&shard, compressed(&store.text(&shard).replace(':', ": ")), "was changed or damaged"),
        (&head, vec![], "cannot be decompressed"),
        (&head, store.content(&head)[..20].to_vec(), "cannot be decompressed"),
        (&head, compressed("{\"format\":1"), "is not valid"),
        (&head, compressed("{\"format\":1,\"value\":{}}"), "is not valid"),
        (&head, compressed(&newer), "has format 2, and this program reads 1"),
    ];
    for (name, content, problem) in cases {
        let intact = store.content(name);
        store.put(name, &content);
        let error = take_over(&store, "two").unwrap_err().to_string();
        assert!(error.contains(name.as_str()) && error.contains(problem), "{error}");
        assert_eq!(store.content(name), content);
        store.put(name, &intact);
    }
    for name in [&shard, &head] {
        let store = store.copy();
        store.remove(name);
        let error = take_over(&store, "two").unwrap_err().to_string();
        assert!(error.contains(name.as_str()) && error.contains("does not exist"), "{error}");
    }
}

#[test]
fn a_state_that_is_too_long_is_not_written() {
    let store = Memory::default();
    let (mut writer, mut state) = take_over(&store, "one").unwrap();
    // Numbers that hardly compress.
    let number = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state.totals = (0..100_000).map(|it| (number(it).to_string(), number(it + 1))).collect();
    let error = save(&mut writer, &mut state).unwrap_err();
    assert!(matches!(&error, SaveError::TooLong { name, .. } if name == "vdi-metrics-ledger"), "{error}");
    assert_eq!(stored(&store), empty());
}
