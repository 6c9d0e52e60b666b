//! The text of the log path: splitting into lines, prefixing, bounded memory. Pure.

pub mod prefix;
pub mod queue;
pub mod splitter;
