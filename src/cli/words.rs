//! What people type, put into the form that argh takes.
//!
//! argh takes global options only before the subcommand, and neither `--x=y` nor `-h`; and what it says
//! of an unknown word helps nobody.

use std::ffi::OsString;

use super::commands::{self, Flag, GLOBAL, SHORT, Spec};
use super::familiar;
use crate::base::nearest;
use crate::config::{Facts, Lookup};
use crate::sys::facts::SystemFacts;

/// The command line without the program's name, taken apart at the first `--`.
pub(super) fn apart(mut words: Vec<OsString>) -> (Vec<OsString>, Option<Vec<OsString>>) {
    match words.iter().position(|word| word == "--") {
        Some(at) => {
            let main_program = words.split_off(at + 1);
            words.pop();
            (words, Some(main_program))
        }
        None => (words, None),
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The help of the whole, or of the subcommand of this name.
    Help(Option<&'static str>),
    /// Words for argh, and the subcommand among them.
    Words(Vec<String>, Option<&'static str>),
}

/// What is wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    pub what: String,
    /// What to do about it, where more is known than where help is.
    pub help: Option<String>,
    /// The subcommand whose help says more.
    pub of: Option<&'static str>,
}

impl From<String> for Wrong {
    fn from(what: String) -> Wrong {
        Wrong {
            what,
            help: None,
            of: None,
        }
    }
}

/// Puts words in order: global options, the subcommand, its own options, and its words after a `--`, where argh
/// takes none of them for an option, nor for `help`.
///
/// # Errors
/// What is wrong with a word, with the one that was probably meant.
pub(super) fn arrange(words: &[String]) -> Result<Asked, Wrong> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut found = find_command(&words)?;
    if let Some((at, "help")) = found {
        // `help list` is `list --help`.
        words[at] = "--help";
        found = find_command(&words)?.filter(|(_, name)| *name != "help");
    }
    let command = match found {
        Some((_, name)) => Some(commands::find(name).ok_or_else(|| no_command(name))?),
        None => None,
    };
    let of = command.map(|command| command.name);
    let wrong = |what| Wrong {
        what,
        help: None,
        of,
    };
    let (mut front, mut own, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let mut helps = false;
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        at += 1;
        if !is_option(word) {
            rest.push(word.to_owned());
            continue;
        }
        let (flag, mut value) = option(word, command)?;
        if flag.value.is_some() && value.is_none() {
            value = words.get(at).map(|word| (*word).to_owned());
            at += 1;
        }
        let written = as_two_words(flag, value).map_err(wrong)?;
        helps |= flag.name == "--help";
        if is_global(flag.name) {
            front.extend(written);
        } else {
            own.extend(written);
        }
    }
    if helps {
        return Ok(Asked::Help(of));
    }
    let Some(command) = command else {
        return Ok(Asked::Words(front, None));
    };
    // Options of its own may have been typed before the subcommand.
    if let Some(at) = rest.iter().position(|word| word == command.name) {
        rest.remove(at);
    }
    front.push(command.name.to_owned());
    front.extend(own);
    if !rest.is_empty() {
        front.push("--".to_owned());
        front.extend(rest);
    }
    Ok(Asked::Words(front, of))
}

/// What argh says of words that it could not take, in the words of this program.
pub(super) fn refused(said: &str, of: Option<&'static str>) -> Wrong {
    let said = said.trim_end_matches('\n');
    let value = |kind: &str| {
        let (name, rest) = said.strip_prefix(kind)?.split_once("' with value '")?;
        let (value, why) = rest.split_once("': ")?;
        Some((name, value, why))
    };
    let what = if let Some(word) = said.strip_prefix("Unrecognized argument: ") {
        let of = of.unwrap_or("go-overlay");
        format!("`{word}` is a word too many for `{of}`")
    } else if let Some((name, value, why)) = value("Error parsing option '") {
        match why {
            "duplicate values provided" => format!("{name} is given twice"),
            _ => format!("{name} `{value}`: {why}"),
        }
    } else if let Some((_, value, why)) = value("Error parsing positional argument '") {
        format!("`{value}`: {why}")
    } else if let Some(spec) = of.and_then(commands::find)
        && said.starts_with("Required ")
    {
        let usage = format!("go-overlay {} {}", spec.name, spec.words);
        format!("`{}` needs more: {usage}", spec.name)
    } else {
        said.to_owned()
    };
    let help = match of {
        Some("wait") if said.starts_with("Required ") => {
            Some("CONDITION is running, healthy, stopped or completed".into())
        }
        Some(of) if said.starts_with("Unrecognized ") => instead_of_word(of),
        _ => None,
    };
    Wrong { what, help, of }
}

fn long(name: &str) -> &str {
    let found = SHORT.iter().find(|(short, _)| *short == name);
    found.map_or(name, |(_, long)| long)
}

/// What to type where a word was given to a command that takes none, or no more.
fn instead_of_word(command: &str) -> Option<String> {
    let help = match command {
        "reload" => "reload is of the configuration; to a service: go-overlay signal SERVICE HUP",
        "list" => "go-overlay status SERVICE shows one service",
        "status" => "it takes one service; go-overlay list shows all",
        "health" => "for one service: go-overlay wait SERVICE --for healthy --timeout 1s",
        "shutdown" => "it ends everything; one service: go-overlay stop SERVICE",
        _ => return None,
    };
    Some(help.to_owned())
}

/// An option's name and the value that is joined to it: `--lines=20`, `-n=20` or `-n20`.
fn parted(word: &str) -> (&str, Option<&str>) {
    if let Some((name, value)) = word.split_once('=') {
        return (name, Some(value));
    }
    match word.strip_prefix("-n") {
        Some(count) if count.starts_with(|c: char| c.is_ascii_digit()) => ("-n", Some(count)),
        _ => (word, None),
    }
}

/// A lone dash is a word like any other.
fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

fn is_global(name: &str) -> bool {
    GLOBAL.iter().any(|flag| flag.name == name)
}

/// The first word that is neither an option nor an option's value, and its place.
fn find_command<'w>(words: &[&'w str]) -> Result<Option<(usize, &'w str)>, Wrong> {
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        if !is_option(word) {
            return Ok(Some((at, word)));
        }
        let (name, _) = parted(word);
        let mut known = GLOBAL
            .iter()
            .chain(commands::all().flat_map(|spec| spec.flags));
        let Some(flag) = known.find(|flag| flag.name == long(name)) else {
            // What follows may be its value, and no command.
            return option(word, None).map(|_| None);
        };
        let takes_next = flag.value.is_some() && name == word;
        at += if takes_next { 2 } else { 1 };
    }
    Ok(None)
}

