//! Completion scripts: a template for each shell, filled from the table of commands. Names of services are asked
//! of the daemon.

use super::commands::{self, Flag, GLOBAL, Spec, Takes, Value};
use crate::base::Signal;

/// A shell that has completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script for a shell.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// `help` is no row of the table: it stands for the option of this name.
const HELP: (&str, &str) = ("help", "print help, or that of a command");

/// The names of commands with what they are about.
fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    commands::all()
        .map(|spec| (spec.name, spec.about))
        .chain([HELP])
}

fn command_names() -> String {
    let names: Vec<&str> = described().map(|(name, _)| name).collect();
    names.join(" ")
}

/// Signals without their `SIG`.
fn signals() -> String {
    let names: Vec<String> = Signal::names()
        .map(|name| name.trim_start_matches("SIG").to_owned())
        .collect();
    names.join(" ")
}

/// Every option that only some commands take, once.
fn own_flags() -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for flag in commands::all().flat_map(|spec| spec.flags) {
        if !flags.iter().any(|known| known.name == flag.name) {
            flags.push(*flag);
        }
    }
    flags
}

/// Every option that takes a value, once.
fn with_value() -> impl Iterator<Item = (Flag, Value)> {
    let flags = GLOBAL.into_iter().chain(own_flags());
    flags.filter_map(|flag| flag.value.map(|(value, _)| (flag, value)))
}

/// Every form of every option that takes a value.
fn forms_with_value(between: &str) -> String {
    let forms: Vec<&str> = with_value()
        .flat_map(|(flag, _)| {
            let forms: Vec<&str> = flag.forms().collect();
            forms
        })
        .collect();
    forms.join(between)
}

/// Puts text in the place of each `@NAME@`; of one that has a line of its own, without a line end of its own.
fn filled(template: &str, places: &[(&str, String)]) -> String {
    let fill = |text: String, (place, with): &(&str, String)| {
        text.replace(&format!("@{place}@"), with.trim_end_matches('\n'))
    };
    places.iter().fold(template.to_owned(), fill)
}

/// Inside single quotes of a POSIX shell.
fn in_quotes(text: &str) -> String {
    text.replace('\'', r"'\''")
}

fn bash() -> String {
    let kind = |value: Value| match value {
        Value::File => "FILE".to_owned(),
        Value::Directory => "DIRECTORY".to_owned(),
        Value::Text => "''".to_owned(),
        Value::OneOf(words) => format!("'{}'", words.join(" ")),
        Value::Service => "SERVICE".to_owned(),
        Value::Signal => "SIGNAL".to_owned(),
    };
    let names = |flags: &[Flag]| -> String {
        let names: Vec<&str> = flags.iter().map(|flag| flag.name).collect();
        names.join(" ")
    };
    let values = |(flag, value): (Flag, Value)| {
        let forms: Vec<&str> = flag.forms().collect();
        let (forms, kind) = (forms.join(" | "), kind(value));
        format!("        {forms}) _go_overlay_offer {kind}; return ;;\n")
    };
    let of_command = |spec: &Spec| {
        let (taken, many) = match spec.takes {
            Takes::Each(values) => (values, ""),
            Takes::Many(ref value) => (std::slice::from_ref(value), " many=0"),
        };
        let kinds: Vec<String> = taken.iter().map(|value| kind(*value)).collect();
        let (name, kinds, options) = (spec.name, kinds.join(" "), names(spec.flags));
        format!("        {name}) options='{options}' kinds=({kinds}){many} ;;\n")
    };
    let known_values = with_value().filter(|(_, value)| *value != Value::Text);
    filled(
        include_str!("completions/go-overlay.bash"),
        &[
            ("SIGNALS", signals()),
            ("WITH_VALUE", forms_with_value(" | ")),
            ("VALUES", known_values.map(values).collect()),
            ("COMMANDS", command_names()),
            ("OF_COMMANDS", commands::all().map(of_command).collect()),
            ("GLOBAL", names(&GLOBAL)),
        ],
    )
}

