//! Tests of the loop with a library that does not exist.

use super::*;
use crate::gpu::{Call, Code};

/// Records the polls of a program whose library does not exist.
#[derive(Default)]
struct Recorder {
    /// Calls, failures and whether the poll is the last one.
    polls: Vec<(u64, usize, bool)>,
    /// Whether the polls do not need the driver.
    without_driver: bool,
}

impl PollTask for Recorder {
    type Output = Fault;

    fn begin(&mut self) -> Option<Fault> {
        self.without_driver.then_some(LIBRARY_MISSING)
    }

    fn opened(&mut self, _: &Driver<'_>) {
        unreachable!("the library does not exist");
    }

    fn poll(&mut self, _: &mut Driver<'_>) -> (Fault, Option<ReopenReason>) {
        unreachable!("the library does not exist");
    }

    fn unavailable(&mut self, fault: Fault) -> Fault {
        fault
    }

    fn publish(&mut self, fault: Fault, poll: &FinishedPoll) {
        assert_eq!(fault.code.as_str(), "library_missing");
        self.polls.push((poll.calls.calls, poll.calls.faults.len(), poll.is_last));
    }

    fn xid(&mut self, _: &XidEvent) {}
}

const LIBRARY_MISSING: Fault = Fault { call: Call::Init, code: Code::LibraryMissing };

fn poll_loop() -> (mpsc::Sender<()>, PollLoop) {
    let (sender, stop) = mpsc::channel();
    (sender, PollLoop::new(vec!["/nonexistent".into()], Duration::from_millis(1), stop))
}

#[test]
fn every_poll_is_published_and_skipped_attempts_count_no_calls() {
    let (_sender, mut polls) = poll_loop();
    let mut recorder = Recorder::default();
    (0..5).for_each(|_| polls.run(&mut recorder));
    let calls: Vec<u64> = recorder.polls.iter().map(|(calls, ..)| *calls).collect();
    assert_eq!(calls, [1, 1, 0, 1, 0]);
    assert!(recorder.polls.iter().all(|(calls, faults, is_last)| *faults as u64 == *calls && !is_last));
}

#[test]
fn a_poll_that_does_not_need_the_driver_opens_no_library() {
    let (_sender, mut polls) = poll_loop();
    let mut recorder = Recorder { without_driver: true, ..Recorder::default() };
    (0..3).for_each(|_| polls.run(&mut recorder));
    recorder.without_driver = false;
    polls.run(&mut recorder);
    let calls: Vec<u64> = recorder.polls.iter().map(|(calls, ..)| *calls).collect();
    assert_eq!(calls, [0, 0, 0, 1]);
}

#[test]
fn a_request_to_stop_gives_one_last_poll() {
    let (sender, mut polls) = poll_loop();
    let mut recorder = Recorder::default();
    sender.send(()).unwrap();
    while !polls.is_over() {
        polls.run(&mut recorder);
    }
    let is_last: Vec<bool> = recorder.polls.iter().map(|(.., is_last)| *is_last).collect();
    assert_eq!(is_last, [false, true]);
}

#[test]
fn a_program_that_drops_the_sender_stops_the_loop() {
    let (sender, mut polls) = poll_loop();
    drop(sender);
    let mut recorder = Recorder::default();
    polls.run(&mut recorder);
    polls.abandon_poll(&mut recorder, LIBRARY_MISSING);
    assert!(polls.is_over());
}

#[test]
fn samples_are_read_before_the_buffer_is_full_and_at_most_once_a_second() {
    let parts = |interval, buffered| parts(Duration::from_secs(interval), Some(buffered));
    // Buffers of 72, 100 and 120 samples, six in a second.
    let [small, medium, large] = [72, 100, 120].map(|samples| Duration::from_secs_f64(samples as f64 / 6.0));
    assert_eq!([5, 15, 300].map(|interval| parts(interval, small)), [1, 2, 28]);
    assert_eq!([14, 15, 16].map(|interval| parts(interval, medium)), [1, 1, 2]);
    assert_eq!([15, 18, 30].map(|interval| parts(interval, large)), [1, 1, 2]);
    assert_eq!(parts(15, Duration::from_millis(1)), 15);
    assert_eq!(super::parts(Duration::from_secs(300), None), 1);
}

#[test]
fn intervals_are_jittered_by_a_tenth() {
    let interval = Duration::from_secs(15);
    let all: Vec<Duration> = (0..100).map(|_| jittered(interval)).collect();
    assert!(all.iter().all(|one| (interval.mul_f64(0.9)..=interval.mul_f64(1.1)).contains(one)));
    assert!(all.iter().any(|one| *one != all[0]), "all intervals are equal");
}
