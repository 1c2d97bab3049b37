//! Changes of objects with resource versions: where a list ends, what a bookmark covers, and whether the API server can
//! continue from a version.

mod decoded;
mod objects;
mod pace;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt::Debug, mem};

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use kube::{
    Api, Resource,
    api::WatchEvent,
    core::watch::{Bookmark, BookmarkMeta},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use decoded::Decoded;
use objects::{Events, ObjectSource, WatchError};
use pace::Pace;

/// Where a stream of changes begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the current version, without the objects that exist.
    Now,
    /// With all objects that exist.
    List,
    /// With the first change after this version.
    After(u64),
}

/// An item of a stream of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// The current version; every later change follows. First item of [`Start::Now`].
    Begin(u64),
    /// A list begins. A list that breaks has no [`Change::ListEnd`]; another `ListBegin` follows.
    ListBegin,
    /// An object of the list. If the object changes during the list, it comes again.
    Listed(K),
    /// The list is complete: the items since the last [`Change::ListBegin`] are the state at this version.
    ListEnd(u64),
    /// An object was created or changed, or matches the selector now.
    Applied(K),
    /// The final state of an object that was deleted or does not match the selector any more. Can also come during a
    /// list, for an object that was listed.
    Deleted(K),
    /// An object that cannot be decoded as `K`. The stream logs and skips it: a retry would receive it again, and never
    /// anything later. Can also come during a list, which then lacks this object.
    Unreadable {
        /// UID of the object; empty if even that cannot be decoded.
        uid: String,
        /// Whether the object was deleted.
        deleted: bool,
    },
    /// A bookmark: all changes up to this version were returned.
    Progress(u64),
    /// A request failed or a connection broke. The stream tries again after a delay.
    Retried,
    /// Last item: the API server has no history since the last version. The caller starts a new stream.
    Expired,
    /// Last item: the API server's current version is lower than the last version, for example after a restore of
    /// etcd. The caller starts a new stream.
    Restored,
}

/// Changes of the objects that match a label selector; an empty selector matches every object. The stream retries every
/// error, with a growing delay, and ends only after [`Change::Expired`] and [`Change::Restored`]. A caller may drop the
/// future of an item, as `tokio::select!` does, without losing the item.
///
/// The client of `api` should send each request once: retries inside the client are neither logged nor returned.
pub fn changes<K>(
    api: Api<K>,
    selector: &str,
    start: Start,
) -> impl Stream<Item = Change<K>> + Send + Unpin + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    paced(api, selector, start, Pace::DEFAULT)
}

fn paced<K>(api: Api<K>, selector: &str, start: Start, pace: Pace) -> BoxStream<'static, Change<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let changes = ChangeStream {
        source: ObjectSource::new(api, selector, pace.request),
        state: match start {
            Start::Now => StreamState::Now,
            Start::List => StreamState::StreamingList,
            Start::After(_) => StreamState::Check,
        },
        version: if let Start::After(version) = start { version } else { 0 },
        ready: VecDeque::new(),
        failures: 0,
        broken_lists: 0,
        is_paused: false,
        pace,
    };
    let next = |mut changes: ChangeStream<K>| async move { Some((changes.next().await?, changes)) };
    stream::unfold(changes, next).boxed()
}

struct ChangeStream<K> {
    source: ObjectSource<K>,
    state: StreamState<K>,
    /// All changes up to this version were returned or are in `ready`.
    version: u64,
    ready: VecDeque<Change<K>>,
    /// Consecutive failures.
    failures: u32,
    broken_lists: u32,
    /// Whether a delay comes before the next request.
    is_paused: bool,
    pace: Pace,
}

/// What the stream does next.
enum StreamState<K> {
    /// Read the current version.
    Now,
    StreamingList,
    /// Read a page of a list: the first one, or the page of a token.
    Page(Option<String>),
    /// Compare the last version with the current one. A watch after a version of the future is not refused: the API
    /// server skips all changes up to this version.
    Check,
    Connect,
    Read {
        events: Events<K>,
        since: Instant,
        is_list: bool,
    },
    Ended,
}

/// Streaming lists that may break before the stream uses pages. A proxy or the API server may not support the end of a
/// streaming list.
const MAX_BROKEN_LISTS: u32 = 3;

/// Annotation of the bookmark that ends a streaming list.
const LIST_END: &str = "k8s.io/initial-events-end";

// === impl ChangeStream ===

