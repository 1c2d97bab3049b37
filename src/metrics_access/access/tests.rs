use std::{
    future::pending,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::http::{HeaderValue, header};
use prometheus::proto::Metric;

use super::*;

/// A reviewer that knows the tokens `good` and `weak`, fails for `broken`, and never answers for `slow`. Counts its calls.
#[derive(Clone, Default)]
struct Known(Arc<AtomicUsize>);

impl Reviewer for Known {
    async fn review(&self, token: &str, verb: ReviewVerb) -> Result<Verdict, ReviewError> {
        self.0.fetch_add(1, Relaxed);
        match (token, verb) {
            ("good", ReviewVerb::Get) => Ok(Verdict::Allowed),
            ("good", ReviewVerb::Head) | ("weak", _) => Ok(Verdict::Forbidden { user: "weak".into() }),
            ("broken", _) => Err(ReviewError::NotSignedIn),
            ("slow", _) => pending().await,
            _ => Ok(Verdict::Invalid),
        }
    }
}

fn access() -> (MetricsAccess<Known>, Arc<AtomicUsize>, Registry) {
    let (reviewer, registry) = (Known::default(), Registry::new());
    let calls = Arc::clone(&reviewer.0);
    (MetricsAccess::register(reviewer, &registry).unwrap(), calls, registry)
}

fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

async fn status(access: &MetricsAccess<Known>, headers: &HeaderMap, method: Method) -> u16 {
    let result = access.check(&method, headers, Ipv4Addr::LOCALHOST.into()).await;
    result.map_or_else(|denied| denied.status().as_u16(), |()| 200)
}

#[tokio::test]
async fn each_result_has_its_status_is_counted_and_is_cached_if_it_is_a_verdict() {
    let (access, calls, registry) = access();
    for (headers, method, expected, expected_calls) in [
        (HeaderMap::new(), Method::GET, 401, 0),
        (bearer("bad"), Method::GET, 401, 1),
        (bearer("bad"), Method::GET, 401, 0),
        (bearer("weak"), Method::GET, 403, 1),
        (bearer("weak"), Method::GET, 403, 0),
        (bearer("good"), Method::GET, 200, 1),
        (bearer("good"), Method::GET, 200, 0),
        (bearer("good"), Method::HEAD, 403, 1),
        (bearer("broken"), Method::GET, 503, 1),
        (bearer("late"), Method::GET, 429, 0),
        (bearer("good"), Method::GET, 200, 0),
    ] {
        let before = calls.load(Relaxed);
        assert_eq!(status(&access, &headers, method).await, expected, "{headers:?}");
        assert_eq!(calls.load(Relaxed) - before, expected_calls, "{headers:?}");
    }
    let families = registry.gather();
    let count =
        |series: &Metric| (series.get_label()[0].value().to_owned(), series.get_counter().get_value());
    let counts: Vec<_> = families[0].get_metric().iter().map(count).collect();
    let expected = [
        ("allowed", 3.0),
        ("forbidden", 3.0),
        ("invalid_token", 2.0),
        ("missing_token", 1.0),
        ("too_many_reviews", 1.0),
        ("unavailable", 1.0),
    ];
    assert_eq!(counts, expected.map(|(result, count)| (result.to_owned(), count)));
}

#[tokio::test]
async fn a_review_ends_after_its_timeout_and_when_the_client_leaves() {
    let (mut access, ..) = access();
    access.review_timeout = Duration::from_millis(10);
    assert_eq!(status(&access, &bearer("slow"), Method::GET).await, 503);
    for _ in 0..3 {
        let left = timeout(Duration::ZERO, status(&access, &bearer("slow"), Method::GET)).await;
        assert!(left.is_err());
    }
    // Four reviews may run at the same time. If the others still ran, this one would not start.
    assert_eq!(status(&access, &bearer("good"), Method::GET).await, 200);
}

#[test]
fn tokens_and_verbs_have_different_keys() {
    let keys = [key("a", ReviewVerb::Get), key("a", ReviewVerb::Head), key("b", ReviewVerb::Get)];
    assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    assert_eq!(keys[0], key("a", ReviewVerb::Get));
}
