//! What can be typed, as a table: help, completions and the check of words read it. What the words
//! mean is said in `arguments`; a test holds the two together.

/// What follows an option, or a subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A file's path.
    File,
    /// A directory's path.
    Directory,
    /// Free text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The name of a service.
    Service,
    /// A signal by its name or number.
    Signal,
}

/// The positional words of a subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// One of each, in this order, or fewer.
    Each(&'static [Value]),
    /// Any number of one kind.
    Many(Value),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// Its value's kind, and the name that help gives it; None for a switch.
    pub value: Option<(Value, &'static str)>,
    pub about: &'static str,
}

/// One subcommand.
#[derive(Debug)]
pub(super) struct Spec {
    pub name: &'static str,
    /// What follows it in help.
    pub words: &'static str,
    pub about: &'static str,
    pub flags: &'static [Flag],
    pub takes: Takes,
    /// Whole command lines.
    pub examples: &'static [&'static str],
}

impl Flag {
    /// Its letter, with the dash.
    pub fn short(&self) -> Option<&'static str> {
        let found = SHORT.iter().find(|(_, long)| *long == self.name);
        found.map(|(short, _)| *short)
    }

    /// Every form in which it can be typed.
    pub fn forms(&self) -> impl Iterator<Item = &'static str> {
        self.short().into_iter().chain([self.name])
    }
}

const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag {
        name,
        value: None,
        about,
    }
}

const fn option(
    name: &'static str,
    value: Value,
    shown: &'static str,
    about: &'static str,
) -> Flag {
    Flag {
        name,
        value: Some((value, shown)),
        about,
    }
}

const NOTHING: Takes = Takes::Each(&[]);

/// One letter, for what fingers know.
pub(super) const SHORT: [(&str, &str); 5] = [
    ("-h", "--help"),
    ("-V", "--version"),
    ("-f", "--follow"),
    ("-n", "--lines"),
    ("-t", "--timestamps"),
];

const JSON: Flag = switch("--json", "as JSON");
const ALL: Flag = switch("--all", "every service");
const NO_WAIT: Flag = switch("--no-wait", "do not wait for the outcome");
const TIMEOUT: Flag = option(
    "--timeout",
    Value::Text,
    "DURATION",
    "give up waiting after this long (10, 500ms, 1m30s)",
);
const DIR: Flag = option(
    "--dir",
    Value::Directory,
    "DIR",
    "where (default: /usr/local/bin)",
);

/// Options that any call takes, before or after the subcommand.
pub(super) const GLOBAL: [Flag; 7] = [
    option(
        "--config",
        Value::File,
        "FILE",
        "configuration (default: /services.toml)",
    ),
    option(
        "--socket",
        Value::File,
        "PATH",
        "control socket (default: /run/go-overlay/control.sock)",
    ),
    option(
        "--color",
        Value::OneOf(&["auto", "always", "never"]),
        "WHEN",
        "auto, always or never",
    ),
    switch("--debug", "enable debug output of the daemon"),
    switch("--no-install", "do not put a symlink into PATH"),
    switch("--version", "print the version (-V)"),
    switch("--help", "print this, or a command's own help (-h)"),
];

/// Every subcommand, in the groups that help shows.
pub(super) const GROUPS: [(&str, &[Spec]); 3] = [
    ("Look", &LOOK),
    ("Change", &CHANGE),
    ("Without a daemon", &OFFLINE),
];

const LOOK: [Spec; 6] = [
    Spec {
        name: "list",
        words: "",
        about: "every service with its state",
        flags: &[JSON],
        takes: NOTHING,
        examples: &["go-overlay list", "go-overlay list --json"],
    },
    Spec {
        name: "status",
        words: "[SERVICE]",
        about: "the counts, or everything about one service",
        flags: &[JSON],
        takes: Takes::Each(&[Value::Service]),
        examples: &["go-overlay status", "go-overlay status web"],
    },
    Spec {
        name: "logs",
        words: "[SERVICE…]",
        about: "the last output of services, from memory",
        flags: &[
            switch("--follow", "go on with what comes (-f)"),
            option(
                "--lines",
                Value::Text,
                "N",
                "the last N lines of each service (-n)",
            ),
            option(
                "--since",
                Value::Text,
                "DURATION",
                "not older than this (30s, 5m, 1h)",
            ),
            option("--grep", Value::Text, "TEXT", "lines that hold this text"),
            switch("--timestamps", "with the time of each line (-t)"),
            switch("--json", "one JSON object a line"),
        ],
        takes: Takes::Many(Value::Service),
        examples: &[
            "go-overlay logs -n 20 web",
            "go-overlay logs -f --since 5m --grep error",
        ],
    },
    Spec {
        name: "events",
        words: "[SERVICE…]",
        about: "what has happened to services, and why",
        flags: &[
            switch("--follow", "go on with what comes (-f)"),
            option("--lines", Value::Text, "N", "the last N events (-n)"),
            switch("--json", "one JSON object a line"),
        ],
        takes: Takes::Many(Value::Service),
        examples: &["go-overlay events -n 20 web", "go-overlay events -f --json"],
    },
    Spec {
        name: "health",
        words: "",
        about: "exit 0 when all is up (for HEALTHCHECK)",
        flags: &[JSON],
        takes: NOTHING,
        examples: &["HEALTHCHECK CMD [\"/usr/local/bin/go-overlay\", \"health\"]"],
    },
    Spec {
        name: "wait",
        words: "SERVICE --for CONDITION",
        about: "wait until it is running, healthy, …",
        flags: &[
            option(
                "--for",
                Value::OneOf(&["running", "healthy", "stopped", "completed"]),
                "CONDITION",
                "running, healthy, stopped or completed",
            ),
            TIMEOUT,
            JSON,
        ],
        takes: Takes::Each(&[Value::Service]),
        examples: &[
            "go-overlay wait db --for healthy --timeout 30s",
            "go-overlay wait migrate --for completed",
        ],
    },
];

