//! What the fault tests share: a cluster under load, and faults by chance.
//!
//! The load is `catena verify`, which tells what was lost, doubled, out of order or forgotten. Tests break something, wait
//! until clients have gone on and everything is whole again, and end the load. No test is decided by how long that takes.

mod chance;
mod scene;

pub use self::{
    chance::{Chance, random_faults},
    scene::{Scene, turn},
};
