//! Style is a test: tools/tidy.

use std::{path::Path, process::Command};

#[test]
fn the_tree_is_tidy() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/tidy");
    let output = Command::new("python3").arg(&script).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
