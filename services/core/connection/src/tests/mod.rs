//! Tests of the whole connection against a gateway that is a script.

mod authorizing;
mod closing;
mod compatible;
mod connecting;
mod delivering;
mod fake;
mod needing;
mod policies;
mod property;
mod proving;
mod publishing;
mod rules;
mod subscribing;
