//! `services.toml` to [`Config`]: reading, checking, and saying what is wrong.
//!
//! Pure: the file's text comes in, and what the file system, the user database and PATH know is asked
//! through [`Facts`]. Never opens a file itself, never starts anything.

pub mod model;

pub use model::Config;
