//! A log driver that does not take what is written.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::support::{PATIENCE, is_alive, shell, talker, until};

/// `docker run --detach` with a collector of logs that accepts and never reads.
#[test]
fn a_log_driver_that_blocks_wedges_nothing() {
    let engine = engine!();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("collector");
    let collector = UnixListener::bind(&socket).unwrap();
    let services = "[timeouts]\nservice_shutdown_timeout = 2\nglobal_shutdown_timeout = 4\n\n"
        .to_owned()
        + &shell("flood", "yes 0123456789", "")
        + &talker("web", "health = { exec = [\"true\"], interval = \"1s\" }");
    let address = format!("fluentd-address=unix://{}", socket.display());
    let container = engine.run(&[
        "--log-driver",
        "fluentd",
        "--log-opt",
        &address,
        // When the collector is gone, at the end, the engine is not to wait for another one for years.
        "--log-opt",
        "fluentd-max-retries=1",
        &engine.image("deaf-logs", &services),
    ]);
    let (connection, _) = collector.accept().unwrap();
    // The collector's buffers, the engine's and ours fill up; then the flood waits.
    let pid: i32 = container.inspect("{{.State.Pid}}").parse().unwrap();
    until("the flood to wait", PATIENCE, || {
        let (_, first) = container.go(&["logs", "-n", "1", "--json", "flood"]);
        let (_, second) = container.go(&["logs", "-n", "1", "--json", "flood"]);
        (!first.is_empty() && first == second).then_some(())
    });
    // Whoever asks is answered, whatever is told is done.
    let (code, said) = container.go(&["list"]);
    assert!(code == 0 && said.contains("RUNNING"), "{said}");
    let (code, said) = container.go(&["restart", "web"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = container.go(&["health"]);
    assert_eq!(code, 0, "{said}");
    let began = Instant::now();
    container.kill("TERM");
    until("the daemon to be gone", PATIENCE, || {
        (!is_alive(pid)).then_some(())
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    // The engine itself waits for the collector before it tells of the end.
    drop((connection, collector));
    assert_eq!(container.wait(), 0);
}
