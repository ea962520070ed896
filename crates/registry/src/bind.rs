//! From a keyspace's stores to the formats of their keys and values, by way of a registry.
//!
//! Everything is asked before anything is written: a store whose values this build could not read, or whose keys it would write differently,
//! does not open.
//!
//! ```text
//!   Account (this build's record) ── may it follow? can it read every version before it? ──▶ bank-value: 1, 2, (3)
//!        │                                                                                         │
//!        └── format: writes frames of its own version, reads those of all versions it has learned ◀┘
//! ```

use std::sync::atomic::{AtomicU32, Ordering};

use affinity_avro::{Mismatch, Schema, incompatibilities, misreadings};
use affinity_types::control::{CONTROL_SCHEMA, STORE_KEY_SCHEMA};
use affinity_types::effect::EFFECT_SCHEMA;
use affinity_types::format::{Format, FrameType, Frames, StoreFormat, StoreTypes};

use crate::{Error, ErrorKind, Registered, SchemaId, SchemaRegistry, SchemaVersion, Subject};

/// The formats of a keyspace's stores of records. Keep it with the node: it [learns](Bound::learn) what others register later.
#[derive(Debug)]
pub struct Bound {
    formats: Vec<(&'static str, StoreFormat)>,
    values: Vec<Values>,
}

/// Values of a store, and the versions they have.
#[derive(Debug)]
struct Values {
    subject: Subject,
    frames: Frames,
    /// Versions up to here are learned.
    learned: AtomicU32,
}

/// Ids of the schemas of the system's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemIds {
    /// Of the system's keys and numbers.
    pub control: SchemaId,
    /// Of the keys of further stores.
    pub store_key: SchemaId,
    /// Of effects.
    pub effect: SchemaId,
}

/// The subject of a store's keys (`key`) or values (`value`): `<topic>-key` as Kafka's own tools have it for the main store, `<topic>:<store>-key`
/// for a further one. No topic has a colon in its name.
///
/// # Errors
/// `Invalid` if the names are too long together.
pub fn subject_of(topic: &str, store: Option<&str>, what: &str) -> Result<Subject, Error> {
    let store = store.map_or(String::new(), |store| format!(":{store}"));
    Subject::new(format!("{topic}{store}-{what}"))
}

/// Registers the records of a keyspace's stores and makes their formats. `topic` is the keyspace's changelog, `main` the name of its main store,
/// and `stores` have the types.
///
/// Values are written under this build's schema, whichever version of its subject that is, and read under every version. Keys have the id
/// that the first version of their subject got when the store was created, for ever.
///
/// # Errors
/// `Incompatible`, with store, version and path, if the values there may be cannot all be read as this build's records, if a record may not
/// follow those before it by the level of its subject, or if the schema of a key has changed: nothing was registered then, unless somebody else
/// has registered what does not fit at the same time. Else the registry's.
pub async fn bind(
    registry: &dyn SchemaRegistry,
    topic: &str,
    main: &str,
    stores: &[StoreTypes],
) -> Result<Bound, Error> {
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for StoreTypes { name, key, value } in stores {
        let store = (*name != main).then_some(*name);
        keys.push(checked_key(registry, subject_of(topic, store, "key")?, name, *key).await?);
        values.push(checked_value(registry, subject_of(topic, store, "value")?, name, *value).await?);
    }
    let mut bound = Bound { formats: Vec::new(), values: Vec::new() };
    for ((StoreTypes { name, .. }, key), value) in stores.iter().zip(keys).zip(values) {
        let mut format = StoreFormat::default();
        if let Some((subject, schema)) = key {
            let id = fixed_id(registry, &subject, &schema).await?;
            format.key = Format::Frames(Frames::fixed(id.0));
        }
        if let Some((subject, schema, frames)) = value {
            let Registered { id, version, .. } = registry.register(&subject, &schema).await?;
            // Somebody else may have registered since it was asked.
            let read = reads_all_before(registry, &subject, Some(version), &schema).await;
            read.map_err(|error| in_store(name, &error))?;
            let frames = Frames::new(id.0, (frames.readers)());
            format.value = Format::Frames(frames.clone());
            bound.values.push(Values { subject, frames, learned: AtomicU32::new(0) });
        }
        bound.formats.push((name, format));
    }
    bound.learn(registry).await?;
    Ok(bound)
}

/// The ids of the system's schemas, which are those of their first registration for ever: part of the keys in every changelog that was made
/// with this registry.
///
/// # Errors
/// The registry's.
pub async fn system_ids(registry: &dyn SchemaRegistry) -> Result<SystemIds, Error> {
    let [control, store_key, effect] = [
        ("affinity.Control", CONTROL_SCHEMA),
        ("affinity.StoreKey", STORE_KEY_SCHEMA),
        ("affinity.Effect", EFFECT_SCHEMA),
    ];
    Ok(SystemIds {
        control: system_id(registry, control).await?,
        store_key: system_id(registry, store_key).await?,
        effect: system_id(registry, effect).await?,
    })
}

async fn system_id(registry: &dyn SchemaRegistry, (name, text): (&str, &str)) -> Result<SchemaId, Error> {
    fixed_id(registry, &Subject::new(name)?, &parse(text)?).await
}

