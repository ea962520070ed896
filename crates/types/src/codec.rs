//! Between values and bytes: how keys, values, messages and answers are serialized.
//!
//! The plain codecs here are those of Kafka's own serializers: bytes as they are, strings in UTF-8, integers big endian.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::format::{FrameType, OtherSchema};

/// What can be written as bytes. Equal values give equal bytes.
pub trait Encode {
    /// What it has for record frames, if it has a schema. Such a type is written as frames at the places that have an id for it
    /// ([`Format`](crate::format::Format)).
    const FRAMES: Option<FrameType> = None;

    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The bytes alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// Appends the body of a record frame; the bytes, of a type without a schema.
    fn encode_body(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    /// The body alone.
    fn to_body(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode_body(&mut out);
        out.into()
    }
}

/// What can be read from bytes.
pub trait Decode: Sized {
    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// If the bytes are not those of such a value.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;

    /// The same, with room for what the value keeps of the bytes as they are.
    ///
    /// # Errors
    /// As [`decode`](Decode::decode).
    fn decode_within(bytes: &[u8], _room: &mut Room) -> Result<Self, CodecError> {
        Self::decode(bytes)
    }

    /// The same, where the value may keep `bytes` and all that they are a part of.
    ///
    /// # Errors
    /// As [`decode`](Decode::decode).
    fn decode_shared(bytes: Bytes) -> Result<Self, CodecError> {
        Self::decode(&bytes)
    }

    /// Reads the body of a record frame, which was written with the type's own schema or with another one.
    ///
    /// # Errors
    /// If the body is none, or the other schema is not known.
    fn decode_body(body: &[u8], schema: Option<OtherSchema<'_>>) -> Result<Self, CodecError> {
        match schema {
            None => Self::decode(body),
            Some(other) => Err(CodecError(format!("schema {}, of a type without schemas", other.id))),
        }
    }
}

/// Bytes of a chunk of a [`Room`].
const CHUNK_BYTES: usize = 4096;

/// Room for the bytes of many short values: they share chunks of 4 KiB, so that those who read and those who drop what was
/// read, on another thread mostly, seldom meet at the allocator. A value kept for long keeps its chunk with it; one longer
/// than 512 bytes has an allocation of its own.
#[derive(Debug, Default)]
pub struct Room {
    chunk: BytesMut,
}

impl Room {
    /// A copy of `bytes`.
    pub fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > CHUNK_BYTES / 8 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.chunk.capacity() < bytes.len() {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}

/// Bytes that are not those of the value expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CodecError(pub String);

impl Encode for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn to_bytes(&self) -> Bytes {
        self.clone()
    }
}

impl Decode for Bytes {
    fn decode(bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn decode_within(bytes: &[u8], room: &mut Room) -> Result<Bytes, CodecError> {
        Ok(room.keep(bytes))
    }

    fn decode_shared(bytes: Bytes) -> Result<Bytes, CodecError> {
        Ok(bytes)
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Decode for Vec<u8> {
    fn decode(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

impl Decode for String {
    fn decode(bytes: &[u8]) -> Result<String, CodecError> {
        String::from_utf8(bytes.to_vec()).map_err(|error| CodecError(format!("no text in UTF-8: {error}")))
    }
}

impl Encode for () {
    fn encode(&self, _: &mut Vec<u8>) {}
}

impl Decode for () {
    fn decode(bytes: &[u8]) -> Result<(), CodecError> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err(CodecError(format!("{} bytes where none belong", bytes.len())))
        }
    }
}

macro_rules! integers {
    ($($name:ty),*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl Decode for $name {
            fn decode(bytes: &[u8]) -> Result<$name, CodecError> {
                let exact = bytes.try_into().map_err(|_| {
                    CodecError(format!("{} bytes where {} belong", bytes.len(), size_of::<$name>()))
                })?;
                Ok(<$name>::from_be_bytes(exact))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// Nothing, or something behind a byte that says so.
impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(bytes: &[u8]) -> Result<Option<T>, CodecError> {
        match bytes {
            [0] => Ok(None),
            [1, value @ ..] => T::decode(value).map(Some),
            _ => Err(CodecError("neither nothing nor something".into())),
        }
    }

    fn decode_within(bytes: &[u8], room: &mut Room) -> Result<Option<T>, CodecError> {
        match bytes {
            [1, value @ ..] => T::decode_within(value, room).map(Some),
            other => Self::decode(other),
        }
    }

    fn decode_shared(bytes: Bytes) -> Result<Option<T>, CodecError> {
        match bytes.first() {
            Some(1) => T::decode_shared(bytes.slice(1..)).map(Some),
            _ => Self::decode(&bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T, bytes: &[u8]) {
        assert_eq!(&value.to_bytes()[..], bytes);
        assert_eq!(&T::decode(bytes).unwrap(), value);
    }

    #[test]
    fn values_are_the_bytes_of_kafkas_serializers() {
        check(&1i64, &[0, 0, 0, 0, 0, 0, 0, 1]);
        check(&-2i32, &[0xff, 0xff, 0xff, 0xfe]);
        check(&"é".to_string(), &[0xc3, 0xa9]);
        check(&Bytes::from_static(b"\0x"), b"\0x");
        check(&Some(7u8), &[1, 7]);
        check(&None::<u8>, &[0]);
        check(&(), &[]);
    }

    #[test]
    fn values_share_room_and_stay_as_they_were() {
        let mut room = Room::default();
        let lengths = [0, 1, 500, 512, 513, 5000];
        let kept: Vec<_> = (0..100u8)
            .map(|n| {
                let bytes = vec![n; lengths[usize::from(n) % lengths.len()]];
                (Bytes::decode_within(&bytes, &mut room).unwrap(), bytes)
            })
            .collect();
        assert!(kept.iter().all(|(kept, bytes)| kept == bytes));
        let some = Option::<Bytes>::decode_within(b"\x01value", &mut room);
        assert_eq!(some, Ok(Some(Bytes::from_static(b"value"))));
        assert!(Option::<Bytes>::decode_within(b"", &mut room).is_err());
    }

    #[test]
    fn a_value_may_keep_the_bytes_it_is_read_from() {
        let bytes = Bytes::from(b"\x01value".to_vec());
        let kept = Option::<Bytes>::decode_shared(bytes.clone()).unwrap().unwrap();
        assert_eq!((&kept[..], kept.as_ptr()), (&b"value"[..], bytes[1..].as_ptr()));
        assert_eq!(Option::<Bytes>::decode_shared(Bytes::from_static(&[0])), Ok(None));
        assert!(Option::<Bytes>::decode_shared(Bytes::from_static(&[2])).is_err());
        assert_eq!(u8::decode_shared(Bytes::from_static(&[7])), Ok(7));
    }

    #[test]
    fn other_bytes_are_errors() {
        assert!(i64::decode(&[1]).is_err());
        assert!(String::decode(&[0xff]).is_err());
        assert!(<()>::decode(&[0]).is_err());
        assert!(Option::<u8>::decode(&[]).is_err());
    }
}
