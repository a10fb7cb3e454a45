//! The directory as operators and Kubernetes change it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use crate::{Error, FILE_BYTES_MAX, Secret, Secrets};

fn write(directory: &Path, name: &str, key: &str, value: &[u8]) {
    fs::create_dir_all(directory.join(name)).unwrap();
    fs::write(directory.join(name).join(key), value).unwrap();
}

fn text(secrets: &Secrets, name: &str, key: &str) -> Option<String> {
    let secret = secrets.get(name, key)?;
    Some(secret.as_text().unwrap().to_owned())
}

/// A secret that is printed with whatever holds it ends up in a log.
#[test]
fn a_secret_prints_nothing() {
    let secret = Secret::new(b"hunter2".to_vec());
    assert_eq!(
        format!("{secret:?} {:?}", Some(&secret)),
        "Secret Some(Secret)"
    );
}

/// A broker that serves the certificate, or takes the password, of before.
#[test]
fn what_changes_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = Secrets::open(Some(directory.path().to_owned()));
    let changed = secrets.changed();
    assert_eq!(*changed.borrow(), 0);

    write(directory.path(), "a", "key", b"one\n");
    assert!(secrets.look());
    assert_eq!(text(&secrets, "a", "key").unwrap(), "one");
    assert_eq!(*changed.borrow(), 1);
    assert!(!secrets.look(), "nothing changed");

    // The same length, likely within one tick of the clock of the file system.
    write(directory.path(), "a", "key", b"two\n");
    assert!(secrets.look());
    assert_eq!(text(&secrets, "a", "key").unwrap(), "two");

    write(directory.path(), "a", "more", b"three");
    assert!(secrets.look());
    assert_eq!(secrets.all("a").len(), 2);

    fs::remove_file(directory.path().join("a/key")).unwrap();
    assert!(secrets.look());
    assert!(secrets.get("a", "key").is_none());
    fs::remove_dir_all(directory.path().join("a")).unwrap();
    assert!(secrets.look());
    assert!(secrets.all("a").is_empty());
}

/// A watch that wakes everybody for a file that was only touched, every two seconds.
#[test]
fn the_same_bytes_are_no_change() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a", "key", b"one");
    let secrets = Secrets::open(Some(directory.path().to_owned()));
    write(directory.path(), "a", "key", b"one");
    assert!(!secrets.look());
}

/// Kubernetes never writes a file again: it swaps the link that all of them go through.
#[test]
fn a_swapped_link_is_a_change_of_all_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("tls");
    for (version, value) in [("..v1", "old"), ("..v2", "new")] {
        fs::create_dir_all(secret.join(version)).unwrap();
        fs::write(secret.join(version).join("tls.crt"), value).unwrap();
        fs::write(secret.join(version).join("tls.key"), value).unwrap();
    }
    symlink("..v1", secret.join("..data")).unwrap();
    symlink("..data/tls.crt", secret.join("tls.crt")).unwrap();
    symlink("..data/tls.key", secret.join("tls.key")).unwrap();
    let secrets = Secrets::open(Some(directory.path().to_owned()));
    assert_eq!(
        secrets.all("tls").len(),
        2,
        "the directories behind the links are no keys"
    );
    assert_eq!(text(&secrets, "tls", "tls.crt").unwrap(), "old");

    symlink("..v2", secret.join("..data_tmp")).unwrap();
    fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
    assert!(secrets.look());
    assert_eq!(text(&secrets, "tls", "tls.crt").unwrap(), "new");
    assert_eq!(text(&secrets, "tls", "tls.key").unwrap(), "new");
}

/// A file of gigabytes by mistake, and the broker is out of memory.
#[test]
fn a_file_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "a",
        "largest",
        &vec![b'x'; FILE_BYTES_MAX as usize],
    );
    write(
        directory.path(),
        "a",
        "larger",
        &vec![b'x'; FILE_BYTES_MAX as usize + 1],
    );
    let secrets = Secrets::open(Some(directory.path().to_owned()));
    assert!(secrets.get("a", "largest").is_some());
    assert!(secrets.get("a", "larger").is_none());
}

/// A broker that does not start, or panics, where nobody needs secrets.
#[test]
fn no_directory_is_no_secrets() {
    let secrets = Secrets::open(None);
    assert!(secrets.get("a", "key").is_none());
    assert!(!secrets.look());
    assert!(matches!(
        secrets.put("a", "key", b""),
        Err(Error::NoDirectory)
    ));

    let directory = tempfile::tempdir().unwrap();
    let secrets = Secrets::open(Some(directory.path().join("later")));
    assert!(secrets.get("a", "key").is_none());
    write(&directory.path().join("later"), "a", "key", b"one");
    assert!(secrets.look());
    assert!(secrets.get("a", "key").is_some());
}

/// A private key that all users of the host can read, or that is half written after a crash.
#[test]
fn what_is_put_is_the_owners_alone_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = Secrets::open(Some(directory.path().join("secrets")));
    let changed = secrets.changed();
    secrets.put("ca", "tls.key", b"one").unwrap();
    assert_eq!(text(&secrets, "ca", "tls.key").unwrap(), "one");
    assert_eq!(*changed.borrow(), 1);
    secrets.put("ca", "tls.key", b"two").unwrap();
    assert_eq!(text(&secrets, "ca", "tls.key").unwrap(), "two");

    let secret = directory.path().join("secrets/ca");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&secret), 0o700);
    assert_eq!(mode(&secret.join("tls.key")), 0o600);
    assert_eq!(
        fs::read_dir(&secret).unwrap().count(),
        1,
        "nothing is left of the writing"
    );

    assert!(secrets.remove("ca", "tls.key").unwrap());
    assert!(!secrets.remove("ca", "tls.key").unwrap());
    assert!(secrets.get("ca", "tls.key").is_none());
}

/// A name that leaves the directory: `catena passwd ../../etc/passwd`.
#[test]
fn a_name_cannot_leave_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = Secrets::open(Some(directory.path().join("secrets")));
    for name in ["", ".", "..", "../a", "a/b", ".hidden", "a\0"] {
        assert!(
            matches!(secrets.put(name, "key", b""), Err(Error::Name(_))),
            "{name:?}"
        );
    }
    for key in ["", ".", "..", "../a", "a/b", "..data", "a\0"] {
        assert!(
            matches!(secrets.put("a", key, b""), Err(Error::Name(_))),
            "{key:?}"
        );
        assert!(
            matches!(secrets.remove("a", key), Err(Error::Name(_))),
            "{key:?}"
        );
    }
}
