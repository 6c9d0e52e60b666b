//! The table: what was recorded, and how it is written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::places::{MOMENTS, Moment, PLACES, Place};

/// What stands above it.
const HEAD: &str = "\
# Faults

Each system call of the daemon, each error that its manual page lists, and what comes of it. `make faults` makes
every call fail in turn (strace(1), `--inject`), holds the outcome against this table, and writes the table anew
where something else comes of it: then it fails, and the difference is to be looked at. One row again:

```sh
GO_OVERLAY_FAULTS='epoll_wait EINTR' cargo test --test faults -- --nocapture
```

Five services run below a service manager: one with a terminal, one with pipes, one with a log file, one with a check,
and one of another user that reports when it is ready. Clients list, restart, read logs and reload while the call
fails: `at the start` the first one of the daemon's life, then the first one after everything is up (`once`), the first
six (`six times`), or every one until the end (`for good`). `child:` calls are those between clone(2) and the program
that a service is. Where a call is made on several things, the second word says on which.

| outcome | what it is |
|---|---|
| carries on | nobody notices |
| says so | the daemon says on standard error what it could not do |
| command fails | a client is told, or loses its connection |
| service retried | a service fails or is unhealthy, which is said, and is started again |
| refuses, N | no service was started; the error was said, and N is the exit code |
| ends, N | everything was ended in order; the error was said, and N is the exit code |
| leaves them, N | it ended in time, and said which services it could not end |
| a / b | both were seen: it depends on what the daemon does first |

An empty cell is a moment at which the call cannot fail, or is not made. In none does the daemon hang, spin, panic,
leave a zombie or a child behind, lose a descriptor or memory, show a table that is not true, or end late.

";

/// One row's key and its cells.
pub type Cells = BTreeMap<(String, &'static str, Moment), String>;

/// What stands between two outcomes of which both were seen: where it depends on which of two things
/// the daemon does first.
const OR: &str = " / ";

/// Where the reviewed table is.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FAULTS.md")
}

/// What was recorded for every row; empty where nothing was.
pub fn recorded() -> String {
    std::fs::read_to_string(file()).unwrap_or_default()
}

/// Compares a whole run with what was recorded. Where something is new the file is written anew, and the test
/// fails, so that somebody looks at the difference.
pub fn record(recorded: &str, found: &Cells) {
    let text = render(recorded, found);
    if text != recorded {
        std::fs::write(file(), text).unwrap();
        panic!("docs/FAULTS.md was written anew: look at what changed (git diff docs/FAULTS.md)");
    }
}

/// The recorded outcomes of one call, error and moment.
pub fn recorded_cell<'a>(table: &'a str, place: &Place, error: &str, moment: Moment) -> &'a str {
    let start = start(place);
    let rows = table.lines().filter_map(|line| line.strip_prefix(&start));
    let cells = rows.map(|rest| rest.split('|').map(str::trim).collect::<Vec<_>>());
    let mut of_error = cells.filter(|cells| cells[0].split(", ").any(|known| known == error));
    of_error
        .next()
        .map_or("", |cells| cells[1 + moment as usize])
}

/// How a row of a call begins.
fn start(place: &Place) -> String {
    format!("| {} | {} |", place.name(), place.manual)
}

/// Whether an outcome is one that was recorded.
pub fn is_in(cell: &str, outcome: &str) -> bool {
    cell.split(OR).any(|known| known == outcome)
}

/// Every row; errors of which the same comes share one. An outcome that is new in its cell stands beside
/// those that were recorded, so that whoever reviews it sees both.
pub fn render(recorded: &str, found: &Cells) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| call | man 2 | error |");
    for moment in MOMENTS {
        write!(text, " {moment} |").unwrap();
    }
    text.push_str("\n|---|---|---|---|---|---|---|\n");
    for place in PLACES {
        let mut rows: Vec<(Vec<&str>, String)> = Vec::new();
        for error in place.errors {
            let cells = cells(recorded, found, place, error);
            match rows.iter_mut().find(|row| row.1 == cells) {
                Some((errors, _)) => errors.push(error),
                None => rows.push((vec![error], cells)),
            }
        }
        for (errors, cells) in rows {
            writeln!(text, "{} {} |{cells}", start(place), errors.join(", ")).unwrap();
        }
    }
    text
}

fn cells(recorded: &str, found: &Cells, place: &Place, error: &'static str) -> String {
    let mut text = String::new();
    for moment in MOMENTS {
        let known = recorded_cell(recorded, place, error, moment);
        let cell = match found.get(&(place.name(), error, moment)) {
            None => String::new(),
            Some(outcome) if known.is_empty() => outcome.clone(),
            Some(outcome) if is_in(known, outcome) => known.to_owned(),
            Some(outcome) => format!("{known}{OR}{outcome}"),
        };
        write!(text, " {cell} |").unwrap();
    }
    text
}
