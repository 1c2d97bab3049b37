//! Rejected requests: HTTP requests that get an HTTP error instead of an AdmissionReview.

use std::borrow::Cow;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a request is rejected.
    pub enum RefusalReason {
        /// The media type is not `application/json`.
        ContentType = "content_type",
        /// The body is over the limit.
        TooLarge = "too_large",
        /// Other bodies use all memory for bodies.
        Busy = "busy",
        /// The body did not arrive in time.
        Timeout = "timeout",
        /// The body is not an AdmissionReview.
        Malformed = "malformed",
    }
}

/// A rejected request: the reason, and a detail for the client.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: RefusalReason,
    detail: Cow<'static, str>,
}

// === impl RefusalReason ===

impl RefusalReason {
    const fn status(self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(reason: RefusalReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.reason.status(), format!("{}\n", self.detail)).into_response()
    }
}
