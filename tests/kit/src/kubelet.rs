//! A server of the kubelet's pod-resources API: gRPC on a Unix socket. This is hyper's HTTP/2 server: the feature `server` of tonic
//! changes how tonic's client reports errors, so the tests would not see the errors of the agent.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

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
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

const SOCKET: &str = "pod-resources/kubelet.sock";

const LIST: &str = "/v1.PodResourcesLister/List";

/// A server that listens until it is dropped. Like a killed kubelet, it leaves its socket.
pub struct Kubelet(JoinHandle<()>);

/// The server's answer to each call.
pub enum Answer {
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

/// The socket below the kubelet root.
pub fn socket(root: &Path) -> PathBuf {
    root.join(SOCKET)
}

/// Replaces the socket, as a kubelet does when it starts.
pub fn bind(root: &Path) -> UnixListener {
    let socket = socket(root);
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&socket);
    UnixListener::bind(socket).unwrap()
}

// === impl Kubelet ===

impl Kubelet {
    /// Starts a server that gives this answer to each call. `root` is the kubelet root.
    pub fn start(root: &Path, answer: Answer) -> Self {
        let (listener, answer) = (bind(root), Arc::new(answer));
        Self(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers the calls of one connection until the client closes it.
pub async fn serve(stream: UnixStream, answer: Arc<Answer>) {
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
