//! A power cut at any call of a directory of keys: no key is lost that something may have been sealed with, and none comes
//! back that was erased.

use std::path::Path;
use std::sync::Arc;

use annals::uuid::Uuid;
use annals::{
    AggregateId, DomainEvent, Encryption, Event, KeptKey, KeyDirectory, KeyRing, KeyStore, Mapper,
    Metadata, SECRET_KEY_LEN, SecretKey, WrappedKey,
};
use annals_segments::{Disk, OpenMode};
use annals_tests::SeededRandom;
use annals_tests::sim_disk::{SimDisk, Spared, Step};

const DIR: &str = "/keys";

fn id() -> AggregateId {
    AggregateId::text("ann").unwrap()
}

fn key(byte: u8) -> WrappedKey {
    WrappedKey::from_bytes([byte; 73])
}

fn open(disk: &SimDisk) -> KeyDirectory {
    KeyDirectory::open_on(Arc::new(disk.clone()), DIR).unwrap()
}

/// All bytes of all files.
fn bytes(disk: &SimDisk) -> Vec<u8> {
    let dir = Path::new(DIR);
    let read = |name: String| {
        let file = disk.open(&dir.join(name), OpenMode::Read).unwrap();
        file.read_all(4096).unwrap()
    };
    let names = disk.list(dir).unwrap().into_iter();
    names.flat_map(|entry| read(entry.name)).collect()
}

/// What a power cut may leave of each moment of what was recorded.
fn after_power_cuts(disk: &SimDisk, mut check: impl FnMut(&SimDisk)) {
    let random = SeededRandom::new(7);
    for snapshot in disk.recorded() {
        let some = (0..4).map(|_| Spared::Some(&random));
        for spared in [Spared::Nothing, Spared::Everything]
            .into_iter()
            .chain(some)
        {
            check(&SimDisk::of(&snapshot.power_cut(spared)));
        }
    }
}

#[test]
fn a_key_that_was_kept_is_there_after_any_power_cut() {
    let disk = SimDisk::default();
    open(&disk).insert(&id(), &key(1)).unwrap();
    disk.record();
    for byte in 2..5 {
        open(&disk).replace(&id(), &key(byte)).unwrap();
    }
    after_power_cuts(&disk, |left| {
        let found = open(left).load(&id()).unwrap();
        assert!(
            (1..5).any(|byte| found == KeptKey::Key(key(byte))),
            "{found:?}"
        );
        // And it can be wrapped anew whatever is left lying about.
        open(left).replace(&id(), &key(9)).unwrap();
        let left = SimDisk::over(left.power_cut(Spared::Nothing));
        assert_eq!(open(&left).load(&id()).unwrap(), KeptKey::Key(key(9)));
    });
}

#[test]
fn nothing_of_an_erased_key_is_left_whatever_crashed_before() {
    let disk = SimDisk::default();
    open(&disk).insert(&id(), &key(0xab)).unwrap();
    disk.record();
    open(&disk).replace(&id(), &key(0xcd)).unwrap();
    open(&disk).replace(&id(), &key(0xef)).unwrap();
    open(&disk).erase(&id()).unwrap();
    let check = |left: &SimDisk| {
        // Damage is told, as when the power went while it was erased; erasing again ends it.
        let _ = open(left).load(&id());
        open(left).erase(&id()).unwrap();
        let left = SimDisk::over(left.power_cut(Spared::Nothing));
        assert_eq!(open(&left).load(&id()).unwrap(), KeptKey::Erased);
        let found = bytes(&left);
        assert!(found.iter().all(|byte| *byte == 0), "{found:x?}");
    };
    after_power_cuts(&disk, check);
    check(&disk);
}

#[derive(Debug, PartialEq, Event)]
struct Noted {
    text: String,
}

#[test]
fn nothing_is_sealed_with_a_key_that_a_power_cut_can_take() {
    let disk = SimDisk::default();
    let mapper = |disk: &SimDisk| {
        let ring = KeyRing::new(1, SecretKey::new([7; SECRET_KEY_LEN])).unwrap();
        Mapper::json().cipher(Encryption::new(ring).key_per_aggregate(open(disk)))
    };
    let event = DomainEvent {
        aggregate_id: id(),
        version: 1,
        event_id: None,
        time_us: None,
        metadata: Metadata::new(),
        event: Noted { text: "it".into() },
    };
    let seal = |disk: &SimDisk| mapper(disk).to_stored(&event, Uuid::from_u128(1));
    // Somebody gives the key its name, and comes no further.
    disk.fail(Step::SyncDir, std::io::ErrorKind::Other);
    seal(&disk).unwrap_err();
    assert!(matches!(open(&disk).load(&id()), Ok(KeptKey::Key(_))));
    disk.heal();

    let stored = seal(&disk).unwrap();
    let left = SimDisk::over(disk.power_cut(Spared::Nothing));
    let read: Noted = mapper(&left).decode(&stored).unwrap();
    assert_eq!(read, event.event);
}

#[test]
fn a_directory_made_for_keys_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deep").join("keys");
    let keys = KeyDirectory::open(&dir).unwrap();
    keys.insert(&id(), &key(1)).unwrap();
    let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
