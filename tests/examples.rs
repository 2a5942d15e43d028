//! The examples that are jobs run, and say what they promise.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An example of this very build, built if it is not: `cargo test --test examples` does not.
fn program(name: &str) -> PathBuf {
    // TARGET/PROFILE/deps/examples-HASH
    let test = std::env::current_exe().unwrap();
    let profile_dir = test.parent().and_then(Path::parent).unwrap();
    let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "ringway", "--example", name])
        .args(["--profile", profile, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(profile_dir.parent().unwrap())
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    profile_dir.join("examples").join(name)
}

/// Runs it to its end, sees that it leaves nothing, and returns what it prints.
fn run(name: &str, argument: &str) -> String {
    let mut builder = tempfile::Builder::new();
    builder.prefix("test-examples-").permissions(std::fs::Permissions::from_mode(0o700));
    let dir = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap();
    let output = Command::new("timeout")
        .args(["-k", "5", "120"])
        .arg(program(name))
        .arg(argument)
        .env("RINGWAY_DIR", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_pipeline_makes_ten_thousand_calls_without_a_time_out() {
    let said = run("pipeline_service", "10000");
    assert!(said.contains("7500 sold for 1387500 cents, 2500 without a price"), "{said}");
    assert!(said.contains("10000 calls, 0 late replies"), "{said}");
}

#[test]
fn a_work_queue_loses_nothing_when_a_consumer_is_killed() {
    let said = run("work_queue", "20000");
    assert!(said.contains("killed consumer#0") && said.contains("20000 jobs: 0 lost"), "{said}");
}
