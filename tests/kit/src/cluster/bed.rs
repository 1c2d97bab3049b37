//! One test's view of a shared cluster: namespaces of its own, and what is shown of them when it fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};

use super::Cluster;
use super::wait::eventually;

/// A test: an async function that borrows the bed, in a box.
pub type Test = for<'a> fn(&'a Bed) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A shared cluster as one test sees it.
pub struct Bed {
    cluster: Arc<Cluster>,
    name: String,
    namespaces: Mutex<Vec<String>>,
    shared: Mutex<Vec<String>>,
}

impl Deref for Bed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Bed {
    /// Runs one test and deletes its namespaces; a failure or panic comes back with what a person would look at.
    ///
    /// # Errors
    /// What the test failed with, and the state of its pods, its events and the ends of the servers' logs.
    pub async fn run(cluster: Arc<Cluster>, name: &str, test: Test) -> Result<(), String> {
        let bed = Arc::new(Self {
            cluster,
            name: name.to_owned(),
            namespaces: Mutex::default(),
            shared: Mutex::default(),
        });
        let tested = Arc::clone(&bed);
        let ended = tokio::spawn(async move { test(&tested).await }).await;
        let outcome = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}\n{}", bed.look_around())),
            Err(panic) => Err(format!("{panic}\n{}", bed.look_around())),
        };
        for namespace in bed.namespaces() {
            let _ = bed.all_namespaces().delete(&namespace, &DeleteParams::background()).await;
        }
        outcome
    }

    /// A new namespace with these labels in which pods can be created, deleted when the test has ended.
    ///
    /// # Errors
    /// When the API server refuses it or its ServiceAccount does not come.
    pub async fn scratch_namespace(&self, labels: &[(&str, &str)]) -> Result<String> {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = ObjectMeta {
            generate_name: Some(self.prefix()),
            labels: Some(labels.collect::<BTreeMap<_, _>>()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let created = self.all_namespaces().create(&PostParams::default(), &namespace).await?;
        let name = created.metadata.name.context("a namespace without a name")?;
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &name);
        // Without it the API server refuses pods.
        let what = format!("the default ServiceAccount of {name}");
        eventually(what, Duration::from_secs(30), || async { Ok(accounts.get("default").await?) }).await?;
        Ok(name)
    }

    /// Shows this namespace too when the test fails; it is not the test's own, and stays.
    pub fn look_into(&self, namespace: &str) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).push(namespace.to_owned());
    }

    fn prefix(&self) -> String {
        let last = self.name.rsplit("::").next().unwrap_or_default().replace('_', "-");
        format!("{}-", last.chars().take(40).collect::<String>().trim_matches('-'))
    }

    fn look_around(&self) -> String {
        let mut text = String::new();
        let mut ask = |question: &[&str]| {
            let answer = self.kubectl.run(question).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(text, "--- kubectl {}\n{answer}", question.join(" "));
        };
        ask(&["get", "pods", "--all-namespaces", "--output=wide"]);
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for namespace in self.namespaces().into_iter().chain(shared) {
            for question in QUESTIONS {
                ask(&[&["--namespace", &namespace], *question].concat());
            }
        }
        text + &self.log_tails()
    }

    fn namespaces(&self) -> Vec<String> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all_namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }
}

/// What is asked of every namespace of a failed test.
const QUESTIONS: &[&[&str]] = &[
    &["get", "all,endpointslices", "--output=wide"],
    &["describe", "pods"],
    &["get", "events", "--sort-by=.lastTimestamp"],
    // A selector is needed to ask for all pods; this one every pod satisfies.
    &["logs", "--selector=!no-such-label", "--all-containers", "--prefix", "--tail=20", "--ignore-errors"],
    &["logs", "--selector=!no-such-label", "--prefix", "--tail=20", "--ignore-errors", "--previous"],
];
