//! Users, groups and capabilities of services.