fn option(word: &str, command: Option<&'static Spec>) -> Result<(Flag, Option<String>), Wrong> {
    let (name, value) = parted(word);
    let value = value.map(str::to_owned);
    let own = command.map_or(&[][..], |command| command.flags);
    let mut known = own.iter().chain(&GLOBAL);
    if let Some(flag) = known.clone().find(|flag| flag.name == long(name)) {
        return Ok((*flag, value));
    }
    let of = command.map(|command| command.name);
    let help = familiar::option(name, of);
    let near = nearest_option(name, &mut known).filter(|_| help.is_none());
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let whose = of.map_or(String::new(), |name| format!(" of `{name}`"));
    let what = format!("there is no option `{name}`{whose}{near}");
    Err(Wrong { what, help, of })
}

/// The dashes, which all options have, say nothing about likeness.
fn nearest_option<'f>(name: &str, known: impl Iterator<Item = &'f Flag>) -> Option<String> {
    let names = known.map(|flag| flag.name.trim_start_matches('-'));
    nearest(name.trim_start_matches('-'), names).map(|near| format!("--{near}"))
}

fn as_two_words(flag: Flag, value: Option<String>) -> Result<Vec<String>, String> {
    match (flag.value, value) {
        (None, None) => Ok(vec![flag.name.to_owned()]),
        (Some(_), Some(value)) => Ok(vec![flag.name.to_owned(), value]),
        (None, Some(_)) => Err(format!("`{}` takes no value", flag.name)),
        (Some((_, shown)), None) => Err(format!("`{0}` needs a value: {0} {shown}", flag.name)),
    }
}

