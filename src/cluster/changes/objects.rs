//! Requests for lists and watches of one kind of object.

use std::{error::Error, fmt, marker::PhantomData, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::{
    Api, Client, Resource,
    api::{ListParams, WatchEvent, WatchParams},
    core::{Request, Status},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use tokio::time::timeout;

use super::{decoded::Decoded, pace::WATCH_TIMEOUT};

/// The events of a connection.
pub(super) type Events<K> = BoxStream<'static, kube::Result<WatchEvent<Decoded<K>>>>;

/// The objects of an API that match a selector.
pub(super) struct ObjectSource<K> {
    client: Client,
    request: Request,
    selector: Option<String>,
    /// Maximum time until the API server answers.
    timeout: Duration,
    kind: PhantomData<fn() -> K>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct ObjectPage<T> {
    metadata: ListMeta,
    /// A list without objects can be null.
    items: Option<Vec<T>>,
}

/// Why a request or a connection failed.
#[derive(Debug)]
pub(super) enum WatchError {
    Request(kube::Error),
    /// The API server sent an error as an event.
    Event(Box<Status>),
    /// The API server sent a line that is not an event.
    NotAnEvent,
    Timeout,
    /// The API server closed the watch before its timeout.
    Closed,
    /// The resource version is not a number.
    Version(String),
}

/// As in client-go's pager.
const PAGE_SIZE: u32 = 500;

/// The version that a list or bookmark names.
pub(super) fn parse_version(version: Option<&str>) -> Result<u64, WatchError> {
    let version = version.unwrap_or_default();
    version.parse().map_err(|_| WatchError::Version(version.to_owned()))
}

// === impl ObjectSource ===

impl<K: Resource + Clone + DeserializeOwned + Send + 'static> ObjectSource<K> {
    pub(super) fn new(api: Api<K>, selector: &str, timeout: Duration) -> Self {
        let request = Request::new(api.resource_url());
        let selector = (!selector.is_empty()).then(|| selector.to_owned());
        Self { client: api.into_client(), request, selector, timeout, kind: PhantomData }
    }

    pub(super) fn url(&self) -> &str {
        &self.request.url_path
    }

    /// The current version, by a consistent read. Without the selector, which could make etcd search all objects for one
    /// that matches.
    pub(super) async fn version(&self) -> Result<u64, WatchError> {
        let request = self.request.list_metadata(&ListParams::default().limit(1));
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.answer(self.client.request::<ObjectPage<IgnoredAny>>(request)).await?.version()
    }

    /// The first page of a consistent list, or the page of a token.
    pub(super) async fn page(&self, token: Option<&str>) -> Result<ObjectPage<Decoded<K>>, WatchError> {
        let parameters = ListParams {
            label_selector: self.selector.clone(),
            limit: Some(PAGE_SIZE),
            continue_token: token.map(str::to_owned),
            ..ListParams::default()
        };
        let request = self.request.list(&parameters).map_err(kube::Error::BuildRequest)?;
        self.answer(self.client.request(request)).await
    }

    /// All changes after a version.
    pub(super) async fn watch(&self, version: u64) -> Result<Events<K>, WatchError> {
        self.events(false, &version.to_string()).await
    }

    /// A consistent list of all objects as events, and all changes after the list. An empty version asks for consistency,
    /// as no version does.
    pub(super) async fn streaming_list(&self) -> Result<Events<K>, WatchError> {
        self.events(true, "").await
    }

    async fn events(&self, send_initial_events: bool, version: &str) -> Result<Events<K>, WatchError> {
        let parameters = WatchParams {
            label_selector: self.selector.clone(),
            timeout: Some(WATCH_TIMEOUT),
            send_initial_events,
            ..WatchParams::default()
        };
        let request = self.request.watch(&parameters, version).map_err(kube::Error::BuildRequest)?;
        Ok(self.answer(self.client.request_events(request)).await?.boxed())
    }

    async fn answer<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, WatchError> {
        Ok(timeout(self.timeout, request).await.map_err(|_| WatchError::Timeout)??)
    }
}

// === impl ObjectPage ===

impl<T> ObjectPage<T> {
    pub(super) fn version(&self) -> Result<u64, WatchError> {
        parse_version(self.metadata.resource_version.as_deref())
    }

    /// The token of the next page; none for the last page.
    pub(super) fn next_token(&self) -> Option<String> {
        self.metadata.continue_.clone().filter(|token| !token.is_empty())
    }

    pub(super) fn objects(self) -> Vec<T> {
        self.items.unwrap_or_default()
    }
}

// === impl WatchError ===

impl WatchError {
    /// The HTTP status, also of an error that is an event.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Request(kube::Error::Api(status)) | Self::Event(status) => Some(status.code),
            _ => None,
        }
    }
}

impl From<kube::Error> for WatchError {
    fn from(error: kube::Error) -> Self {
        match error {
            // kube decodes every line that is not an event as a status, whose fields are all optional.
            kube::Error::Api(status) if status.code == 0 && status.message.is_empty() => Self::NotAnEvent,
            error => Self::Request(error),
        }
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Event(status) => status.fmt(f),
            Self::NotAnEvent => f.write_str("the API server sent a line that is not a watch event"),
            Self::Timeout => f.write_str("the API server does not answer"),
            Self::Closed => f.write_str("the API server closed the watch"),
            Self::Version(version) => write!(f, "the resource version {version:?} is not a number"),
        }
    }
}

impl Error for WatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Request(error) => Some(error),
            Self::Event(status) => Some(status),
            Self::NotAnEvent | Self::Timeout | Self::Closed | Self::Version(_) => None,
        }
    }
}
