//! Streams of changes from a server with scripted answers.

mod scripted_server;

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config, ResourceExt};
use tokio::time::timeout;

use super::{Change, Pace, Start, paced};
use scripted_server::{
    ScriptedAnswer::{self, Events, Object, Refusal},
    ScriptedServer, TOO_LARGE,
    WatchEnd::{Cut, Finished, Open},
    bookmark, event, list, list_end,
};

/// Short, so that the tests do not wait. The timeout of a watch is not reached.
const PACE: Pace = Pace {
    request: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    list: Duration::from_secs(5),
    watch: Duration::from_secs(290),
    min_delay: Duration::from_millis(1),
    max_delay: Duration::from_millis(10),
};

/// What the caller received, and the requests of the stream.
struct Outcome {
    changes: Vec<String>,
    requests: Vec<String>,
}

/// Reads changes until the stream ends or waits at the end of the script.
async fn outcome(start: Start, script: Vec<ScriptedAnswer>) -> Outcome {
    let length = script.len();
    let (server, mut stream) = serve(start, PACE, script).await;
    let mut changes = vec![];
    let read = async {
        loop {
            match timeout(Duration::from_millis(300), stream.next()).await {
                Ok(Some(change)) => changes.push(words(&change)),
                Err(_) if server.requests().len() < length => {}
                Ok(None) | Err(_) => break,
            }
        }
    };
    timeout(Duration::from_secs(30), read).await.expect("the stream makes all requests of the script");
    Outcome { changes, requests: server.requests() }
}

async fn serve(
    start: Start,
    pace: Pace,
    script: Vec<ScriptedAnswer>,
) -> (ScriptedServer, BoxStream<'static, Change<ConfigMap>>) {
    let server = ScriptedServer::start(script).await;
    let mut config = Config::new(format!("http://{}", server.address).parse().unwrap());
    config.default_retry = false;
    let api = Api::namespaced(Client::try_from(config).unwrap(), "default");
    (server, paced(api, "app=desktop", start, pace))
}

fn words(change: &Change<ConfigMap>) -> String {
    let object = |object: &ConfigMap| format!("{}@{}", object.name_any(), object.resource_version().unwrap());
    match change {
        Change::Begin(version) => format!("begin {version}"),
        Change::ListBegin => "list".to_owned(),
        Change::Listed(it) => format!("listed {}", object(it)),
        Change::ListEnd(version) => format!("list end {version}"),
        Change::Applied(it) => format!("applied {}", object(it)),
        Change::Deleted(it) => format!("deleted {}", object(it)),
        Change::Unreadable { uid, deleted } => format!("unreadable {uid} {deleted}"),
        Change::Progress(version) => format!("progress {version}"),
        Change::Retried => "retried".to_owned(),
        Change::Expired => "expired".to_owned(),
        Change::Restored => "restored".to_owned(),
    }
}

#[tokio::test]
async fn a_stream_from_now_begins_with_the_current_version() {
    let script = vec![
        Object(list("5", &["existing@2"], "")),
        Events(vec![event("ADDED", "a@6"), event("DELETED", "a@8"), bookmark("9")], Open),
    ];
    let outcome = outcome(Start::Now, script).await;
    assert_eq!(outcome.changes, ["begin 5", "applied a@6", "deleted a@8", "progress 9"]);
    assert_eq!(
        outcome.requests,
        [
            "limit=1",
            "watch=true&timeoutSeconds=290&labelSelector=app=desktop&allowWatchBookmarks=true&resourceVersion=5",
        ]
    );
}

#[tokio::test]
async fn a_streaming_list_is_consistent_and_continues_as_a_watch_of_its_version() {
    let events = vec![
        event("ADDED", "a@3"),
        bookmark("4"),
        event("ADDED", "b@2"),
        event("MODIFIED", "a@5"),
        event("DELETED", "b@6"),
        list_end("7"),
    ];
    let continued = [events.as_slice(), &[event("MODIFIED", "a@8")]].concat();
    let listed = ["list", "listed a@3", "listed b@2", "listed a@5", "deleted b@6", "list end 7"];
    let connected = outcome(Start::List, vec![Events(continued, Open)]).await;
    assert_eq!(connected.changes, [listed.as_slice(), &["applied a@8"]].concat());
    let request = "watch=true&timeoutSeconds=290&labelSelector=app=desktop&allowWatchBookmarks=true\
                   &sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=";
    assert_eq!(connected.requests, [request]);
    let script = vec![Events(events, Cut), Object(list("9", &[], "")), Events(vec![], Open)];
    let resumed = outcome(Start::List, script).await;
    assert_eq!(resumed.changes, [listed.as_slice(), &["retried"]].concat());
    assert!(resumed.requests[2].ends_with("&resourceVersion=7"), "{:?}", resumed.requests);
}

