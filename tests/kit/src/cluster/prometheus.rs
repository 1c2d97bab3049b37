//! Questions to a running Prometheus, over its HTTP API.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A sample's or target's labels, with `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// A client of one Prometheus.
#[derive(Clone)]
pub struct Prometheus {
    http: kube::Client,
}

/// What Prometheus scrapes, or tries to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The labels its series get.
    pub labels: Labels,
    /// The address that is scraped.
    pub url: String,
    /// Whether the last scrape succeeded.
    pub up: bool,
    /// What went wrong in the last scrape, or nothing.
    pub error: String,
}

impl Prometheus {
    pub(super) fn at(url: &str) -> Result<Self> {
        let config = kube::Config::new(url.parse()?);
        Ok(Self { http: kube::Client::try_from(config)? })
    }

    /// The result of an instant query, each sample with its labels.
    ///
    /// # Errors
    /// When Prometheus does not accept the query, with its reason.
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

    /// All targets that are scraped now.
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

    /// All rules that are loaded, as Prometheus describes them: `name`, `query`, `health`, `state`, `alerts`.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get("rules").await?;
        Ok(array(&data["groups"]).flat_map(|group| array(&group["rules"])).cloned().collect())
    }

    pub(super) async fn readiness(&self) -> Result<()> {
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

/// A value is a pair of time and text.
fn value(pair: &Value) -> Result<f64> {
    Ok(pair[1].as_str().context("a sample without a value")?.parse()?)
}
