//! A second, independent reading of FORMAT.md: bit by bit, and by its byte offsets.
//!
//! It spells the offsets of that text and shares nothing with the code under test but the accessors
//! of little-endian integers.

use crate::format::frame::FRAME_HEADER_LEN;
use crate::format::record::RECORD_LEN_MIN;
use crate::format::*;

pub(super) fn naive_crc(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// What the checksum of a record is XOR-ed with.
pub(super) fn naive_binding(position: u64, salt: u64) -> u32 {
    let mix = |x: u64| {
        let x = u128::from(x ^ x >> 30) * 0xbf58_476d_1ce4_e5b9;
        let x = u128::from(x as u64 ^ x as u64 >> 27) * 0x94d0_49bb_1331_11eb;
        x as u64 ^ x as u64 >> 31
    };
    let sum = u128::from(mix(salt)) + u128::from(position);
    mix(sum as u64) as u32
}

/// Makes every checksum of the frame at the start of `bytes` fit what stands there.
pub(super) fn reseal(bytes: &mut [u8], salt: u64) {
    let base_position = u64_at(bytes, 16);
    let preamble_end = FRAME_HEADER_LEN.saturating_add(u32_at(bytes, 40) as usize);
    if let Some(preamble) = bytes.get(FRAME_HEADER_LEN..preamble_end) {
        let crc = naive_crc(&[preamble, &salt.to_le_bytes()]);
        put(bytes, 44, crc.to_le_bytes());
    }
    let mut start = align_up(preamble_end);
    let mut position = base_position;
    while bytes.len().saturating_sub(start) >= RECORD_LEN_MIN {
        let record = &mut bytes[start..];
        let len = align_up(u32_at(record, 4) as usize);
        if len < RECORD_LEN_MIN || len > record.len() {
            break;
        }
        let checksum = naive_crc(&[&record[4..len]]) ^ naive_binding(position, salt);
        put(record, 0, checksum.to_le_bytes());
        start += len;
        position = position.wrapping_add(1);
    }
    reseal_header(bytes, salt);
}

pub(super) fn reseal_header(frame: &mut [u8], salt: u64) {
    let crc = naive_crc(&[&frame[4..48], &salt.to_le_bytes()]);
    put(frame, 0, crc.to_le_bytes());
}

pub(super) fn reseal_segment_header(block: &mut [u8]) {
    let crc = naive_crc(&[&block[..64]]);
    put(block, 64, crc.to_le_bytes());
}

pub(super) fn reseal_version_table(bytes: &mut [u8]) {
    let body = naive_crc(&[&bytes[72..]]);
    put(bytes, 64, body.to_le_bytes());
    let header = naive_crc(&[&bytes[..68]]);
    put(bytes, 68, header.to_le_bytes());
}

/// Does nothing when the stated length is no length of these bytes.
pub(super) fn reseal_manifest(bytes: &mut [u8]) {
    let length = u32_at(bytes, 12) as usize;
    if let Some(entries) = bytes.get(80..length) {
        let crc = naive_crc(&[&bytes[..76], entries]);
        put(bytes, 76, crc.to_le_bytes());
    }
}