fn zsh() -> String {
    let action = |value: Value| match value {
        Value::File => "_files".to_owned(),
        Value::Directory => "_directories".to_owned(),
        Value::Text => " ".to_owned(),
        Value::OneOf(words) => format!("({})", words.join(" ")),
        Value::Service => "_go_overlay_services".to_owned(),
        Value::Signal => "_go_overlay_signals".to_owned(),
    };
    // What `_arguments` reads: `(-f --follow)-f[about]:value:action`, where brackets and colons end a part. With an
    // exclamation mark in front an option may be there and is not offered.
    let argument = |flag: &Flag, offered: bool| -> String {
        let escaped = |about: String, mark: &char| about.replace(*mark, &format!("\\{mark}"));
        let about = ['\\', '[', ']', ':'].iter();
        let about = in_quotes(&about.fold(flag.about.to_owned(), escaped));
        let value = flag.value.map_or(String::new(), |(value, shown)| {
            format!(":{shown}:{}", action(value))
        });
        let hidden = if offered { "" } else { "!" };
        let excluded: Vec<&str> = flag.forms().collect();
        let excluded = excluded.join(" ");
        let form = |form: &'static str| {
            let may_join = flag.value.is_some() && form.starts_with("--");
            let join = if may_join { "=" } else { "" };
            format!(" \\\n                '{hidden}({excluded}){form}{join}[{about}]{value}'")
        };
        flag.forms().map(form).collect()
    };
    let global: String = GLOBAL.iter().map(|flag| argument(flag, true)).collect();
    let own = own_flags();
    let own: String = own.iter().map(|flag| argument(flag, false)).collect();
    let of_command = |spec: &Spec| {
        let flags: String = spec.flags.iter().map(|flag| argument(flag, true)).collect();
        let word =
            |(at, value): (u8, &Value)| format!(" \\\n                '{at}: :{}'", action(*value));
        // The first word is the command.
        let words: String = match spec.takes {
            Takes::Each(values) => (2..).zip(values).map(word).collect(),
            Takes::Many(value) => format!(" \\\n                '*: :{}'", action(value)),
        };
        let name = spec.name;
        format!("        {name}) _arguments{flags}{global} '1: : '{words} ;;\n")
    };
    let command = |(name, about): (&str, &str)| format!("        '{name}:{}'\n", in_quotes(about));
    filled(
        include_str!("completions/go-overlay.zsh"),
        &[
            ("SIGNALS", signals()),
            ("DESCRIBED", described().map(command).collect()),
            ("WITH_VALUE", forms_with_value(" | ")),
            ("ANY", format!("{global}{own}")),
            ("OF_COMMANDS", commands::all().map(of_command).collect()),
        ],
    )
}

fn fish() -> String {
    let candidates = |value: Value| match value {
        Value::File => " -F".to_owned(),
        Value::Directory => " -a '(__fish_complete_directories)'".to_owned(),
        Value::Text => String::new(),
        Value::OneOf(words) => format!(" -a '{}'", words.join(" ")),
        Value::Service => " -a '(__go_overlay_services)'".to_owned(),
        Value::Signal => " -a '(__go_overlay_signals)'".to_owned(),
    };
    let line = |condition: &str, rest: &str, about: &str| {
        let about = about.replace('\\', "\\\\").replace('\'', "\\'");
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(" -d '{about}'")
        };
        format!("complete -c go-overlay -n '{condition}'{rest}{about}\n")
    };
    let option = |condition: &str, flag: &Flag| {
        let short = flag.short().map_or(String::new(), |short| {
            format!(" -s {}", short.trim_start_matches('-'))
        });
        let value = flag.value.map_or(String::new(), |(value, _)| {
            let files = if value == Value::File { " -r" } else { " -x" };
            format!("{files}{}", candidates(value))
        });
        let long = flag.name.trim_start_matches('-');
        line(condition, &format!("{short} -l {long}{value}"), flag.about)
    };
    let mut text = String::new();
    for flag in &GLOBAL {
        text += &option("not __go_overlay_in_main_program", flag);
    }
    for (name, about) in described() {
        text += &line("__go_overlay_needs_command", &format!(" -a {name}"), about);
    }
    let names = format!(" -a '{}'", command_names());
    text += &line("__go_overlay_is help 1", &names, "");
    for spec in commands::all() {
        let is = format!("__go_overlay_is {}", spec.name);
        for flag in spec.flags {
            text += &option(&is, flag);
        }
        match spec.takes {
            Takes::Each(values) => {
                for (at, value) in (1..).zip(values) {
                    text += &line(&format!("{is} {at}"), &candidates(*value), "");
                }
            }
            Takes::Many(value) => text += &line(&is, &candidates(value), ""),
        }
    }
    filled(
        include_str!("completions/go-overlay.fish"),
        &[
            ("SIGNALS", signals()),
            ("WITH_VALUE", forms_with_value(" ")),
            ("COMPLETE", text),
        ],
    )
}
