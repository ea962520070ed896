//! What numbers, texts and bytes mean: logical types, and the types of other crates that are one.

use super::Datum;
use crate::describe::{Named, SchemaWriter};
use crate::error::Error;
use crate::json::{JsonReader, JsonWriter};
use crate::plan::At;
use crate::reader::Reader;

/// A type that is written as another, with a logical type on it.
macro_rules! written_as {
    ($type:ty, $base:ty, $keyword:literal, $logical:literal, $to:expr, $from:expr) => {
        impl Datum for $type {
            const BRANCH: &'static str = $keyword;

            fn describe(schema: &mut SchemaWriter) {
                schema.logical_type($keyword, $logical, "");
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                let base: $base = $to(self);
                base.encode(out);
            }

            #[inline]
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
                let base = <$base>::decode(reader)?;
                $from(base).ok_or_else(|| no_value($logical, &base))
            }

            #[inline]
            fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                let base = <$base>::resolve(reader, at)?;
                $from(base).ok_or_else(|| no_value($logical, &base))
            }

            fn write_json(&self, out: &mut JsonWriter) {
                let base: $base = $to(self);
                base.write_json(out);
            }

            fn read_json(reader: &mut JsonReader<'_>) -> Result<Self, Error> {
                let base = <$base>::read_json(reader)?;
                $from(base).ok_or_else(|| reader.wrong(no_value($logical, &base)))
            }
        }
    };
}

#[cold]
fn no_value(logical: &str, base: &dyn std::fmt::Debug) -> Error {
    Error::corrupt(format_args!("{base:?} is out of the range of {logical}"))
}

/// A number with a meaning and no calendar behind it.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($base:ty), $keyword:literal, $logical:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $base);

        written_as!($name, $base, $keyword, $logical, |value: &$name| value.0, |base| Some($name(base)));
    };
}

number!(
    /// Days since 1970-01-01.
    Date(i32), "int", "date"
);
number!(
    /// Milliseconds since midnight.
    TimeMillis(i32), "int", "time-millis"
);
number!(
    /// Microseconds since midnight.
    TimeMicros(i64), "long", "time-micros"
);
number!(
    /// Milliseconds since 1970 in UTC.
    TimestampMillis(i64), "long", "timestamp-millis"
);
number!(
    /// Microseconds since 1970 in UTC.
    TimestampMicros(i64), "long", "timestamp-micros"
);
number!(
    /// Nanoseconds since 1970 in UTC.
    TimestampNanos(i64), "long", "timestamp-nanos"
);
number!(
    /// Milliseconds since 1970 by the calendar of wherever it is.
    LocalTimestampMillis(i64), "long", "local-timestamp-millis"
);
number!(
    /// Microseconds since 1970 by the calendar of wherever it is.
    LocalTimestampMicros(i64), "long", "local-timestamp-micros"
);
number!(
    /// Nanoseconds since 1970 by the calendar of wherever it is.
    LocalTimestampNanos(i64), "long", "local-timestamp-nanos"
);

/// A number with `SCALE` digits behind the point, of at most `PRECISION` digits in all: what it is without the point.
///
/// Resolution knows nothing of scales: a value written with another one is read as if it had this one. Nor do levels of compatibility, as
/// in other registries; [`misreadings`](crate::misreadings) finds it, and a store of such values does not open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const PRECISION: usize, const SCALE: usize>(i128);

impl<const PRECISION: usize, const SCALE: usize> Decimal<PRECISION, SCALE> {
    const FITS: () = assert!(
        PRECISION > 0 && PRECISION <= 38 && SCALE <= PRECISION,
        "a Decimal has 1 to 38 digits, and no more behind the point than in all"
    );

    /// The number `unscaled / 10^SCALE`; `None` if it has too many digits.
    #[must_use]
    pub fn new(unscaled: i128) -> Option<Self> {
        let () = Self::FITS;
        let limit = 10u128.pow(u32::try_from(PRECISION).ok()?);
        (unscaled.unsigned_abs() < limit).then_some(Decimal(unscaled))
    }

