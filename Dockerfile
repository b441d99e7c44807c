FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked -p tributary

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/dist/tributary /usr/local/bin/tributary
USER 65532:65532
VOLUME /var/lib/tributary
ENTRYPOINT ["/usr/local/bin/tributary"]
CMD ["run"]
