//! Help: of the whole program, and of each subcommand.

use super::commands::{Flag, GLOBAL, GROUPS, Spec};

const USAGE: &str = "\
go-overlay: a service supervisor and init for containers

Usage:
  go-overlay [OPTIONS]                    supervise what /services.toml says
  go-overlay [OPTIONS] -- PROGRAM ARGS…   the same, then run a main program: its
                                          exit code becomes the daemon's
  go-overlay [OPTIONS] COMMAND            talk to the daemon that runs already
";

const REST: &str = "
Environment:
  GO_OVERLAY_CONFIG       as --config
  GO_OVERLAY_SOCKET       as --socket
  NO_COLOR                no colour, unless --color asks for it

Exit codes:
  0 done   1 failed   2 wrong usage or bad configuration   3 no daemon

Examples:
  go-overlay --config services.toml
  go-overlay -- nginx -g 'daemon off;'
  go-overlay check services.toml
  go-overlay restart web --with-dependents
  go-overlay wait db --for healthy --timeout 30s
  go-overlay list --json

`go-overlay COMMAND --help` says more about a command.
";

/// How far the explanations stand to the right; what is longer has a line of its own.
const LEFT: usize = 24;

/// The text of `--help`.
pub(super) fn text() -> String {
    let mut text = USAGE.to_owned();
    for (group, specs) in GROUPS {
        text.push_str(&format!("\n{group}:\n"));
        for spec in specs {
            text.push_str(&line(&format!("{} {}", spec.name, spec.words), spec.about));
        }
    }
    text.push_str("\nOptions, before or after the command:\n");
    text.push_str(&flags(&GLOBAL));
    text.push_str(REST);
    text
}

/// The text of `COMMAND --help`.
pub(super) fn of(spec: &Spec) -> String {
    let options = if spec.flags.is_empty() {
        ""
    } else {
        " [OPTIONS]"
    };
    let usage = format!("go-overlay {}{options} {}", spec.name, spec.words);
    let mut text = format!(
        "{}: {}\n\nUsage:\n  {}\n",
        spec.name,
        spec.about,
        usage.trim_end()
    );
    if !spec.flags.is_empty() {
        text.push_str(&format!("\nOptions:\n{}", flags(spec.flags)));
    }
    text.push_str("\nExamples:\n");
    for example in spec.examples {
        text.push_str(&format!("  {example}\n"));
    }
    text.push_str("\n`go-overlay --help` lists the options that every command takes.\n");
    text
}

fn flags(flags: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let value = flag.value.map_or("", |(_, shown)| shown);
        line(&format!("{} {value}", flag.name), flag.about)
    };
    flags.iter().map(line).collect()
}

fn line(left: &str, right: &str) -> String {
    let left = left.trim_end();
    if left.chars().count() >= LEFT - 1 {
        return format!("  {left}\n  {:LEFT$}{right}\n", "");
    }
    format!("  {left:<LEFT$}{right}\n")
}
