//! Admission without a socket. `BLESS=1` rewrites the golden files of `tests/pods`.

mod case;
mod goldens;
mod protocol;
mod reasons;
mod repair;
