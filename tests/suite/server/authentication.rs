//! Who may read the metrics: the real server with an API server of the test.

mod api_server;

use std::time::{Duration, Instant};

use kit::{
    exposition::Exposition,
    http::{self, Response},
    process::eventually,
    tls::Certificate,
};
use serde_json::json;

use super::{Server, serve};
use api_server::{ApiServer, GOOD, Mode, SCRAPER, WEAK};

/// Makes the server check tokens.
const TOKEN: [&str; 2] = ["--metrics-authentication", "token"];

impl Server {
    /// Starts a server that checks tokens, and waits until it has a client of the API server.
    fn checking_tokens(arguments: &[&str], api: &ApiServer) -> Self {
        let server = Self::with_cluster_and(&[&TOKEN, arguments].concat(), &api.url);
        let cause = "Cannot watch objects";
        server.process.logged(cause);
        server
    }

    fn scrape(&self, authorization: Option<&str>) -> Response {
        self.request("GET", authorization)
    }

    fn request(&self, method: &str, authorization: Option<&str>) -> Response {
        let header = authorization.map(|value| ("authorization", value));
        self.certificate.request(self.metrics, method, "/metrics", header.as_slice()).unwrap()
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn only_a_user_with_the_right_gets_the_metrics() {
    let api = ApiServer::start();
    let server = Server::checking_tokens(&[], &api);
    let invalid = Some("Bearer error=\"invalid_token\"");
    for (method, authorization, status, challenge, body) in [
        ("GET", None, 401, Some("Bearer"), "send a ServiceAccount's token"),
        ("GET", Some("Basic YTpi".to_owned()), 401, Some("Bearer"), "send a ServiceAccount's token"),
        ("GET", Some(bearer("garbage")), 401, invalid, "the token is not valid"),
        ("GET", Some(bearer(WEAK)), 403, None, "user \"weak\" may not read /metrics: bind the ClusterRole"),
        ("GET", Some(bearer(GOOD)), 200, None, "# TYPE vdi_metrics_build_info gauge"),
        ("HEAD", Some(bearer(GOOD)), 403, None, ""),
        ("POST", None, 405, None, ""),
    ] {
        let response = server.request(method, authorization.as_deref());
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (status, challenge),
            "{authorization:?}"
        );
        assert!(response.body.contains(body), "{}", response.body);
        assert_eq!(response.body.contains("vdi_metrics_build_info"), status == 200, "{}", response.body);
    }
    let reviews = api.reviews("SubjectAccessReview");
    let expected = json!({"user": SCRAPER, "uid": "u-1", "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"}});
    assert_eq!(reviews[1], expected);
    assert_eq!(reviews[2]["nonResourceAttributes"]["verb"], "head");
    assert_eq!(api.reviews("TokenReview")[1], json!({"token": WEAK}), "no audiences");
}

#[test]
fn an_answer_is_cached_counted_and_logged_without_the_token() {
    let api = ApiServer::start();
    let server = Server::checking_tokens(&["--log", "trace"], &api);
    for token in [WEAK, GOOD, "garbage-4713"] {
        let statuses: Vec<_> = (0..3).map(|_| server.scrape(Some(&bearer(token))).status).collect();
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{token}: {statuses:?}");
    }
    assert_eq!((api.reviews("TokenReview").len(), api.reviews("SubjectAccessReview").len()), (3, 2));
    let seen = Exposition::parse(&server.scrape(Some(&bearer(GOOD))).body).unwrap();
    for (result, count) in
        [("allowed", 4.0), ("forbidden", 3.0), ("invalid_token", 3.0), ("missing_token", 0.0)]
    {
        assert_eq!(
            seen.value("vdi_metrics_scrape_checks_total", &[("result", result)]),
            Some(count),
            "{result}"
        );
    }
    let log = server.process.log();
    assert!(log.contains("the user may not read them") && log.contains("user=\"weak\""), "{log}");
    assert!(["good-token", "weak-token", "garbage"].iter().all(|part| !log.contains(part)), "{log}");
}

#[test]
fn health_needs_no_token() {
    let server = Server::checking_tokens(&[], &ApiServer::start());
    assert_eq!(http::get(server.health, "/healthz").unwrap().status, 200);
    eventually("ready", || (http::get(server.health, "/readyz").unwrap().status == 200).then_some(()));
}

