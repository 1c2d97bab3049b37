//! Who may read the server's metrics: the API server's own reviews of its own tokens.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::cluster::{Cluster, Parts, TestCluster, eventually};
use vdi_metrics::metrics_access::READER_ROLE;

use crate::support::{
    account_tokens::{API_SERVER, Account},
    common::{MINUTE, TWO_MINUTES, root},
    out_of_cluster_server::{WebhookServer, registered, shipped_rights},
    own_control_plane::{NOT_OPTED_IN, control_plane},
    processes,
};

tests![
    only_a_valid_token_of_a_user_with_the_right_reads_the_metrics,
    a_token_for_another_audience_is_not_valid,
    the_shipped_scraper_reads_the_metrics,
    a_flood_and_a_paused_api_server_expose_nothing_and_do_not_stop_a_scraper,
];

/// How long the server uses the API server's answer about a token with the right, and a margin.
const ALLOWED_TTL: Duration = Duration::from_secs(60 + 15);

async fn only_a_valid_token_of_a_user_with_the_right_reads_the_metrics(cluster: &TestCluster) -> Result<()> {
    let server = checking_tokens(cluster, "vdi-metrics-tokens", &[]).await?;
    let namespace = cluster.scratch_namespace(&[]).await?;
    let account = Account::create(cluster, &namespace, "scraper")?;
    let token = account.token(None)?;
    ensure!(server.scrape(None)?.status == 401, "without a token");
    becomes(&server, "garbage", 401).await?;
    let forbidden = becomes(&server, &token, 403).await?;
    ensure!(forbidden.contains(&account.user()) && forbidden.contains(READER_ROLE), "{forbidden}");

    account.bind(&namespace, READER_ROLE)?;
    let page = becomes(&server, &token, 200).await?;
    ensure!(page.contains("vdi_metrics_build_info"), "{page}");
    let (past, future) = (SystemTime::now() - MINUTE, SystemTime::now() + MINUTE);
    becomes(&server, &account.signed(API_SERVER, future)?, 200).await?;
    becomes(&server, &account.signed(API_SERVER, past)?, 401).await?;
    becomes(&server, &account.signed("elsewhere", future)?, 401).await?;

    let removed = Instant::now();
    cluster.kubectl.run(&["delete", "clusterrolebinding", &namespace])?;
    becomes(&server, &token, 403).await?;
    ensure!(removed.elapsed() < ALLOWED_TTL, "the right is lost after {:?}", removed.elapsed());
    Ok(())
}

async fn a_token_for_another_audience_is_not_valid(cluster: &TestCluster) -> Result<()> {
    let server =
        checking_tokens(cluster, "vdi-metrics-audience", &["--metrics-audience", "vdi-metrics"]).await?;
    let namespace = cluster.scratch_namespace(&[]).await?;
    let account = Account::create(cluster, &namespace, "scraper")?;
    account.bind(&namespace, READER_ROLE)?;
    becomes(&server, &account.token(None)?, 401).await?;
    becomes(&server, &account.token(Some("elsewhere"))?, 401).await?;
    becomes(&server, &account.token(Some("vdi-metrics"))?, 200).await?;
    cluster.kubectl.run(&["delete", "clusterrolebinding", &namespace]).map(drop)
}

/// The ServiceAccount, the Secret and the binding for the shipped monitor. The token in a Secret is for the audience of the API
/// server, and ends with the Secret.
async fn the_shipped_scraper_reads_the_metrics(cluster: &TestCluster) -> Result<()> {
    let server = checking_tokens(cluster, "vdi-metrics-scraper", &[]).await?;
    let manifest = root().join("manifests/monitoring/scraper.yaml").display().to_string();
    cluster.kubectl.run(&["apply", "--filename", &manifest])?;
    let data = "--output=jsonpath={.data.token}";
    let secret = ["get", "secret", "vdi-metrics-scraper-token", "--namespace", "vdi-metrics", data];
    let token = eventually("Kubernetes has written the token", MINUTE, || async {
        let token = BASE64_STANDARD.decode(cluster.kubectl.run(&secret)?)?;
        ensure!(!token.is_empty(), "no token");
        Ok(String::from_utf8(token)?)
    })
    .await?;
    becomes(&server, &token, 200).await?;
    let audience = ["--metrics-audience", "vdi-metrics"];
    let other = checking_tokens(cluster, "vdi-metrics-scraper-audience", &audience).await?;
    becomes(&other, &token, 401).await?;

    let deleted = Instant::now();
    cluster.kubectl.run(&["delete", "secret", "vdi-metrics-scraper-token", "--namespace", "vdi-metrics"])?;
    becomes(&server, &token, 401).await?;
    ensure!(deleted.elapsed() < ALLOWED_TTL, "the token has an effect for {:?}", deleted.elapsed());
    Ok(())
}

/// On a control plane of its own, because other tests must not wait for a paused API server.
async fn a_flood_and_a_paused_api_server_expose_nothing_and_do_not_stop_a_scraper(
    _: &TestCluster,
) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let rights = shipped_rights(&cluster)?;
    let server = WebhookServer::start_with(&cluster, "vdi-metrics", &rights, &[]).await?;
    let account = Account::create(&cluster, NOT_OPTED_IN, "scraper")?;
    account.bind("scraper", READER_ROLE)?;
    let token = account.token(None)?;
    becomes(&server, &token, 200).await?;

    let (before, began) = (token_reviews(&cluster)?, Instant::now());
    for number in 0..300 {
        let status = server.scrape(Some(&format!("bad{number}")))?.status;
        ensure!([401, 429].contains(&status), "bad token {number}: {status}");
        ensure!(server.scrape(Some(&token))?.status == 200, "the scraper after bad token {number}");
    }
    // A burst of 5, then one per second, and one renewal for the scraper.
    let most = (5 + 1 + began.elapsed().as_secs() + 1) as f64;
    let reviews = token_reviews(&cluster)? - before;
    ensure!((5.0..=most).contains(&reviews), "{reviews} reviews in {:?}", began.elapsed());

    let paused = processes::api_server(&cluster)?.pause()?;
    ensure!(server.scrape(Some(&token))?.status == 200, "a cached answer");
    let answer = becomes(&server, "another", 503).await?;
    ensure!(answer.contains("the API server does not check tokens"), "{answer}");
    drop(paused);
    becomes(&server, &account.token(None)?, 200).await.map(drop)
}

/// A server that checks tokens, with the shipped rights.
async fn checking_tokens(
    cluster: &TestCluster,
    name: &'static str,
    arguments: &[&str],
) -> Result<WebhookServer> {
    let registered = registered(cluster).await?;
    WebhookServer::start_with(cluster, name, &registered.kubeconfig, arguments).await
}

/// Waits until a request with this token gets this status, and returns the body. The server may still sign in, it caches a
/// rejection for 5 s and a permission for 60 s, and it limits the rate of new tokens.
async fn becomes(server: &WebhookServer, token: &str, status: u16) -> Result<String> {
    eventually(format!("a request with {token:.20} gets {status}"), TWO_MINUTES, || async {
        let response = server.scrape(Some(token))?;
        ensure!(response.status == status, "{}: {}", response.status, response.body);
        Ok(response.body)
    })
    .await
}

/// The TokenReviews that the API server has answered.
fn token_reviews(cluster: &Cluster) -> Result<f64> {
    let page = cluster.kubectl.run(&["get", "--raw", "/metrics"])?;
    let lines = page.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let reviews = lines.filter(|line| line.contains("resource=\"tokenreviews\""));
    let values = reviews.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()));
    values.sum::<Option<f64>>().context("a count that is no number")
}
