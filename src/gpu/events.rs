//! Receives Xid events: faults of a card that the driver reports when they happen.

use std::{
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::{EventSet, Nvml, bitmasks::event::EventTypes, enums::event::XidError, error::NvmlError};

use super::{
    call_log::{CallLog, fault},
    fault::{Call, Fault},
    values::XidEvent,
};

/// The result of one wait for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// A card has reported a fault.
    Xid(XidEvent),
    /// No card has reported a fault.
    None,
    /// The driver reports no events, and the call returned at once.
    NotListening,
}

/// An event as the library returns it.
pub(super) enum ReceivedEvent<'n> {
    Xid { card: nvml_wrapper::Device<'n>, code: Option<u64> },
    None,
    NotListening,
}

/// The event set of all cards that report Xid events.
#[derive(Debug, Default)]
pub(super) struct EventListener<'n> {
    set: Option<EventSet<'n>>,
    /// Whether listening has failed and may work at the next attempt.
    retry: bool,
}

/// Longest wait inside the driver. After it the caller can check whether the session has ended.
const EVENT_POLL: Duration = Duration::from_millis(200);

/// Pause after each event, because a failing card can report faults without a stop.
const EVENT_PAUSE: Duration = Duration::from_millis(10);

// === impl EventListener ===

impl<'n> EventListener<'n> {
    /// Listens to the cards that report Xid events. After a failed registration the library needs a new set.
    pub(super) fn new(nvml: &'n Nvml, cards: &[&nvml_wrapper::Device<'n>], log: &mut CallLog) -> Self {
        // nvml-wrapper panics if the library cannot free a set.
        if nvml.lib().nvmlEventSetFree.is_err() {
            return Self::default();
        }
        let xid = EventTypes::CRITICAL_XID_ERROR;
        let reports = |card: &&nvml_wrapper::Device<'n>| {
            card.supported_event_types().is_ok_and(|kinds| kinds.contains(xid))
        };
        log.calls += cards.len() as u64;
        let cards: Vec<_> = cards.iter().copied().filter(reports).collect();
        log.calls += cards.len() as u64;
        if cards.is_empty() {
            return Self::default();
        }
        let set = log.record(Call::Events, nvml.create_event_set()).and_then(|set| {
            let registered = cards.into_iter().try_fold(set, |set, card| card.register_events(xid, set));
            log.record(Call::Events, registered.map_err(|failed| failed.error))
        });
        match set {
            Ok(set) => Self { set: Some(set), retry: false },
            Err(fault) => Self::failed(fault),
        }
    }

    fn failed(fault: Fault) -> Self {
        Self { set: None, retry: !fault.is_permanent() }
    }

    /// Whether listening has failed and should be tried again.
    pub(super) fn must_retry(&self) -> bool {
        self.retry
    }

    /// Waits for one event, for `limit` or [`EVENT_POLL`], whichever is shorter.
    pub(super) fn wait(&mut self, limit: Duration, log: &mut CallLog) -> ReceivedEvent<'n> {
        let Some(set) = &self.set else { return ReceivedEvent::NotListening };
        let start = Instant::now();
        let wait = limit.min(EVENT_POLL);
        let answer = set.wait(wait.as_millis().max(1) as u32);
        log.calls += 1;
        match answer {
            Ok(event) => {
                thread::sleep(EVENT_PAUSE.min(limit));
                let code = match event.event_data {
                    Some(XidError::Value(code)) => Some(code),
                    Some(XidError::Unknown) | None => None,
                };
                return ReceivedEvent::Xid { card: event.device, code };
            }
            // A driver that returns early must not make the caller's loop busy.
            Err(NvmlError::Timeout) => thread::sleep(wait.saturating_sub(start.elapsed())),
            Err(error) => {
                let fault = fault(Call::Events, &error);
                log.faults.push(fault);
                *self = Self::failed(fault);
            }
        }
        ReceivedEvent::None
    }
}
