//! How the bytes of one place look: of the keys of a store, of its values.
//!
//! A type's own codec ([`Encode`], [`Decode`]) knows no place. Types with a schema are written as record frames (`0`, schema id as 4 bytes big
//! endian, body) where a place has an id for it: a [`Format`] is made once, when ids are known, and kept with the place. The body is the type's
//! own affair; schemas are texts here.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{CodecError, Decode, Encode, Room};

/// Bytes before the body of a record frame.
const HEAD_BYTES: usize = 5;

/// What a type with a schema has for its frames.
#[derive(Clone, Copy, Debug)]
pub struct FrameType {
    /// The text of its schema.
    pub schema: fn() -> &'static str,
    /// Readers that know no other schema yet.
    pub readers: fn() -> Arc<dyn Readers>,
}

/// How a type reads what was written with other schemas, by their ids.
pub trait Readers: Any + Send + Sync + fmt::Debug {
    /// From now on bodies under this id, which were written with this schema, can be read.
    ///
    /// # Errors
    /// If no value of the schema can be read as the type, with the path to where they differ.
    fn learn(&self, schema_id: u32, schema: &str) -> Result<(), CodecError>;
}

/// How the bytes of a place look.
#[derive(Clone, Debug, Default)]
pub enum Format {
    /// As the type's own codec writes them.
    #[default]
    Plain,
    /// As record frames.
    Frames(Frames),
}

/// Record frames: written under one id, and read under those that are known.
#[derive(Clone, Debug)]
pub struct Frames {
    schema_id: u32,
    readers: Option<Arc<dyn Readers>>,
}

/// A schema that is not the type's own, under which a body was written.
#[derive(Clone, Copy)]
pub struct OtherSchema<'a> {
    /// Its id.
    pub id: u32,
    /// The type's readers, as [`FrameType::readers`] made them.
    pub readers: &'a dyn Any,
}

/// A store by its name, and what frames its keys and values have, if any.
#[derive(Clone, Copy, Debug)]
pub struct StoreTypes {
    /// The store.
    pub name: &'static str,
    /// Its keys.
    pub key: Option<FrameType>,
    /// Its values.
    pub value: Option<FrameType>,
}

/// How the keys and the values of a store look.
#[derive(Clone, Debug, Default)]
pub struct StoreFormat {
    /// The keys.
    pub key: Format,
    /// The values.
    pub value: Format,
}

impl Frames {
    /// Frames of values: those of other ids are read as far as `readers` have learned them.
    #[must_use]
    pub fn new(schema_id: u32, readers: Arc<dyn Readers>) -> Frames {
        Frames { schema_id, readers: Some(readers) }
    }

    /// Frames of keys: there is one id, since it is part of the key.
    #[must_use]
    pub fn fixed(schema_id: u32) -> Frames {
        Frames { schema_id, readers: None }
    }

    /// The id that is written.
    #[must_use]
    pub fn schema_id(&self) -> u32 {
        self.schema_id
    }

    /// Lets bodies under another id be read from now on.
    ///
    /// # Errors
    /// If they cannot be, or there is one id only.
    pub fn learn(&self, schema_id: u32, schema: &str) -> Result<(), CodecError> {
        match &self.readers {
            Some(_) if schema_id == self.schema_id => Ok(()),
            Some(readers) => readers.learn(schema_id, schema),
            None => Err(CodecError(format!("all keys have schema {}", self.schema_id))),
        }
    }

    fn put_head(&self, out: &mut Vec<u8>) {
        let [a, b, c, d] = self.schema_id.to_be_bytes();
        out.extend_from_slice(&[0, a, b, c, d]);
    }

    fn decode<T: Decode>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let Some(([0, id @ ..], body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(CodecError("no record frame: 0, four bytes of a schema's id, a body".into()));
        };
        let id = u32::from_be_bytes(*id);
        if id == self.schema_id {
            return T::decode_body(body, None);
        }
        match &self.readers {
            Some(readers) => T::decode_body(body, Some(OtherSchema { id, readers: &**readers })),
            None => Err(CodecError(format!("a key of schema {id}, where all have {}", self.schema_id))),
        }
    }
}

impl Format {
    /// Appends the bytes of a value at this place.
    #[inline]
    pub fn encode<T: Encode + ?Sized>(&self, value: &T, out: &mut Vec<u8>) {
        match self {
            Format::Plain => value.encode(out),
            Format::Frames(frames) => {
                frames.put_head(out);
                value.encode_body(out);
            }
        }
    }

    /// The bytes of a value at this place.
    #[inline]
    pub fn to_bytes<T: Encode + ?Sized>(&self, value: &T) -> Bytes {
        match self {
            Format::Plain => value.to_bytes(),
            Format::Frames(_) => {
                let mut out = Vec::new();
                self.encode(value, &mut out);
                out.into()
            }
        }
    }