#[test]
fn a_token_must_have_one_of_the_configured_audiences() {
    let api = ApiServer::start();
    let scraped = |audiences: &[&str]| {
        let server = Server::checking_tokens(audiences, &api);
        (
            server.scrape(Some(&bearer(GOOD))).status,
            api.reviews("TokenReview").pop().unwrap()["audiences"].clone(),
        )
    };
    let fits = ["--metrics-audience", "elsewhere", "--metrics-audience", "vdi-metrics"];
    assert_eq!(scraped(&fits), (200, json!(["elsewhere", "vdi-metrics"])));
    assert_eq!(scraped(&["--metrics-audience", "elsewhere"]), (401, json!(["elsewhere"])));
}

#[test]
fn a_failed_review_is_sent_once_and_gives_no_metrics() {
    let api = ApiServer::start();
    let server = Server::checking_tokens(&[], &api);
    for (mode, cause) in [
        (Mode::Fails(503), "cannot create tokenreviews"),
        (Mode::Answers, "Resolved: The API server does not check tokens"),
        (Mode::Fails(403), "may not create tokenreviews; apply manifests/server/rbac.yaml"),
    ] {
        api.set(mode);
        let before = api.reviews("TokenReview").len();
        let response = server.scrape(Some(&bearer(&format!("new{before}"))));
        let fails = matches!(mode, Mode::Fails(_));
        assert_eq!(response.status, if fails { 503 } else { 401 }, "{mode:?}: {}", response.body);
        assert_eq!(
            response.body.contains("the API server does not check tokens now"),
            fails,
            "{}",
            response.body
        );
        assert_eq!(api.reviews("TokenReview").len(), before + 1, "{mode:?}");
        server.process.logged(cause);
    }
}

#[test]
fn an_api_server_that_hangs_gives_an_answer_before_the_scrape_times_out() {
    let api = ApiServer::start();
    let server = Server::checking_tokens(&[], &api);
    assert_eq!(server.scrape(Some(&bearer(GOOD))).status, 200);
    api.set(Mode::Hangs);
    let began = Instant::now();
    assert_eq!(server.scrape(Some(&bearer(WEAK))).status, 503);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(server.scrape(Some(&bearer(GOOD))).status, 200, "a cached answer");
    server.process.logged("the API server did not answer in time");
}

#[test]
fn without_a_cluster_there_are_no_metrics() {
    let server = Server::start_with(&TOKEN, "/nonexistent");
    server.process.logged("does not count sessions");
    let response = server.scrape(Some(&bearer(GOOD)));
    assert_eq!((response.status, response.body.contains("build_info")), (503, false), "{}", response.body);
    server.process.logged(
        "not signed in to a cluster; run the server in a cluster, or with --metrics-authentication none",
    );
}

#[test]
fn a_flood_of_bad_tokens_does_not_reach_the_api_server() {
    let api = ApiServer::start();
    let server = Server::checking_tokens(&[], &api);
    assert_eq!(server.scrape(Some(&bearer(GOOD))).status, 200);
    let began = Instant::now();
    let statuses: Vec<_> = (0..200)
        .map(|number| {
            assert_eq!(server.scrape(Some(&bearer(GOOD))).status, 200, "bad token {number}");
            server.scrape(Some(&bearer(&format!("bad{number}")))).status
        })
        .collect();
    let most = 5 + began.elapsed().as_secs() as usize + 1;
    let reviews = api.reviews("TokenReview").len();
    assert!((5..=most).contains(&reviews), "{reviews} reviews in {:?}", began.elapsed());
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
}

#[test]
fn arguments_that_contradict_each_other_are_rejected() {
    let certificate = Certificate::for_loopback().unwrap();
    for (arguments, expected) in [
        (
            vec!["--metrics-audience", "a"],
            "has no effect with --metrics-authentication none; remove one of them",
        ),
        (vec!["--metrics-authentication", "jwt"], "[possible values: token, none]"),
        (vec!["--metrics-authentication", "token", "--metrics-audience", ""], "without spaces"),
        (vec!["--metrics-authentication", "token", "--metrics-audience", "a b"], "without spaces"),
    ] {
        let output = serve(&certificate).args(&arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
