//! What people see: the shipped rule and every query of the shipped dashboard, asked of the real Prometheus about a
//! session of which the answer is known.

use std::{
    fs,
    io::{BufRead, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use kit::cluster::{Assets, Bed, Labels, eventually};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::product::{
    DESKTOP, GPU, MINUTE, TWO_MINUTES, UTILIZATION, create, desktop, installed, root, session_namespace,
};

tests![
    every_target_of_ours_is_up,
    a_failed_session_raises_the_alert,
    every_panel_shows_what_the_run_did,
    every_question_is_answered,
    promtool_accepts_what_is_shipped_and_what_is_shown,
];

async fn every_target_of_ours_is_up(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    eventually("server and sidecar are scraped", MINUTE, || async {
        let targets = bed.prometheus()?.targets().await?;
        for (wanted, label) in [(&namespace, "namespace"), (&"vdi-metrics-webhook".to_owned(), "service")] {
            let target = targets.iter().find(|target| target.labels.get(label) == Some(wanted));
            let target = target.with_context(|| format!("no target with {label} {wanted}"))?;
            ensure!(target.up, "{}: {}", target.url, target.error);
        }
        Ok(())
    })
    .await
}

async fn a_failed_session_raises_the_alert(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    // Long enough that Prometheus sees the counter at zero first: `increase` starts there.
    create(bed, &namespace, of_template(&namespace, &["exit", "3", "10"])).await?;
    let failing = format!("template=\"{namespace}\"");
    let rule =
        format!("max by (template, reason) (increase(vdi_session_failures_total{{{failing}}}[10m])) > 0");
    let labels = eventually("the failure is counted", MINUTE, || async {
        bed.prometheus()?.query(&rule).await?.pop().map(|(labels, _)| labels).context("no sample")
    })
    .await?;
    ensure!(labels.get("reason").is_some_and(|reason| reason == "error"), "{labels:?}");
    let alert = format!("ALERTS{{alertname=\"VDISessionFailures\", alertstate=\"firing\", {failing}}}");
    eventually("the alert fires", TWO_MINUTES, || async {
        let firing = bed.prometheus()?.query(&alert).await?;
        ensure!(firing.len() == 1, "{firing:?}");
        Ok(())
    })
    .await?;
    let rules = bed.prometheus()?.rules().await?;
    let ours: Vec<_> =
        rules.iter().filter(|rule| rule["name"].as_str().unwrap_or_default().starts_with("VDI")).collect();
    ensure!(!ours.is_empty() && ours.iter().all(|rule| rule["health"] == "ok"), "{ours:?}");
    Ok(())
}

/// DCGM's own series for the same GPU, from an exporter that is nothing but this page.
const DCGM_PERCENT: f64 = 41.0;

async fn every_panel_shows_what_the_run_did(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    expose_dcgm(bed, &namespace).await?;
    let mut lives = of_template(&namespace, &["sleep"]);
    lives["metadata"]["name"] = json!("lives");
    create(bed, &namespace, lives).await?;
    // Ends after 20 s; long enough for its bucket to be seen at zero.
    create(bed, &namespace, of_template(&namespace, &["exit", "0", "20"])).await?;

    let is = |wanted: f64| move |value: f64| (value - wanted).abs() < 1e-9;
    for (panel, query, label, expected) in [
        (
            "Active Sessions",
            0,
            None,
            Box::new(|count| count >= 1.0) as Box<dyn Fn(f64) -> bool + Send + Sync>,
        ),
        ("Sessions by Template", 0, Some(("template", namespace.as_str())), Box::new(|count| count >= 1.0)),
        ("GPU Utilization", 0, Some(("pod", "lives")), Box::new(is(UTILIZATION))),
        ("GPU Utilization", 1, Some(("pod", "lives")), Box::new(is(DCGM_PERCENT / 100.0))),
        // One session of 20 s and a little: its P95 lies in the bucket up to a minute.
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
        eventually(format!("panel {panel:?} shows the run: {query}"), TWO_MINUTES, || async {
            let samples = bed.prometheus()?.query(&query).await?;
            let shown = samples.iter().find(|(labels, _)| matches(labels)).context("no such series")?;
            ensure!(expected(shown.1), "{shown:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// What the page on GPUs says to ask. What it asks for sessions that are not well is empty.
async fn every_question_is_answered(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, of_template(&namespace, &["sleep"])).await?;
    let page = fs::read_to_string(root().join("docs/gpu.md"))?;
    let questions: Vec<_> =
        page.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let is_ours =
        |labels: &Labels| [labels.get("namespace"), labels.get("template")].contains(&Some(&namespace));
    for (number, question) in questions.iter().enumerate() {
        let is_of_the_well = ![2, 4].contains(&number);
        eventually(format!("an answer to {question}"), TWO_MINUTES, || async {
            let found = bed.prometheus()?.query(question.trim()).await?;
            let ours = found.iter().filter(|(labels, _)| is_ours(labels)).count();
            ensure!((ours == 1) == is_of_the_well, "{ours} of ours: {found:?}");
            Ok(())
        })
        .await?;
    }
    ensure!(questions.len() == 5, "{} questions: say which of them are of the well", questions.len());
    Ok(())
}

/// A query of the shipped dashboard as Grafana would send it, for one namespace.
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
    // What is left may only be a group of a regular expression, such as $1.
    let left = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
    ensure!(!filled.split('$').skip(1).any(left), "a variable without value: {filled}");
    Ok(filled)
}

async fn expose_dcgm(bed: &Bed, namespace: &str) -> Result<()> {
    let page = format!(
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{{gpu=\"0\",UUID=\"{GPU}\"}} {DCGM_PERCENT}\n"
    );
    let mut exporter = desktop(&["serve", "9400", &page]);
    exporter["metadata"] =
        json!({"name": "dcgm-exporter", "labels": {"app": "dcgm-exporter", key::INJECT: key::DISABLED}});
    exporter["spec"]["containers"][0]["image"] = json!(DESKTOP);
    exporter["spec"]["containers"][0]["ports"] = json!([{"name": "metrics", "containerPort": 9400}]);
    create(bed, namespace, exporter).await?;
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"name": "dcgm-exporter", "namespace": namespace, "labels": {"release": "prometheus"}},
        "spec": {"selector": {"matchLabels": {"app": "dcgm-exporter"}}, "podMetricsEndpoints": [{"port": "metrics"}]},
    });
    bed.kubectl.apply(&monitor.to_string())?;
    Ok(())
}

/// Named by the product's seed and kept for its users: a gauge with a counter's name.
const LINT_EXCEPTION: &str = "vdi_sessions_total non-counter metrics should not have \"_total\" suffix";

async fn promtool_accepts_what_is_shipped_and_what_is_shown(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    let promtool = Assets::find()?.map_err(anyhow::Error::msg)?.binary("promtool");
    rules_pass(&promtool)?;
    let server =
        "/api/v1/namespaces/vdi-metrics/services/https:vdi-metrics-webhook:8443/proxy/metrics".to_owned();
    let sidecar = format!("/api/v1/namespaces/{namespace}/pods/desktop:9478/proxy/metrics");
    for path in [server, sidecar] {
        let page = eventually(format!("a page at {path}"), MINUTE, || async {
            bed.kubectl.run(&["get", "--raw", &path])
        })
        .await?;
        let complaints = lint(&promtool, &page)?;
        ensure!(complaints.iter().all(|complaint| complaint == LINT_EXCEPTION), "{path}: {complaints:?}");
    }
    Ok(())
}

/// Checks the shipped rules, and runs their unit tests on them.
fn rules_pass(promtool: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shipped: Value =
        serde_saphyr::from_str(&fs::read_to_string(root().join("manifests/monitoring/rules.yaml"))?)?;
    fs::write(folder.path().join("rules.yaml"), shipped["spec"].to_string())?;
    let run = |arguments: &[&str]| -> Result<()> {
        let output = Command::new(promtool).current_dir(&folder).args(arguments).output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
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

fn of_template(template: &str, arguments: &[&str]) -> Value {
    let mut pod = desktop(arguments);
    pod["metadata"]["labels"][key::TEMPLATE] = json!(template);
    pod
}
