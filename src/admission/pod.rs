//! The view of a pod that the decision reads. A view borrows from the request, contains only the fields that the decision
//! depends on, and is never written back.

mod amounts;
mod nodes;
mod object;
mod text;
mod unreadable;
mod view;

pub(super) use amounts::DeclaredAmounts;
pub(super) use nodes::NodeKind;
pub(super) use object::StrictObject;
pub(super) use text::StringMap;
pub use unreadable::{UnreadableField, field_path};
pub(super) use view::{ClaimReference, ContainerView, DeclaredResources, PodClaim, PodView, PortView};
