//! The rules of the data path that a shard keeps, each with the test that fails without it.

#[path = "../support/mod.rs"]
mod support;

mod administer;
mod backup;
mod bounds;
mod connect;
mod deliver;
mod identity;
mod level;
mod publish;
mod reborn;
mod retained;
mod shared;
mod spill;
mod subscribe;
mod time;
mod unkept;
mod watch;
mod will;
