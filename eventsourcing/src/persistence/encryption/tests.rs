//! What is sealed is opened only as it was, where it was, with the key it was sealed with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::AggregateId;
use crate::persistence::payload::{Payload, PayloadKind, Payloads};
use crate::persistence::{Encoding, Origin, StoredEvent};

const PLAIN: &[u8] =
    br#"{"name":"Ann Example","born":1970,"notes":"nothing nothing nothing nothing"}"#;

fn key(byte: u8) -> SecretKey {
    SecretKey::new([byte; SECRET_KEY_LEN])
}

fn ring() -> KeyRing {
    KeyRing::new(1, key(1)).unwrap()
}

fn by(encryption: Encryption) -> Payloads {
    let payloads = Payloads::default().sealer(Arc::new(encryption));
    #[cfg(feature = "compression")]
    let payloads = payloads.compressor(Arc::new(crate::persistence::Zstd::new()));
    payloads
}

fn payloads() -> Payloads {
    by(ring().into())
}

fn ann() -> AggregateId {
    AggregateId::text("ann").unwrap()
}

fn plain() -> StoredEvent {
    StoredEvent::new(Uuid::from_u128(7), "person.admitted", PLAIN).of(ann(), 3)
}

fn seal(payloads: &Payloads, mut stored: StoredEvent) -> StoredEvent {
    payloads.seal(PayloadKind::Event, &mut stored).unwrap();
    stored
}

fn open(payloads: &Payloads, stored: &StoredEvent) -> Result<Vec<u8>, PersistenceError> {
    payloads
        .open(Payload::of(PayloadKind::Event, stored))
        .map(Cow::into_owned)
}

