//! Whatever a plug-in writes, reading it ends with answers or an error: no panic, no memory beyond what came.
//!
//! `cargo +nightly fuzz run answers` in the repository's root; the corpus is checked in small.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| secateur::plugin::fuzz(bytes));
