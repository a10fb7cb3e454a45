//! The file of the embedded store: redb, whose commits are atomic and are on the disk when they return.

use std::{fs, path::Path};

use bytes::Bytes;
use redb::{Database, ReadableTable, Table, TableDefinition};

use crate::store::{
    Change, Compare, Entry, Error, Expected, Key, LeaseId, Listing, Prefix, Revision, Transaction,
    Write,
};

/// By key: created, revision and lease as 8 bytes each, then the value.
const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

const FORMAT: &str = "format";
const REVISION: &str = "revision";
/// Rises when an older version could not read the file any more.
const FORMAT_NOW: u64 = 1;

const HEAD_BYTES: usize = 24;

#[derive(Debug)]
pub struct Disk {
    database: Database,
}

impl Disk {
    /// Opens or makes the file, and deletes what was put under leases. Answers the revision that it is at.
    pub fn open(file: &Path) -> Result<(Disk, Revision), Error> {
        let directory = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(disk)?;
        let mut builder = Database::builder();
        builder.create_with_file_format_v3(true);
        let database = builder.create(file).map_err(disk)?;
        // The file's name is durable only when its directory is.
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(disk)?;
        Disk::begin(database)
    }

    /// A file in memory, which ends with the process.
    pub fn in_memory() -> Result<(Disk, Revision), Error> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend);
        Disk::begin(database.map_err(disk)?)
    }

    fn begin(database: Database) -> Result<(Disk, Revision), Error> {
        let disk = Disk { database };
        disk.check_format()?;
        let leased = disk.list(&Prefix::ALL)?.entries.into_iter();
        let leased = leased.filter(|entry| entry.lease.is_some());
        let deletion = Transaction {
            compare: vec![],
            writes: leased.map(|entry| Write::Delete(entry.key)).collect(),
        };
        disk.commit(&deletion)?;
        let revision = disk.list(&Prefix::ALL)?.revision;
        Ok((disk, revision))
    }

    fn check_format(&self) -> Result<(), Error> {
        let writing = self.database.begin_write().map_err(disk)?;
        {
            writing.open_table(ENTRIES).map_err(corrupt)?;
            let mut numbers = writing.open_table(NUMBERS).map_err(corrupt)?;
            let format = read_number(&numbers, FORMAT)?;
            match format {
                None => {
                    numbers.insert(FORMAT, FORMAT_NOW).map_err(disk)?;
                    numbers.insert(REVISION, 0).map_err(disk)?;
                }
                Some(FORMAT_NOW) => return Ok(()),
                Some(other) => return Err(Error::Corrupt(format!("a file of format {other}"))),
            }
        }
        writing.commit().map_err(disk)
    }

    pub fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let reading = self.database.begin_read().map_err(disk)?;
        let entries = reading.open_table(ENTRIES).map_err(corrupt)?;
        read_entry(&entries, key)
    }

    pub fn list(&self, prefix: &Prefix) -> Result<Listing, Error> {
        let reading = self.database.begin_read().map_err(disk)?;
        let entries = reading.open_table(ENTRIES).map_err(corrupt)?;
        let numbers = reading.open_table(NUMBERS).map_err(corrupt)?;
        let mut found = Vec::new();
        for row in entries.range(prefix.as_str()..).map_err(disk)? {
            let (key, value) = row.map_err(disk)?;
            if !key.value().starts_with(prefix.as_str()) {
                break;
            }
            let key = Key::new(key.value()).map_err(corrupt)?;
            found.push(decode(&key, value.value())?);
        }
        Ok(Listing {
            revision: Revision(read_number(&numbers, REVISION)?.unwrap_or(0)),
            entries: found,
        })
    }

    /// Writes the transaction, durably. `None`: a comparison did not hold. One that changes nothing has no revision of its
    /// own.
    pub fn commit(
        &self,
        transaction: &Transaction,
    ) -> Result<Option<(Revision, Vec<Change>)>, Error> {
        let writing = self.database.begin_write().map_err(disk)?;
        let (revision, changes) = {
            let mut entries = writing.open_table(ENTRIES).map_err(corrupt)?;
            let mut numbers = writing.open_table(NUMBERS).map_err(corrupt)?;
            for compare in &transaction.compare {
                if !holds(&entries, compare)? {
                    return Ok(None);
                }
            }
            let last = Revision(read_number(&numbers, REVISION)?.unwrap_or(0));
            let revision = Revision(last.0 + 1);
            let mut changes = Vec::with_capacity(transaction.writes.len());
            for write in &transaction.writes {
                changes.extend(apply(&mut entries, write, revision)?);
            }
            if changes.is_empty() {
                return Ok(Some((last, changes)));
            }
            numbers.insert(REVISION, revision.0).map_err(disk)?;
            (revision, changes)
        };
        writing.commit().map_err(disk)?;
        Ok(Some((revision, changes)))
    }
}

fn holds(entries: &Table<'_, &str, &[u8]>, compare: &Compare) -> Result<bool, Error> {
    let entry = read_entry(entries, &compare.key)?;
    Ok(match compare.is {
        Expected::Absent => entry.is_none(),
        Expected::At(revision) => entry.is_some_and(|entry| entry.revision == revision),
    })
}

fn apply(
    entries: &mut Table<'_, &str, &[u8]>,
    write: &Write,
    revision: Revision,
) -> Result<Option<Change>, Error> {
    match write {
        Write::Put { key, value, lease } => {
            let last = read_entry(entries, key)?;
            let entry = Entry {
                key: key.clone(),
                value: value.clone(),
                created: last.map_or(revision, |last| last.created),
                revision,
                lease: *lease,
            };
            entries
                .insert(key.as_str(), encode(&entry).as_slice())
                .map_err(disk)?;
            Ok(Some(Change::Put(entry)))
        }
        Write::Delete(key) => {
            let was_there = entries.remove(key.as_str()).map_err(disk)?.is_some();
            let key = key.clone();
            Ok(was_there.then_some(Change::Deleted { key, revision }))
        }
    }
}

fn read_entry(
    entries: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &Key,
) -> Result<Option<Entry>, Error> {
    let row = entries.get(key.as_str()).map_err(disk)?;
    row.map(|value| decode(key, value.value())).transpose()
}

fn read_number(
    numbers: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<Option<u64>, Error> {
    let row = numbers.get(name).map_err(disk)?;
    Ok(row.map(|number| number.value()))
}

fn encode(entry: &Entry) -> Vec<u8> {
    let lease = entry.lease.map_or(0, |lease| lease.0);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + entry.value.len());
    for number in [entry.created.0, entry.revision.0, lease] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&entry.value);
    bytes
}

fn decode(key: &Key, bytes: &[u8]) -> Result<Entry, Error> {
    let number = |place: usize| {
        let bytes = bytes.get(8 * place..8 * (place + 1));
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(u64::from_be_bytes)
            .ok_or_else(|| Error::Corrupt(format!("the entry {key} is too short")))
    };
    let (created, revision, lease) = (number(0)?, number(1)?, number(2)?);
    Ok(Entry {
        key: key.clone(),
        value: Bytes::copy_from_slice(&bytes[HEAD_BYTES..]),
        created: Revision(created),
        revision: Revision(revision),
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}

fn disk(error: impl std::fmt::Display) -> Error {
    Error::Disk(error.to_string())
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt(error.to_string())
}
