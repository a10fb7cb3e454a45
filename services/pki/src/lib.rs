//! The cluster's own certificates: a CA, what it issues, and TLS that is renewed while it runs.

#![forbid(unsafe_code)]
