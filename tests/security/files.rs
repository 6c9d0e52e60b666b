//! Files, scripts and log files in places that a user of a service can write.
