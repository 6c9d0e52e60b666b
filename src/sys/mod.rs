//! One kernel object a file; every `unsafe` of the program.
