//! The shipped alert rule, every query of the shipped dashboard and every query of the documentation, run in the real Prometheus
//! about sessions with an expected result.

use std::{
    fs,
    io::{BufRead, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use kit::cluster::{Assets, Labels, TestCluster, eventually};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::common::{MINUTE, TWO_MINUTES, root};
use crate::support::desktops::{DESKTOP_IMAGE, desktop};
use crate::support::installation::{GPU, UTILIZATION, installed, session_namespace};
use crate::support::node_pods::create;
use crate::support::server_metrics;

tests![
    servers_and_sidecar_are_scraped,
    the_server_shows_its_metrics_only_to_a_reader,
    a_failed_session_raises_the_alert,
    every_dashboard_panel_shows_the_session,
    every_query_of_the_gpu_page_has_its_result,
    promtool_accepts_the_rules_and_the_metrics,
];

async fn servers_and_sidecar_are_scraped(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    eventually("servers and sidecar are scraped", MINUTE, || async {
        let targets = cluster.prometheus()?.targets().await?;
        for (label, value, number) in [("namespace", &*namespace, 1), ("service", "vdi-metrics-webhook", 2)] {
            let targets =
                targets.iter().filter(|target| target.labels.get(label).is_some_and(|it| it == value));
            let targets: Vec<_> = targets.collect();
            ensure!(targets.len() == number, "{label} {value}: {targets:?}");
            for target in targets {
                ensure!(target.up, "{}: {}", target.url, target.error);
            }
        }
        Ok(())
    })
    .await
}

/// Prometheus sends the token in the Secret of the shipped monitor. Its own ServiceAccount has the right too, as in
/// kube-prometheus-stack.
async fn the_server_shows_its_metrics_only_to_a_reader(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    eventually("Prometheus reads the metrics with a token", MINUTE, || async {
        let query = "vdi_metrics_scrape_checks_total{service=\"vdi-metrics-webhook\", result=\"allowed\"}";
        let allowed = cluster.prometheus()?.query(query).await?;
        ensure!(allowed.len() == 2 && allowed.iter().all(|(_, scrapes)| *scrapes > 0.0), "{allowed:?}");
        Ok(())
    })
    .await?;
    let token = ["create", "token", "--namespace"];
    let prometheus = cluster.kubectl.run(&[&token[..], &["monitoring", "prometheus"]].concat())?;
    let default = cluster.kubectl.run(&[&token[..], &["vdi-metrics", "default"]].concat())?;
    let scraper = server_metrics::scraper_token(cluster).await?;
    for (token, expected) in [
        (Some(&*scraper), Ok("vdi_metrics_build_info")),
        (Some(prometheus.trim()), Ok("vdi_metrics_build_info")),
        (
            Some(default.trim()),
            Err("user \"system:serviceaccount:vdi-metrics:default\" may not read /metrics"),
        ),
        (Some("garbage"), Err("the token is not valid")),
        (None, Err("send a ServiceAccount's token")),
    ] {
        let page = server_metrics::page(cluster, token).await.map_err(|error| format!("{error:#}"));
        match (&page, expected) {
            (Ok(text), Ok(part)) | (Err(text), Err(part)) => ensure!(text.contains(part), "{part}: {page:?}"),
            _ => bail!("{page:?} and not {expected:?}"),
        }
    }
    Ok(())
}

async fn a_failed_session_raises_the_alert(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    // 10 s are long enough for Prometheus to scrape the counter at zero, which `increase` needs as its start.
    create(cluster, &namespace, desktop_of_template(&namespace, &["exit", "3", "10"])).await?;
    let failing = format!("template=\"{namespace}\"");
    let rule =
        format!("max by (template, reason) (increase(vdi_session_failures_total{{{failing}}}[10m])) > 0");
    let labels = eventually("the failure is counted", MINUTE, || async {
        cluster.prometheus()?.query(&rule).await?.pop().map(|(labels, _)| labels).context("no sample")
    })
    .await?;
    ensure!(labels.get("reason").is_some_and(|reason| reason == "error"), "{labels:?}");
    let alert = format!("ALERTS{{alertname=\"VDISessionFailures\", alertstate=\"firing\", {failing}}}");
    eventually("the alert fires", TWO_MINUTES, || async {
        let firing = cluster.prometheus()?.query(&alert).await?;
        ensure!(firing.len() == 1, "{firing:?}");
        Ok(())
    })
    .await?;
    let rules = cluster.prometheus()?.rules().await?;
    let product_rules: Vec<_> =
        rules.iter().filter(|rule| rule["name"].as_str().unwrap_or_default().starts_with("VDI")).collect();
    ensure!(
        !product_rules.is_empty() && product_rules.iter().all(|rule| rule["health"] == "ok"),
        "{product_rules:?}"
    );
    Ok(())
}

/// The utilization in DCGM's series for the same GPU. The DCGM exporter of this test serves only one fixed page.
const DCGM_PERCENT: f64 = 41.0;

async fn every_dashboard_panel_shows_the_session(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    start_dcgm_exporter(cluster, &namespace).await?;
    let mut running = desktop_of_template(&namespace, &["sleep"]);
    running["metadata"]["name"] = json!("running");
    create(cluster, &namespace, running).await?;
    // This session ends after 20 s, which is long enough for Prometheus to scrape its bucket at zero.
    create(cluster, &namespace, desktop_of_template(&namespace, &["exit", "0", "20"])).await?;

    let is = |expected: f64| move |value: f64| (value - expected).abs() < 1e-9;
    for (panel, query, label, expected) in [
        (
            "Active Sessions",
            0,
            None,
            Box::new(|count| count >= 1.0) as Box<dyn Fn(f64) -> bool + Send + Sync>,
        ),
        ("Sessions by Template", 0, Some(("template", namespace.as_str())), Box::new(|count| count >= 1.0)),
        ("GPU Utilization", 0, Some(("pod", "running")), Box::new(is(UTILIZATION))),
        ("GPU Utilization", 1, Some(("pod", "running")), Box::new(is(DCGM_PERCENT / 100.0))),
        // A session of slightly more than 20 s: its P95 is in the bucket up to one minute.
        (
            "Session P95 Duration",
            0,
            Some(("template", namespace.as_str())),
            Box::new(|p95| p95 > 0.0 && p95 <= 60.0),
        ),
    ] {
        let query = panel_query(panel, query, &namespace)?;
        let matches = |labels: &Labels| {
            label.is_none_or(|(name, value)| labels.get(name).is_some_and(|is| is == value))
        };
        eventually(format!("panel {panel:?} shows the session: {query}"), TWO_MINUTES, || async {
            let samples = cluster.prometheus()?.query(&query).await?;
            let shown =
                samples.iter().find(|(labels, _)| matches(labels)).context("no series with this label")?;
            ensure!(expected(shown.1), "{shown:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Parts of queries that have no result for the session of the test: it has no problem, and its node has no agent.
const WITHOUT_RESULT: [&str; 5] =
    ["vdi_metrics_node_", "vdi_gpu_", "reason!=\"not_given\"", "< 36", "confidence=\"none\""];

/// Runs the queries of `docs/gpu.md`.
async fn every_query_of_the_gpu_page_has_its_result(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop_of_template(&namespace, &["sleep"])).await?;
    let page = fs::read_to_string(root().join("docs/gpu.md"))?;
    let queries: Vec<_> =
        page.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let is_of_test =
        |labels: &Labels| [labels.get("namespace"), labels.get("template")].contains(&Some(&namespace));
    for query in &queries {
        let expects_a_result = !WITHOUT_RESULT.iter().any(|part| query.contains(part));
        eventually(format!("the expected result of {query}"), TWO_MINUTES, || async {
            let samples = cluster.prometheus()?.query(query.trim()).await?;
            let of_test = samples.iter().filter(|(labels, _)| is_of_test(labels)).count();
            ensure!((of_test == 1) == expects_a_result, "{of_test} samples of this test: {samples:?}");
            Ok(())
        })
        .await?;
    }
    ensure!(!queries.is_empty(), "the page has no query");
    Ok(())
}

/// A query of the shipped dashboard as Grafana sends it, for one namespace.
fn panel_query(panel: &str, query: usize, namespace: &str) -> Result<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(root().join("dashboards/vdi-sessions.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let panel = panels
        .iter()
        .find(|candidate| candidate["title"] == panel)
        .with_context(|| format!("no panel {panel:?}"))?;
    let query = panel["targets"][query]["expr"].as_str().context("no query")?;
    let filled =
        [("$__rate_interval", "5m"), ("$cluster", ".*"), ("$namespace", namespace), ("$template", ".*")]
            .into_iter()
            .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value));
    // Any remaining `$` must be a group of a regular expression, such as $1.
    let is_variable = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
    ensure!(!filled.split('$').skip(1).any(is_variable), "a variable without a value: {filled}");
    Ok(filled)
}

async fn start_dcgm_exporter(cluster: &TestCluster, namespace: &str) -> Result<()> {
    let page = format!(
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{{gpu=\"0\",UUID=\"{GPU}\"}} {DCGM_PERCENT}\n"
    );
    let mut exporter = desktop(&["serve", "9400", &page]);
    exporter["metadata"] =
        json!({"name": "dcgm-exporter", "labels": {"app": "dcgm-exporter", key::INJECT: key::DISABLED}});
    exporter["spec"]["containers"][0]["image"] = json!(DESKTOP_IMAGE);
    exporter["spec"]["containers"][0]["ports"] = json!([{"name": "metrics", "containerPort": 9400}]);
    create(cluster, namespace, exporter).await?;
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"name": "dcgm-exporter", "namespace": namespace, "labels": {"release": "prometheus"}},
        "spec": {"selector": {"matchLabels": {"app": "dcgm-exporter"}}, "podMetricsEndpoints": [{"port": "metrics"}]},
    });
    cluster.kubectl.apply(&monitor.to_string())?;
    Ok(())
}

/// The first version of the product gave this gauge a counter's name, and the name stays for its users.
const LINT_EXCEPTION: &str = "vdi_sessions_total non-counter metrics should not have \"_total\" suffix";

async fn promtool_accepts_the_rules_and_the_metrics(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    let promtool = Assets::find()?.map_err(anyhow::Error::msg)?.binary("promtool");
    check_rules(&promtool)?;
    let server = eventually("metrics of the server", MINUTE, || async {
        let token = server_metrics::scraper_token(cluster).await?;
        server_metrics::page(cluster, Some(&token)).await
    })
    .await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/desktop:9478/proxy/metrics");
    let sidecar = eventually(format!("metrics at {path}"), MINUTE, || async {
        cluster.kubectl.run(&["get", "--raw", &path])
    })
    .await?;
    for (program, page) in [("server", server), ("sidecar", sidecar)] {
        let complaints = lint(&promtool, &page)?;
        ensure!(complaints.iter().all(|complaint| complaint == LINT_EXCEPTION), "{program}: {complaints:?}");
    }
    Ok(())
}

/// Checks the shipped rules and runs their unit tests.
fn check_rules(promtool: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shipped: Value =
        serde_saphyr::from_str(&fs::read_to_string(root().join("manifests/monitoring/rules.yaml"))?)?;
    fs::write(folder.path().join("rules.yaml"), shipped["spec"].to_string())?;
    let run = |arguments: &[&str]| -> Result<()> {
        let output = Command::new(promtool).current_dir(&folder).args(arguments).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        Ok(())
    };
    run(&["check", "rules", "rules.yaml"])?;
    for test in fs::read_dir(root().join("tests/rules"))? {
        let test = test?;
        fs::copy(test.path(), folder.path().join(test.file_name()))?;
        run(&["test", "rules", &test.file_name().to_string_lossy()])?;
    }
    Ok(())
}

fn lint(promtool: &Path, page: &str) -> Result<Vec<String>> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("promtool has no input")?.write_all(page.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok([output.stdout, output.stderr].concat().lines().collect::<std::io::Result<_>>()?)
}

fn desktop_of_template(template: &str, arguments: &[&str]) -> Value {
    let mut pod = desktop(arguments);
    pod["metadata"]["labels"][key::TEMPLATE] = json!(template);
    pod
}
