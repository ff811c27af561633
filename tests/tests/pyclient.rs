//! The protocol's document is enough: a client written from it alone, in Python's standard library, works (tools/pyclient).

use std::{path::Path, process::Command};

use tidings_tests::{Serving, serving::small};

#[test]
fn a_client_written_from_the_document_works() {
    let serving = Serving::start(small());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/pyclient/check.py");
    for run in ["on new data", "on a conversation that exists"] {
        let output = Command::new("python3")
            .arg(&script)
            .args(["--server", &serving.server().addr().to_string()])
            .args(["--token-alice", &serving.token("alice"), "--token-bob", &serving.token("bob")])
            .output()
            .expect("python3 is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim_end().ends_with("ok"), "{run}: {said}{complained}");
    }
}