impl Bound {
    /// The formats, by the names of the stores.
    #[must_use]
    pub fn formats(&self) -> &[(&'static str, StoreFormat)] {
        &self.formats
    }

    /// Lets this node read what has been registered since: values of a newer build, as far as this build's records can read them. What cannot be is
    /// told; a value that was written so is `Corrupt` to whoever reads it here.
    ///
    /// To be called now and then, and when a value of an unknown schema was met.
    ///
    /// # Errors
    /// The registry's; what was learned before stays.
    pub async fn learn(&self, registry: &dyn SchemaRegistry) -> Result<Vec<Error>, Error> {
        let mut unreadable = Vec::new();
        for values in &self.values {
            let mut known = values.learned.load(Ordering::Relaxed);
            for version in registry.versions(&values.subject).await? {
                if version.0 <= known {
                    continue;
                }
                let Some(registered) = registry.version(&values.subject, version).await? else { continue };
                match values.frames.learn(registered.id.0, registered.schema.text()) {
                    // What cannot be read is tried and told again the next time.
                    Ok(()) if known + 1 == version.0 => known = version.0,
                    Ok(()) => {}
                    Err(error) => unreadable.push(not_read(&values.subject, &registered, &error)),
                }
            }
            values.learned.fetch_max(known, Ordering::Relaxed);
        }
        Ok(unreadable)
    }
}

/// The subject and the schema of a store's keys, if they are records and may be written.
async fn checked_key(
    registry: &dyn SchemaRegistry,
    subject: Subject,
    store: &str,
    frames: Option<FrameType>,
) -> Result<Option<(Subject, Schema)>, Error> {
    let Some(frames) = frames else { return Ok(None) };
    let schema = parse((frames.schema)())?;
    match registry.version(&subject, SchemaVersion::FIRST).await? {
        Some(first) => same_key(&subject, &first, &schema).map_err(|error| in_store(store, &error))?,
        None => registry.check(&subject, &schema).await.map_err(|error| in_store(store, &error))?,
    }
    Ok(Some((subject, schema)))
}

/// The subject and the schema of a store's values, if they are records and may be written.
async fn checked_value(
    registry: &dyn SchemaRegistry,
    subject: Subject,
    store: &str,
    frames: Option<FrameType>,
) -> Result<Option<(Subject, Schema, FrameType)>, Error> {
    let Some(frames) = frames else { return Ok(None) };
    let schema = parse((frames.schema)())?;
    registry.check(&subject, &schema).await.map_err(|error| in_store(store, &error))?;
    let own = registry.find(&subject, &schema).await?.map(|own| own.version);
    reads_all_before(registry, &subject, own, &schema).await.map_err(|error| in_store(store, &error))?;
    Ok(Some((subject, schema, frames)))
}

/// Whether a schema reads every version of its subject before its own, and as what it means: the level of the subject may ask for the last
/// one only, and says nothing of logical types; the store holds values of all of them.
async fn reads_all_before(
    registry: &dyn SchemaRegistry,
    subject: &Subject,
    own: Option<SchemaVersion>,
    schema: &Schema,
) -> Result<(), Error> {
    for version in registry.versions(subject).await? {
        if own.is_some_and(|own| version >= own) {
            break;
        }
        let Some(older) = registry.version(subject, version).await? else { continue };
        let mismatches = incompatibilities(&older.schema, schema)
            .and_then(|found| if found.is_empty() { misreadings(&older.schema, schema) } else { Ok(found) })
            .map_err(|error| not_read(subject, &older, &error))?;
        if let Some(first) = mismatches.first() {
            return Err(not_read(subject, &older, &shown(first)));
        }
    }
    Ok(())
}

/// The id of a schema that never changes: that of the first version.
async fn fixed_id(
    registry: &dyn SchemaRegistry,
    subject: &Subject,
    schema: &Schema,
) -> Result<SchemaId, Error> {
    let first = match registry.version(subject, SchemaVersion::FIRST).await? {
        Some(first) => first,
        None => {
            registry.register(subject, schema).await?;
            // Another one may have been faster.
            let first = registry.version(subject, SchemaVersion::FIRST).await?;
            first.ok_or_else(|| Error::new(ErrorKind::Unknown, "what was registered is not there"))?
        }
    };
    same_key(subject, &first, schema)?;
    Ok(first.id)
}

/// Whether keys of the schema have the bytes of those that are there.
fn same_key(subject: &Subject, first: &Registered, schema: &Schema) -> Result<(), Error> {
    if first.schema.canonical() == schema.canonical() {
        let misread = misreadings(&first.schema, schema).map_err(|error| not_read(subject, first, &error))?;
        return misread.first().map_or(Ok(()), |found| Err(not_read(subject, first, &shown(found))));
    }
    let message = format!(
        "{subject}: keys have schema {} for ever, which is {}, and not {}: a key's schema is part of its bytes; use another store",
        first.id,
        first.schema.canonical(),
        schema.canonical(),
    );
    Err(Error::new(ErrorKind::Incompatible, message))
}

fn not_read(subject: &Subject, other: &Registered, why: &dyn std::fmt::Display) -> Error {
    let Registered { id, version, .. } = other;
    let message =
        format!("{subject}: version {version} (schema {id}) cannot be read as this build's record: {why}");
    Error::new(ErrorKind::Incompatible, message)
}

fn shown(mismatch: &Mismatch) -> String {
    format!("{}: {}", mismatch.path, mismatch.message)
}

fn in_store(store: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("store {store}: {error}"))
}

fn parse(text: &str) -> Result<Schema, Error> {
    Schema::parse(text).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("a schema of this build: {error}")).caused_by(error)
    })
}