#[tokio::test]
async fn a_streaming_list_that_breaks_begins_again_and_then_uses_pages() {
    let broken = || Events(vec![event("ADDED", "a@3")], Finished);
    let script = vec![
        broken(),
        Refusal(503, ""),
        broken(),
        broken(),
        Object(list("6", &["a@3"], "")),
        Events(vec![], Open),
    ];
    let outcome = outcome(Start::List, script).await;
    let expected = [
        "list",
        "listed a@3",
        "retried",
        "retried",
        "list",
        "listed a@3",
        "retried",
        "list",
        "listed a@3",
        "retried",
        "list",
        "listed a@3",
        "list end 6",
    ];
    assert_eq!(outcome.changes, expected);
}

#[tokio::test]
async fn without_streaming_lists_pages_are_read_and_an_expired_token_begins_the_list_again() {
    for refusal in [400, 422] {
        let script = vec![
            Refusal(refusal, ""),
            Object(list("5", &["a@1", "b@2"], "t1")),
            Refusal(503, ""),
            Object(list("5", &["c@3"], "t2")),
            Refusal(410, ""),
            Object(list("9", &["a@1"], "t3")),
            Object(list("9", &["c@8"], "")),
            Events(vec![event("MODIFIED", "a@10")], Open),
        ];
        let outcome = outcome(Start::List, script).await;
        let expected = [
            "list",
            "listed a@1",
            "listed b@2",
            "retried",
            "listed c@3",
            "retried",
            "list",
            "listed a@1",
            "listed c@8",
            "list end 9",
            "applied a@10",
        ];
        assert_eq!(outcome.changes, expected);
        let first = "labelSelector=app=desktop&limit=500";
        let page = |token: &str| format!("{first}&continue={token}");
        let pages = [first.to_owned(), page("t1"), page("t1"), page("t2"), first.to_owned(), page("t3")];
        assert_eq!(outcome.requests[1..7], pages);
        assert!(outcome.requests[7].ends_with("&resourceVersion=9"), "{:?}", outcome.requests);
    }
}

#[tokio::test]
async fn a_watch_continues_after_the_last_change_or_bookmark() {
    let cut = |events| vec![Events(events, Cut), Object(list("99", &[], ""))];
    let mut script = vec![Object(list("99", &[], ""))];
    script.extend(cut(vec![event("ADDED", "a@6")]));
    script.extend(cut(vec![event("MODIFIED", "a@7"), bookmark("12")]));
    script.extend([
        Refusal(500, ""),
        Object(list("99", &[], "")),
        Refusal(429, ""),
        Object(list("99", &[], "")),
    ]);
    script.push(Events(vec![event("DELETED", "a@13")], Open));
    let outcome = outcome(Start::After(5), script).await;
    let expected = [
        "applied a@6",
        "retried",
        "applied a@7",
        "progress 12",
        "retried",
        "retried",
        "retried",
        "deleted a@13",
    ];
    assert_eq!(outcome.changes, expected);
    let watches: Vec<_> = outcome.requests.iter().filter(|it| it.starts_with("watch")).collect();
    let versions: Vec<_> = watches.iter().map(|it| it.rsplit('=').next().unwrap()).collect();
    assert_eq!(versions, ["5", "6", "12", "12", "12"]);
}

#[tokio::test]
async fn a_version_without_history_ends_the_stream() {
    let current = || Object(list("99", &[], ""));
    for gone in [Refusal(410, ""), Events(vec![ScriptedServer::error(410, "")], Open)] {
        assert_eq!(outcome(Start::After(5), vec![current(), gone]).await.changes, ["expired"]);
    }
    let later = Events(vec![event("ADDED", "a@6"), ScriptedServer::error(410, "")], Open);
    assert_eq!(outcome(Start::After(5), vec![current(), later]).await.changes, ["applied a@6", "expired"]);
}

