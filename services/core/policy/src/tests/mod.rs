//! The engine against rules written by hand, and against a naive one.

mod containment;
mod examples;
mod naive;
mod property;
