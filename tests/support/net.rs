//! The other side of the servers that are supervised: ports and a small HTTP client, on loopback only.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::until;

/// The first of the ports for tests; most servers have theirs below.
const FIRST_PORT: u32 = 10_240;

/// The first port that the kernel gives to clients (ip(7)).
fn first_of_clients() -> u32 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let first = range.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

/// A port that is free, that no other test of this program gets, and that the kernel gives to no client: with a port
/// from its own range a client of another test could have it before the server does.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = first_of_clients().saturating_sub(FIRST_PORT);
    // Programs of other tests begin elsewhere.
    let start = std::process::id().wrapping_mul(7919);
    let free = (0..count).find_map(|_| {
        let next = start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST_PORT + next % count).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    free.unwrap_or_else(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    })
}

/// The whole answer to `GET path`, head and body; None while nobody answers.
pub fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Waits until `GET path` is answered with 200 and something that contains `needle`.
pub fn wait_for_http(port: u16, path: &str, needle: &str, patience: Duration) -> String {
    until(
        &format!("an answer with {needle:?} from port {port}"),
        patience,
        || http(port, path).filter(|text| text.contains(" 200 ") && text.contains(needle)),
    )
}

/// Waits until somebody listens.
pub fn wait_for_port(port: u16, patience: Duration) {
    until(&format!("a listener on port {port}"), patience, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
}
