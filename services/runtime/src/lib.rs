//! What every process needs once: configuration files, telemetry, threads, signals, limits of the system, and whose an address is.
//!
//! Nothing here knows MQTT. Start reading at [`threads`]: the rest is called once at the start.

pub mod config;
pub mod network;
pub mod open_files;
pub mod panics;
pub mod shutdown;
pub mod telemetry;
pub mod threads;
