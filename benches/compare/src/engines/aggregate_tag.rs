//! An aggregate as a tag, for the engines that know tags and no aggregates: `a:` and 32 hexadecimal digits.

/// The tag of an aggregate.
pub(super) fn encode(aggregate: [u8; 16]) -> String {
    let mut tag = String::with_capacity(2 + 32);
    tag.push_str("a:");
    for byte in aggregate {
        tag.push(char::from(DIGITS[usize::from(byte >> 4)]));
        tag.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    tag
}

/// The aggregate that a tag names, if it names one.
pub(super) fn decode(tag: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = tag.strip_prefix("a:")?.as_bytes().try_into().ok()?;
    let mut aggregate = [0; 16];
    for (byte, pair) in aggregate.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(aggregate)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_its_aggregate_back() {
        let aggregate = std::array::from_fn(|place| (place * 17) as u8);
        assert_eq!(decode(&encode(aggregate)), Some(aggregate));
        assert_eq!(decode("t:000000"), None);
    }
}
