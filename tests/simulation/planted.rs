//! The faults of tests/planted are there to be applied: a patch whose lines are not in the source any more
//! would prove nothing.

use std::fs;
use std::path::Path;

/// What each part of a patch expects to find.
fn expected(patch: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for line in patch.lines().skip_while(|line| !line.starts_with("@@")) {
        match (line.split_at_checked(1), parts.last_mut()) {
            (Some(("@", _)), _) => parts.push(String::new()),
            (Some((" " | "-", rest)), Some(part)) => *part += &format!("{rest}\n"),
            (Some(_) | None, _) => {}
        }
    }
    parts
}

#[test]
fn every_planted_fault_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches: Vec<_> = fs::read_dir(root.join("tests/planted"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "patch")
        })
        .collect();
    patches.sort();
    assert!(patches.len() >= 20, "only {} are left", patches.len());
    for path in patches {
        let patch = fs::read_to_string(&path).unwrap();
        let file = patch.lines().find_map(|line| line.strip_prefix("+++ b/"));
        let source = fs::read_to_string(root.join(file.unwrap())).unwrap();
        let parts = expected(&patch);
        assert!(!parts.is_empty(), "{path:?} changes nothing");
        for part in parts {
            assert!(source.contains(&part), "{path:?} does not apply:\n{part}");
        }
    }
}
