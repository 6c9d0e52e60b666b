//! The table of commands and argh's structs agree; help is as it was looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use argh::FromArgs;

use super::arguments::Arguments;
use super::completions::{Shell, script};
use super::{commands, help};

fn help_of(command: &str) -> String {
    let exit = Arguments::from_args(&["go-overlay"], &[command, "--help"]).unwrap_err();
    assert!(exit.status.is_ok(), "{command}: {}", exit.output);
    exit.output
}

/// The options that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let options = help.lines().filter_map(|line| {
        let option = line.trim_start().split([' ', ',']).next()?;
        option.starts_with("--").then_some(option)
    });
    let mut options: Vec<String> = options.map(str::to_owned).collect();
    options.sort();
    options
}

#[test]
fn the_table_and_the_structs_have_the_same_options() {
    for spec in commands::all() {
        let mut wanted: Vec<&str> = spec.flags.iter().map(|flag| flag.name).collect();
        wanted.extend(["--help"]);
        wanted.sort_unstable();
        let mut found = listed(&help_of(spec.name));
        // argh lists an option that is needed in the usage line too.
        found.dedup();
        assert_eq!(found, wanted, "{}", spec.name);
    }
}

#[test]
fn the_table_and_the_structs_have_the_same_commands() {
    let exit = Arguments::from_args(&["go-overlay"], &["--help"]).unwrap_err();
    let (_, listed) = exit.output.split_once("Commands:").unwrap();
    let mut listed: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    listed.sort_unstable();
    let mut wanted: Vec<&str> = commands::all().map(|spec| spec.name).collect();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
}

#[test]
fn help_reads_well() {
    let text = help::text();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn help_of_commands_reads_well() {
    let all: Vec<String> = commands::all().map(help::of).collect();
    let text = all.join("\n----\n\n");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    insta::assert_snapshot!("help-of-commands", text);
}

#[test]
fn completions_name_every_command_and_option() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = script(shell);
        for spec in commands::all() {
            assert!(script.contains(spec.name), "{shell:?}: {}", spec.name);
            for flag in spec.flags {
                let name = flag.name.trim_start_matches('-');
                assert!(script.contains(name), "{shell:?}: {name}");
            }
        }
    }
}
