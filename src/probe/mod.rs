//! What is said between the daemon and a service, as bytes: the HTTP of a health check, and the datagrams
//! of a service that tells how it is. Opens nothing, reads no clock, decides nothing.

pub mod http;
pub mod notify;
