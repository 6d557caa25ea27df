//! What is done to payloads between the transcoder and the store: compressed, then encrypted; and back.
//!
//! - How a payload was treated stands beside it, in [`Encoding`]: the compressor's number in the lower four bits of
//!   the codec, the cipher's in the upper four, the key, and the length it had before. So what a mapper writes with
//!   may change at any time; what it reads needs only what that was written with.
//! - A payload that compression does not make smaller is stored as it is.
//! - Nothing is inflated beyond the length stated, and no length beyond the mapper's limit is believed.

#![cfg_attr(
    not(feature = "encryption"),
    allow(dead_code, reason = "what only encryption asks for")
)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use uuid::Uuid;

use super::{Compressor, DecryptError, Encoding, InflateError, PersistenceError, StoredEvent};
use crate::domain::AggregateId;

/// How payloads are sealed and opened.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    /// Number of the one that writes.
    compressor: Option<u8>,
    /// By number: those that can be read.
    compressors: BTreeMap<u8, Arc<dyn Compressor>>,
    uncompressed: BTreeSet<String>,
    sealer: Option<Arc<dyn Sealer>>,
    only_encrypted: bool,
    foreign: Option<Arc<dyn Foreign>>,
    len_max: usize,
}

/// How payloads are read beside which nothing says how they were treated.
pub(super) trait Foreign: Debug + Send + Sync {
    /// The content; `None` when it is not encrypted.
    fn decrypt(&self, sealed: &[u8]) -> Result<Option<Vec<u8>>, DecryptError>;

    /// The content as it was before it was compressed; `None` when it was not.
    fn inflate(&self, compressed: &[u8], len_max: usize) -> Result<Option<Vec<u8>>, InflateError>;
}

/// What encrypts. [`Encryption`](super::Encryption) is the one there is; this lets a build without it do.
pub(super) trait Sealer: Debug + Send + Sync {
    /// Number of the cipher that writes, 1..=15.
    fn cipher(&self) -> u8;

    /// Encrypts `content`, which `plain` has become.
    fn seal(
        &self,
        bound: &Bound<'_>,
        plain: &[u8],
        content: &[u8],
    ) -> Result<Sealed, PersistenceError>;

    /// The content again; `None` when the cipher is not there.
    fn open(
        &self,
        bound: &Bound<'_>,
        key_id: u32,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, PersistenceError>;

    /// Whether payloads of an aggregate get a key of its own, which can be erased.
    fn has_own_keys(&self) -> bool;

    fn erase_key(&self, aggregate: &AggregateId) -> Result<bool, PersistenceError>;

    /// How often [`Sealer::erase_key`] has been called: what was read before it may hold what is erased.
    fn erasures(&self) -> u64;

    fn rewrap_keys(&self) -> Result<u64, PersistenceError>;
}

/// An encrypted payload.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) key_id: u32,
    pub(super) digest: u64,
}

/// What makes an encrypted payload that of one event and of no other.
pub(super) struct Bound<'a> {
    payload: Payload<'a>,
    codec: u8,
    plain_len: u32,
}

impl<'a> Bound<'a> {
    pub(super) fn payload(&self) -> &Payload<'a> {
        &self.payload
    }

    pub(super) fn aggregate(&self) -> Option<&'a AggregateId> {
        self.payload.origin.map(|(aggregate, _)| aggregate)
    }

    pub(super) fn cipher(&self) -> u8 {
        self.codec >> NUMBER_BITS
    }

    /// Where the payload belongs, unambiguously: the same for every attempt to store it. Persisted, since payloads are
    /// verified against it.
    pub(super) fn place(&self) -> Vec<u8> {
        let Payload {
            kind,
            origin,
            topic,
            event_id,
            ..
        } = self.payload;
        let (aggregate, version) = origin.unzip();
        let mut bytes = Vec::with_capacity(64 + topic.len());
        bytes.extend_from_slice(&[BOUND_FORMAT, kind as u8]);
        push_id(&mut bytes, aggregate);
        bytes.extend_from_slice(&version.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&(topic.len() as u64).to_le_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        if kind == PayloadKind::Event {
            bytes.extend_from_slice(event_id.as_bytes());
        }
        bytes
    }

    /// All that the payload is bound to: its place, and how it was treated.
    pub(super) fn bytes(&self, key_id: u32) -> Vec<u8> {
        let mut bytes = self.place();
        bytes.push(self.codec);
        bytes.extend_from_slice(&key_id.to_le_bytes());
        bytes.extend_from_slice(&self.plain_len.to_le_bytes());
        bytes
    }
}

