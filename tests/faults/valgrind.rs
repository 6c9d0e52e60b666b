//! The daemon under valgrind(1): nothing is read that nobody wrote, nothing is touched that is not its own, and
//! nothing is lost, from the start to the end of a life in which everything happens once.

use crate::need;
use crate::story::Story;
use crate::support::quoted;

/// What valgrind ends with when it found anything.
const FOUND: i32 = 99;

/// Shell commands after which the daemon is `program` under valgrind, which writes one file a process.
fn shell_first(program: &str, log: &str) -> String {
    let words = [
        "valgrind",
        &format!("--error-exitcode={FOUND}"),
        "--leak-check=full",
        "--show-leak-kinds=definite,indirect,possible",
        "--errors-for-leak-kinds=definite,indirect,possible",
        "--track-origins=yes",
        &format!("--log-file={log}.%p"),
        program,
    ];
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("shift; set -- {} \"$@\"", words.join(" "))
}

#[test]
#[ignore = "`make faults` builds what it needs"]
fn memory_is_used_as_it_should_be() {
    need!("valgrind");
    need!("systemd-notify");
    let program = std::env::var("GO_OVERLAY_VALGRIND_PROGRAM")
        .expect("`make faults` builds it, and names it here");
    let mut story = Story::launch(crate::serve(), |stage| {
        Some(shell_first(&program, &stage.at("valgrind")))
    });
    story.wait_until_up().unwrap();
    story.tell().unwrap();
    let failed = story.ask_for_the_rest().unwrap();
    let log = story.path(&format!("valgrind.{}", story.pid()));
    let code = story.end().unwrap();
    let said = std::fs::read_to_string(log).unwrap();
    println!("{said}");
    assert_eq!((code, failed), (0, 0), "{said}");
    assert!(said.contains("ERROR SUMMARY: 0 errors"), "{said}");
}
