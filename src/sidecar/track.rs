//! Tracks the session's devices from poll to poll: which devices are allocated, which are missing, and what is published. A
//! pure state machine: its input is an observation and the time, its output a publication.

mod absence;
mod publication;
mod state;
mod tracker;

pub(super) use self::{publication::Publication, tracker::Track};

#[cfg(test)]
mod tests;
