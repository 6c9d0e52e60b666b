//! The other side of the servers that are supervised: ports and a small HTTP client, on loopback only.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::until;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
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
