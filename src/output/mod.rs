//! The text of the log path: splitting into lines, prefixing, bounded memory. Pure.