    /// Reads a value of this place.
    ///
    /// # Errors
    /// If the bytes are none, or of a schema that is not known here.
    #[inline]
    pub fn decode<T: Decode>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Format::Plain => T::decode(bytes),
            Format::Frames(frames) => frames.decode(bytes),
        }
    }

    /// The same, with room for what the value keeps of the bytes as they are.
    ///
    /// # Errors
    /// As [`decode`](Format::decode).
    #[inline]
    pub fn decode_within<T: Decode>(&self, bytes: &[u8], room: &mut Room) -> Result<T, CodecError> {
        match self {
            Format::Plain => T::decode_within(bytes, room),
            Format::Frames(frames) => frames.decode(bytes),
        }
    }

    /// The same, where the value may keep `bytes`.
    ///
    /// # Errors
    /// As [`decode`](Format::decode).
    #[inline]
    pub fn decode_shared<T: Decode>(&self, bytes: Bytes) -> Result<T, CodecError> {
        match self {
            Format::Plain => T::decode_shared(bytes),
            Format::Frames(frames) => frames.decode(&bytes),
        }
    }

    /// The bytes that all of this place begin with, and what comes behind them is in the order of the bodies.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        if let Format::Frames(frames) = self {
            frames.put_head(&mut head);
        }
        head
    }

    /// The frames, if there are any.
    #[must_use]
    pub fn frames(&self) -> Option<&Frames> {
        match self {
            Format::Plain => None,
            Format::Frames(frames) => Some(frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A type with a schema: a number, which other schemas have written as text.
    #[derive(Debug, PartialEq)]
    struct Count(u8);

    #[derive(Debug, Default)]
    struct Texts(Mutex<Vec<u32>>);

    impl Readers for Texts {
        fn learn(&self, schema_id: u32, schema: &str) -> Result<(), CodecError> {
            if schema != "text" {
                return Err(CodecError("not a text".into()));
            }
            self.0.lock().unwrap().push(schema_id);
            Ok(())
        }
    }

    impl Encode for Count {
        const FRAMES: Option<FrameType> =
            Some(FrameType { schema: || "count", readers: || Arc::new(Texts::default()) });

        fn encode(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&[b'=', self.0]);
        }

        fn encode_body(&self, out: &mut Vec<u8>) {
            out.push(self.0);
        }
    }

    impl Decode for Count {
        fn decode(bytes: &[u8]) -> Result<Count, CodecError> {
            u8::decode(&bytes[1..]).map(Count)
        }

        fn decode_body(body: &[u8], schema: Option<OtherSchema<'_>>) -> Result<Count, CodecError> {
            let Some(OtherSchema { id, readers }) = schema else { return u8::decode(body).map(Count) };
            let known = readers.downcast_ref::<Texts>().unwrap().0.lock().unwrap().contains(&id);
            let text = known.then(|| String::decode(body)).transpose()?;
            let text = text.ok_or_else(|| CodecError(format!("schema {id}")))?;
            text.parse().map(Count).map_err(|_| CodecError("no number".into()))
        }
    }

    fn values() -> Format {
        Format::Frames(Frames::new(0x0102_0304, (Count::FRAMES.unwrap().readers)()))
    }

    #[test]
    fn a_place_with_an_id_has_frames() {
        let check = |format: &Format, bytes: &[u8]| {
            assert_eq!(&format.to_bytes(&Count(9))[..], bytes);
            assert_eq!(format.decode(bytes), Ok(Count(9)));
            assert_eq!(format.decode_shared(Bytes::copy_from_slice(bytes)), Ok(Count(9)));
            assert_eq!(format.decode_within(bytes, &mut Room::default()), Ok(Count(9)));
        };
        check(&Format::Plain, b"=\x09");
        check(&values(), &[0, 1, 2, 3, 4, 9]);
        check(&Format::Frames(Frames::fixed(7)), &[0, 0, 0, 0, 7, 9]);
        assert_eq!(values().head(), [0, 1, 2, 3, 4]);
        assert_eq!(Format::Plain.head(), []);
    }

    #[test]
    fn frames_of_other_ids_are_read_when_they_are_learned() {
        let format = values();
        let frames = format.frames().unwrap();
        let read = |bytes: &[u8]| format.decode::<Count>(bytes).map_err(|error| error.0);
        let foreign = [&[0, 0, 0, 0, 8][..], b"12"].concat();
        assert_eq!(read(&foreign), Err("schema 8".into()));
        assert!(frames.learn(9, "number").is_err());
        frames.learn(8, "text").unwrap();
        assert_eq!(read(&foreign), Ok(Count(12)));
        frames.learn(frames.schema_id(), "whatever it is, it is one's own").unwrap();
        assert_eq!(read(&[0, 1, 2, 3, 4, 9]), Ok(Count(9)));
        for no_frame in [&[][..], &[0, 1, 2, 3], &[1, 1, 2, 3, 4, 9]] {
            assert!(read(no_frame).unwrap_err().contains("no record frame"));
        }
        // Keys have one id.
        let keys = Format::Frames(Frames::fixed(7));
        assert!(
            keys.decode::<Count>(&foreign).unwrap_err().0.contains("a key of schema 8, where all have 7")
        );
        assert!(keys.frames().unwrap().learn(8, "text").is_err());
    }
}
