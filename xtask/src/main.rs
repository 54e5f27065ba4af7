//! Project chores: libtorch set-up, the two commands of the README, benches.
fn main() {}
