//! Tracks the session's devices from poll to poll: which are allocated, which are missing, and what is published. A pure state
//! machine: observation and time in, publication out.

mod absence;
mod publication;
mod state;
mod tracker;

pub(super) use self::{publication::Publication, tracker::Track};

#[cfg(test)]
mod tests;
