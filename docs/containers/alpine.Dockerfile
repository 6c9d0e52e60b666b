# Alpine: the same static binary, copied from beside this file.
FROM alpine:latest
COPY go-overlay /go-overlay
COPY services.toml /services.toml
RUN ["/go-overlay", "check", "/services.toml"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["/go-overlay", "health"]
ENTRYPOINT ["/go-overlay"]
