//! The control socket: strangers as clients, strangers as daemons.
