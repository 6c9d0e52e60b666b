//! A static program that does nothing.

fn main() {}