    /// The number without its point.
    #[must_use]
    pub fn unscaled(self) -> i128 {
        self.0
    }

    /// The fewest bytes of two's complement, big end first.
    fn with_bytes<T>(self, with: impl FnOnce(&[u8]) -> T) -> T {
        let bytes = self.0.to_be_bytes();
        let sign = if self.0 < 0 { 0xff } else { 0 };
        let redundant = |pair: &&[u8]| pair[0] == sign && (pair[1] ^ sign) < 0x80;
        let skip = bytes.windows(2).take_while(redundant).count();
        with(&bytes[skip..])
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
        let start = bytes.iter().position(|byte| *byte != sign).unwrap_or(bytes.len());
        // A sign may be written more than once.
        let kept = &bytes[start.min(bytes.len())..];
        let mut all = [sign; 16];
        let number = all.len().checked_sub(kept.len()).map(|at| {
            all[at..].copy_from_slice(kept);
            i128::from_be_bytes(all)
        });
        let fits = number.filter(|number| (*number < 0) == (sign == 0xff)).and_then(Self::new);
        fits.ok_or_else(|| Error::corrupt(format_args!("more than {PRECISION} digits")))
    }
}

impl<const PRECISION: usize, const SCALE: usize> Datum for Decimal<PRECISION, SCALE> {
    const BRANCH: &'static str = "bytes";

    fn describe(schema: &mut SchemaWriter) {
        let () = Self::FITS;
        schema.logical_type("bytes", "decimal", &format!(r#","precision":{PRECISION},"scale":{SCALE}"#));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.with_bytes(|bytes| crate::writer::put_bytes(out, bytes));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::from_bytes(reader.bytes()?)
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        Self::from_bytes(at.bytes(reader)?)
    }

    fn write_json(&self, out: &mut JsonWriter) {
        self.with_bytes(|bytes| out.bytes(bytes));
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<Self, Error> {
        Self::from_bytes(&reader.bytes()?)
    }
}

/// A length of time as people say it: each part is counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Duration {
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Milliseconds.
    pub millis: u32,
}

impl Duration {
    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (part, value) in bytes.chunks_mut(4).zip([self.months, self.days, self.millis]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; 12]) -> Duration {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let part = u32::from_le_bytes;
        Duration { months: part([a, b, c, d]), days: part([e, f, g, h]), millis: part([i, j, k, l]) }
    }
}

/// A fixed has a name; this one's is `affinity.Duration`.
impl Datum for Duration {
    const BRANCH: &'static str = "affinity.Duration";