fn no_command(name: &str) -> Wrong {
    let what = format!("there is no command `{name}`");
    let supervise = format!("to supervise a program: go-overlay -- {name} …");
    let (what, help) = if let Some(help) = familiar::verb(name) {
        (what, Some(help))
    } else if let Some(near) = nearest(name, commands::all().map(|spec| spec.name)) {
        let is_program = SystemFacts::new().command(name, None, None) == Lookup::Found;
        let help = is_program.then_some(supervise);
        (format!("{what}; did you mean `{near}`?"), help)
    } else {
        (format!("{what}; {supervise}"), None)
    };
    Wrong {
        what,
        help,
        of: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use argh::FromArgs;
    use proptest::prelude::*;

    use super::super::arguments::Arguments;
    use super::{Asked, apart, arrange, refused};

    fn arranged(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match arrange(&words) {
            Ok(Asked::Help(of)) => format!("HELP {}", of.unwrap_or("of all")),
            Ok(Asked::Words(words, _)) => words.join(" "),
            Err(wrong) => match wrong.help {
                Some(help) => format!("error: {} ({help})", wrong.what),
                None => format!("error: {}", wrong.what),
            },
        }
    }

    #[test]
    fn words_come_in_the_order_of_argh() {
        for (typed, wanted) in [
            ("", ""),
            ("list", "list"),
            ("list --socket=/s --json", "--socket /s list --json"),
            ("--json list --debug", "--debug list --json"),
            ("--config a=b check", "--config a=b check"),
            ("--config=a=b", "--config a=b"),
            ("logs -n20 web", "logs --lines 20 -- web"),
            ("-n20 logs -n=3", "logs --lines 20 --lines 3"),
            ("start web --timeout 5 db", "start --timeout 5 -- web db"),
            ("--timeout list start list", "start --timeout list -- list"),
            ("signal list TERM", "signal -- list TERM"),
            ("wait x --for=running", "wait --for running -- x"),
            ("status -", "status -- -"),
            ("stop web help", "stop -- web help"),
            ("help help", "HELP of all"),
            ("-V", "--version"),
            ("-h", "HELP of all"),
            ("help", "HELP of all"),
            ("--debug --help", "HELP of all"),
            ("help list", "HELP list"),
            ("list -h", "HELP list"),
        ] {
            assert_eq!(arranged(typed), wanted, "{typed}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_meant() {
        for (typed, part) in [
            ("lst", "no command `lst`; did you mean `list`?"),
            (
                "nginx -g x",
                "no command `nginx`; to supervise a program: go-overlay -- nginx",
            ),
            (
                "list --jsno",
                "no option `--jsno` of `list`; did you mean `--json`?",
            ),
            (
                "list --with-dependents",
                "no option `--with-dependents` of `list`",
            ),
            ("--confg x", "did you mean `--config`?"),
            ("top -n 1", "no command `top` (go-overlay list"),
            ("tail -f web", "no command `tail` (go-overlay logs SERVICE"),
            ("kill -9 web", "no command `kill` (go-overlay stop SERVICE"),
            (
                "HUP web",
                "no command `HUP` (go-overlay signal SERVICE SIGHUP",
            ),
            ("services.toml", "(go-overlay --config services.toml"),
            ("-f x/services.yaml", "(go-overlay --config x/services.yaml"),
            (
                "-c x.toml",
                "no option `-c` (the configuration is --config FILE",
            ),
            (
                "signal -HUP web",
                "no option `-HUP` of `signal` (the signal has no dash: go-overlay signal SERVICE HUP",
            ),
            (
                "logs --tail 5",
                "no option `--tail` of `logs` (the last N lines are -n N",
            ),
            ("sh -c x", "to supervise a program: go-overlay -- sh"),
            ("--confg=x", "did you mean `--config`?"),
            ("list --json=yes", "`--json` takes no value"),
            ("list --socket", "`--socket` needs a value: --socket PATH"),
            ("signal web -9", "no option `-9` of `signal`"),
            ("stop -f", "no option `-f` of `stop`"),
            ("help lst", "did you mean `list`?"),
        ] {
            let said = arranged(typed);
            assert!(said.starts_with("error: ") && said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_argh_refuses_is_said_in_our_words() {
        let arguments =
            |typed: &str| -> Vec<String> { typed.split_whitespace().map(str::to_owned).collect() };
        for (typed, what, of) in [
            (
                "status a b",
                "`b` is a word too many for `status`",
                "status",
            ),
            (
                "wait",
                "`wait` needs more: go-overlay wait SERVICE --for CONDITION",
                "wait",
            ),
            (
                "wait a",
                "`wait` needs more: go-overlay wait SERVICE --for CONDITION",
                "wait",
            ),
            (
                "logs -n x",
                "--lines `x`: a whole number is expected, 0 or more",
                "logs",
            ),
            (
                "completions tcsh",
                "`tcsh`: the shells are bash, zsh and fish",
                "completions",
            ),
        ] {
            let Ok(Asked::Words(words, command)) = arrange(&arguments(typed)) else {
                panic!("{typed} is for argh to refuse");
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let exit = Arguments::from_args(&["go-overlay"], &words).unwrap_err();
            let wrong = refused(&exit.output, command);
            assert_eq!((&*wrong.what, wrong.of), (what, Some(of)), "{typed}");
        }
    }

    #[test]
    fn the_main_program_keeps_its_words() {
        let words = |line: &str| line.split(' ').map(Into::into).collect();
        let (own, main) = apart(words("--debug -- sh -c -- x"));
        assert_eq!(own, ["--debug"]);
        assert_eq!(main.unwrap(), ["sh", "-c", "--", "x"]);
        assert_eq!(apart(words("list")).1, None);
        assert_eq!(apart(words("--")).1.unwrap(), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_panics(line in "(-{0,3}(help|list|json|config|socket|timeout|x|=| ){0,3} ?){0,6}") {
            let _ = arranged(&line);
        }
    }
}
