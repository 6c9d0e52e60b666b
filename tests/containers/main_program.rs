//! A main program, as `docker run image -- PROGRAM`.

use std::io::Write;
use std::process::Stdio;

use super::support::BUSYBOX;

#[test]
fn a_main_program_has_the_containers_input_exit_code_and_signals() {
    let engine = engine!();
    let run = |words: &[&str], input: &str| {
        let mut child = engine
            .command(
                &[
                    &[
                        "run",
                        "--rm",
                        "--network",
                        "none",
                        "--interactive",
                        BUSYBOX,
                        "--",
                    ],
                    words,
                ]
                .concat(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(run(&["sh", "-c", "exit 42"], ""), (42, String::new()));
    assert_eq!(run(&["cat"], "hello\n"), (0, "hello\n".into()));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"], "").0, 137);
    assert_eq!(run(&["/no/such"], "").0, 127);
    let trap = "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let container = engine.run(&[BUSYBOX, "--", "sh", "-c", trap]);
    container.wait_for("up");
    container.stop(10);
    assert_eq!(container.exit_code(), 3);
    assert!(container.logs().contains("got it"));
    // With a terminal.
    let container = engine.run(&[
        "--tty",
        BUSYBOX,
        "--",
        "sh",
        "-c",
        "tty; stty size >/dev/null && echo has a size",
    ]);
    assert_eq!(container.wait(), 0);
    assert!(
        container.logs().contains("/dev/pts/") || container.logs().contains("/dev/console"),
        "{}",
        container.logs()
    );
}
