//! What a stranger's bytes and texts may cost.

/// Limits on reading one value, in binary or JSON.
///
/// They hold for the whole value; what passes one is [`TooLarge`](crate::ErrorKind::TooLarge). A length that is longer
/// than what is left of the input is refused before anything is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of input.
    pub bytes_max: usize,
    /// Records, arrays, maps and unions around a value. A compiled record counts one more for each 512 bytes and for each 16 fields of
    /// its own, since they take the stack.
    pub depth_max: u32,
    /// Items of arrays and maps, and fields that are read without a compiled type or passed over: how much work input
    /// that takes no bytes (an array of nulls) can ask for.
    pub items_max: u64,
    /// Bytes allocated for what is read: texts and bytes by their length, items by their size in memory, defaults that
    /// are filled in among them.
    pub allocation_max: usize,
}

impl Limits {
    /// The limits unless told otherwise.
    pub const DEFAULT: Limits =
        Limits { bytes_max: 16 << 20, depth_max: 128, items_max: 4 << 20, allocation_max: 64 << 20 };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// How deep a compiled record of so many fields is for [`Limits::depth_max`]: each field has room of its own on the stack, more so in builds that are not
/// optimized. A record that fills most of a stack alone is left to whoever wrote it.
#[inline]
pub(crate) const fn depth_of<T>(fields: usize) -> u32 {
    const BYTES_OF_A_LEVEL: usize = 512;
    const FIELDS_OF_A_LEVEL: usize = 16;
    const LEVELS_MAX: usize = 32;
    let levels = 1 + size_of::<T>() / BYTES_OF_A_LEVEL + fields / FIELDS_OF_A_LEVEL;
    #[expect(clippy::cast_possible_truncation, reason = "it is small")]
    return if levels < LEVELS_MAX { levels as u32 } else { LEVELS_MAX as u32 };
}

/// Limits on reading a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaLimits {
    /// Bytes of text.
    pub text_bytes_max: usize,
    /// Brackets around a value of the text.
    pub depth_max: u32,
    /// Named types, and as many aliases of them.
    pub names_max: usize,
    /// Types of all kinds, one for each place where one is written.
    pub types_max: usize,
    /// Values in all defaults of fields, with the defaults inside them that they leave out. A text counts one more for each 16 bytes.
    pub default_values_max: u64,
}

impl SchemaLimits {
    /// The limits unless told otherwise.
    pub const DEFAULT: SchemaLimits = SchemaLimits {
        text_bytes_max: 1 << 20,
        depth_max: 128,
        names_max: 4096,
        types_max: 1 << 16,
        default_values_max: 1 << 18,
    };
}

impl Default for SchemaLimits {
    fn default() -> SchemaLimits {
        SchemaLimits::DEFAULT
    }
}
