//! Writes down which commit the bench is built of: reports say it, whatever the working directory has become since.

use std::process::Command;

fn main() {
    for path in ["../.git/HEAD", "../.git/index", "../src", "src", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = git.ok().filter(|out| out.status.success()).map(|out| out.stdout).unwrap_or_default();
    println!("cargo::rustc-env=TIDINGS_COMMIT={}", String::from_utf8_lossy(&commit).trim());
}
