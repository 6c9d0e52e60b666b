# Nothing but the binary, a static program and what they read.
FROM scratch
COPY go-overlay /go-overlay
COPY app /app
COPY services.toml /services.toml
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["/go-overlay", "health"]
ENTRYPOINT ["/go-overlay"]
