# Builds the three images: `docker buildx build --target server .`, `--target sidecar` and `--target node`, with
# `--platform linux/amd64,linux/arm64` for both platforms. The compiler always runs on the builder's own platform. The folder
# images/ lists the files of each image.
#
# Each image has a program and its glibc libraries, and no shell. The sidecar and the node agent need glibc, because they open the
# driver's library, which uses glibc. The server could be static, but then its TLS library would need a musl compiler for each
# platform, and the tests would not run the program that is shipped. No image needs CA certificates: the sidecar opens no
# connections, the node agent connects only to the kubelet's socket, and the server connects only to the API server, whose CA is
# mounted with its token.
ARG RUST=1.95.0-slim-bookworm

# The platform of the image. Its libraries are copied; none of its programs is run.
FROM rust:${RUST} AS platform

FROM --platform=$BUILDPLATFORM rust:${RUST} AS toolchain
ARG TARGETARCH
# Overrides rust-toolchain.toml, which requests components that an image does not need.
ENV RUSTUP_TOOLCHAIN=$RUST_VERSION \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu compiler=gcc-x86-64-linux-gnu ;; \
      arm64) triple=aarch64-unknown-linux-gnu compiler=gcc-aarch64-linux-gnu ;; \
      *) echo "no image for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    echo "$triple" >/triple; \
    if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then \
      rustup target add "$triple"; \
      apt-get update; \
      apt-get install -y --no-install-recommends "$compiler" "libc6-dev-$TARGETARCH-cross"; \
      rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /source
COPY . .

# Builds each program with its own feature only: with the server's feature the sidecar is 50 % larger.
FROM toolchain AS server-files
ARG VDI_METRICS_REVISION=unknown
RUN --mount=type=cache,id=vdi-metrics-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=vdi-metrics-target,target=/source/target \
    --mount=type=bind,from=platform,target=/platform \
    touch build.rs src/lib.rs \
    && cargo build --locked --target "$(cat /triple)" --release --no-default-features --features webhook --bin vdi-metrics \
    && images/rootfs images/server.list "target/$(cat /triple)/release/vdi-metrics" /rootfs /platform

FROM toolchain AS sidecar-files
ARG VDI_METRICS_REVISION=unknown
RUN --mount=type=cache,id=vdi-metrics-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=vdi-metrics-target,target=/source/target \
    --mount=type=bind,from=platform,target=/platform \
    touch build.rs src/lib.rs \
    && cargo build --locked --target "$(cat /triple)" --profile sidecar --no-default-features --features sidecar --bin vdi-metrics-sidecar \
    && images/rootfs images/sidecar.list "target/$(cat /triple)/sidecar/vdi-metrics-sidecar" /rootfs /platform

FROM toolchain AS node-files
ARG VDI_METRICS_REVISION=unknown
RUN --mount=type=cache,id=vdi-metrics-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=vdi-metrics-target,target=/source/target \
    --mount=type=bind,from=platform,target=/platform \
    touch build.rs src/lib.rs \
    && cargo build --locked --target "$(cat /triple)" --profile sidecar --no-default-features --features node --bin vdi-metrics-node \
    && images/rootfs images/node.list "target/$(cat /triple)/sidecar/vdi-metrics-node" /rootfs /platform

FROM scratch AS server
ARG VDI_METRICS_REVISION=unknown
LABEL org.opencontainers.image.title="vdi-metrics server" \
      org.opencontainers.image.description="Adds the metrics sidecar to desktop pods and counts sessions" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${VDI_METRICS_REVISION}"
COPY --from=server-files /rootfs /
USER 65532:65532
ENTRYPOINT ["/vdi-metrics"]

FROM scratch AS sidecar
ARG VDI_METRICS_REVISION=unknown
LABEL org.opencontainers.image.title="vdi-metrics sidecar" \
      org.opencontainers.image.description="Exposes which GPU a desktop session has and how much of it the session uses" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${VDI_METRICS_REVISION}"
COPY --from=sidecar-files /rootfs /
USER 65532:65532
ENTRYPOINT ["/vdi-metrics-sidecar"]

FROM scratch AS node
ARG VDI_METRICS_REVISION=unknown
LABEL org.opencontainers.image.title="vdi-metrics node agent" \
      org.opencontainers.image.description="Reads the GPUs of a node once for all desktop sessions on it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${VDI_METRICS_REVISION}"
COPY --from=node-files /rootfs /
# Only root can enter the kubelet's folders.
USER 0:0
ENTRYPOINT ["/vdi-metrics-node"]
