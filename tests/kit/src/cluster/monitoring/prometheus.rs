//! A client of a running Prometheus' HTTP API.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The labels of a sample or target. `__name__` is one of them.
pub type Labels = BTreeMap<String, String>;

/// A client of one Prometheus.
#[derive(Clone)]
pub struct Prometheus {
    http: kube::Client,
}

/// A target that Prometheus scrapes or tries to scrape.
#[derive(Clone, Debug)]
pub struct Target {
    /// The labels of the target's series.
    pub labels: Labels,
    /// The URL that Prometheus scrapes.
    pub url: String,
    /// Whether the last scrape succeeded.
    pub up: bool,
    /// The error of the last scrape, or an empty string.
    pub error: String,
}

// === impl Prometheus ===

impl Prometheus {
    /// A client of the Prometheus at this URL.
    ///
    /// # Errors
    /// When the URL is not valid.
    pub fn at(url: &str) -> Result<Self> {
        let config = kube::Config::new(url.parse()?);
        Ok(Self { http: kube::Client::try_from(config)? })
    }

    /// The result of an instant query: each sample with its labels.
    ///
    /// # Errors
    /// When Prometheus rejects the query: its reason.
    pub async fn query(&self, promql: &str) -> Result<Vec<(Labels, f64)>> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", promql).finish();
        let data = self.get(&format!("query?{query}")).await.with_context(|| format!("query {promql}"))?;
        match data["resultType"].as_str() {
            Some("vector") => array(&data["result"])
                .map(|sample| Ok((labels(&sample["metric"]), value(&sample["value"])?)))
                .collect(),
            Some("scalar") => Ok(vec![(Labels::new(), value(&data["result"])?)]),
            other => bail!("query {promql}: a result of type {other:?}"),
        }
    }

    /// All active targets.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn targets(&self) -> Result<Vec<Target>> {
        let data = self.get("targets?state=active").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let target = |target: &Value| Target {
            labels: labels(&target["labels"]),
            url: text(&target["scrapeUrl"]),
            up: target["health"] == "up",
            error: text(&target["lastError"]),
        };
        Ok(array(&data["activeTargets"]).map(target).collect())
    }

    /// All loaded rules in Prometheus' own format: `name`, `query`, `health`, `state`, `alerts`.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get("rules").await?;
        Ok(array(&data["groups"]).flat_map(|group| array(&group["rules"])).cloned().collect())
    }

    /// Whether Prometheus is ready.
    ///
    /// # Errors
    /// When it is not.
    pub async fn readiness(&self) -> Result<()> {
        let request = http::Request::get("/-/ready").body(Vec::new())?;
        Ok(self.http.request_text(request).await.map(drop)?)
    }

    pub(super) async fn reload(&self) -> Result<()> {
        let request = http::Request::post("/-/reload").body(Vec::new())?;
        Ok(self.http.request_text(request).await.map(drop)?)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = http::Request::get(format!("/api/v1/{path}")).body(Vec::new())?;
        let mut answer: Value = self.http.request(request).await?;
        Ok(answer["data"].take())
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// The number of a pair of time and text.
fn value(pair: &Value) -> Result<f64> {
    Ok(pair[1].as_str().context("a sample without a value")?.parse()?)
}
