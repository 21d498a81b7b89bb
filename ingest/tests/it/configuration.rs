//! The binary and its configuration.

use std::process::{Command, Output};

fn edgetrail(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgetrail"))
        .args(arguments)
        .env_remove("EDGETRAIL_CONFIG")
        .env_remove("DATABASE_URL")
        .envs(variables.iter().copied())
        .output()
        .expect("runs")
}

#[test]
fn a_wrong_configuration_is_one_line_that_names_the_key_and_exit_2() {
    for (name, value, words) in [
        ("EDGETRAIL__HTTP__LISTEN", "nowhere", "http.listen: "),
        ("EDGETRAIL__HTTP__LISTN", "x", "http.listn: unknown key"),
        ("DATABASE_URL", "mysql://u:hunter2@h", "database.url: "),
        ("EDGETRAIL_CONFIG", "/nowhere.toml", "/nowhere.toml: "),
    ] {
        let output = edgetrail(&["check-config"], &[(name, value)]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("hunter2") && error.lines().count() == 1, "{error}");
    }
    assert_eq!(edgetrail(&["check-config"], &[]).status.code(), Some(0));
    assert_eq!(edgetrail(&["nonsense"], &[]).status.code(), Some(2));
}
