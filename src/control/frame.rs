//! Messages as lines, and the daemon's lines as answers. What the daemon reads is in `wire::json_line`.

use serde::Deserialize;

use super::message::{Response, ServiceStatus};

/// How the daemon's longest answer begins.
const LISTING: &[u8] = b"{\"answer\":\"list\",";

/// Reads an answer.
///
/// # Errors
/// When it is none.
pub fn parse_response(line: &[u8]) -> serde_json::Result<Response> {
    /// Read as it comes; to find out which answer it is, serde would first copy all of it.
    #[derive(Deserialize)]
    struct Listing {
        services: Vec<ServiceStatus>,
    }
    if line.starts_with(LISTING) {
        let Listing { services } = serde_json::from_slice(line)?;
        return Ok(Response::List { services });
    }
    serde_json::from_slice(line)
}

/// A message as a line.
pub fn encode<M: serde::Serialize>(message: &M) -> Vec<u8> {
    // The messages hold nothing that JSON cannot say; an empty line stands for the impossible failure.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
