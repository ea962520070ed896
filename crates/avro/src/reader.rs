//! Avro binary, read: bytes of strangers, under limits.

use bytes::Bytes;

use affinity_types::varint;

use crate::error::Error;
use crate::limits::{Limits, depth_of};

/// A place in the bytes of a value, and what may still be spent on reading on.
///
/// Nothing here panics, and nothing is allocated before the bytes for it are there. Items that take no bytes are counted.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    /// What `input` is a part of, if values may keep parts of it.
    shared: Option<&'a Bytes>,
    depth: u32,
    items: u64,
    allocation: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    ///
    /// # Errors
    /// If there is more input than `limits` allow.
    #[inline]
    pub fn new(input: &'a [u8], limits: &Limits) -> Result<Reader<'a>, Error> {
        if input.len() > limits.bytes_max {
            return Err(Error::too_large(format_args!(
                "{} bytes, at most {}",
                input.len(),
                limits.bytes_max
            )));
        }
        Ok(Reader {
            input,
            shared: None,
            depth: limits.depth_max,
            items: limits.items_max,
            allocation: limits.allocation_max,
        })
    }

    /// A reader of `input` whose values of type [`Bytes`] keep parts of it, and thus all of it.
    ///
    /// # Errors
    /// As [`new`](Reader::new).
    #[inline]
    pub fn shared(input: &'a Bytes, limits: &Limits) -> Result<Reader<'a>, Error> {
        Ok(Reader { shared: Some(input), ..Reader::new(input, limits)? })
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.input.len()
    }

    /// Makes sure that no bytes are left.
    ///
    /// # Errors
    /// If some are.
    #[inline]
    pub fn end(&self) -> Result<(), Error> {
        if self.input.is_empty() {
            Ok(())
        } else {
            Err(Error::corrupt(format_args!("{} bytes are left over", self.input.len())))
        }
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.input.split_at_checked(count).ok_or_else(cut_short)?;
        self.input = rest;
        Ok(head)
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.input.split_first_chunk().ok_or_else(cut_short)?;
        self.input = rest;
        Ok(*head)
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// If the byte is neither 0 nor 1.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool, Error> {
        match self.fixed()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Error::corrupt(format_args!("{other} is no boolean"))),
        }
    }

    /// Takes a long.
    ///
    /// # Errors
    /// If it is cut short or has more than 64 bits.
    #[inline]
    pub fn long(&mut self) -> Result<i64, Error> {
        let raw = varint::take(&mut self.input).ok_or_else(no_number)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Takes an int.
    ///
    /// # Errors
    /// If it is cut short or has more than 32 bits.
    #[inline]
    pub fn int(&mut self) -> Result<i32, Error> {
        i32::try_from(self.long()?).map_err(|_| no_number())
    }

    /// Takes a float.
    ///
    /// # Errors
    /// If it is cut short.
    #[inline]
    pub fn float(&mut self) -> Result<f32, Error> {
        self.fixed().map(f32::from_le_bytes)
    }

    /// Takes a double.
    ///
    /// # Errors
    /// If it is cut short.
    #[inline]
    pub fn double(&mut self) -> Result<f64, Error> {
        self.fixed().map(f64::from_le_bytes)
    }

    /// Takes the number of a branch or a symbol, of `count`.
    ///
    /// # Errors
    /// If there is no such.
    #[inline]
    pub fn index(&mut self, count: usize) -> Result<usize, Error> {
        let index = self.long()?;
        match usize::try_from(index) {
            Ok(index) if index < count => Ok(index),
            _ => Err(Error::corrupt(format_args!("there is no branch or symbol {index}, but {count}"))),
        }
    }

    /// Takes a length and that many bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.long()?).map_err(|_| Error::corrupt("a negative length"))?;
        self.take(length)
    }

    /// Takes a text.
    ///
    /// # Errors
    /// If it is cut short or not in UTF-8.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::corrupt("a text that is not in UTF-8"))
    }

    /// `part`, which was taken from this reader, to keep: shared if the reader may, else copied.
    ///
    /// # Errors
    /// If the copy is larger than the limits leave.
    pub fn keep(&mut self, part: &'a [u8]) -> Result<Bytes, Error> {
        if let Some(all) = self.shared {
            return Ok(all.slice_ref(part));
        }
        self.charge(part.len())?;
        Ok(Bytes::copy_from_slice(part))
    }

    /// Takes the head of the next block of an array or a map: how many items it has, 0 at the end. They are counted.
    ///
    /// # Errors
    /// If it is cut short or has too many items.
    #[inline]
    pub fn block(&mut self) -> Result<usize, Error> {
        let count = self.long()?;
        let count = if count < 0 {
            // The size is for those who pass over the block.
            self.long()?;
            count.checked_neg().ok_or_else(no_number)?
        } else {
            count
        };
        self.count(count.cast_unsigned())?;
        usize::try_from(count).map_err(|_| no_number())
    }

    /// Takes the head of a block to pass over: how many items have to be passed over one by one, or `None` at the end. A
    /// block that tells its size is passed over at once.
    pub(crate) fn skip_block(&mut self) -> Result<Option<usize>, Error> {
        let count = self.long()?;
        if count < 0 {
            self.bytes()?;
            return Ok(Some(0));
        }
        self.count(count.cast_unsigned())?;
        Ok((count > 0).then_some(usize::try_from(count).map_err(|_| no_number())?))
    }

    /// Counts items that are about to be read.
    ///
    /// # Errors
    /// If they are more than the limits leave.
    #[inline]
    pub fn count(&mut self, items: u64) -> Result<(), Error> {
        self.items = self.items.checked_sub(items).ok_or_else(|| Error::too_large("too many items"))?;
        Ok(())
    }

    /// Counts `bytes` that are about to be allocated.
    ///
    /// # Errors
    /// If they are more than the limits leave.
    #[inline]
    pub fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        let left = self.allocation.checked_sub(bytes);
        self.allocation =
            left.ok_or_else(|| Error::too_large("the value takes more memory than is allowed"))?;
        Ok(())
    }

    /// Counts the memory of `count` values of type `T` that are about to be read, and says for how many to reserve it at
    /// once: for no more than the bytes that are left can make, unless they take none.
    ///
    /// # Errors
    /// If it is more than the limits leave.
    #[inline]
    pub fn reserve<T>(&mut self, count: usize) -> Result<usize, Error> {
        self.charge(count.saturating_mul(size_of::<T>()))?;
        Ok(count.min(self.input.len()))
    }

    /// Goes into a record, an array, a map or a union. [`leave`](Reader::leave) goes out again.
    ///
    /// # Errors
    /// If the limits allow no more.
    #[inline]
    pub fn enter(&mut self) -> Result<(), Error> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Error::too_large("values nest too deep"))?;
        Ok(())
    }

    /// Goes out of what was entered last.
    #[inline]
    pub fn leave(&mut self) {
        self.depth += 1;
    }

    /// Goes into a compiled record of so many fields. [`leave_record`](Reader::leave_record) goes out again.
    ///
    /// # Errors
    /// If the limits allow no more.
    #[inline]
    pub fn enter_record<T>(&mut self, fields: usize) -> Result<(), Error> {
        let left = self.depth.checked_sub(depth_of::<T>(fields));
        self.depth = left.ok_or_else(|| Error::too_large("values nest too deep"))?;
        Ok(())
    }

    /// Goes out of what was entered last.
    #[inline]
    pub fn leave_record<T>(&mut self, fields: usize) {
        self.depth += depth_of::<T>(fields);
    }

    /// Items and bytes of memory that may still be read.
    pub(crate) fn budget(&self) -> (u64, usize) {
        (self.items, self.allocation)
    }

    /// Reads a value from `bytes` at the cost of this reader: a default, which stands in no input.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn aside<T>(
        &mut self,
        bytes: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut aside = Reader { input: bytes, shared: None, ..*self };
        let value = read(&mut aside)?;
        (self.items, self.allocation) = (aside.items, aside.allocation);
        Ok(value)
    }
}

#[cold]
fn cut_short() -> Error {
    Error::corrupt("the bytes end too early")
}

#[cold]
fn no_number() -> Error {
    Error::corrupt("a number that is cut short or too long")
}
