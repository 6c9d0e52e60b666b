//! Between transports and the core: what clients may ask, what they are answered, and the words for it.
//!
//! A transport knows how requests and answers are sent, and nothing of what they mean; the supervisor knows the reverse.

pub mod access;
pub mod journal;
pub mod protocol;
pub mod stream;
pub mod verbs;
pub mod views;
pub mod words;

#[cfg(test)]
mod tests;
