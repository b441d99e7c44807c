# docker build -t tributary .        or        buildah bud --layers --format docker -t tributary .
# (without `--format docker` buildah makes an OCI image, which cannot hold the HEALTHCHECK)

FROM rust:1.95-bookworm AS build
WORKDIR /src
# The dependencies are a layer of their own, built with empty packages: it stays while Cargo.lock and the manifests do.
COPY Cargo.toml Cargo.lock ./
COPY connectors/Cargo.toml connectors/
COPY simulator/Cargo.toml simulator/
RUN mkdir -p src connectors/src simulator/src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs connectors/src/lib.rs simulator/src/lib.rs \
 && cargo build --profile dist --locked -p tributary
COPY src src
COPY connectors/src connectors/src
COPY simulator/src simulator/src
COPY packaging packaging
# Cargo goes by time: the real files may be older than the empty ones.
RUN touch src/main.rs src/lib.rs connectors/src/lib.rs simulator/src/lib.rs \
 && cargo build --profile dist --locked -p tributary \
 && packaging/rootfs.sh target/dist/tributary /rootfs \
 && test "$(du -sm /rootfs | cut -f1)" -le 40

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tributary" \
      org.opencontainers.image.description="Keeps a faithful local copy of what your security tools say" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /rootfs /
# Where the root is read-only, the volume is the one place for temporary files too (`tributary demo` makes some).
ENV PATH=/usr/local/bin TMPDIR=/var/lib/tributary
USER 65532:65532
VOLUME /var/lib/tributary
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/local/bin/tributary", "health"]
ENTRYPOINT ["/usr/local/bin/tributary"]
CMD ["run"]
