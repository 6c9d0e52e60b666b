# Debian, with go-overlay built from source in a first stage.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN make install DESTDIR=/out

FROM debian:bookworm-slim
COPY --from=build /out/usr/local/bin/go-overlay /usr/local/bin/go-overlay
COPY services.toml /services.toml
# A bad file fails the build instead of the start.
RUN ["/usr/local/bin/go-overlay", "check", "/services.toml"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["/usr/local/bin/go-overlay", "health"]
ENTRYPOINT ["/usr/local/bin/go-overlay"]
