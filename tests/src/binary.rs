//! The `tidings` binary of this build.

use std::{path::PathBuf, process::Command};

/// The binary: `TIDINGS_BIN`, or the one beside the tests, built if it is missing.
///
/// # Panics
/// If it is not there and cannot be built.
pub fn tidings() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDINGS_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a test knows where it is");
    let profile = exe.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
    let path = profile.join("tidings");
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--package", "tidings", "--bin", "tidings"]).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build --package tidings");
    }
    path
}

/// The binary that can be told to misbehave (feature `canary`), which `tools/check` builds; `None` outside of it.
pub fn canary() -> Option<PathBuf> {
    std::env::var_os("TIDINGS_CANARY_BIN").map(PathBuf::from)
}
