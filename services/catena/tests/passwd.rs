//! `catena passwd` as an operator uses it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

fn passwd(directory: &Path, arguments: &[&str], password: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catena"));
    command
        .args(["passwd", "--secret", "users", "--secrets-dir"])
        .arg(directory)
        .args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // It may have said no already.
    let _ = process.stdin.take().unwrap().write_all(password.as_bytes());
    process.wait_with_output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, &str) {
    (
        output.status.code(),
        std::str::from_utf8(&output.stdout).unwrap().trim(),
    )
}

/// A password that is in clear text on the disk, that all users may read, or that is not the one that was typed.
#[test]
fn passwords_are_made_changed_checked_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("secrets");
    let run = |arguments: &[&str], password: &str| passwd(&directory, arguments, password);
    assert_eq!(
        said(&run(&["me", "--stdin"], "first\n")),
        (Some(0), "made me")
    );
    let file = directory.join("users/me");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let hash = fs::read_to_string(&file).unwrap();
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !hash.contains("first"),
        "{hash}"
    );

    assert_eq!(
        said(&run(&["me", "--stdin", "--verify"], "first")),
        (Some(0), "right")
    );
    assert_eq!(
        said(&run(&["me", "--stdin", "--verify"], "second")),
        (Some(1), "wrong")
    );
    assert_eq!(
        said(&run(&["me", "--stdin"], "second\n")),
        (Some(0), "changed me")
    );
    assert_eq!(
        said(&run(&["me", "--stdin", "--verify"], "second")),
        (Some(0), "right")
    );
    assert_eq!(
        said(&run(&["other", "--stdin"], "second\n")),
        (Some(0), "made other")
    );
    assert_ne!(
        fs::read_to_string(&file).unwrap(),
        fs::read_to_string(directory.join("users/other")).unwrap()
    );

    assert_eq!(said(&run(&["me", "--delete"], "")), (Some(0), "deleted me"));
    assert!(!file.exists());
    for refused in [
        run(&["me", "--delete"], ""),
        run(&["me", "--stdin", "--verify"], "second"),
        run(&["me", "--stdin"], "\n"),
        run(&["../me", "--stdin"], "x\n"),
        // Nobody to ask.
        run(&["me"], "x\n"),
    ] {
        assert_eq!(said(&refused), (Some(1), ""), "{refused:?}");
    }
}
