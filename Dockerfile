# Both images: `docker buildx build --target server .` and `--target sidecar`, with `--platform linux/amd64,linux/arm64` for
# both platforms. Compiled on the builder's own platform whatever the image is for. What is in an image is listed in images/.
#
# Both are glibc on nothing: a program, its libraries, no shell. The sidecar must be, because it opens the driver's glibc
# library; the server could be static, but for that its TLS library wants a musl compiler for each platform, and what runs
# in the tests would no longer be what is shipped. Neither needs CA certificates: the sidecar calls nobody, and the server
# only the API server, whose CA is mounted with its token.
ARG RUST=1.95.0-slim-bookworm

# The platform of the image: its libraries are read, nothing of it is run.
FROM rust:${RUST} AS platform

FROM --platform=$BUILDPLATFORM rust:${RUST} AS toolchain
ARG TARGETARCH
# By the environment, because rust-toolchain.toml asks for components that an image does not need.
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

# Each program with its own feature alone: with both, the sidecar is half as large again.
FROM toolchain AS server-files
ARG VDI_METRICS_REVISION=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=bind,from=platform,target=/platform \
    cargo build --locked --target "$(cat /triple)" --release --no-default-features --features webhook --bin vdi-metrics \
    && images/rootfs images/server.list "target/$(cat /triple)/release/vdi-metrics" /rootfs /platform

FROM toolchain AS sidecar-files
ARG VDI_METRICS_REVISION=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=bind,from=platform,target=/platform \
    cargo build --locked --target "$(cat /triple)" --profile sidecar --no-default-features --features sidecar --bin vdi-metrics-sidecar \
    && images/rootfs images/sidecar.list "target/$(cat /triple)/sidecar/vdi-metrics-sidecar" /rootfs /platform

FROM scratch AS server
ARG VDI_METRICS_REVISION=unknown
LABEL org.opencontainers.image.title="vdi-metrics server" \
      org.opencontainers.image.description="Gives desktop pods their metrics sidecar and counts sessions" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${VDI_METRICS_REVISION}"
COPY --from=server-files /rootfs /
USER 65532:65532
ENTRYPOINT ["/vdi-metrics"]

FROM scratch AS sidecar
ARG VDI_METRICS_REVISION=unknown
LABEL org.opencontainers.image.title="vdi-metrics sidecar" \
      org.opencontainers.image.description="Says which GPU a desktop session holds and how much of it it uses" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${VDI_METRICS_REVISION}"
COPY --from=sidecar-files /rootfs /
USER 65532:65532
ENTRYPOINT ["/vdi-metrics-sidecar"]