impl<K> ChangeStream<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn next(&mut self) -> Option<Change<K>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            if matches!(self.state, StreamState::Ended) {
                return None;
            }
            if mem::take(&mut self.is_paused) {
                sleep(self.pace.delay(self.failures)).await;
            }
            if let Err(error) = self.advance().await {
                self.recover(&error);
            }
        }
    }

    async fn advance(&mut self) -> Result<(), WatchError> {
        match &mut self.state {
            StreamState::Now => {
                self.version = self.source.version().await?;
                self.ready.push_back(Change::Begin(self.version));
                self.state = StreamState::Connect;
            }
            StreamState::StreamingList => self.begin_list().await?,
            StreamState::Page(token) => {
                let token = token.clone();
                self.read_page(token).await?;
            }
            StreamState::Check => {
                if self.source.version().await? < self.version {
                    self.end(Change::Restored);
                } else {
                    self.state = StreamState::Connect;
                }
            }
            StreamState::Connect => {
                let events = self.source.watch(self.version).await?;
                self.state = StreamState::Read { events, since: Instant::now(), is_list: false };
            }
            StreamState::Read { .. } => self.read().await?,
            StreamState::Ended => {}
        }
        Ok(())
    }

    async fn begin_list(&mut self) -> Result<(), WatchError> {
        match self.source.streaming_list().await {
            Ok(events) => {
                self.ready.push_back(Change::ListBegin);
                self.state = StreamState::Read { events, since: Instant::now(), is_list: true };
            }
            Err(error) if matches!(error.code(), Some(400 | 422)) => self.state = StreamState::Page(None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn read_page(&mut self, token: Option<String>) -> Result<(), WatchError> {
        let page = self.source.page(token.as_deref()).await?;
        if token.is_none() {
            self.version = page.version()?;
            self.ready.push_back(Change::ListBegin);
        }
        self.failures = 0;
        let next = page.next_token();
        for object in page.objects() {
            let listed = self.read_object(object, false, Change::Listed);
            self.ready.push_back(listed);
        }
        self.state = if next.is_some() {
            StreamState::Page(next)
        } else {
            self.ready.push_back(Change::ListEnd(self.version));
            StreamState::Connect
        };
        Ok(())
    }

    /// Reads an event of the open connection.
    async fn read(&mut self) -> Result<(), WatchError> {
        let StreamState::Read { events, since, is_list } = &mut self.state else { return Ok(()) };
        let (is_list, end) = (*is_list, *since + self.pace.watch);
        let idle = if is_list { self.pace.list } else { self.pace.idle };
        match timeout(idle, events.next()).await {
            Ok(Some(event)) => self.receive(event.map_err(WatchError::from)?, is_list),
            Ok(None) if is_list || Instant::now() + pace::MARGIN < end => Err(WatchError::Closed),
            Err(_) if is_list => Err(WatchError::Timeout),
            Ok(None) | Err(_) => {
                self.state = StreamState::Check;
                Ok(())
            }
        }
    }

    fn receive(&mut self, event: WatchEvent<Decoded<K>>, is_list: bool) -> Result<(), WatchError> {
        let (object, deleted, change): (_, _, fn(K) -> Change<K>) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object, false, if is_list { Change::Listed } else { Change::Applied })
            }
            WatchEvent::Deleted(object) => (object, true, Change::Deleted),
            WatchEvent::Bookmark(Bookmark { metadata, .. }) => {
                return self.receive_bookmark(&metadata, is_list);
            }
            WatchEvent::Error(status) => return Err(WatchError::Event(status)),
        };
        self.failures = 0;
        // The objects of a list are not ordered by version.
        if let Some(version) = object.version().filter(|_| !is_list) {
            self.version = self.version.max(version);
        }
        let change = self.read_object(object, deleted, change);
        self.ready.push_back(change);
        Ok(())
    }

    fn receive_bookmark(&mut self, bookmark: &BookmarkMeta, is_list: bool) -> Result<(), WatchError> {
        let version = objects::parse_version(Some(&bookmark.resource_version))?;
        self.failures = 0;
        if !is_list {
            self.version = self.version.max(version);
            self.ready.push_back(Change::Progress(version));
        } else if bookmark.annotations.contains_key(LIST_END) {
            self.version = version;
            self.broken_lists = 0;
            self.ready.push_back(Change::ListEnd(version));
            if let StreamState::Read { is_list, .. } = &mut self.state {
                *is_list = false;
            }
        }
        Ok(())
    }

    fn read_object(&self, object: Decoded<K>, deleted: bool, change: fn(K) -> Change<K>) -> Change<K> {
        match object {
            Decoded::Object(object) => change(object),
            Decoded::Unreadable(object, error) => {
                let (url, namespace, name) = (self.source.url(), &object.namespace, &object.name);
                tracing::error!(%error, url, namespace, name, "Cannot decode an object; skipping it");
                Change::Unreadable { uid: object.uid, deleted }
            }
        }
    }

    /// Decides how to continue after an error.
    fn recover(&mut self, error: &WatchError) {
        let code = error.code();
        if matches!(&self.state, StreamState::Read { since, .. } if since.elapsed() > self.pace.max_delay) {
            self.failures = 0;
        }
        self.state = match mem::replace(&mut self.state, StreamState::Ended) {
            StreamState::Connect | StreamState::Read { is_list: false, .. } if code == Some(410) => {
                return self.end(Change::Expired);
            }
            StreamState::Connect | StreamState::Read { is_list: false, .. } => StreamState::Check,
            StreamState::Read { is_list: true, .. } => {
                self.broken_lists += 1;
                if self.broken_lists < MAX_BROKEN_LISTS && !matches!(error, WatchError::Timeout) {
                    StreamState::StreamingList
                } else {
                    StreamState::Page(None)
                }
            }
            // The token is refused: it has expired, or another API server issued it.
            StreamState::Page(Some(_)) if matches!(code, Some(400 | 410)) => StreamState::Page(None),
            state => state,
        };
        let (url, version) = (self.source.url(), self.version);
        tracing::warn!(%error, url, version, "Cannot watch objects; retrying");
        self.failures = self.failures.saturating_add(1);
        self.is_paused = true;
        self.ready.push_back(Change::Retried);
    }

    fn end(&mut self, last: Change<K>) {
        self.state = StreamState::Ended;
        self.ready.push_back(last);
    }
}
