//! The notify socket: its senders, floods of it, and `MAINPID=`.
