//! Completion scripts, written from the table of commands. Names of services are asked of the daemon.

use super::commands::{self, Flag, GLOBAL, Spec, Value};

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

/// Every option once.
fn flags() -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for flag in GLOBAL
        .iter()
        .chain(commands::all().flat_map(|spec| spec.flags))
    {
        if !flags.iter().any(|known| known.name == flag.name) {
            flags.push(*flag);
        }
    }
    flags
}

fn names<'f>(flags: impl IntoIterator<Item = &'f Flag>) -> String {
    let names: Vec<&str> = flags.into_iter().map(|flag| flag.name).collect();
    names.join(" ")
}

/// The positional words of `signal` are a service and a signal: only the first is completed well.
fn bash() -> String {
    let words = |value: Value| match value {
        Value::File => "compgen -f -- \"$word\"".to_owned(),
        Value::Directory => "compgen -d -- \"$word\"".to_owned(),
        Value::Text => ":".to_owned(),
        Value::OneOf(words) => format!("compgen -W '{}' -- \"$word\"", words.join(" ")),
        Value::Service => "compgen -W \"$(_go_overlay_services)\" -- \"$word\"".to_owned(),
    };
    let with_value: Vec<(Flag, Value)> = flags()
        .into_iter()
        .filter_map(|flag| flag.value.map(|(value, _)| (flag, value)))
        .collect();
    let skipped: Vec<&str> = with_value.iter().map(|(flag, _)| flag.name).collect();
    let values: String = with_value
        .iter()
        .map(|(flag, value)| {
            format!(
                "        {}) mapfile -t COMPREPLY < <({}); return ;;\n",
                flag.name,
                words(*value)
            )
        })
        .collect();
    let of_command: String = commands::all()
        .map(|spec| {
            let positional = spec.takes.map_or(":".to_owned(), words);
            format!(
                "        {}) flags='{}'; mapfile -t COMPREPLY < <({positional}) ;;\n",
                spec.name,
                names(spec.flags),
            )
        })
        .collect();
    let command_names: Vec<&str> = commands::all().map(|spec| spec.name).collect();
    format!(
        r#"# go-overlay: completions for bash
_go_overlay_services() {{
    local name rest
    go-overlay list 2>/dev/null | while read -r name rest; do
        [[ $name == NAME ]] || echo "$name"
    done
}}

_go_overlay() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= flags= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            {skipped}) ((i++)) ;;
            -*) ;;
            *) command=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    case $before in
{values}    esac
    case $command in
        '') mapfile -t COMPREPLY < <(compgen -W '{commands}' -- "$word") ;;
{of_command}    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags {global}" -- "$word")
    fi
}}

complete -F _go_overlay go-overlay
"#,
        skipped = skipped.join("|"),
        commands = command_names.join(" "),
        global = names(&GLOBAL),
    )
}

fn zsh() -> String {
    let action = |value: Value| match value {
        Value::File => "_files".to_owned(),
        Value::Directory => "_directories".to_owned(),
        Value::Text => " ".to_owned(),
        Value::OneOf(words) => format!("({})", words.join(" ")),
        Value::Service => "_go_overlay_services".to_owned(),
    };
    let argument = |flag: &Flag| {
        let value = flag.value.map_or(String::new(), |(value, shown)| {
            format!(":{shown}:{}", action(value))
        });
        let about = flag.about.replace(':', "\\:");
        format!(" \\\n            '{}[{about}]{value}'", flag.name)
    };
    let described: String = commands::all()
        .map(|spec| {
            let about = spec.about.replace('\'', "'\\''");
            format!("        '{}:{about}'\n", spec.name)
        })
        .collect();
    let of_command: String = commands::all()
        .map(|spec| {
            let flags: String = spec.flags.iter().chain(&GLOBAL).map(argument).collect();
            let positional = spec.takes.map_or(String::new(), |value| {
                format!(" \\\n            '*: :{}'", action(value))
            });
            format!("        {}) _arguments{flags}{positional} ;;\n", spec.name)
        })
        .collect();
    let global: String = GLOBAL.iter().map(argument).collect();
    format!(
        r#"#compdef go-overlay
# go-overlay: completions for zsh

_go_overlay_services() {{
    local -a services
    services=(${{${{(f)"$(go-overlay list 2>/dev/null)"}}%% *}})
    shift services
    _describe service services
}}

_go_overlay() {{
    local curcontext=$curcontext state line
    local -a commands
    commands=(
{described}    )
    _arguments -C{global} \
            '1: :->command' '*:: :->rest'
    case $state in
        command) _describe command commands ;;
        rest) case $words[1] in
{of_command}        esac ;;
    esac
}}

if [[ $funcstack[1] == _go_overlay ]]; then _go_overlay "$@"; else compdef _go_overlay go-overlay; fi
"#
    )
}

fn fish() -> String {
    let mut text = String::from(
        "# go-overlay: completions for fish\n\
         function __go_overlay_services\n    \
             go-overlay list 2>/dev/null | while read -l name rest\n        \
                 test $name = NAME; or echo $name\n    \
             end\n\
         end\n\
         complete -c go-overlay -f\n",
    );
    let values = |value: Value| match value {
        Value::File => " -r -F".to_owned(),
        Value::Directory => " -x -a '(__fish_complete_directories)'".to_owned(),
        Value::Text => " -x".to_owned(),
        Value::OneOf(words) => format!(" -x -a '{}'", words.join(" ")),
        Value::Service => " -x -a '(__go_overlay_services)'".to_owned(),
    };
    let mut add = |condition: &str, rest: String, about: &str| {
        let about = about.replace('\'', "\\'");
        text.push_str(&format!(
            "complete -c go-overlay{condition}{rest} -d '{about}'\n"
        ));
    };
    let long = |flag: &Flag| {
        let value = flag.value.map_or(String::new(), |(value, _)| values(value));
        format!(" -l {}{value}", flag.name.trim_start_matches('-'))
    };
    for flag in &GLOBAL {
        add("", long(flag), flag.about);
    }
    for spec in commands::all() {
        let Spec { name, about, .. } = spec;
        add(" -n __fish_use_subcommand", format!(" -a {name}"), about);
        let seen = format!(" -n '__fish_seen_subcommand_from {name}'");
        for flag in spec.flags {
            add(&seen, long(flag), flag.about);
        }
        let positional = match spec.takes {
            Some(Value::Service) => " -a '(__go_overlay_services)'".to_owned(),
            Some(Value::OneOf(words)) => format!(" -a '{}'", words.join(" ")),
            Some(Value::File) => " -F".to_owned(),
            Some(Value::Directory | Value::Text) | None => continue,
        };
        add(&seen, positional, "");
    }
    text
}
