//! Variable-length integers: unsigned LEB128, and zig-zag for signed numbers, as Protocol Buffers and Avro write them.

/// Appends `value` in 1 to 10 bytes.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("less than 0x80"));
}

/// Appends a signed `value`, small magnitudes in few bytes.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Takes a number off the front of `input`; `None` if it is cut short or longer than 64 bits.
#[inline]
pub fn take(input: &mut &[u8]) -> Option<u64> {
    // Most numbers are small.
    if let [byte @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(u64::from(*byte));
    }
    take_long(input)
}

fn take_long(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a signed number off the front of `input`; `None` as for [`take`].
pub fn take_signed(input: &mut &[u8]) -> Option<i64> {
    let raw = take(input)?;
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes `length` bytes off the front of `input`; `None` if there are fewer.
pub fn take_bytes<'a>(input: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(head)
}
