//! Admission: reads the bytes of an AdmissionReview and writes the bytes of its answer.
//!
//! All code of this module is pure: no await, no lock, no clock, no API call, no file. The decision reads a view that borrows
//! from the request. The change is a patch of the raw document, so that unknown fields are kept. A desktop is more important
//! than its metrics: in case of doubt the server allows the pod without a change, and the answer contains the reason.

mod answer;
mod container;
mod decide;
mod gate;
pub mod gpu_names;
mod injector;
pub mod namespaces;
mod outcome;
mod patch;
mod pod;
pub mod quantity;
mod review;
mod ruleset;
pub mod selection;
pub mod settings;

pub use decide::Notice;
pub(crate) use decide::ports::{MAX_PORTS, PORTS_WITHOUT_VIEWERS};
pub use gate::{InjectionGate, InjectionRequest, OpenGate};
pub use injector::{Admission, Injector, PodDecision};
pub use namespaces::Namespaces;
pub use outcome::{Outcome, SkipReason};
pub use patch::RepairedField;
pub(crate) use patch::{MAX_ANNOTATION_BYTES, MAX_POD_BYTES};
pub use pod::{UnreadableField, field_path};
pub use review::{Malformed, Review};
pub use settings::{LabelValues, Settings, SettingsError};
