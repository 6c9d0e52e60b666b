# Alpine: the same static binary, copied from next to this file.
FROM alpine:latest
COPY go-overlay /usr/local/bin/go-overlay
COPY services.toml /services.toml
RUN ["/usr/local/bin/go-overlay", "check", "/services.toml"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["/usr/local/bin/go-overlay", "health"]
ENTRYPOINT ["/usr/local/bin/go-overlay"]
