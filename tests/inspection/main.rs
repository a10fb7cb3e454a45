//! What administrators see of a broker and do to it: by the commands `sessions`, `retained` and `explain-access`, of a standalone
//! broker and of a cluster.

mod access;
mod backup;
mod cluster;
mod standalone;