#[track_caller]
fn reason(outcome: Result<Vec<u8>, PersistenceError>) -> DecryptError {
    match outcome {
        Err(PersistenceError::Decrypt { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[test]
fn what_is_sealed_comes_back_and_is_not_there_to_be_read() {
    let uuid = AggregateId::from(Uuid::from_u128(9));
    let of_none = StoredEvent {
        origin: None,
        ..plain()
    };
    for stored in [plain(), plain().of(uuid, u64::MAX), of_none] {
        for content in [b"".as_slice(), b"x", PLAIN] {
            let stored = StoredEvent {
                payload: content.to_vec(),
                ..stored.clone()
            };
            let sealed = seal(&payloads(), stored.clone());
            assert_eq!(open(&payloads(), &sealed).unwrap(), content);
            assert!(content.len() < 4 || !contains(&sealed.payload, &content[..4]));
            let encoding = sealed.encoding.unwrap();
            assert_eq!((encoding.codec >> 4, encoding.key_id), (1, 1));
            assert_eq!(encoding.plain_len as usize, content.len());
            assert_eq!((sealed.topic, sealed.origin), (stored.topic, stored.origin));
        }
    }
}

/// The layout and all that is derived: bytes that change mean that nothing stored can be read any more.
#[test]
fn the_sealed_form_is_what_it_has_always_been() {
    let golden = Payloads::default().sealer(Arc::new(Encryption::from(ring())));
    let stored = StoredEvent {
        payload: b"plain".to_vec(),
        ..plain()
    };
    let sealed = seal(&golden, stored);
    let hex: String = sealed
        .payload
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(sealed.digest, Some(GOLDEN_DIGEST));
}

const GOLDEN: &str =
    "0116a03d8a2a42df9d8db2be682459eee3e4971ec2edcadb1d02eee1993a881480da7e558985ff8b88dc";
const GOLDEN_DIGEST: u64 = 9_267_750_949_295_537_148;

#[test]
fn everything_a_payload_is_bound_to_has_to_be_as_it_was() {
    let keys = ring();
    keys.old_key(2, key(2)).unwrap();
    let payloads = by(keys.into());
    let sealed = seal(&payloads, plain());
    let sound = || sealed.clone();
    let encoding = sealed.encoding.unwrap();
    let encoded = |encoding| StoredEvent {
        encoding: Some(encoding),
        ..sound()
    };
    let elsewhere =
        |aggregate_id: &str, version| sound().of(AggregateId::text(aggregate_id).unwrap(), version);
    let mut changed = vec![
        ("version", elsewhere("ann", 4)),
        ("aggregate", elsewhere("bob", 3)),
        ("aggregate, a longer one", elsewhere("ann ", 3)),
        (
            "no aggregate",
            StoredEvent {
                origin: None,
                ..sound()
            },
        ),
        (
            "topic",
            StoredEvent {
                topic: "person.released".into(),
                ..sound()
            },
        ),
        (
            "topic, cut",
            StoredEvent {
                topic: "person.admitte".into(),
                ..sound()
            },
        ),
        (
            "event id",
            StoredEvent {
                event_id: Uuid::from_u128(8),
                ..sound()
            },
        ),
        (
            "codec",
            encoded(Encoding {
                codec: encoding.codec ^ 1,
                ..encoding
            }),
        ),
        (
            "key",
            encoded(Encoding {
                key_id: 2,
                ..encoding
            }),
        ),
        (
            "plain length",
            encoded(Encoding {
                plain_len: encoding.plain_len + 1,
                ..encoding
            }),
        ),
    ];
    // A text that spells a UUID is another aggregate than the UUID.
    let spelled = Uuid::from_u128(9).to_string();
    let of_uuid = seal(&payloads, plain().of(Uuid::from_u128(9), 3));
    changed.push((
        "kind of id",
        of_uuid.of(AggregateId::text(spelled).unwrap(), 3),
    ));
    for (what, stored) in changed {
        let reason = reason(open(&payloads, &stored));
        let expected = match what {
            "key" => DecryptError::WrongKey { key_id: 2 },
            _ => DecryptError::Changed,
        };
        assert_eq!(reason, expected, "{what}");
    }
    let as_snapshot = payloads.open(Payload::of(PayloadKind::Snapshot, &sealed));
    assert_eq!(
        reason(as_snapshot.map(Cow::into_owned)),
        DecryptError::Changed
    );
    assert_eq!(open(&payloads, &sealed).unwrap(), PLAIN);
}

#[test]
fn what_is_found_without_a_key_may_change() {
    let mut sealed = seal(&payloads(), plain());
    sealed.tags = vec![b"ward:3".to_vec()];
    sealed.metadata.insert("user".into(), "eve".into());
    assert_eq!(open(&payloads(), &sealed).unwrap(), PLAIN);
}

#[test]
fn every_bit_that_flips_is_told_as_a_change_and_not_as_a_wrong_key() {
    let sealed = seal(&payloads(), plain());
    for bit in 0..sealed.payload.len() * 8 {
        let mut changed = sealed.clone();
        changed.payload[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            reason(open(&payloads(), &changed)),
            DecryptError::Changed,
            "bit {bit}"
        );
    }
}

#[test]
fn every_cut_and_every_continuation_is_told() {
    let sealed = seal(&payloads(), plain());
    for len in 0..sealed.payload.len() {
        let mut cut = sealed.clone();
        cut.payload.truncate(len);
        assert_eq!(
            reason(open(&payloads(), &cut)),
            DecryptError::Changed,
            "{len} bytes"
        );
    }
    let mut continued = sealed;
    continued.payload.push(0);
    assert_eq!(reason(open(&payloads(), &continued)), DecryptError::Changed);
}

#[test]
fn payloads_that_change_places_do_not_verify() {
    let payloads = payloads();
    let mut first = seal(&payloads, plain());
    let mut second = seal(&payloads, plain().of(ann(), 4));
    let mut of_bob = seal(&payloads, plain().of(AggregateId::text("bob").unwrap(), 3));
    std::mem::swap(&mut first.payload, &mut second.payload);
    for stored in [&first, &second] {
        assert_eq!(reason(open(&payloads, stored)), DecryptError::Changed);
    }
    of_bob.payload.clone_from(&second.payload);
    assert_eq!(reason(open(&payloads, &of_bob)), DecryptError::Changed);
}

#[test]
fn a_wrong_key_an_unknown_one_and_none_are_told_apart() {
    let sealed = seal(&payloads(), plain());
    let other = by(KeyRing::new(1, key(9)).unwrap().into());
    assert_eq!(
        reason(open(&other, &sealed)),
        DecryptError::WrongKey { key_id: 1 }
    );
    let later = by(KeyRing::new(2, key(1)).unwrap().into());
    let unknown = DecryptError::UnknownKey {
        key_id: 1,
        known: [2].into(),
    };
    assert_eq!(reason(open(&later, &sealed)), unknown);
    let none = Payloads::default();
    assert!(matches!(
        open(&none, &sealed),
        Err(PersistenceError::UnknownEncoding { key_id: 1, .. })
    ));
}

#[test]
fn after_a_rotation_old_payloads_are_read_and_new_ones_get_the_new_key() {
    let keys = ring();
    let payloads = by(keys.clone().into());
    let old = seal(&payloads, plain());
    keys.rotate(7, key(7)).unwrap();
    let new = seal(&payloads, plain());
    assert_eq!(new.encoding.unwrap().key_id, 7);
    for stored in [&old, &new] {
        assert_eq!(open(&payloads, stored).unwrap(), PLAIN);
    }
    // Whoever comes later has both, in whatever order they were given.
    let later = KeyRing::new(7, key(7)).unwrap();
    later.old_key(1, key(1)).unwrap();
    assert_eq!(open(&by(later.into()), &old).unwrap(), PLAIN);
}

#[test]
fn keys_without_an_id_and_keys_of_one_id_are_refused() {
    assert!(matches!(KeyRing::new(0, key(1)), Err(KeyError::Id)));
    let keys = ring();
    assert_eq!(keys.rotate(1, key(2)), Err(KeyError::Taken { key_id: 1 }));
    assert_eq!(keys.old_key(1, key(2)), Err(KeyError::Taken { key_id: 1 }));
    assert!(matches!(
        SecretKey::from_slice(b"password"),
        Err(KeyError::Length { found: 8 })
    ));
}

#[test]
fn what_is_stored_plain_is_read_unless_that_is_ruled_out() {
    let stored = plain();
    assert_eq!(open(&payloads(), &stored).unwrap(), PLAIN);
    let strict = payloads().only_encrypted();
    let marked = StoredEvent {
        encoding: Some(Encoding {
            codec: 0,
            key_id: 0,
            plain_len: PLAIN.len() as u32,
        }),
        ..stored.clone()
    };
    for stored in [stored, marked] {
        assert!(matches!(
            open(&strict, &stored),
            Err(PersistenceError::NotEncrypted { .. })
        ));
    }
    assert_eq!(open(&strict, &seal(&strict, plain())).unwrap(), PLAIN);
}

#[test]
fn the_same_event_gives_the_same_bytes_and_no_two_messages_share_a_nonce() {
    let payloads = payloads();
    assert_eq!(seal(&payloads, plain()), seal(&payloads, plain()));
    let nonce = |stored: &StoredEvent| stored.payload[9..21].to_vec();
    let mut nonces = BTreeSet::new();
    for version in 0..500 {
        for (topic, id) in [("a", 1), ("b", 1), ("a", 2)] {
            let stored = StoredEvent::new(Uuid::from_u128(id), topic, PLAIN).of(ann(), version);
            assert!(nonces.insert(nonce(&seal(&payloads, stored))));
        }
    }
    // Content that only compression makes different: the nonce is that of what is encrypted.
    let uncompressed = Payloads::default().sealer(Arc::new(Encryption::from(ring())));
    let sealed = seal(&uncompressed, plain().of(ann(), 0));
    assert!(nonces.insert(nonce(&sealed)));
}

#[test]
fn a_digest_tells_the_same_event_whatever_its_compression_and_nothing_else() {
    let digest = |payloads: &Payloads, stored| seal(payloads, stored).digest.unwrap();
    let uncompressed = Payloads::default().sealer(Arc::new(Encryption::from(ring())));
    let own = digest(&payloads(), plain());
    assert_eq!(own, digest(&uncompressed, plain()));
    let mut other = plain();
    other.payload[10] ^= 1;
    let other_key = by(KeyRing::new(1, key(2)).unwrap().into());
    for others in [
        digest(&payloads(), other),
        digest(&payloads(), plain().of(ann(), 4)),
        digest(&other_key, plain()),
    ] {
        assert_ne!(own, others);
    }
}

#[test]
fn nothing_shows_a_key() {
    let secret = key(0xab);
    let keys = KeyRing::new(1, key(0xab)).unwrap();
    let encryption = Encryption::new(keys.clone()).key_per_aggregate(MemoryKeyStore::new());
    let wrapped = WrappedKey::from_bytes([0xab; 73]);
    for shown in [
        format!("{secret:?}"),
        format!("{keys:?}"),
        format!("{wrapped:?}"),
        format!("{:?}", by(encryption)),
    ] {
        let hidden = !shown.contains("171")
            && !shown.to_lowercase().contains("ab, ")
            && !shown.contains("abab");
        assert!(hidden, "{shown}");
    }
}

/// A cipher in the place of the built-in one: what it gets is enough to build any.
#[derive(Debug)]
struct Reversing;

impl Cipher for Reversing {
    fn number(&self) -> u8 {
        8
    }

    fn with_key(&self, key: &[u8; 32]) -> Box<dyn KeyedCipher> {
        struct Keyed(Box<dyn KeyedCipher>);
        impl KeyedCipher for Keyed {
            fn encrypt(
                &self,
                nonce: &[u8; 12],
                bound: &[u8],
                content: &mut [u8],
            ) -> Result<[u8; 16], CipherError> {
                content.reverse();
                self.0.encrypt(nonce, bound, content)
            }
            fn decrypt(
                &self,
                nonce: &[u8; 12],
                bound: &[u8],
                content: &mut [u8],
                tag: &[u8; 16],
            ) -> Result<(), CipherError> {
                self.0.decrypt(nonce, bound, content, tag)?;
                content.reverse();
                Ok(())
            }
        }
        Box::new(Keyed(Aes256Gcm.with_key(key)))
    }
}

#[test]
fn another_cipher_takes_over_and_reads_what_the_one_before_wrote() {
    let both = by(Encryption::new(ring()).with(Reversing));
    let (old, new) = (seal(&payloads(), plain()), seal(&both, plain()));
    assert_eq!(new.encoding.unwrap().codec >> 4, 8);
    for stored in [&old, &new] {
        assert_eq!(open(&both, stored).unwrap(), PLAIN);
    }
    assert!(matches!(
        open(&payloads(), &new),
        Err(PersistenceError::UnknownEncoding { .. })
    ));
}

/// Key, nonce, bound data, plain, encrypted, tag.
type Vector = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, the cases of AES-256 with nonces of 96 bits.
const VECTORS: [Vector; 4] = [
    (
        ZERO_KEY,
        ZERO_NONCE,
        "",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ),
    (
        ZERO_KEY,
        ZERO_NONCE,
        "",
        "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        KEY,
        "cafebabefacedbaddecaf888",
        "",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6\
57ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a\
0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        KEY,
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6\
57ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a\
0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
];
const ZERO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const ZERO_NONCE: &str = "000000000000000000000000";
const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

#[test]
fn the_cipher_is_the_published_one() {
    for (key, nonce, bound, plain, encrypted, tag) in VECTORS {
        let cipher = Aes256Gcm.with_key(&array(key));
        let (nonce, bound) = (array(nonce), bytes(bound));
        let mut content = bytes(plain);
        let made = cipher.encrypt(&nonce, &bound, &mut content).unwrap();
        assert_eq!((content.clone(), made), (bytes(encrypted), array(tag)));
        cipher.decrypt(&nonce, &bound, &mut content, &made).unwrap();
        assert_eq!(content, bytes(plain));
    }
}

#[test]
fn the_cipher_refuses_whatever_differs_in_one_bit() {
    for (key, nonce, bound, _, encrypted, tag) in VECTORS {
        let cipher = Aes256Gcm.with_key(&array(key));
        let sound = [bytes(nonce), bytes(bound), bytes(encrypted), bytes(tag)];
        let lens = sound.each_ref().map(Vec::len);
        for bit in 0..lens.iter().sum::<usize>() * 8 {
            let mut flat = sound.concat();
            flat[bit / 8] ^= 1 << (bit % 8);
            let (nonce, rest) = flat.split_at(lens[0]);
            let (bound, rest) = rest.split_at(lens[1]);
            let (encrypted, tag) = rest.split_at(lens[2]);
            let mut content = encrypted.to_vec();
            let outcome = cipher.decrypt(
                nonce.try_into().unwrap(),
                bound,
                &mut content,
                tag.try_into().unwrap(),
            );
            assert_eq!(outcome, Err(CipherError), "bit {bit}");
        }
    }
}

/// Special counters, tags that are nearly right, lengths around blocks.
#[test]
fn the_cipher_passes_the_cases_of_wycheproof() {
    let cases = include_str!("wycheproof.txt").lines();
    let mut counts = [0, 0];
    for case in cases.filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = case.split(" | ").collect();
        let [number, result, rest @ ..] = &fields[..] else {
            panic!("{case}")
        };
        let [key, nonce, bound, plain, encrypted, tag] = rest else {
            panic!("{case}")
        };
        let [bound, plain, encrypted] =
            [bound, plain, encrypted].map(|hex| bytes(hex.trim_matches('-')));
        let (nonce, tag) = (array(nonce), array(tag));
        let cipher = Aes256Gcm.with_key(&array(key));
        let mut content = encrypted.clone();
        let opened = cipher.decrypt(&nonce, &bound, &mut content, &tag);
        let is_valid = *result == "valid";
        assert_eq!(opened.is_ok(), is_valid, "case {number}");
        counts[usize::from(is_valid)] += 1;
        if is_valid {
            assert_eq!(content, plain, "case {number}");
            let made = cipher.encrypt(&nonce, &bound, &mut content).unwrap();
            assert_eq!((content, made), (encrypted, tag), "case {number}");
        }
    }
    assert_eq!(counts, [27, 39]);
}

mod own_keys {
    //! Aggregates with keys of their own.

    use super::*;

    /// A store that others have a handle to.
    #[derive(Clone, Debug, Default)]
    struct Shared(Arc<MemoryKeyStore>);

    type Answer<T> = Result<T, crate::persistence::TranscodeError>;

    impl KeyStore for Shared {
        fn load(&self, aggregate: &AggregateId) -> Answer<KeptKey> {
            self.0.load(aggregate)
        }
        fn insert(&self, aggregate: &AggregateId, key: &WrappedKey) -> Answer<KeptKey> {
            self.0.insert(aggregate, key)
        }
        fn replace(&self, aggregate: &AggregateId, key: &WrappedKey) -> Answer<()> {
            self.0.replace(aggregate, key)
        }
        fn erase(&self, aggregate: &AggregateId) -> Answer<bool> {
            self.0.erase(aggregate)
        }
        fn aggregates(&self) -> Answer<Vec<AggregateId>> {
            self.0.aggregates()
        }
    }

    fn with(keys: &KeyRing, store: &Shared) -> Payloads {
        by(Encryption::new(keys.clone()).key_per_aggregate(store.clone()))
    }

    fn bob() -> AggregateId {
        AggregateId::text("bob").unwrap()
    }

    #[test]
    fn erasing_one_aggregates_key_takes_its_content_and_no_others() {
        let (keys, store) = (ring(), Shared::default());
        let payloads = with(&keys, &store);
        let of_ann = seal(&payloads, plain());
        let of_bob = seal(&payloads, plain().of(bob(), 1));
        let of_none = seal(
            &payloads,
            StoredEvent {
                origin: None,
                ..plain()
            },
        );
        let mut snapshot = plain();
        payloads.seal(PayloadKind::Snapshot, &mut snapshot).unwrap();

        let eraser = payloads.keys().unwrap();
        assert!(eraser.erase_key(&ann()).unwrap());
        assert!(!eraser.erase_key(&ann()).unwrap());

        let is_erased = |outcome: Result<(), PersistenceError>| matches!(outcome, Err(PersistenceError::KeyErased { aggregate_id }) if aggregate_id == ann());
        for payloads in [&payloads, &with(&keys, &store)] {
            assert!(is_erased(open(payloads, &of_ann).map(drop)));
            let opened = payloads.open(Payload::of(PayloadKind::Snapshot, &snapshot));
            assert!(is_erased(opened.map(drop)));
            assert!(is_erased(payloads.seal(PayloadKind::Event, &mut plain())));
            for stored in [&of_bob, &of_none] {
                assert_eq!(open(payloads, stored).unwrap(), PLAIN);
            }
        }
    }

    #[test]
    fn a_key_that_was_erased_while_it_was_loaded_is_not_kept() {
        let recent = &mut Recent::default();
        let name = (Source::Own, Some(ann()), 1);
        let keys = Arc::new(KeySet::derive(&key(1), Some(&ann()), &Aes256Gcm));
        let before = recent.get(&name).err().unwrap();
        recent.forget(&ann());
        recent.keep(name.clone(), &keys, before);
        assert!(recent.get(&name).is_err());
        let before = recent.get(&name).err().unwrap();
        recent.keep(name.clone(), &keys, before);
        assert!(recent.get(&name).is_ok());
    }

    #[test]
    fn keys_that_are_used_stay_at_hand_and_their_number_is_bounded() {
        let recent = &mut Recent::default();
        let keys = Arc::new(KeySet::derive(&key(1), None, &Aes256Gcm));
        let used = (Source::Own, Some(ann()), 1);
        recent.keep(used.clone(), &keys, 0);
        for n in 0..5 * GENERATION_LEN {
            let id = AggregateId::from(Uuid::from_u128(n as u128));
            recent.keep((Source::Own, Some(id), 1), &keys, 0);
            assert!(recent.get(&used).is_ok());
            assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION_LEN);
        }
    }

    #[test]
    fn old_keys_of_the_ring_can_be_retired_once_all_own_keys_are_rewrapped() {
        let (keys, store) = (ring(), Shared::default());
        let payloads = with(&keys, &store);
        let sealed = [
            seal(&payloads, plain()),
            seal(&payloads, plain().of(bob(), 1)),
        ];
        payloads.keys().unwrap().erase_key(&bob()).unwrap();
        keys.rotate(2, key(2)).unwrap();
        let only_new = KeyRing::new(2, key(2)).unwrap();

        let refused = reason(open(&with(&only_new, &store), &sealed[0]));
        assert_eq!(
            refused,
            DecryptError::UnknownKey {
                key_id: 1,
                known: [2].into()
            }
        );

        assert_eq!(payloads.keys().unwrap().rewrap_keys().unwrap(), 1);
        assert_eq!(payloads.keys().unwrap().rewrap_keys().unwrap(), 0);
        assert_eq!(open(&with(&only_new, &store), &sealed[0]).unwrap(), PLAIN);
        assert!(matches!(
            open(&with(&only_new, &store), &sealed[1]),
            Err(PersistenceError::KeyErased { .. })
        ));
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let (keys, store) = (ring(), Shared::default());
        let sealed = seal(&with(&keys, &store), plain());
        // Another store: the key was never there.
        let other = with(&keys, &Shared::default());
        assert_eq!(
            reason(open(&other, &sealed)),
            DecryptError::NoKeyOfAggregate
        );
        // No store at all.
        assert_eq!(
            reason(open(&by(keys.clone().into()), &sealed)),
            DecryptError::NoKeyStore
        );
        // The store lost it, and another one was made.
        seal(&other, plain());
        assert_eq!(
            reason(open(&other, &sealed)),
            DecryptError::WrongKey { key_id: 1 }
        );
        // The key of the ring is another one.
        let wrong = KeyRing::new(1, key(5)).unwrap();
        assert_eq!(
            reason(open(&with(&wrong, &store), &sealed)),
            DecryptError::WrongKey { key_id: 1 }
        );
        // Every bit of the kept key counts, and so does whose it is.
        let KeptKey::Key(kept) = store.load(&ann()).unwrap() else {
            panic!("it was made")
        };
        store.0.insert(&bob(), &kept).unwrap();
        let of_bob = with(&keys, &store).seal(PayloadKind::Event, &mut plain().of(bob(), 1));
        assert!(matches!(of_bob, Err(PersistenceError::KeyStore { .. })));
        for byte in 4..kept.as_bytes().len() {
            let mut spoilt = kept.as_bytes().to_vec();
            spoilt[byte] ^= 16;
            let damaged = Shared::default();
            damaged
                .insert(&ann(), &WrappedKey::from_bytes(spoilt))
                .unwrap();
            let refused = open(&with(&keys, &damaged), &sealed);
            assert!(
                matches!(refused, Err(PersistenceError::KeyStore { .. })),
                "byte {byte}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_store_that_fails_keeps_events_from_being_sealed() {
        #[derive(Debug)]
        struct Broken;
        impl KeyStore for Broken {
            fn load(&self, _: &AggregateId) -> Answer<KeptKey> {
                Ok(KeptKey::Absent)
            }
            fn insert(&self, _: &AggregateId, _: &WrappedKey) -> Answer<KeptKey> {
                Err("no room".into())
            }
            fn replace(&self, _: &AggregateId, _: &WrappedKey) -> Answer<()> {
                Err("no room".into())
            }
            fn erase(&self, _: &AggregateId) -> Answer<bool> {
                Err("no room".into())
            }
            fn aggregates(&self) -> Answer<Vec<AggregateId>> {
                Err("no room".into())
            }
        }
        let payloads = by(Encryption::new(ring()).key_per_aggregate(Broken));
        let is_told = |outcome: Result<(), PersistenceError>| {
            matches!(outcome, Err(PersistenceError::KeyStore { .. }))
        };
        let mut stored = plain();
        assert!(is_told(payloads.seal(PayloadKind::Event, &mut stored)));
        assert_eq!(stored, plain());
        assert!(is_told(
            payloads.keys().unwrap().erase_key(&ann()).map(drop)
        ));
        assert!(is_told(payloads.keys().unwrap().rewrap_keys().map(drop)));
    }

    #[test]
    fn of_two_writers_that_make_a_key_at_once_one_counts() {
        let (keys, store) = (ring(), Shared::default());
        let writers: Vec<_> = (0..4).map(|_| with(&keys, &store)).collect();
        let sealed: Vec<StoredEvent> = std::thread::scope(|scope| {
            let threads: Vec<_> = writers
                .iter()
                .map(|writer| scope.spawn(|| seal(writer, plain())))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for stored in &sealed {
            assert_eq!(open(&with(&keys, &store), stored).unwrap(), PLAIN);
        }
        assert_eq!(
            sealed[0].origin,
            Some(Origin {
                aggregate_id: ann(),
                version: 3
            })
        );
    }
}