    fn describe(schema: &mut SchemaWriter) {
        let named = Named { name: Self::BRANCH, aliases: &[], doc: "", rust: "affinity_avro::Duration" };
        schema.fixed(&named, 12, Some("duration"));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Duration, Error> {
        reader.fixed().map(Duration::from_bytes)
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Duration, Error> {
        at.fixed(reader).map(Duration::from_bytes)
    }

    fn write_json(&self, out: &mut JsonWriter) {
        out.bytes(&self.to_bytes());
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<Duration, Error> {
        let bytes = reader.bytes()?.try_into().map_err(|_| reader.wrong("a duration has 12 bytes"))?;
        Ok(Duration::from_bytes(bytes))
    }
}

/// A text of 36 characters, as most others write it.
#[cfg(feature = "uuid")]
impl Datum for uuid::Uuid {
    const BRANCH: &'static str = "string";

    fn describe(schema: &mut SchemaWriter) {
        schema.logical_type("string", "uuid", "");
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut text = uuid::Uuid::encode_buffer();
        crate::writer::put_bytes(out, self.hyphenated().encode_lower(&mut text).as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let text = reader.string()?;
        uuid::Uuid::try_parse(text).map_err(|_| no_value("uuid", &text))
    }

    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        let text = at.bytes_or_text(reader)?;
        uuid::Uuid::try_parse_ascii(text).map_err(|_| no_value("uuid", &text))
    }

    fn write_json(&self, out: &mut JsonWriter) {
        out.string(self.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    }

    fn read_json(reader: &mut JsonReader<'_>) -> Result<Self, Error> {
        let text = reader.string()?;
        uuid::Uuid::try_parse(&text).map_err(|_| reader.wrong(no_value("uuid", &text)))
    }
}

/// Microseconds, dates, and what has no zone, of `jiff`. Finer parts are cut off.
#[cfg(feature = "jiff")]
mod with_jiff {
    use jiff::Timestamp;
    use jiff::civil::{self, DateTime, Time};

    use super::*;

    const DAY_MICROS: i64 = 86_400_000_000;

    written_as!(
        Timestamp,
        i64,
        "long",
        "timestamp-micros",
        |value: &Timestamp| floor_micros(*value),
        |base: i64| Timestamp::from_nanosecond(i128::from(base) * 1000).ok()
    );
    written_as!(civil::Date, i32, "int", "date", days, from_days);
    written_as!(Time, i64, "long", "time-micros", micros, from_micros);
    written_as!(
        DateTime,
        i64,
        "long",
        "local-timestamp-micros",
        |value: &DateTime| i64::from(days(&value.date())) * DAY_MICROS + micros(&value.time()),
        |base: i64| {
            let date = from_days(i32::try_from(base.div_euclid(DAY_MICROS)).ok()?)?;
            Some(date.to_datetime(from_micros(base.rem_euclid(DAY_MICROS))?))
        }
    );

    fn floor_micros(value: Timestamp) -> i64 {
        i64::try_from(value.as_nanosecond().div_euclid(1000)).expect("jiff's years are few")
    }

    fn days(date: &civil::Date) -> i32 {
        let since = civil::Date::constant(1970, 1, 1).duration_until(*date);
        i32::try_from(since.as_hours() / 24).expect("jiff's years are few")
    }

    fn from_days(days: i32) -> Option<civil::Date> {
        let span = jiff::Span::new().try_days(days).ok()?;
        civil::Date::constant(1970, 1, 1).checked_add(span).ok()
    }

    fn micros(time: &Time) -> i64 {
        let seconds =
            (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
        seconds * 1_000_000 + i64::from(time.subsec_nanosecond() / 1000)
    }

    fn from_micros(micros: i64) -> Option<Time> {
        if !(0..DAY_MICROS).contains(&micros) {
            return None;
        }
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let part = |value: i64| i8::try_from(value).ok();
        let nanos = i32::try_from(micros * 1000).ok()?;
        Time::new(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, nanos).ok()
    }
}

/// The same of `chrono`.
#[cfg(feature = "chrono")]
mod with_chrono {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Utc};

    use super::*;

    /// The last microsecond of a day.
    const LAST_MICROS: i64 = 86_399_999_999;

    const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");

    written_as!(
        DateTime<Utc>,
        i64,
        "long",
        "timestamp-micros",
        |value: &DateTime<Utc>| value.timestamp_micros(),
        DateTime::from_timestamp_micros
    );
    written_as!(
        NaiveDate,
        i32,
        "int",
        "date",
        |value: &NaiveDate| i32::try_from((*value - EPOCH).num_days()).expect("chrono's years are few"),
        |base: i32| EPOCH.checked_add_signed(TimeDelta::try_days(base.into())?)
    );
    written_as!(
        NaiveTime,
        i64,
        "long",
        "time-micros",
        |value: &NaiveTime| {
            // A leap second has more than a second's nanoseconds, and Avro's day has none: the last one would not be read back.
            let seconds = i64::from(value.num_seconds_from_midnight());
            (seconds * 1_000_000 + i64::from(value.nanosecond() / 1000)).min(LAST_MICROS)
        },
        |base: i64| {
            let seconds = u32::try_from(base.div_euclid(1_000_000)).ok()?;
            let nanos = u32::try_from(base.rem_euclid(1_000_000) * 1000).ok()?;
            NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)
        }
    );
    written_as!(
        NaiveDateTime,
        i64,
        "long",
        "local-timestamp-micros",
        |value: &NaiveDateTime| value.and_utc().timestamp_micros(),
        |base| DateTime::from_timestamp_micros(base).map(|value: DateTime<Utc>| value.naive_utc())
    );
}
