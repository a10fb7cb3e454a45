//! Whole states on a disk that loses, tears and flips.

mod crashes;
mod damage;
mod forget;
mod group;
