//! Tests of the whole connection against a gateway that is a script.

mod closing;
mod connecting;
mod delivering;
mod fake;
mod needing;
mod property;
mod publishing;
mod subscribing;
