//! Passing over what the reader does not want.

use super::Plan;
use crate::error::Error;
use crate::reader::Reader;
use crate::schema::{TypeId, TypeKind};

impl Plan {
    /// Passes over a value of the writer's type.
    pub(crate) fn skip(&self, reader: &mut Reader<'_>, of: TypeId) -> Result<(), Error> {
        match &self.0.writer[of].kind {
            TypeKind::Null => Ok(()),
            TypeKind::Boolean => reader.boolean().map(drop),
            TypeKind::Int => reader.int().map(drop),
            TypeKind::Long => reader.long().map(drop),
            TypeKind::Float => reader.take(size_of::<f32>()).map(drop),
            TypeKind::Double => reader.take(size_of::<f64>()).map(drop),
            TypeKind::Bytes | TypeKind::String => reader.bytes().map(drop),
            TypeKind::Fixed(fixed) => reader.take(fixed.size).map(drop),
            TypeKind::Enum(symbols) => reader.index(symbols.symbols.len()).map(drop),
            TypeKind::Union(branches) => {
                let branch = reader.index(branches.len())?;
                self.skip(reader, branches[branch])
            }
            TypeKind::Record(record) => {
                reader.enter()?;
                reader.count(record.fields.len() as u64)?;
                record.fields.iter().try_for_each(|field| self.skip(reader, field.schema))?;
                reader.leave();
                Ok(())
            }
            TypeKind::Array(items) => self.skip_blocks(reader, |reader| self.skip(reader, *items)),
            TypeKind::Map(values) => self.skip_blocks(reader, |reader| {
                reader.bytes()?;
                self.skip(reader, *values)
            }),
        }
    }

    fn skip_blocks(
        &self,
        reader: &mut Reader<'_>,
        mut item: impl FnMut(&mut Reader<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        reader.enter()?;
        while let Some(count) = reader.skip_block()? {
            for _ in 0..count {
                item(reader)?;
            }
        }
        reader.leave();
        Ok(())
    }
}