/// Appends an id, of whatever kind, so that no two give the same bytes.
pub(super) fn push_id(bytes: &mut Vec<u8>, aggregate: Option<&AggregateId>) {
    let (kind, uuid) = match aggregate {
        None => (0, None),
        Some(id) => match id.as_uuid() {
            Some(uuid) => (1, Some(uuid)),
            None => (2, None),
        },
    };
    let text = aggregate.and_then(AggregateId::as_text).unwrap_or_default();
    let id = match &uuid {
        Some(uuid) => uuid.as_bytes(),
        None => text.as_bytes(),
    };
    bytes.push(kind);
    bytes.extend_from_slice(&(id.len() as u64).to_le_bytes());
    bytes.extend_from_slice(id);
}

/// A stored payload and what stands beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) origin: Option<(&'a AggregateId, u64)>,
    pub(crate) topic: &'a str,
    pub(crate) event_id: Uuid,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) bytes: &'a [u8],
}

/// What a payload is the content of. Persisted in what it is bound to, never to be renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PayloadKind {
    Event = 1,
    /// Kept without the id of an event.
    Snapshot = 2,
}

impl<'a> Payload<'a> {
    pub(crate) fn of(kind: PayloadKind, stored: &'a StoredEvent) -> Self {
        let origin = stored.origin.as_ref();
        Self {
            kind,
            origin: origin.map(|origin| (&origin.aggregate_id, origin.version)),
            topic: &stored.topic,
            event_id: stored.event_id,
            encoding: stored.encoding,
            bytes: &stored.payload,
        }
    }
}

impl Default for Payloads {
    fn default() -> Self {
        let payloads = Self {
            compressor: None,
            compressors: BTreeMap::new(),
            uncompressed: BTreeSet::new(),
            sealer: None,
            only_encrypted: false,
            foreign: None,
            len_max: PAYLOAD_LEN_MAX,
        };
        #[cfg(feature = "compression")]
        let payloads = payloads
            .decompressor(Arc::new(super::Zstd::new()))
            .decompressor(Arc::new(super::Zlib::new()));
        payloads
    }
}

impl Payloads {
    pub(super) fn compressor(mut self, compressor: Arc<dyn Compressor>) -> Self {
        self.compressor = Some(compressor.number());
        self.decompressor(compressor)
    }

    pub(super) fn decompressor(mut self, compressor: Arc<dyn Compressor>) -> Self {
        let number = compressor.number();
        assert!(
            (1..=NUMBER_MAX).contains(&number),
            "{compressor:?}: number {number}, expected 1..={NUMBER_MAX}"
        );
        self.compressors.insert(number, compressor);
        self
    }

    pub(super) fn uncompressed(mut self, topic: String) -> Self {
        self.uncompressed.insert(topic);
        self
    }

    pub(super) fn sealer(self, sealer: Arc<dyn Sealer>) -> Self {
        let sealer = Some(sealer);
        Self { sealer, ..self }
    }

    pub(super) fn only_encrypted(self) -> Self {
        let only_encrypted = true;
        Self {
            only_encrypted,
            ..self
        }
    }

    #[cfg(all(feature = "compression", feature = "encryption"))]
    pub(super) fn foreign(self, foreign: Arc<dyn Foreign>) -> Self {
        let foreign = Some(foreign);
        Self { foreign, ..self }
    }

    /// What encrypts, for what is done to its keys.
    pub(super) fn keys(&self) -> Option<&dyn Sealer> {
        self.sealer.as_deref()
    }

    pub(super) fn len_max(self, len_max: usize) -> Self {
        Self { len_max, ..self }
    }

    /// Seals the plain payload of `stored`.
    pub(super) fn seal(
        &self,
        kind: PayloadKind,
        stored: &mut StoredEvent,
    ) -> Result<(), PersistenceError> {
        let compressor = self.compressor_of(&stored.topic);
        // Beside payloads of others, even a plain one has to say so.
        let is_marked = self.foreign.is_some();
        if compressor.is_none() && self.sealer.is_none() && !is_marked {
            return Ok(());
        }
        let plain_len = self.writable_len(stored.payload.len())?;
        let compressed = compressor
            .map(|(number, compressor)| {
                let compressed = compressor.compress(&stored.payload);
                compressed.map(|compressed| (number, compressed))
            })
            .transpose()
            .map_err(|source| PersistenceError::Seal {
                topic: stored.topic.clone(),
                source,
            })?
            .filter(|(_, compressed)| compressed.len() < stored.payload.len());
        let (codec, compressed) = compressed.unzip();
        let mut codec = codec.unwrap_or(0);
        let mut key_id = 0;
        if let Some(sealer) = &self.sealer {
            codec |= sealer.cipher() << NUMBER_BITS;
            let payload = Payload::of(kind, stored);
            let bound = Bound {
                payload,
                codec,
                plain_len,
            };
            let content = compressed.as_deref().unwrap_or(payload.bytes);
            let sealed = sealer.seal(&bound, payload.bytes, content)?;
            key_id = sealed.key_id;
            stored.digest = Some(sealed.digest);
            stored.payload = sealed.bytes;
        } else if let Some(compressed) = compressed {
            stored.payload = compressed;
        }
        stored.encoding = (codec != 0 || is_marked).then_some(Encoding {
            codec,
            key_id,
            plain_len,
        });
        Ok(())
    }

