//! Who may read the server's metrics. A request for `/metrics` has a bearer token. The API server says whose token it is
//! (TokenReview), and whether this user may read `/metrics` (SubjectAccessReview).

mod access;
mod bearer;
mod cache;
mod denial;
mod gate;
mod limits;
pub mod metrics;
mod reviewer;

pub use access::MetricsAccess;
pub use bearer::ReviewVerb;
pub use denial::{CheckResult, READER_ROLE};
pub use gate::Verdict;
pub use reviewer::{ClusterReviewer, ReviewError, Reviewer};
