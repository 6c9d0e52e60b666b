//! A text that is waited for in the output of a service, however its bytes are cut.

use memchr::memmem::Finder;

use crate::base::JobId;

/// A text that makes a service ready.
#[derive(Debug)]
pub struct Awaited {
    /// Whose word it is.
    pub job: JobId,
    finder: Finder<'static>,
    /// The end of what was read, where the text may have begun.
    tail: Vec<u8>,
}

impl Awaited {
    /// Looks for this text, which is not empty.
    pub fn new(job: JobId, text: &str) -> Awaited {
        Awaited {
            job,
            finder: Finder::new(text).into_owned(),
            tail: Vec::new(),
        }
    }

    /// Whether the text is in what was read, or ends there; bytes are to be given in their order.
    pub fn is_in(&mut self, bytes: &[u8]) -> bool {
        let reach = self.finder.needle().len().saturating_sub(1);
        let edge = &bytes[..bytes.len().min(reach)];
        self.tail.extend_from_slice(edge);
        let found = self.finder.find(&self.tail).is_some() || self.finder.find(bytes).is_some();
        if bytes.len() > edge.len() {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - reach..]);
        } else {
            let old = self.tail.len().saturating_sub(reach);
            self.tail.drain(..old);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_awaited_text_is_found_however_it_is_cut() {
        let text = b"starting\nnow ready to accept\nmore";
        for portion in 1..text.len() {
            let mut awaited = Awaited::new(JobId(1), "ready to");
            let found = text.chunks(portion).position(|bytes| awaited.is_in(bytes));
            let end = 9 + "now ready to".len();
            assert_eq!(found, Some((end - 1) / portion), "{portion}");
        }
    }
}
