use std::{fs, path::PathBuf, sync::Arc, thread, time::Duration};

use catena_shard::segment::Segment;

use super::{seal::TAG_BYTES, *};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("catena-spill-{name}-{}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0).map_or(0, |entries| {
            let names = entries.map(|entry| entry.unwrap().file_name());
            let spills = names.filter(|name| name.to_string_lossy().ends_with(".spill"));
            spills.count()
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for what other threads do; how long that may take decides nothing.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("never: {what}");
}

fn segment(byte: u8, len: usize) -> Arc<Segment> {
    Arc::new(Segment::new(vec![byte; len].into()))
}

fn put(spill: &Spill, segment: &Arc<Segment>) {
    spill.put_away(segment.clone());
}

// What a session is owed would be lost, or come back as something else; or its memory or its room on the disk never be free again.
#[test]
fn parts_go_and_come_back() {
    let scratch = Scratch::new("back");
    let spill = Spill::new(&scratch.0).unwrap();
    spill.set_max(1 << 30);
    assert!(!scratch.0.exists(), "nothing is made before it is needed");
    let parts: Vec<_> = (0..40).map(|byte| segment(byte, 100_000)).collect();
    parts.iter().for_each(|part| put(&spill, part));
    wait("written", || parts.iter().all(|part| part.here().is_none()));
    wait("counted", || spill.status().waiting == 0);
    assert_eq!(spill.status().used, 40 * (100_000 + TAG_BYTES as u64));
    for (byte, part) in parts.iter().enumerate() {
        // Some are asked for ahead, some not.
        if byte % 3 > 0 {
            part.fetch();
        }
        if byte % 3 == 1 {
            wait("read ahead or taken", || {
                spill.0.state.ahead.load(Relaxed) > 0
            });
        }
        assert!(part.read() == vec![byte as u8; 100_000]);
    }
    drop(parts);
    let last = segment(0, 1);
    put(&spill, &last);
    wait("the last", || last.here().is_none());
    drop(last);
    // The thread that reads ahead may be the last that has a part.
    wait("given up", || spill.0.state.ahead.load(Relaxed) == 0);
}

// A queue would fill the disk that others need, or be lost when it is full, or stay refused when there is room again.
#[test]
fn a_full_disk_keeps_parts_in_memory_until_there_is_room() {
    let scratch = Scratch::new("full");
    let spill = Spill::new(&scratch.0).unwrap();
    spill.set_max(250_000);
    let parts: Vec<_> = (0..4).map(|byte| segment(byte, 100_000)).collect();
    parts.iter().for_each(|part| put(&spill, part));
    wait("full", || spill.status().is_full);
    assert!(spill.is_pressed(false));
    assert!(parts[1].here().is_none() && parts[2].here().is_some() && parts[3].here().is_some());
    assert!(spill.status().used <= 250_000);
    assert!(parts[3].read() == vec![3; 100_000]);
    // The readers of the first two have them.
    let rest = parts[2..].to_vec();
    drop(parts);
    wait("room", || {
        !spill.status().is_full && spill.status().waiting == 0
    });
    assert!(!spill.is_pressed(true));
    assert!(rest[1].here().is_none() && rest[1].read() == vec![3; 100_000]);
    drop(rest);
}

// What fills the disk after a crash is what nobody will ever read; and what belongs to a living process is not to be deleted.
#[test]
fn what_an_earlier_process_left_is_deleted() {
    let scratch = Scratch::new("left");
    fs::create_dir_all(&scratch.0).unwrap();
    fs::write(scratch.0.join("00000001.spill"), b"left").unwrap();
    fs::write(scratch.0.join("notes.txt"), b"somebody's").unwrap();
    let spill = Spill::new(&scratch.0).unwrap();
    assert_eq!(scratch.files(), 0);
    assert!(scratch.0.join("notes.txt").exists());
    let error = Spill::new(&scratch.0).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(spill);
}

// The disk would be full of files whose parts were all delivered.
#[test]
fn a_file_without_wanted_parts_is_deleted() {
    let scratch = Scratch::new("deleted");
    let spill = Spill::new(&scratch.0).unwrap();
    spill.set_max(1 << 30);
    let large = 40 * 1024 * 1024;
    let parts: Vec<_> = (0..3).map(|byte| segment(byte, large)).collect();
    parts.iter().for_each(|part| put(&spill, part));
    wait("written", || parts.iter().all(|part| part.here().is_none()));
    assert_eq!(scratch.files(), 2);
    let last = parts[2].clone();
    drop(parts);
    wait("the first file is deleted", || scratch.files() == 1);
    wait("its room is free", || {
        spill.status().used == (large + TAG_BYTES) as u64
    });
    drop(last);
}

// A slow disk would let memory grow without end; and a queue would be parted and not parted with each part that is written.
#[test]
fn what_waits_to_be_written_presses() {
    let scratch = Scratch::new("press");
    let spill = Spill::new(&scratch.0).unwrap();
    let waiting = &spill.0.state.waiting;
    waiting.store(WAITING_MAX - 1, Relaxed);
    assert!(!spill.is_pressed(false));
    assert!(spill.is_pressed(true), "not before it is low again");
    waiting.store(WAITING_MAX, Relaxed);
    assert!(spill.is_pressed(false));
    waiting.store(WAITING_LOW - 1, Relaxed);
    assert!(!spill.is_pressed(true));
}
