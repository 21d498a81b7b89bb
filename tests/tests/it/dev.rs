//! The first of the two commands, as far as it can be had in a test: the program behind `cargo xtask dev`.

use std::process::Command;

#[test]
fn the_development_stack_shows_its_first_events() {
    let run_dir = tempfile::tempdir().expect("a folder");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(run_dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("our own folder");
    }
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_dev"))
            .args(["--once", "--dir"])
            .arg(run_dir.path())
            .output()
            .expect("it can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let first = run();
    for word in ["USER_LOGIN_FAILED", "AGENT_CREATED", "AGENT_EXECUTED", "USER_PASSWORD_CHANGED", "verified"]
    {
        assert!(first.contains(word), "no {word} in\n{first}");
    }
    // A second run keeps the data and adds to it.
    assert!(run().contains("AGENT_CREATED"));
}