    /// The plain payload.
    pub(super) fn open<'a>(&self, payload: Payload<'a>) -> Result<Cow<'a, [u8]>, PersistenceError> {
        let cipher = |encoding: Encoding| encoding.codec >> NUMBER_BITS;
        if self.only_encrypted && payload.encoding.is_none_or(|found| cipher(found) == 0) {
            return Err(PersistenceError::NotEncrypted {
                topic: payload.topic.to_owned(),
                event_id: payload.event_id,
            });
        }
        match (payload.encoding, &self.foreign) {
            (None, None) => Ok(Cow::Borrowed(payload.bytes)),
            (None, Some(foreign)) => self.open_foreign(payload, &**foreign),
            (Some(encoding), _) => self.open_encoded(payload, encoding),
        }
    }

    fn open_foreign<'a>(
        &self,
        payload: Payload<'a>,
        foreign: &dyn Foreign,
    ) -> Result<Cow<'a, [u8]>, PersistenceError> {
        let decrypted =
            foreign
                .decrypt(payload.bytes)
                .map_err(|source| PersistenceError::Decrypt {
                    topic: payload.topic.to_owned(),
                    event_id: payload.event_id,
                    source,
                })?;
        let content = decrypted.map_or(Cow::Borrowed(payload.bytes), Cow::Owned);
        let inflated = foreign.inflate(&content, self.len_max).map_err(|source| {
            PersistenceError::Inflate {
                topic: payload.topic.to_owned(),
                event_id: payload.event_id,
                source,
            }
        })?;
        Ok(inflated.map_or(content, Cow::Owned))
    }

    fn open_encoded<'a>(
        &self,
        payload: Payload<'a>,
        encoding: Encoding,
    ) -> Result<Cow<'a, [u8]>, PersistenceError> {
        let Encoding {
            codec,
            key_id,
            plain_len,
        } = encoding;
        let unknown = || PersistenceError::UnknownEncoding {
            topic: payload.topic.to_owned(),
            codec,
            key_id,
        };
        let inflate = |source| PersistenceError::Inflate {
            topic: payload.topic.to_owned(),
            event_id: payload.event_id,
            source,
        };
        let (cipher, compressor) = (codec >> NUMBER_BITS, codec & NUMBER_MAX);
        let opened = match (cipher, &self.sealer) {
            (0, _) if key_id == 0 => Cow::Borrowed(payload.bytes),
            (1.., Some(sealer)) => {
                let bound = Bound {
                    payload,
                    codec,
                    plain_len,
                };
                let opened = sealer.open(&bound, key_id, payload.bytes)?;
                Cow::Owned(opened.ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        let len_max = self.len_max;
        let plain_len = match usize::try_from(plain_len) {
            Ok(len) if len <= len_max || compressor == 0 => len,
            _ => return Err(inflate(InflateError::TooLong { len_max })),
        };
        let plain = match compressor {
            0 => opened,
            number => {
                let compressor = self.compressors.get(&number).ok_or_else(unknown)?;
                let inflated = compressor.decompress(&opened, plain_len);
                Cow::Owned(inflated.map_err(inflate)?)
            }
        };
        match plain.len() == plain_len {
            true => Ok(plain),
            false => Err(inflate(InflateError::Damaged {
                source: format!("{} bytes, expected {plain_len}", plain.len()).into(),
            })),
        }
    }

    fn compressor_of(&self, topic: &str) -> Option<(u8, &Arc<dyn Compressor>)> {
        let number = self.compressor?;
        match self.uncompressed.contains(topic) {
            true => None,
            false => Some((number, self.compressors.get(&number)?)),
        }
    }

    /// What would not be read again is refused before it is written.
    fn writable_len(&self, len: usize) -> Result<u32, PersistenceError> {
        match u32::try_from(len) {
            Ok(stated) if len <= self.len_max => Ok(stated),
            _ => {
                let max = self.len_max;
                Err(PersistenceError::TooLarge {
                    source: format!(
                        "payload of {len} bytes, expected at most {max} to compress or encrypt"
                    )
                    .into(),
                })
            }
        }
    }
}

/// Of the bytes that encrypted payloads are bound to.
const BOUND_FORMAT: u8 = 1;

/// Compressors and ciphers have 4 bits each in [`Encoding::codec`].
const NUMBER_BITS: u32 = 4;
const NUMBER_MAX: u8 = (1 << NUMBER_BITS) - 1;

/// Greatest length of a payload in bytes, before it is compressed and encrypted, unless a mapper has another limit.
/// That of a log is the same by default.
pub const PAYLOAD_LEN_MAX: usize = 16 << 20;

#[cfg(test)]
#[cfg(feature = "compression")]
mod tests {
    use super::*;
    use crate::persistence::{TranscodeError, Zlib, Zstd};

    fn stored(payload: &[u8]) -> StoredEvent {
        StoredEvent::new(Uuid::from_u128(7), "box.moved", payload)
    }

    fn sealed(payloads: &Payloads, payload: &[u8]) -> StoredEvent {
        let mut stored = stored(payload);
        payloads.seal(PayloadKind::Event, &mut stored).unwrap();
        stored
    }

    fn open(payloads: &Payloads, stored: &StoredEvent) -> Result<Vec<u8>, PersistenceError> {
        payloads
            .open(Payload::of(PayloadKind::Event, stored))
            .map(Cow::into_owned)
    }

    fn zstd() -> Payloads {
        Payloads::default().compressor(Arc::new(Zstd::new()))
    }

    #[test]
    fn what_is_written_with_changes_and_everything_stays_readable() {
        let plain = b"again and again and again and again".as_slice();
        let zlib = Payloads::default().compressor(Arc::new(Zlib::new()));
        for writer in [&Payloads::default(), &zstd(), &zlib] {
            let stored = sealed(writer, plain);
            for reader in [&Payloads::default(), &zstd(), &zlib] {
                assert_eq!(open(reader, &stored).unwrap(), plain);
            }
        }
        assert_eq!(sealed(&zstd(), plain).encoding.unwrap().codec, 1);
        assert_eq!(sealed(&zlib, plain).encoding.unwrap().codec, 2);
        assert_eq!(sealed(&Payloads::default(), plain).encoding, None);
    }

    #[test]
    fn what_does_not_get_smaller_is_stored_as_it_is() {
        for payload in [b"".as_slice(), b"{}", b"9f3ka0"] {
            assert_eq!(sealed(&zstd(), payload), stored(payload));
        }
    }

    #[test]
    fn a_topic_may_be_left_uncompressed() {
        let payloads = zstd().uncompressed("box.moved".to_owned());
        assert_eq!(sealed(&payloads, &[0; 1000]), stored(&[0; 1000]));
    }

    #[test]
    fn a_stated_length_that_is_not_the_real_one_is_refused() {
        let sound = sealed(&zstd(), &[0; 1000]);
        for (plain_len, is_too_long) in [(999, true), (1001, false), (u32::MAX, true), (0, true)] {
            let mut stored = sound.clone();
            stored.encoding.as_mut().unwrap().plain_len = plain_len;
            let refused = open(&zstd(), &stored).unwrap_err();
            let PersistenceError::Inflate { source, .. } = &refused else {
                panic!("{refused:?}")
            };
            assert_eq!(
                matches!(source, InflateError::TooLong { .. }),
                is_too_long,
                "{plain_len}: {source:?}"
            );
        }
        let mut marked = stored(b"plain");
        marked.encoding = Some(Encoding {
            codec: 0,
            key_id: 0,
            plain_len: 4,
        });
        assert!(matches!(
            open(&zstd(), &marked),
            Err(PersistenceError::Inflate { .. })
        ));
    }

    #[test]
    fn the_limit_holds_in_both_directions() {
        let stored = sealed(&zstd(), &[0; 1000]);
        let narrow = zstd().len_max(999);
        assert!(matches!(
            open(&narrow, &stored),
            Err(PersistenceError::Inflate {
                source: InflateError::TooLong { len_max: 999 },
                ..
            })
        ));
        let mut refused = super::tests::stored(&[0; 1000]);
        assert!(matches!(
            narrow.seal(PayloadKind::Event, &mut refused),
            Err(PersistenceError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_compressor_of_ones_own_is_asked_by_its_number() {
        #[derive(Debug)]
        struct Own;

        impl Compressor for Own {
            fn number(&self) -> u8 {
                9
            }

            fn compress(&self, plain: &[u8]) -> Result<Vec<u8>, TranscodeError> {
                Ok(plain[1..].iter().rev().copied().collect())
            }

            fn decompress(&self, compressed: &[u8], _: usize) -> Result<Vec<u8>, InflateError> {
                Ok(compressed.to_vec())
            }
        }

        let own = Payloads::default().compressor(Arc::new(Own));
        let stored = sealed(&own, b"abc");
        assert_eq!(stored.payload, b"cb");
        assert_eq!(stored.encoding.unwrap().codec, 9);
        assert!(matches!(
            open(&Payloads::default(), &stored),
            Err(PersistenceError::UnknownEncoding { codec: 9, .. })
        ));
    }
}
