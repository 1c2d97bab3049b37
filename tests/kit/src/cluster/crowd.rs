//! Many clients that create pods at once, or one after the other at a given pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Request;
use tokio::task::JoinSet;

/// One pod's creation, as its client saw it.
#[derive(Debug)]
pub struct Created {
    /// From the request to the whole answer.
    pub took: Duration,
    /// The pod as JSON, or why the API server refused it.
    pub answer: Result<String, String>,
}

/// Creates `pods` pods from `pod` by so many clients at once, each with the next as soon as the one before is answered.
///
/// # Errors
/// When a client ends by itself.
pub async fn at_once(
    client: &kube::Client,
    namespace: &str,
    pod: &str,
    clients: usize,
    pods: usize,
) -> Result<Vec<Created>> {
    let left = Arc::new(AtomicUsize::new(pods));
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (client, left, namespace, pod) =
            (client.clone(), Arc::clone(&left), namespace.to_owned(), pod.to_owned());
        crowd.spawn(async move {
            let mut created = vec![];
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                created.push(create(&client, &namespace, &pod).await);
            }
            created
        });
    }
    let mut created = vec![];
    while let Some(by_one) = crowd.join_next().await {
        created.extend(by_one?);
    }
    Ok(created)
}

/// Creates `pods` pods from `pod`, one every `interval` whether or not those before are answered.
///
/// # Errors
/// When a client ends by itself.
pub async fn at_pace(
    client: &kube::Client,
    namespace: &str,
    pod: &str,
    interval: Duration,
    pods: usize,
) -> Result<Vec<Created>> {
    let mut ticks = tokio::time::interval(interval);
    let mut crowd = JoinSet::new();
    for _ in 0..pods {
        ticks.tick().await;
        let (client, namespace, pod) = (client.clone(), namespace.to_owned(), pod.to_owned());
        crowd.spawn(async move { create(&client, &namespace, &pod).await });
    }
    let mut created = vec![];
    while let Some(one) = crowd.join_next().await {
        created.push(one?);
    }
    Ok(created)
}

async fn create(client: &kube::Client, namespace: &str, pod: &str) -> Created {
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods"))
        .header("content-type", "application/json")
        .body(pod.as_bytes().to_vec());
    let began = Instant::now();
    let answer = match request {
        Ok(request) => client.request_text(request).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Created { took: began.elapsed(), answer }
}
