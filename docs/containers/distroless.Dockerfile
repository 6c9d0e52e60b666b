# Distroless: no shell, no package manager, an unprivileged user.
FROM gcr.io/distroless/static-debian12:nonroot
COPY go-overlay /usr/local/bin/go-overlay
COPY app /app
COPY services.toml /services.toml
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["/usr/local/bin/go-overlay", "health"]
ENTRYPOINT ["/usr/local/bin/go-overlay"]
