//! One GET (RFC 9112), without TLS: the request's bytes, and what has come of the answer. Only the head of
//! the answer counts; a body is not read.

/// The most that is read of an answer, in bytes: its head, and whatever announced it. Servers themselves take
/// heads of about this size.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most header fields in it.
const MAX_FIELDS: usize = 100;

/// The bytes of the request. `host` and `path` were checked with the configuration: printable ASCII without
/// a space.
pub fn request(host: &str, path: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: go-overlay/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// The answer as far as it has come.
#[derive(Debug, Default)]
pub struct Answer {
    /// Without the heads that only announced it.
    bytes: Vec<u8>,
    /// How much was taken in, with them.
    taken: usize,
}

/// Why what came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not HTTP/1.
    NotHttp,
    /// No end of the head within [`MAX_HEAD`], or too many fields in it.
    TooLong,
}

impl Answer {
    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Takes in what came; the status as soon as the head of the final answer is whole.
    ///
    /// # Errors
    /// When it cannot become an answer any more.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<u16>, Bad> {
        let room = MAX_HEAD.saturating_sub(self.taken);
        let bytes = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(bytes);
        self.taken += bytes.len();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&self.bytes) {
                // 1xx only announces the answer (RFC 9110, 15.2).
                Ok(httparse::Status::Complete(length)) => match head.code {
                    Some(100..=199) => drop(self.bytes.drain(..length)),
                    status => return Ok(status),
                },
                Ok(httparse::Status::Partial) if self.taken < MAX_HEAD => return Ok(None),
                Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return Err(Bad::TooLong);
                }
                Err(_) => return Err(Bad::NotHttp),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_is_whole() {
        let text = String::from_utf8(request("localhost:8080", "/healthz?full=1")).unwrap();
        assert!(text.starts_with("GET /healthz?full=1 HTTP/1.1\r\nHost: localhost:8080\r\n"));
        assert!(text.ends_with("Connection: close\r\n\r\n"));
    }

    #[test]
    fn the_status_is_known_when_the_head_is_whole() {
        let take = |text: &str| Answer::default().take(text.as_bytes());
        assert_eq!(take("HTTP/1.1 200 OK\r\n\r\nbody"), Ok(Some(200)));
        assert_eq!(
            take("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n"),
            Ok(Some(503))
        );
        assert_eq!(take("HTTP/1.1 204\r\n\r\n"), Ok(Some(204)));
        assert_eq!(take("HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
        assert_eq!(
            take("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n"),
            Ok(Some(404))
        );
        assert_eq!(take("HTTP/1.1 100 Continue\r\n\r\n"), Ok(None));
        assert_eq!(take("-ERR unknown command\r\n"), Err(Bad::NotHttp));
        assert_eq!(take("SSH-2.0-OpenSSH\r\n"), Err(Bad::NotHttp));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2 * MAX_HEAD));
        assert_eq!(take(&endless), Err(Bad::TooLong));
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert_eq!(take(&many), Err(Bad::TooLong));
    }

    #[test]
    fn a_server_that_announces_an_answer_for_ever_is_given_up() {
        let announcement = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut answer = Answer::default();
        let enough = MAX_HEAD / announcement.len();
        for _ in 0..enough {
            assert_eq!(answer.take(announcement), Ok(None));
        }
        assert_eq!(answer.take(announcement), Err(Bad::TooLong));
        // Heads that are too long together are too long in one portion too.
        let announced = announcement.repeat(enough + 1);
        let late = [&announced[..], b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(Answer::default().take(&late), Err(Bad::TooLong));
    }

    proptest! {
        #[test]
        fn anything_in_any_portions_comes_to_the_same(
            head in prop_oneof![
                Just(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..200),
            ],
            portion in 1usize..20,
        ) {
            let whole = Answer::default().take(&head);
            let mut answer = Answer::default();
            let mut result = Ok(None);
            for bytes in head.chunks(portion) {
                result = answer.take(bytes);
                if result != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(result, whole);
            prop_assert!(answer.bytes.len() <= MAX_HEAD);
        }
    }
}
