//! Goal: the encoder refuses what no reader would accept, rather than write it.

use super::samples::*;
use crate::format::frame::{FrameFields, FrameKind, Preamble};
use crate::format::record::IdKind;
use crate::format::*;

#[test]
#[should_panic(expected = "a UUID of 4 bytes")]
fn a_uuid_of_other_than_16_bytes_is_never_written() {
    let id_kind = IdKind::Uuid;
    Event {
        id_kind,
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}

#[test]
#[should_panic(expected = "256 tags")]
fn more_tags_than_a_byte_counts_are_never_written() {
    let tags = vec![vec![1]; 256];
    Event {
        tags,
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}

#[test]
#[should_panic(expected = "positions start at 1")]
fn position_0_is_never_written() {
    let fields = FrameFields {
        base_position: 0,
        ..sample_fields(0)
    };
    let _ = encode_frame(FrameKind::Close, &Preamble::default(), &[], fields, SALT);
}

#[test]
#[should_panic(expected = "a topic of 1025 bytes")]
fn a_topic_past_its_limit_is_never_written() {
    Preamble::default().define_topic(0, &"t".repeat(TOPIC_LEN_MAX + 1));
}

#[test]
#[should_panic(expected = "a tracking name of 0 bytes")]
fn an_empty_tracking_name_is_never_written() {
    Preamble::default().advance_tracking("", 1);
}

#[test]
#[should_panic(expected = "durable upto 42 is not below the base position 42")]
fn a_durable_upto_at_the_base_position_is_never_written() {
    let fields = FrameFields {
        durable_upto: 42,
        ..sample_fields(0)
    };
    let _ = encode_frame(FrameKind::Close, &Preamble::default(), &[], fields, SALT);
}

#[test]
#[should_panic(expected = "1 events in a Dictionary frame")]
fn events_outside_a_batch_are_never_written() {
    let events = [full_event()];
    let _ = encode_frame(
        FrameKind::Dictionary,
        &Preamble::default(),
        &events,
        sample_fields(1),
        SALT,
    );
}

#[test]
#[should_panic(expected = "2 events from position 9223372036854775807 on")]
fn a_frame_past_the_last_position_is_never_written() {
    let events = [full_event(), full_event()];
    let fields = FrameFields {
        base_position: crate::format::POSITION_MAX - 1,
        ..sample_fields(2)
    };
    let _ = encode_frame(
        FrameKind::Batch,
        &Preamble::default(),
        &events,
        fields,
        SALT,
    );
}

#[test]
#[should_panic(expected = "a batch of nothing")]
fn a_batch_of_nothing_is_never_written() {
    let _ = encode_frame(
        FrameKind::Batch,
        &Preamble::default(),
        &[],
        sample_fields(0),
        SALT,
    );
}

#[test]
#[should_panic(expected = "a tag of 0 bytes")]
fn an_empty_tag_is_never_written() {
    encode_tags(&[b"", b"a"]);
}

#[test]
#[should_panic(expected = "a tag of 256 bytes")]
fn a_tag_past_its_limit_is_never_written() {
    encode_tags(&[&[b't'; TAG_LEN_MAX + 1]]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "tags are not ascending and distinct")]
fn tags_out_of_order_are_never_written() {
    encode_tags(&[b"b", b"a"]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "tags are not ascending and distinct")]
fn a_tag_twice_is_never_written() {
    encode_tags(&[b"a", b"a"]);
}

#[test]
#[should_panic(expected = "a metadata key of 0 bytes")]
fn an_empty_metadata_key_is_never_written() {
    encode_keys(&["", "a"]);
}

#[test]
#[should_panic(expected = "a metadata key of 256 bytes")]
fn a_metadata_key_past_its_limit_is_never_written() {
    encode_keys(&[&"k".repeat(METADATA_KEY_LEN_MAX + 1)]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "metadata keys are not ascending and distinct")]
fn metadata_keys_out_of_order_are_never_written() {
    encode_keys(&["b", "a"]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "metadata keys are not ascending and distinct")]
fn a_metadata_key_twice_is_never_written() {
    encode_keys(&["a", "a"]);
}

fn encode_tags(tags: &[&[u8]]) {
    Event {
        tags: tags.iter().map(|tag| tag.to_vec()).collect(),
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}

fn encode_keys(keys: &[&str]) {
    let pairs = keys.iter().map(|key| (key.to_string(), "v".to_string()));
    Event {
        metadata: pairs.collect(),
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}
