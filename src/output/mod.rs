//! The text of the log path: splitting into lines, writing them down, remembering them. Pure.

pub mod awaited;
mod boundary;
pub mod destination;
pub mod feed;
pub mod file_text;
pub mod format;
pub mod prefix;
pub mod queue;
pub mod recent;
pub mod screen;
pub mod sink;
pub mod splitter;
pub mod tail;
