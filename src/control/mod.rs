//! The protocol that daemon and client share: one JSON object a line each way.
//!
//! Pure: text and bytes only. `docs/PROTOCOL.md` describes it for other programs.

pub mod frame;
pub mod message;
