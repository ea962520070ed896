//! Avro binary, written.

use affinity_types::varint;

/// Appends an int or a long.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    match u8::try_from(raw) {
        Ok(byte @ 0..0x80) => out.push(byte),
        _ => varint::put(out, raw),
    }
}

/// Appends a number of items, a length, an index of a branch or of a symbol.
#[inline]
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    // No memory holds more than 2^63 bytes.
    put_long(out, (count as u64).cast_signed());
}

/// Appends a text or bytes: their length, then they.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}
