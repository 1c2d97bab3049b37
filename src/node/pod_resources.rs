//! Client of the kubelet's pod-resources API v1, which lists the devices of each container on the node.

pub(super) mod allocation;
mod error;
mod wire;

use std::{
    future,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time};
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{self, Channel, Endpoint, Uri},
};
use tower::service_fn;

pub(in crate::node) use self::error::{ListError, ListFailure};
use self::{
    allocation::PodAllocation,
    wire::{ListCodec, ListResponse},
};

/// The kubelet's pod-resources API.
#[derive(Debug)]
pub(super) struct PodResources {
    socket: PathBuf,
    timeout: Duration,
}

/// The socket below the kubelet root.
const SOCKET: &str = "pod-resources/kubelet.sock";

/// Timeout of a call, with the connection. The kubelet answers from memory. A third of the poll interval of 15 s leaves time
/// for the rest of the poll.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of bytes of an answer. 200 desktops with 8 replicas of a card each have 0.1 MB. A device plugin that counts memory
/// as devices lists much more, at most 4 MiB: the kubelet receives no larger message from a plugin. Kubernetes' own tests use the
/// same maximum.
const MAX_LIST_BYTES: usize = 16 << 20;

const LIST: &str = "/v1.PodResourcesLister/List";

// === impl PodResources ===

impl PodResources {
    /// The API of the kubelet whose files are in `kubelet_root`, usually `/var/lib/kubelet`.
    pub(super) fn new(kubelet_root: &Path) -> Self {
        Self { socket: kubelet_root.join(SOCKET), timeout: TIMEOUT }
    }

    /// The pods of the node with their devices. A pod without devices is listed too.
    ///
    /// * The list contains no UID. The kubelet of Kubernetes 1.33 also lists pods that have ended, without devices.
    /// * After its start the kubelet answers before it knows the pods of the API server. So a pod that is not listed may still have
    ///   devices.
    /// * The call `Get` gives the same entry for one pod by its name, without the release of the devices of ended pods
    ///   (`pkg/kubelet/apis/podresources/server_v1.go`), so the agent does not use it.
    ///
    /// # Errors
    /// Fails if the kubelet gives no valid list in time. The next call opens a new connection.
    pub(super) async fn list(&self) -> Result<Vec<PodAllocation>, ListError> {
        let list = time::timeout(self.timeout, self.call()).await;
        let list = list.map_err(|_| ListError::timeout(&self.socket, self.timeout))??;
        Ok(list.pods.into_iter().map(Into::into).collect())
    }

    /// Each call has its own connection, because a restart of the kubelet replaces the socket.
    async fn call(&self) -> Result<ListResponse, ListError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| ListError::connect(&self.socket, &error))?;
        list_over(stream).await.map_err(|status| ListError::call(&self.socket, &status))
    }
}

async fn list_over(stream: UnixStream) -> Result<ListResponse, Status> {
    let channel = channel(stream).await.map_err(|error| Status::from_error(error.into()))?;
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_LIST_BYTES);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let response = client.unary(Request::new(()), PathAndQuery::from_static(LIST), ListCodec).await?;
    Ok(response.into_inner())
}

/// A channel over `stream` that does not connect again. tonic's own `unix:` addresses must be UTF-8, and hide why a connection
/// failed.
async fn channel(stream: UnixStream) -> Result<Channel, transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector =
        service_fn(move |_: Uri| future::ready(stream.take().ok_or("the kubelet closed the connection")));
    Endpoint::from_static("http://kubelet").connect_with_connector(connector).await
}

#[cfg(test)]
mod tests;
