//! A gRPC server on a Unix socket, in the place of the kubelet's. This is hyper's HTTP/2 server: the feature `server` of tonic
//! changes how tonic's client reports errors, so the tests would not see the errors of the agent.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs, future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{
    HeaderMap, Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    header::HeaderValue,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use super::super::{LIST, PodResources, SOCKET};

/// A folder with the layout of a kubelet root.
pub(super) struct KubeletRoot(TempDir);

/// A server that listens until it is dropped. Like a killed kubelet, it leaves its socket.
pub(super) struct Kubelet(JoinHandle<()>);

/// The server's answer to each call.
pub(super) enum Answer {
    /// A message, and the code OK.
    Message(Vec<u8>),
    /// A code and its message.
    Error(&'static str, &'static str),
    /// A message, and then neither a code nor the end of the connection.
    Unfinished(Vec<u8>),
}

/// A body of frames that are known.
struct FrameBody {
    frames: VecDeque<Frame<Bytes>>,
    ends: bool,
}

// === impl KubeletRoot ===

impl KubeletRoot {
    pub(super) fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        fs::create_dir(root.socket().parent().unwrap()).unwrap();
        root
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path().join(SOCKET)
    }

    pub(super) fn client(&self) -> PodResources {
        PodResources::new(self.path())
    }

    /// Replaces the socket, as a kubelet does when it starts.
    pub(super) fn bind(&self) -> UnixListener {
        let _ = fs::remove_file(self.socket());
        UnixListener::bind(self.socket()).unwrap()
    }

    pub(super) fn start(&self, answer: Answer) -> Kubelet {
        let listener = self.bind();
        let answer = Arc::new(answer);
        Kubelet(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        }))
    }
}

// === impl Kubelet ===

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers the calls of one connection until the client closes it.
pub(super) async fn serve(stream: UnixStream, answer: Arc<Answer>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&answer)));
    // The client closes the connection in the middle of an answer that it does not accept.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    mut request: Request<Incoming>,
    answer: Arc<Answer>,
) -> Result<Response<FrameBody>, Infallible> {
    let message = future::poll_fn(|context| Pin::new(request.body_mut()).poll_frame(context)).await;
    let message = message.unwrap().unwrap().into_data().unwrap();
    assert_eq!(request.uri().path(), LIST);
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(&message[..], [0; 5], "an empty message that is not compressed");
    Ok(response(&answer))
}

fn response(answer: &Answer) -> Response<FrameBody> {
    let (headers, frames, ends) = match answer {
        Answer::Message(message) => {
            (HeaderMap::new(), vec![data(message), Frame::trailers(code("0", ""))], true)
        }
        Answer::Error(number, text) => (code(number, text), vec![], true),
        Answer::Unfinished(message) => (HeaderMap::new(), vec![data(message)], false),
    };
    let mut response = Response::new(FrameBody { frames: frames.into(), ends });
    *response.headers_mut() = headers;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn code(number: &'static str, text: &'static str) -> HeaderMap {
    let field = |name, value| (name, HeaderValue::from_static(value));
    [field("grpc-status", number), field("grpc-message", text)]
        .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value))
        .into_iter()
        .collect()
}

/// The message behind its length, not compressed.
fn data(message: &[u8]) -> Frame<Bytes> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Frame::data([&[0], &length[..], message].concat().into())
}

// === impl FrameBody ===

impl Body for FrameBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop_front() {
            None if !self.ends => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }
}
