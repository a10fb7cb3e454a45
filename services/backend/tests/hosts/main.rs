//! Several hosts in one process, over channels, with configurations made by hand: what a replica's host owes its origins,
//! its neighbours and the control plane.
//!
//! Time stands still while anything can go on, so that no time-out decides a test.

mod chains;
mod divergence;
mod gateway;
mod links;
mod peers;
mod world;
