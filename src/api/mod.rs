//! Between the supervisor and its readers: what may be read, its data in words, and in the messages of a protocol.

pub mod journal;
pub mod protocol;
pub mod stream;
pub mod words;

#[cfg(test)]
mod tests;
