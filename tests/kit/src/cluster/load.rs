//! Load on the API server: many clients that create pods concurrently, or pods that are created at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Request;
use tokio::task::JoinSet;

/// The creation of one pod, as the client sees it.
#[derive(Debug)]
pub struct Created {
    /// The time from the request to the end of the response.
    pub took: Duration,
    /// The pod as JSON, or the API server's reason for rejecting it.
    pub answer: Result<String, String>,
}

/// Creates `pods` pods from `pod` with several concurrent clients. Each client sends a request after the previous response.
///
/// # Errors
/// When a client's task panics.
pub async fn create_concurrently(
    client: &kube::Client,
    namespace: &str,
    pod: &str,
    clients: usize,
    pods: usize,
) -> Result<Vec<Created>> {
    let left = Arc::new(AtomicUsize::new(pods));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (client, left, namespace, pod) =
            (client.clone(), Arc::clone(&left), namespace.to_owned(), pod.to_owned());
        tasks.spawn(async move {
            let mut created = vec![];
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                created.push(create(&client, &namespace, &pod).await);
            }
            created
        });
    }
    let mut created = vec![];
    while let Some(of_one_client) = tasks.join_next().await {
        created.extend(of_one_client?);
    }
    Ok(created)
}

/// Creates `pods` pods from `pod`, one per `interval`, without waiting for earlier responses.
///
/// # Errors
/// When a client's task panics.
pub async fn create_at_rate(
    client: &kube::Client,
    namespace: &str,
    pod: &str,
    interval: Duration,
    pods: usize,
) -> Result<Vec<Created>> {
    let mut interval = tokio::time::interval(interval);
    let mut tasks = JoinSet::new();
    for _ in 0..pods {
        interval.tick().await;
        let (client, namespace, pod) = (client.clone(), namespace.to_owned(), pod.to_owned());
        tasks.spawn(async move { create(&client, &namespace, &pod).await });
    }
    let mut created = vec![];
    while let Some(one) = tasks.join_next().await {
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
