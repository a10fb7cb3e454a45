//! What a client may do: rules compiled once, asked often.

#![forbid(unsafe_code)]
