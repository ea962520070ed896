//! How a value names its schema: the record frame of logs, stores and sockets, and Avro's single-object encoding.

use crate::error::Error;
use crate::schema::Schema;

/// Bytes before the Avro binary of a record frame: 0, then the schema's id, big endian.
pub const FRAME_BYTES: usize = 5;

/// Bytes before the Avro binary of a single object: two that mark it, then the schema's fingerprint.
pub const SINGLE_OBJECT_BYTES: usize = 10;

const SINGLE_OBJECT_MARK: [u8; 2] = [0xc3, 0x01];

/// Appends the head of a record frame.
#[inline]
pub fn put_frame(out: &mut Vec<u8>, schema_id: u32) {
    let [a, b, c, d] = schema_id.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}

/// The schema's id and the Avro binary of a record frame.
///
/// # Errors
/// If it is none.
#[inline]
pub fn split_frame(frame: &[u8]) -> Result<(u32, &[u8]), Error> {
    match frame.split_first_chunk::<FRAME_BYTES>() {
        Some(([0, id @ ..], payload)) => Ok((u32::from_be_bytes(*id), payload)),
        _ => Err(Error::corrupt("no record frame: 0, four bytes of a schema's id, Avro binary")),
    }
}

/// The head of a single object of `schema`.
#[must_use]
pub fn single_object_head(schema: &Schema) -> [u8; SINGLE_OBJECT_BYTES] {
    let mut head = [0; SINGLE_OBJECT_BYTES];
    head[..2].copy_from_slice(&SINGLE_OBJECT_MARK);
    head[2..].copy_from_slice(&schema.fingerprint().to_le_bytes());
    head
}

/// The schema's fingerprint and the Avro binary of a single object.
///
/// # Errors
/// If it is none.
pub fn split_single_object(bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
    let body = bytes.strip_prefix(&SINGLE_OBJECT_MARK).and_then(<[u8]>::split_first_chunk);
    let (fingerprint, payload) = body.ok_or_else(|| Error::corrupt("no single object of Avro"))?;
    Ok((u64::from_le_bytes(*fingerprint), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_names_its_schema() {
        let mut frame = Vec::new();
        put_frame(&mut frame, 0x0102_0304);
        frame.push(9);
        assert_eq!(frame, [0, 1, 2, 3, 4, 9]);
        assert_eq!(split_frame(&frame).unwrap(), (0x0102_0304, &[9][..]));
        for bad in [&[][..], &[0, 0, 0, 1], &[1, 0, 0, 0, 1, 0]] {
            assert!(split_frame(bad).is_err());
        }
    }
}
