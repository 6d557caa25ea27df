//! Where the writer goes on after an open, and the frames it writes anew.

use std::io;
use std::sync::Arc;

use annals_segments::OpenMode;
use annals_segments::format::frame::{
    Frame, FrameFields, FrameKind, FrameWriter, Preamble, PreambleEntry,
};
use annals_segments::format::record::{RecordPlace, body_crc, place_record};
use annals_segments::format::segment_header::{FLAG_RECOVERED, SEGMENT_HEADER_LEN};
use annals_segments::format::{ALIGNMENT, FORMAT_VERSION, FormatError, align_up};
use annals_segments::{Room, SegmentFile};

use super::{Opening, Scanned, Spare, read_tracking};
use crate::error::Error;
use crate::housekeeping::{Made, PreparedSegment};
use crate::report::RecoveryOutcome;
use crate::segment::Segment;
use crate::writer::{ENTRY_LEN_MAX, Writer, tracking_len};

/// A whole frame that no witness proves: a copy of its bytes, and the segment it comes from.
pub(super) struct UnprovenFrame {
    pub(super) bytes: Vec<u8>,
    pub(super) salt: u64,
    /// Names of the topics its records number.
    pub(super) topics: Arc<Vec<Box<str>>>,
}

impl UnprovenFrame {
    /// Checks the copy itself, record by record.
    pub(super) fn verify(&self) -> Result<(), FormatError> {
        Frame::parse(&self.bytes, self.salt)?.verify()
    }

    fn time_us(&self) -> u64 {
        let frame = Frame::parse(&self.bytes, self.salt).expect("the copy has been verified");
        frame.header.time_us
    }
}

impl Opening {
    /// Goes on in a segment that was closed.
    pub(super) fn continue_in(&mut self, scanned: &mut Scanned) -> Result<Writer, Error> {
        let number = scanned.header.number;
        let path = self.directory.segment(number);
        let file = SegmentFile::open(
            &*self.directory.disk,
            &path,
            OpenMode::ReadWrite,
            scanned.end as u64,
        );
        let file = file.map_err(Error::io(path, "open the segment"))?;
        let base_position = scanned
            .base_position()
            .expect("a closed segment has a frame");
        let segment = Segment::tail(
            &self.directory,
            &self.log,
            &scanned.header,
            base_position,
            file,
        );
        let next_position = scanned
            .next_position()
            .expect("a closed segment has a frame");
        let first_time_us = scanned.sealed_entry(base_position).first_time_us;
        let start = scanned.start();
        if let Some(front) = scanned.front.take() {
            segment.start_behind(front.index);
        }
        self.load(&segment, start)?;
        let mut writer = self.writer(segment, next_position)?;
        writer.since_dictionary = scanned.end - start;
        writer.checkpointed = start;
        writer.first_time_us = first_time_us;
        writer.closed_end = Some(scanned.end);
        Ok(writer)
    }

    /// Starts the next segment, with copies of the frames that are not proven in the one before.
    pub(super) fn start_fresh(
        &mut self,
        spare: Option<Spare>,
        copies: &[UnprovenFrame],
    ) -> Result<Writer, Error> {
        let number = self.last_named() + 1;
        let len = self.fresh_len(copies);
        // After a crash somebody waits to go on; a new log is made once.
        let room = match self.report.outcome {
            RecoveryOutcome::Recovered => Room::Reserved,
            _ => Room::Written,
        };
        let flags = if copies.is_empty() { 0 } else { FLAG_RECOVERED };
        let spare = spare.map(|spare| self.prove(spare, flags)).transpose()?;
        let prepared = match spare {
            Some(spare) if spare.fits(number, len) => spare,
            unfit => {
                PreparedSegment::replace(&self.directory, unfit.map(|spare| spare.header.number))?;
                PreparedSegment::create(
                    &self.directory,
                    &self.log,
                    &self.options,
                    number,
                    len,
                    Made {
                        compatible: flags,
                        room,
                    },
                )?
            }
        };
        let base_position = self.next_position();
        let segment = Segment::tail(
            &self.directory,
            &self.log,
            &prepared.header,
            base_position,
            prepared.file,
        );
        let mut bytes = Vec::new();
        let mut state = Rewrite {
            next_position: base_position,
            durable: base_position - 1,
            // Not behind the time of what is written anew, nor before that of what damage may have taken.
            time_us: copies.first().map_or_else(
                || self.last_time_us.max(self.options.clock.now_us()),
                UnprovenFrame::time_us,
            ),
            first_time_us: 0,
        };
        let mut first = Preamble::default();
        self.tracking
            .iter()
            .for_each(|(name, position)| first.advance_tracking(name, *position));
        if !first.is_empty() {
            let frame = FrameWriter::new(FrameKind::Dictionary, &first, &mut bytes);
            frame.finish(&mut bytes, state.fields(0), segment.salt());
        }
        for copy in copies {
            state.rewrite(copy, &segment, &mut bytes)?;
        }
        let file = segment.file()?;
        let write = || {
            file.write(&bytes, SEGMENT_HEADER_LEN)?;
            if bytes.is_empty() {
                Ok(())
            } else {
                file.sync()
            }
        };
        write().map_err(Error::io(&segment.path, "write the recovered events"))?;
        let end = SEGMENT_HEADER_LEN + bytes.len();
        file.publish(end);
        self.load(&segment, SEGMENT_HEADER_LEN)?;
        self.last_time_us = self.last_time_us.max(state.time_us);
        let first_time_us = state.first_time_us;
        let mut writer = self.writer(segment, state.next_position)?;
        writer.first_time_us = first_time_us;
        Ok(writer)
    }

