//! What goes over connections: from bytes to requests, and from answers and items to bytes.
//!
//! A codec decides how something is sent, and never what: that is said by `api`. Pure: text and bytes only.

pub mod json_line;
