//! Whole authenticators, against HTTPS servers that answer, refuse, hang and lie.

mod custom;
mod jwt;
mod kubernetes;
mod password;
mod world;
