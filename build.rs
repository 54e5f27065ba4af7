//! Bakes libtorch's folder into the binaries' run path, so that they start from anywhere with no variable set.
//!
//! Does nothing without feature `torch`: only torch-sys' build script sets the variable that is read here.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys has `links = "tch"` and hands on `libtorch_lib`.
    let Some(given) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    // `.libtorch` is a link in the checkout: what is baked in is the folder behind it, which outlives the checkout.
    let given = PathBuf::from(given);
    let folder = given.canonicalize().unwrap_or(given);
    // Four arguments and not one `-Wl,…`, which would cut the path at its commas.
    for argument in ["-Xlinker", "-rpath", "-Xlinker", &folder.to_string_lossy()] {
        println!("cargo:rustc-link-arg={argument}");
    }
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // No symbol of the CUDA library is named by tch, so a linker that keeps only what is needed would drop it.
        for argument in ["-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"] {
            println!("cargo:rustc-link-arg={argument}");
        }
    }
}
