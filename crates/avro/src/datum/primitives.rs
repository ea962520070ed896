//! Avro's own types.

use bytes::Bytes;

use super::Datum;
use crate::describe::SchemaWriter;
use crate::error::Error;
use crate::json::{JsonReader, JsonWriter};
use crate::plan::At;
use crate::reader::Reader;
use crate::writer;

/// What has the bytes of one primitive type.
macro_rules! primitive {
    ($type:ty, $keyword:literal, $read:ident, |$value:ident, $out:ident| $encode:expr, $json:expr, $from_json:expr) => {
        impl Datum for $type {
            const BRANCH: &'static str = $keyword;

            fn describe(schema: &mut SchemaWriter) {
                schema.primitive($keyword);
            }

            #[inline]
            fn encode(&self, $out: &mut Vec<u8>) {
                let $value = self;
                $encode;
            }

            #[inline]
            fn decode(reader: &mut Reader<'_>) -> Result<$type, Error> {
                reader.$read()
            }

            #[inline]
            fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<$type, Error> {
                at.$read(reader)
            }

            #[inline]
            fn write_json(&self, out: &mut JsonWriter) {
                $json(out, self);
            }

            #[inline]
            fn read_json(reader: &mut JsonReader<'_>) -> Result<$type, Error> {
                $from_json(reader)
            }
        }
    };
}

primitive!(
    bool,
    "boolean",
    boolean,
    |value, out| out.push(u8::from(*value)),
    JsonWriter::boolean_ref,
    JsonReader::boolean
);
primitive!(
    i32,
    "int",
    int,
    |value, out| writer::put_long(out, (*value).into()),
    JsonWriter::number,
    JsonReader::integer
);
primitive!(
    i64,
    "long",
    long,
    |value, out| writer::put_long(out, *value),
    JsonWriter::number,
    JsonReader::integer
);
primitive!(
    f32,
    "float",
    float,
    |value, out| out.extend_from_slice(&value.to_le_bytes()),
    JsonWriter::float_ref,
    JsonReader::float
);
primitive!(
    f64,
    "double",
    double,
    |value, out| out.extend_from_slice(&value.to_le_bytes()),
    JsonWriter::double_ref,
    JsonReader::double
);

/// Numbers that are written as a wider type of Avro's, and refused where they do not fit when read.
macro_rules! narrow {
    ($($type:ty as $wide:ty),*) => {$(
        impl Datum for $type {
            const BRANCH: &'static str = <$wide>::BRANCH;

            fn describe(schema: &mut SchemaWriter) {
                <$wide>::describe(schema);
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                <$wide>::from(*self).encode(out);
            }

            #[inline]
            fn decode(reader: &mut Reader<'_>) -> Result<$type, Error> {
                <$type>::try_from(<$wide>::decode(reader)?).map_err(out_of_range)
            }

            #[inline]
            fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<$type, Error> {
                <$type>::try_from(<$wide>::resolve(reader, at)?).map_err(out_of_range)
            }

            fn write_json(&self, out: &mut JsonWriter) {
                <$wide>::from(*self).write_json(out);
            }

            fn read_json(reader: &mut JsonReader<'_>) -> Result<$type, Error> {
                <$type>::try_from(<$wide>::read_json(reader)?).map_err(|error| reader.wrong(error))
            }
        }
    )*};
}
narrow!(i8 as i32, i16 as i32, u16 as i32, u32 as i64);

#[cold]
fn out_of_range(error: std::num::TryFromIntError) -> Error {
    Error::corrupt(error)
}

/// `null`
impl Datum for () {
    const BRANCH: &'static str = "null";

    fn describe(schema: &mut SchemaWriter) {
        schema.primitive("null");
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Reader<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<(), Error> {
        at.null(reader)
    }

    fn write_json(&self, out: &mut JsonWriter) {
        out.null();
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<(), Error> {
        reader.null()
    }
}

impl Datum for String {
    const BRANCH: &'static str = "string";

    fn describe(schema: &mut SchemaWriter) {
        schema.primitive("string");
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        writer::put_bytes(out, self.as_bytes());
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<String, Error> {
        let text = reader.string()?;
        reader.charge(text.len())?;
        Ok(text.to_owned())
    }

    #[inline]
    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<String, Error> {
        at.string(reader)
    }

    #[inline]
    fn write_json(&self, out: &mut JsonWriter) {
        out.string(self);
    }

    #[inline]
    fn read_json(reader: &mut JsonReader<'_>) -> Result<String, Error> {
        let text = reader.string()?;
        reader.charge(text.len())?;
        Ok(text.into_owned())
    }
}

/// Bytes, in both of their types.
macro_rules! bytes {
    ($type:ty, |$reader:ident, $bytes:ident| $keep:expr) => {
        impl Datum for $type {
            const BRANCH: &'static str = "bytes";

            fn describe(schema: &mut SchemaWriter) {
                schema.primitive("bytes");
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                writer::put_bytes(out, self);
            }

            #[inline]
            fn decode($reader: &mut Reader<'_>) -> Result<$type, Error> {
                let $bytes = $reader.bytes()?;
                $keep
            }

            fn resolve($reader: &mut Reader<'_>, at: At<'_>) -> Result<$type, Error> {
                let $bytes = at.bytes($reader)?;
                $keep
            }

            fn write_json(&self, out: &mut JsonWriter) {
                out.bytes(self);
            }

            fn read_json(reader: &mut JsonReader<'_>) -> Result<$type, Error> {
                reader.bytes().map(Into::into)
            }
        }
    };
}
bytes!(Bytes, |reader, bytes| reader.keep(bytes));
bytes!(Vec<u8>, |reader, bytes| {
    reader.charge(bytes.len())?;
    Ok(bytes.to_vec())
});
