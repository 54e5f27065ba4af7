//! Whatever a plug-in writes, reading it ends with answers or an error: no panic, no memory beyond what came.
//!
//! `cargo +nightly fuzz run answers -- -max_total_time=600 -rss_limit_mb=1024` in the repository's root. The corpus holds the
//! messages written by hand, under their names, and a set cover of the edges that ten minutes (5.4 million runs) reached:
//! `-set_cover_merge=1 -use_counters=0 -max_len=400`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| secateur::plugin::fuzz(bytes));
