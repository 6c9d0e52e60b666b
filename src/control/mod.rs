//! What goes between the daemon and its clients: requests and answers.
//!
//! Pure: data only. How they are sent is in `wire`; `docs/PROTOCOL.md` describes them for other programs.

pub mod message;
