//! The faults that take long: `make faults`. The others are in `main.rs`.

mod hang;
mod hosts;
mod restore;
mod roll;
mod rounds;
