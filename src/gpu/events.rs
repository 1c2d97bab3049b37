//! Receives Xid events: the driver reports a fault of a card when the fault happens.

use std::{
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::{EventSet, Nvml, bitmasks::event::EventTypes, error::NvmlError};

use super::{
    call_log::{CallLog, fault},
    fault::{Call, Fault},
    known::Answer,
    raw::{self, RawEvent},
    values::XidEvent,
};

/// The result of one wait for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// A card has reported a fault.
    Xid(XidEvent),
    /// No card has reported a fault in this time.
    None,
    /// No card is registered: no card reports events, or registering has failed. The call has returned at once.
    NotListening,
}

/// The result of one wait, with the card's handle instead of UUIDs.
pub(super) enum ReceivedEvent<'n> {
    Xid(RawEvent<'n>),
    None,
    NotListening,
}

/// Receives the Xid events of all cards that report them.
#[derive(Debug, Default)]
pub(super) struct EventListener<'n> {
    /// The set of registered cards; none if no card is registered.
    set: Option<EventSet<'n>>,
    /// Whether registering has failed and may succeed at the next attempt.
    retry: bool,
}

/// Maximum duration of one wait inside the driver. Between two waits the caller checks whether the session has ended.
const EVENT_POLL: Duration = Duration::from_millis(200);

/// Pause after each event, because a failing card can report faults continuously.
const EVENT_PAUSE: Duration = Duration::from_millis(10);

// === impl EventListener ===

impl<'n> EventListener<'n> {
    /// Registers the cards that report Xid events. If the driver rejects a card, the set is unusable, and no event is received
    /// until the next attempt creates a new set.
    pub(super) fn new(nvml: &'n Nvml, cards: &[&nvml_wrapper::Device<'n>], log: &mut CallLog) -> Self {
        // nvml_wrapper panics if the library does not have the call that frees a set.
        if nvml.lib().nvmlEventSetFree.is_err() {
            return Self::default();
        }
        let xid = EventTypes::CRITICAL_XID_ERROR;
        let reports = |card: &&nvml_wrapper::Device<'n>| {
            card.supported_event_types().is_ok_and(|kinds| kinds.contains(xid))
        };
        // One call for each card: `supported_event_types`.
        log.calls += cards.len() as u64;
        let cards: Vec<_> = cards.iter().copied().filter(reports).collect();
        // One call for each card that reports Xid events: `register_events`.
        log.calls += cards.len() as u64;
        if cards.is_empty() {
            return Self::default();
        }
        let set = log.record(Call::Events, nvml.create_event_set()).and_then(|set| {
            let registered = cards.into_iter().try_fold(set, |set, card| card.register_events(xid, set));
            registered.or_else(|failed| log.record_failure(fault(Call::Events, &failed.error)))
        });
        match set {
            Ok(set) => Self { set: Some(set), retry: false },
            Err(fault) => Self::after_failure(fault),
        }
    }

    /// A listener that is not registered. The next poll tries again unless the failure is permanent.
    fn after_failure(fault: Fault) -> Self {
        Self { set: None, retry: !fault.is_permanent() }
    }

    /// Whether registering has failed and must be tried again.
    pub(super) fn must_retry(&self) -> bool {
        self.retry
    }

    /// Waits for one event, for `limit` or [`EVENT_POLL`], whichever is shorter.
    pub(super) fn wait(&mut self, nvml: &'n Nvml, limit: Duration, log: &mut CallLog) -> ReceivedEvent<'n> {
        let Some(set) = &self.set else { return ReceivedEvent::NotListening };
        let start = Instant::now();
        let wait = limit.min(EVENT_POLL);
        let answer = raw::next_event(nvml, set, wait);
        log.calls += 1;
        match answer {
            Ok(event) => {
                thread::sleep(EVENT_PAUSE.min(limit));
                return ReceivedEvent::Xid(event);
            }
            // If the driver returns early, the rest of the time is waited here, so that the caller's loop uses no CPU.
            Err(NvmlError::Timeout) => thread::sleep(wait.saturating_sub(start.elapsed())),
            Err(error) => {
                let fault = fault(Call::Events, &error);
                log.faults.push(fault);
                *self = Self::after_failure(fault);
            }
        }
        ReceivedEvent::None
    }
}

// === impl Answer ===

impl Answer for EventSet<'_> {
    fn known(self) -> Option<Self> {
        Some(self)
    }
}
