//! The command line: one argh struct and one function a subcommand.
