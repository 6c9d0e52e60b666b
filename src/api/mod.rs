//! Between the supervisor and its readers: its data in words, and in the messages of a protocol.

pub mod protocol;
pub mod words;

#[cfg(test)]
mod tests;