#[tokio::test]
async fn a_version_of_the_future_ends_the_stream_only_if_the_current_version_is_lower() {
    let restored = outcome(Start::After(500), vec![Object(list("99", &[], ""))]).await;
    assert_eq!(restored.changes, ["restored"]);
    let later = vec![
        Object(list("99", &[], "")),
        Events(vec![event("ADDED", "a@98")], Cut),
        Object(list("97", &[], "")),
    ];
    assert_eq!(outcome(Start::After(90), later).await.changes, ["applied a@98", "retried", "restored"]);
    for lagging in [Refusal(504, TOO_LARGE), Events(vec![ScriptedServer::error(504, TOO_LARGE)], Open)] {
        let script = vec![
            Object(list("500", &[], "")),
            lagging,
            Object(list("500", &[], "")),
            Events(vec![event("ADDED", "a@501")], Open),
        ];
        assert_eq!(outcome(Start::After(500), script).await.changes, ["retried", "applied a@501"]);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_is_skipped_for_good() {
    let bad = |kind, metadata| format!(r#"{{"type":"{kind}","object":{{"metadata":{metadata},"data":7}}}}"#);
    let named = r#"{"name":"bad","uid":"u1","resourceVersion":"7"}"#;
    let script = vec![
        Object(list("5", &[], "")),
        Events(
            vec![
                event("ADDED", "a@6"),
                bad("MODIFIED", named),
                bad("DELETED", r#"{"uid":"u2","resourceVersion":"8"}"#),
                bad("ADDED", "[]"),
            ],
            Cut,
        ),
        Object(list("9", &[], "")),
        Events(vec![event("ADDED", "b@9")], Open),
    ];
    let outcome = outcome(Start::Now, script).await;
    let expected = [
        "begin 5",
        "applied a@6",
        "unreadable u1 false",
        "unreadable u2 true",
        "unreadable  false",
        "retried",
        "applied b@9",
    ];
    assert_eq!(outcome.changes, expected);
    assert!(outcome.requests[3].ends_with("&resourceVersion=8"), "{:?}", outcome.requests);
}

#[tokio::test]
async fn an_object_of_a_page_that_cannot_be_decoded_is_skipped() {
    let page = list("5", &["a@1", "b@2"], "").replace(r#""data":{"name":"a"}"#, r#""data":7"#);
    let script = vec![Refusal(422, ""), Object(page), Events(vec![], Open)];
    let outcome = outcome(Start::List, script).await;
    assert_eq!(outcome.changes, ["list", "unreadable uid-a false", "listed b@2", "list end 5"]);
}

#[tokio::test]
async fn a_line_that_is_not_an_event_and_a_bad_version_are_retried() {
    for line in ["{}", "<html>", r#"{"type":"NEW","object":{}}"#, &bookmark("x")] {
        let script = vec![
            Object(list("5", &[], "")),
            Events(vec![line.to_owned(), event("ADDED", "lost@6")], Open),
            Object(list("6", &[], "")),
            Events(vec![event("ADDED", "a@6")], Open),
        ];
        assert_eq!(
            outcome(Start::Now, script).await.changes,
            ["begin 5", "retried", "applied a@6"],
            "{line}"
        );
    }
    let script = vec![Object(list("", &[], "")), Object(list("5", &[], "")), Events(vec![], Open)];
    assert_eq!(outcome(Start::Now, script).await.changes, ["retried", "begin 5"]);
}

#[tokio::test]
async fn a_connection_without_events_and_a_watch_that_ends_in_time_are_replaced_without_a_retry() {
    let idle = Pace { idle: Duration::from_millis(30), ..PACE };
    let ended = Pace { watch: Duration::ZERO, ..PACE };
    for (pace, end) in [(idle, Open), (ended, Finished)] {
        let script = vec![
            Object(list("5", &[], "")),
            Events(vec![event("ADDED", "a@6")], end),
            Object(list("6", &[], "")),
            Events(vec![event("ADDED", "b@7")], Open),
        ];
        let (server, mut stream) = serve(Start::Now, pace, script).await;
        for expected in ["begin 5", "applied a@6", "applied b@7"] {
            assert_eq!(words(&stream.next().await.unwrap()), expected);
        }
        assert!(server.requests()[3].ends_with("&resourceVersion=6"), "{:?}", server.requests());
    }
}

#[tokio::test]
async fn a_streaming_list_without_events_is_replaced_by_pages() {
    let pace = Pace { list: Duration::from_millis(30), ..PACE };
    let script = vec![
        Events(vec![event("ADDED", "a@4")], Open),
        Object(list("5", &["a@4"], "")),
        Events(vec![event("ADDED", "b@6")], Open),
    ];
    let (server, mut stream) = serve(Start::List, pace, script).await;
    for expected in ["list", "listed a@4", "retried", "list", "listed a@4", "list end 5", "applied b@6"] {
        assert_eq!(words(&stream.next().await.unwrap()), expected, "{:?}", server.requests());
    }
}

#[tokio::test]
async fn an_item_whose_future_is_dropped_is_not_lost() {
    let names: Vec<String> = (6..200).map(|version| format!("a@{version}")).collect();
    let events = names.iter().map(|name| event("MODIFIED", name)).collect();
    let (_server, mut stream) =
        serve(Start::Now, PACE, vec![Object(list("5", &[], "")), Events(events, Open)]).await;
    let mut received = vec![];
    while received.len() <= names.len() {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            change = stream.next() => received.push(words(&change.unwrap())),
        }
    }
    let expected: Vec<String> = names.iter().map(|name| format!("applied {name}")).collect();
    assert_eq!(received[1..], expected);
}