const CHANGE: [Spec; 6] = [
    Spec {
        name: "start",
        words: "SERVICE…",
        about: "start services and what they depend on",
        flags: &[ALL, NO_WAIT, TIMEOUT, JSON],
        takes: Takes::Many(Value::Service),
        examples: &[
            "go-overlay start web worker",
            "go-overlay start --all --timeout 1m",
        ],
    },
    Spec {
        name: "stop",
        words: "SERVICE…",
        about: "stop services",
        flags: &[ALL, NO_WAIT, TIMEOUT, JSON],
        takes: Takes::Many(Value::Service),
        examples: &["go-overlay stop web", "go-overlay stop --all --no-wait"],
    },
    Spec {
        name: "restart",
        words: "SERVICE…",
        about: "stop services and start them again",
        flags: &[
            ALL,
            switch("--with-dependents", "what depends on them too"),
            NO_WAIT,
            TIMEOUT,
            JSON,
        ],
        takes: Takes::Many(Value::Service),
        examples: &[
            "go-overlay restart web worker",
            "go-overlay restart db --with-dependents --timeout 1m",
        ],
    },
    Spec {
        name: "signal",
        words: "SERVICE SIGNAL",
        about: "send a signal to a service's main process",
        flags: &[],
        takes: Takes::Each(&[Value::Service, Value::Signal]),
        examples: &[
            "go-overlay signal nginx HUP",
            "go-overlay signal web SIGUSR1",
            "go-overlay signal web 9",
        ],
    },
    Spec {
        name: "reload",
        words: "",
        about: "read the configuration again and go over to it",
        flags: &[switch("--dry-run", "only print what would be done"), JSON],
        takes: NOTHING,
        examples: &["go-overlay reload --dry-run", "go-overlay reload"],
    },
    Spec {
        name: "shutdown",
        words: "",
        about: "stop everything and end the daemon",
        flags: &[option(
            "--exit-code",
            Value::Text,
            "N",
            "the daemon's exit code",
        )],
        takes: NOTHING,
        examples: &["go-overlay shutdown", "go-overlay shutdown --exit-code 3"],
    },
];

const OFFLINE: [Spec; 6] = [
    Spec {
        name: "check",
        words: "[FILE]",
        about: "check a configuration and show the start order",
        flags: &[JSON],
        takes: Takes::Each(&[Value::File]),
        examples: &["go-overlay check", "go-overlay check services.toml --json"],
    },
    Spec {
        name: "schedule",
        words: "--expression TEXT",
        about: "show when a cron expression is due",
        flags: &[
            option(
                "--expression",
                Value::Text,
                "TEXT",
                "such as \"0 3 * * *\"; may be repeated",
            ),
            option(
                "--timezone",
                Value::Text,
                "ZONE",
                "Europe/Berlin, UTC, … (default: local)",
            ),
            option(
                "--after",
                Value::Text,
                "TIME",
                "2027-03-27T12:00:00Z (default: now)",
            ),
            option("--lines", Value::Text, "N", "the next N times (-n; 5)"),
            switch("--json", "an array of times (RFC 3339)"),
        ],
        takes: NOTHING,
        examples: &[
            "go-overlay schedule --expression \"*/15 9-17 * * MON-FRI\"",
            "go-overlay schedule --expression @daily --timezone Asia/Tokyo -n 3",
        ],
    },
    Spec {
        name: "install",
        words: "",
        about: "put a symlink to this program into PATH",
        flags: &[DIR],
        takes: NOTHING,
        examples: &[
            "/opt/go-overlay install",
            "/opt/go-overlay install --dir /usr/bin",
        ],
    },
    Spec {
        name: "uninstall",
        words: "",
        about: "remove the symlink",
        flags: &[DIR],
        takes: NOTHING,
        examples: &["go-overlay uninstall"],
    },
    Spec {
        name: "completions",
        words: "SHELL",
        about: "print a completion script for bash, zsh or fish",
        flags: &[],
        takes: Takes::Each(&[Value::OneOf(&["bash", "zsh", "fish"])]),
        examples: &[
            "eval \"$(go-overlay completions bash)\"",
            "source <(go-overlay completions zsh)",
            "go-overlay completions fish | source",
        ],
    },
    Spec {
        name: "version",
        words: "",
        about: "print the version, and the daemon's where one runs",
        flags: &[JSON],
        takes: NOTHING,
        examples: &["go-overlay version --json"],
    },
];

/// Every subcommand, in the order of help.
pub(super) fn all() -> impl Iterator<Item = &'static Spec> + Clone {
    GROUPS.iter().flat_map(|(_, specs)| specs.iter())
}

/// The subcommand of this name.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    all().find(|spec| spec.name == name)
}
