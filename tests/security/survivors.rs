//! What remains when the daemon ends without a chance to clean up.
