//! Requests that get no metrics: the status, and one sentence with the remedy.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{bearer::HeaderError, gate::Verdict};
use crate::runtime::vocabulary::vocabulary;

/// The ClusterRole with the right to read the metrics: `manifests/server/rbac.yaml`.
pub const READER_ROLE: &str = "vdi-metrics-metrics-reader";

vocabulary! {
    /// The result of a check.
    pub enum CheckResult {
        /// The user may read the metrics.
        Allowed = "allowed",
        /// The request has no bearer token.
        MissingToken = "missing_token",
        /// The API server does not accept the token, or the header is not valid.
        InvalidToken = "invalid_token",
        /// The user may not read the metrics.
        Forbidden = "forbidden",
        /// The token was not checked, because too many other tokens are checked.
        TooManyReviews = "too_many_reviews",
        /// The API server did not check the token.
        Unavailable = "unavailable",
    }
}

/// Why a request gets no metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    MissingToken,
    InvalidToken,
    Forbidden { user: String },
    TooManyReviews,
    Unavailable,
}

// === impl Denial ===

impl Denial {
    pub(super) const fn result(&self) -> CheckResult {
        match self {
            Self::MissingToken => CheckResult::MissingToken,
            Self::InvalidToken => CheckResult::InvalidToken,
            Self::Forbidden { .. } => CheckResult::Forbidden,
            Self::TooManyReviews => CheckResult::TooManyReviews,
            Self::Unavailable => CheckResult::Unavailable,
        }
    }

    /// `Unavailable` is 503 and not 500, because the client can succeed later without a change.
    const fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::TooManyReviews => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(&self) -> String {
        match self {
            Self::MissingToken => {
                "send a ServiceAccount's token in the header `Authorization: Bearer TOKEN`\n".into()
            }
            Self::InvalidToken => {
                "the token is not valid: send one token that has not expired and is for the server's audience\n".into()
            }
            Self::Forbidden { user } => format!(
                "user {user:?} may not read /metrics: bind the ClusterRole {READER_ROLE} to this user\n"
            ),
            Self::TooManyReviews => "the server checks too many tokens now: try again in a second\n".into(),
            Self::Unavailable => {
                "the API server does not check tokens now: try again, and read the cause in the log of this server\n"
                    .into()
            }
        }
    }

    /// The header that a client expects with this status: RFC 6750 for 401.
    const fn header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::MissingToken => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::InvalidToken => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                Some((header::WWW_AUTHENTICATE, challenge))
            }
            Self::TooManyReviews => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Forbidden { .. } | Self::Unavailable => None,
        }
    }
}

impl From<HeaderError> for Denial {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Missing => Self::MissingToken,
            HeaderError::Malformed => Self::InvalidToken,
        }
    }
}

impl Verdict {
    /// The verdict as the result of a request.
    pub(super) fn into_result(self) -> Result<(), Denial> {
        match self {
            Self::Allowed => Ok(()),
            Self::Invalid => Err(Denial::InvalidToken),
            Self::Forbidden { user } => Err(Denial::Forbidden { user }),
        }
    }
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body()).into_response();
        response.headers_mut().extend(self.header());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_has_its_status_its_header_and_one_line() {
        let forbidden = Denial::Forbidden { user: "system:serviceaccount:a:b".into() };
        for (denial, status, expected) in [
            (Denial::MissingToken, 401, Some(("www-authenticate", "Bearer"))),
            (Denial::InvalidToken, 401, Some(("www-authenticate", "Bearer error=\"invalid_token\""))),
            (forbidden, 403, None),
            (Denial::TooManyReviews, 429, Some(("retry-after", "1"))),
            (Denial::Unavailable, 503, None),
        ] {
            let (body, response) = (denial.body(), denial.into_response());
            assert_eq!(response.status(), status);
            for name in ["www-authenticate", "retry-after"] {
                let value = response.headers().get(name).map(|value| value.to_str().unwrap());
                assert_eq!(value, expected.filter(|(is, _)| *is == name).map(|(_, value)| value), "{name}");
            }
            assert_eq!(body.matches('\n').count(), 1, "{body}");
        }
    }

    #[test]
    fn a_user_name_cannot_add_a_line() {
        let body = Denial::Forbidden { user: "a\nb".into() }.body();
        assert!(body.starts_with("user \"a\\nb\" may not"), "{body}");
    }
}