    /// Bytes of a segment that takes these copies, whatever the option says today: what was written once
    /// fits again.
    fn fresh_len(&self, copies: &[UnprovenFrame]) -> u64 {
        let topics = copies.first().map_or(0, |copy| {
            copy.topics
                .iter()
                .map(|topic| ENTRY_LEN_MAX + topic.len())
                .sum()
        });
        let frames: usize = copies.iter().map(|copy| copy.bytes.len() + ALIGNMENT).sum();
        let tracking = tracking_len(&self.tracking);
        let needed = 2 * (SEGMENT_HEADER_LEN + frames + 2 * topics + tracking);
        PreparedSegment::len_for(&self.options, tracking).max(align_up(needed) as u64)
    }

    /// Indexes what is published in the segment from offset `start` on, whose frames have just been verified, and takes over its
    /// tracking positions.
    fn load(&mut self, segment: &Segment, start: usize) -> Result<(), Error> {
        let bytes = segment.bytes()?;
        let mut offset = start;
        segment.with_tail(|tail| {
            while let Ok(frame) = Frame::parse(&bytes[offset..], segment.salt()) {
                segment.index_frame(tail, offset, &frame, bytes.len());
                read_tracking(&mut self.tracking, &frame);
                self.last_time_us = self.last_time_us.max(frame.header.time_us);
                offset += frame.as_bytes().len();
            }
        });
        // They were written or verified a moment ago: a disk that shows something else now has lost or changed them.
        match offset == bytes.len() {
            true => Ok(()),
            false => Err(Error::io(&segment.path, "read back what was recovered")(
                io::ErrorKind::InvalidData.into(),
            )),
        }
    }

    /// A writer at the end of what is published in `segment`.
    fn writer(&self, segment: Segment, next_position: u64) -> Result<Writer, Error> {
        let watermark = self.directory.open_watermark()?;
        let generation = self
            .directory
            .read_watermark()?
            .map_or(0, |watermark| watermark.generation);
        let end = segment.file()?.published();
        let mut writer = Writer::new(
            Arc::new(segment),
            next_position,
            self.last_time_us,
            watermark,
            generation,
        );
        writer.end = end;
        let mut number = 0;
        while let Some(name) = writer.segment.topics().name(number).map(Box::<str>::from) {
            writer.adopt_topic(name, number);
            number += 1;
        }
        Ok(writer)
    }
}

/// Where a rewrite stands.
struct Rewrite {
    next_position: u64,
    durable: u64,
    time_us: u64,
    /// Time of the first batch with events; 0 before it.
    first_time_us: u64,
}

impl Rewrite {
    fn fields(&self, event_count: u32) -> FrameFields {
        FrameFields {
            event_count,
            base_position: self.next_position,
            durable_upto: self.durable,
            time_us: self.time_us,
        }
    }

    /// Encodes a frame for another segment: same events, same positions and times, other topic numbers
    /// and salt.
    fn rewrite(
        &mut self,
        copy: &UnprovenFrame,
        segment: &Segment,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let frame = Frame::parse(&copy.bytes, copy.salt).expect("the copy has been verified");
        assert_eq!(
            frame.header.base_position, self.next_position,
            "frames are rewritten in order"
        );
        self.time_us = frame.header.time_us;
        if self.first_time_us == 0 && frame.header.event_count > 0 {
            self.first_time_us = frame.header.time_us;
        }
        let mut preamble = Preamble::default();
        for entry in frame.preamble().into_iter().flatten().flatten() {
            if let PreambleEntry::Tracking { name, position } = entry {
                preamble.advance_tracking(name, position);
            }
        }
        if preamble.is_empty() && frame.header.event_count == 0 {
            // It only defined topics, which nothing uses.
            return Ok(());
        }
        let mut numbers = Vec::new();
        for (offset, record) in frame.records() {
            let record = record.expect("the copy has been verified");
            let name = copy.topics.get(record.place().topic as usize);
            let name =
                name.ok_or_else(|| segment.corrupt(offset, self.next_position, UNKNOWN_TOPIC))?;
            numbers.push(number_of(segment, name, &mut preamble));
        }
        let writer = FrameWriter::new(FrameKind::Batch, &preamble, out);
        for (((_, record), topic), position) in
            frame.records().zip(numbers).zip(self.next_position..)
        {
            let record = record.expect("the copy has been verified");
            let at = out.len();
            out.extend_from_slice(record.as_bytes());
            let place = RecordPlace {
                topic,
                time_us: self.time_us,
                ..record.place()
            };
            let crc = body_crc(&out[at..]);
            place_record(&mut out[at..], place, crc, position, segment.salt());
        }
        writer.finish(out, self.fields(frame.header.event_count), segment.salt());
        self.next_position += u64::from(frame.header.event_count);
        Ok(())
    }
}

/// The number of a topic in the segment, defined when it is new.
fn number_of(segment: &Segment, name: &str, preamble: &mut Preamble) -> u32 {
    let mut number = 0;
    while let Some(known) = segment.topics().name(number) {
        if known == name {
            return number;
        }
        number += 1;
    }
    segment.topics().define(number, name);
    preamble.define_topic(number, name);
    number
}

const UNKNOWN_TOPIC: FormatError = FormatError::Field {
    structure: "record",
    field: "topic",
    found: 0,
    expected: "one that the segment defines",
};
const _: () = assert!(
    FORMAT_VERSION == 1,
    "a rewrite keeps every field of a record of version 1"
);
