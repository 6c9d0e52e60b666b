//! The program: hands over to the command line.

fn main() {
    std::process::exit(go_overlay::cli::run(std::env::args_os().skip(1).collect()));
}
