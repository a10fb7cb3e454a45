//! Bad input against a running broker: what it does with each kind, and that it goes on serving others
//! meanwhile and afterwards, in the memory that it had before.
//!
//! Each test has a broker of its own, watched by [`Watch`]. Start reading at [`watch`].

mod content;
mod flood;
mod full;
mod mutation;
mod random;
mod samples;
mod size;
mod slow;
mod unread;
mod watch;
