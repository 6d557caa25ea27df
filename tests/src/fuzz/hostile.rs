//! Frames with valid checksums whose contents are whatever the fuzzer says: what a program with a bug,
//! or with bad intent, could have written.

use annals_segments::format::POSITION_MAX;
use annals_segments::format::frame::{FrameFields, FrameKind, FrameWriter, Preamble};
use annals_segments::format::record::{
    Encoding, IdKind, RecordBody, RecordPlace, body_crc, place_record,
};

use super::input::Input;

/// Where a sequence of frames stands.
pub(super) struct FrameSequence {
    pub(super) salt: u64,
    pub(super) next_position: u64,
    time_us: u64,
}

impl FrameSequence {
    pub(super) fn new(salt: u64) -> Self {
        Self {
            salt,
            next_position: 1,
            time_us: 1_700_000_000_000_000,
        }
    }

    /// Appends the frame that the input describes to `out`. An input of zeros is an honest batch of one.
    pub(super) fn push(&mut self, input: &mut Input<'_>, out: &mut Vec<u8>) {
        let kind = match input.u8() {
            0..200 => FrameKind::Batch,
            200..225 => FrameKind::Dictionary,
            225..245 => FrameKind::Close,
            _ => FrameKind::Footer,
        };
        // Far enough to leave gaps, near enough to keep a run short.
        self.next_position = match input.u8() {
            0..220 => self.next_position,
            220..235 => self.next_position.saturating_add(u64::from(input.u8())),
            235..250 => self.next_position.saturating_sub(u64::from(input.u8())),
            _ => POSITION_MAX - u64::from(input.u16()),
        }
        .clamp(1, POSITION_MAX - u64::from(u8::MAX));
        self.time_us = match input.rarely(20) {
            true => input.number(),
            false => self.time_us.saturating_add(1_000),
        };
        let record_count = match kind {
            FrameKind::Batch if !input.rarely(10) => 1 + u32::from(input.below(3)),
            _ => 0,
        };

        let mut preamble = Preamble::default();
        for _ in 0..input.below(3) {
            match input.rarely(3) {
                false => {
                    let number = input.below(TOPICS.len() as u8);
                    preamble.define_topic(u32::from(number), TOPICS[usize::from(number)]);
                }
                true => preamble.advance_tracking(input.one_of(&TOPICS), input.number()),
            }
        }
        if preamble.is_empty() && record_count == 0 {
            preamble.define_topic(0, TOPICS[0]);
        }

        let frame = FrameWriter::new(kind, &preamble, out);
        for ordinal in 0..record_count {
            self.push_record(input, ordinal, out);
        }
        let lie_about_count = kind == FrameKind::Batch && input.rarely(20);
        let event_count = match lie_about_count {
            true => u32::from(input.u8()).max(u32::from(preamble.is_empty())),
            false => record_count,
        };
        let durable_upto = match input.rarely(8) {
            true => input.number().min(self.next_position - 1),
            false => self.next_position - 1,
        };
        let fields = FrameFields {
            event_count,
            base_position: self.next_position,
            durable_upto,
            time_us: self.time_us,
        };
        frame.finish(out, fields, self.salt);
        self.next_position += u64::from(event_count);
    }

    fn push_record(&self, input: &mut Input<'_>, ordinal: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let uuid = u128::from(input.u8()).to_be_bytes();
        let (id_kind, id): (_, &[u8]) = match input.u8() {
            0..150 => (IdKind::Text, [b"dog", b"cat"][usize::from(input.below(2))]),
            150..200 => (IdKind::Uuid, &uuid),
            200..240 => (IdKind::Absent, b""),
            _ => match input.bytes(255) {
                b"" => (IdKind::Absent, b""),
                any => (IdKind::Text, any),
            },
        };
        let mut tags: Vec<Vec<u8>> = (0..input.below(3))
            .map(|_| match input.bytes(8) {
                b"" => b"tag:1".to_vec(),
                any => any.to_vec(),
            })
            .collect();
        tags.sort();
        tags.dedup();
        let metadata = match input.rarely(4) {
            true => vec![("user".to_owned(), "u-1".to_owned())],
            false => Vec::new(),
        };
        let encoding = input.rarely(8).then(|| Encoding {
            codec: input.u8(),
            key_id: input.u32(),
            plain_len: input.u32(),
        });
        let body = RecordBody {
            id_kind,
            id,
            event_id: (self.next_position + u64::from(ordinal))
                .to_le_bytes()
                .repeat(2)[..16]
                .try_into()
                .expect("twice 8 bytes are 16"),
            encoding,
            digest: input.rarely(8).then(|| input.u64()),
            tags: &tags,
            metadata: &metadata,
            payload: input.bytes(40),
        };
        body.encode(out);
        let place = RecordPlace {
            version: match input.rarely(6) {
                true => input.number(),
                false => self.next_position + u64::from(ordinal),
            },
            topic: match input.rarely(20) {
                true => input.u32(),
                false => u32::from(input.below(3)),
            },
            time_us: match input.rarely(40) {
                true => input.number(),
                false => self.time_us,
            },
        };
        let position = self.next_position + u64::from(ordinal);
        let record = &mut out[start..];
        let crc = body_crc(record);
        place_record(record, place, crc, position, self.salt);
    }
}

/// By number: a number that changes its name has no meaning that could be kept.
const TOPICS: [&str; 4] = ["Happened", "Registered", "Renamed", "\u{e9}"];
