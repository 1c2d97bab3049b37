//! The verbs that work on files, tested with the built program.

mod documentation;
mod errors;
mod explain;
mod files;
mod goldens;
mod inject;
mod program;
mod render;
mod uninject;
mod unknown_kinds;
mod unreadable;
