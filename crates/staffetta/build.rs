//! Records which compiler builds the library.
//!
//! The place of an `Option`'s tag is the compiler's choice, so its schema names the compiler.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    // A compiler that does not say its version gets a name that matches only other unknown ones
    // of the same path.
    let rustc = env::var("RUSTC").unwrap_or_else(|_| String::from("rustc"));
    let version = Command::new(&rustc)
        .arg("-V")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| format!("unknown compiler {rustc}"));
    println!("cargo:rustc-env=STAFFETTA_RUSTC_VERSION={version}");
}
