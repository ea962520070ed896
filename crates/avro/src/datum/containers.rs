//! Lists, maps, what may be missing, and what lies on the heap.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use super::Datum;
use crate::describe::SchemaWriter;
use crate::error::Error;
use crate::json::{JsonReader, JsonWriter};
use crate::plan::At;
use crate::reader::Reader;
use crate::writer;

/// The union of null and a type, null first.
impl<T: Datum> Datum for Option<T> {
    const BRANCH: &'static str = "union";
    const IS_UNION: bool = true;

    fn describe(schema: &mut SchemaWriter) {
        const {
            assert!(
                !T::IS_UNION,
                "an Option of a union is a union within a union: give the union a variant without a value, which is null"
            );
        }
        schema.union(&[<()>::describe, T::describe]);
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                value.encode(out);
            }
        }
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Option<T>, Error> {
        match reader.index(2)? {
            0 => Ok(None),
            _ => T::decode(reader).map(Some),
        }
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Option<T>, Error> {
        match at.branch(reader)? {
            (0, at) => at.null(reader).map(|()| None),
            (_, at) => T::resolve(reader, at).map(Some),
        }
    }

    #[inline]
    fn write_json(&self, out: &mut JsonWriter) {
        match self {
            None => out.null(),
            Some(value) => out.branch_of_two(T::BRANCH, |out| value.write_json(out)),
        }
    }

    #[inline]
    fn read_json(reader: &mut JsonReader<'_>) -> Result<Option<T>, Error> {
        if reader.takes_null() {
            return Ok(None);
        }
        reader.branch_of_two(T::BRANCH, T::read_json).map(Some)
    }
}

impl<T: Datum> Datum for Box<T> {
    const BRANCH: &'static str = T::BRANCH;
    const IS_UNION: bool = T::IS_UNION;

    fn describe(schema: &mut SchemaWriter) {
        T::describe(schema);
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Box<T>, Error> {
        reader.charge(size_of::<T>())?;
        T::decode(reader).map(Box::new)
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Box<T>, Error> {
        reader.charge(size_of::<T>())?;
        T::resolve(reader, at).map(Box::new)
    }

    fn write_json(&self, out: &mut JsonWriter) {
        (**self).write_json(out);
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<Box<T>, Error> {
        reader.charge(size_of::<T>())?;
        T::read_json(reader).map(Box::new)
    }
}

impl<T: Datum> Datum for Vec<T> {
    const BRANCH: &'static str = "array";

    fn describe(schema: &mut SchemaWriter) {
        schema.array(T::describe);
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            writer::put_count(out, self.len());
            self.iter().for_each(|item| item.encode(out));
        }
        out.push(0);
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Vec<T>, Error> {
        read_items(reader, T::decode)
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Vec<T>, Error> {
        let at = at.items(reader)?;
        read_items(reader, |reader| T::resolve(reader, at))
    }

    fn write_json(&self, out: &mut JsonWriter) {
        out.list(self.iter(), |out, item| item.write_json(out));
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<Vec<T>, Error> {
        reader.array()?;
        let (mut items, mut first) = (Vec::new(), true);
        while reader.item(&mut first)? {
            reader.charge(size_of::<T>())?;
            items.push(T::read_json(reader).map_err(|error| error.within("[]"))?);
        }
        Ok(items)
    }
}

#[inline]
fn read_items<T>(
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    reader.enter()?;
    let mut items = Vec::new();
    loop {
        let count = reader.block()?;
        if count == 0 {
            reader.leave();
            return Ok(items);
        }
        items.reserve(reader.reserve::<T>(count)?);
        for _ in 0..count {
            items.push(read(reader).map_err(|error| error.within("[]"))?);
        }
    }
}

/// Reads the entries of a map, each counted with `T` twice: trees and tables take more than their entries.
#[inline]
fn read_entries<T>(
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Error>,
    mut insert: impl FnMut(String, T),
) -> Result<(), Error> {
    reader.enter()?;
    loop {
        let count = reader.block()?;
        if count == 0 {
            reader.leave();
            return Ok(());
        }
        reader.reserve::<[(String, T); 2]>(count)?;
        for _ in 0..count {
            let key = String::decode(reader)?;
            let value = read(reader).map_err(|error| error.within("{}"))?;
            insert(key, value);
        }
    }
}

fn write_entries<'a, T: Datum + 'a>(
    out: &mut Vec<u8>,
    count: usize,
    entries: impl Iterator<Item = (&'a String, &'a T)>,
) {
    if count > 0 {
        writer::put_count(out, count);
        for (key, value) in entries {
            key.encode(out);
            value.encode(out);
        }
    }
    out.push(0);
}

fn read_json_entries<T: Datum>(
    reader: &mut JsonReader<'_>,
    mut insert: impl FnMut(String, T),
) -> Result<(), Error> {
    reader.object()?;
    let mut first = true;
    while let Some(key) = reader.key(&mut first)? {
        reader.charge(key.len() + size_of::<[(String, T); 2]>())?;
        let value = T::read_json(reader).map_err(|error| error.within("{}"))?;
        insert(key.into_owned(), value);
    }
    Ok(())
}

/// What both kinds of maps have in common.
macro_rules! map {
    () => {
        const BRANCH: &'static str = "map";

        fn describe(schema: &mut SchemaWriter) {
            schema.map(T::describe);
        }

        fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
            let mut map = Self::default();
            read_entries(reader, T::decode, |key, value| drop(map.insert(key, value)))?;
            Ok(map)
        }

        fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
            let (at, mut map) = (at.values(reader)?, Self::default());
            let read = |reader: &mut Reader<'_>| T::resolve(reader, at);
            read_entries(reader, read, |key, value| drop(map.insert(key, value)))?;
            Ok(map)
        }

        fn read_json(reader: &mut JsonReader<'_>) -> Result<Self, Error> {
            let mut map = Self::default();
            read_json_entries(reader, |key, value| drop(map.insert(key, value)))?;
            Ok(map)
        }
    };
}

impl<T: Datum> Datum for BTreeMap<String, T> {
    map!();

    fn encode(&self, out: &mut Vec<u8>) {
        write_entries(out, self.len(), self.iter());
    }

    fn write_json(&self, out: &mut JsonWriter) {
        out.entries(self.iter().map(|(key, value)| (key.as_str(), value)), |out, value| {
            value.write_json(out);
        });
    }
}

/// Written in the order of the keys, so that equal maps have equal bytes: that takes a list of them. [`BTreeMap`] needs none.
impl<T: Datum, S: BuildHasher + Default> Datum for HashMap<String, T, S> {
    map!();

    fn encode(&self, out: &mut Vec<u8>) {
        write_entries(out, self.len(), in_order(self).into_iter());
    }

    fn write_json(&self, out: &mut JsonWriter) {
        let entries = in_order(self).into_iter().map(|(key, value)| (key.as_str(), value));
        out.entries(entries, |out, value| value.write_json(out));
    }
}

fn in_order<T, S>(map: &HashMap<String, T, S>) -> Vec<(&String, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}
