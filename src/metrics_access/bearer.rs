//! The request: its verb, and the token in its `Authorization` header.

use axum::http::{HeaderMap, Method, header};

use crate::runtime::vocabulary::vocabulary;

/// Maximum length of a token in bytes. A token of a ServiceAccount has about 1 KiB; a token of an identity provider has the
/// user's groups and can be longer. Without a limit, a client could make the server send large reviews.
const MAX_TOKEN_BYTES: usize = 16 << 10;

vocabulary! {
    /// The verb of a review. RBAC has the HTTP method in lower case.
    pub enum ReviewVerb {
        /// Reads the metrics.
        Get = "get",
        /// Reads only the headers of the response.
        Head = "head",
    }
}

/// A request without a token that can be reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// There is no bearer token.
    Missing,
    /// The header is not one header with one token.
    Malformed,
}

/// Reads the token from `Authorization: Bearer TOKEN` (RFC 6750).
///
/// # Errors
/// Fails if no header has a bearer token, if there are several headers, or if the token is empty, too long or not ASCII.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, HeaderError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(HeaderError::Missing)?;
    if values.next().is_some() {
        return Err(HeaderError::Malformed);
    }
    let text = value.to_str().map_err(|_| HeaderError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(HeaderError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(HeaderError::Missing);
    }
    let token = token.trim_matches(' ');
    let is_valid =
        (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|c| c.is_ascii_graphic());
    is_valid.then_some(token).ok_or(HeaderError::Malformed)
}

// === impl ReviewVerb ===

impl ReviewVerb {
    /// The verb of a request for `/metrics`. The router accepts only these two methods.
    pub(super) fn of(method: &Method) -> Self {
        if method == Method::HEAD { Self::Head } else { Self::Get }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_header_with_one_bearer_token_has_a_token() {
        let long = "x".repeat(MAX_TOKEN_BYTES);
        for (values, expected) in [
            (vec![], Err(HeaderError::Missing)),
            (vec!["Bearer abc.def-_~+/="], Ok("abc.def-_~+/=")),
            (vec!["bearer abc"], Ok("abc")),
            (vec!["BEARER   abc "], Ok("abc")),
            (vec!["Basic YTpi"], Err(HeaderError::Missing)),
            (vec!["Bearer"], Err(HeaderError::Missing)),
            (vec!["Bearer "], Err(HeaderError::Malformed)),
            (vec!["Bearer a b"], Err(HeaderError::Malformed)),
            (vec!["Bearer ü"], Err(HeaderError::Malformed)),
            (vec!["Bearer abc", "Bearer def"], Err(HeaderError::Malformed)),
            (vec![&format!("Bearer {long}")], Ok(&*long)),
            (vec![&format!("Bearer {long}x")], Err(HeaderError::Malformed)),
        ] {
            let values_of =
                |text: &&str| (header::AUTHORIZATION, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let mut headers = HeaderMap::new();
            values.iter().map(values_of).for_each(|(name, value)| _ = headers.append(name, value));
            assert_eq!(token(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn the_verb_is_the_method_in_lower_case() {
        assert_eq!(
            [Method::GET, Method::HEAD].map(|method| ReviewVerb::of(&method).as_str()),
            ["get", "head"]
        );
    }
}
