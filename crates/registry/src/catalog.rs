//! What is registered, and what may be: pure, the same for every backend of ours.

use std::collections::{BTreeMap, HashMap};

use affinity_avro::{Compatibility, Schema};

use crate::sameness::common_form;
use crate::{Error, ErrorKind, Registered, SchemaId, SchemaVersion, Subject};

/// Schemas of a registry at most: all of them lie in memory.
pub const SCHEMAS_MAX: usize = 1 << 16;

/// Versions of a subject at most: a transitive level compares with all of them.
pub const VERSIONS_MAX: usize = 1 << 12;

/// Schemas by id, and subjects. It changes by [`apply`](Catalog::apply) alone.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Ids are places here, from 1.
    schemas: Vec<Schema>,
    ids: HashMap<Box<str>, SchemaId>,
    subjects: BTreeMap<Subject, Evolution>,
}

#[derive(Debug, Default)]
struct Evolution {
    level: Compatibility,
    versions: Vec<SchemaId>,
}

/// A change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A subject has another version.
    Version {
        subject: Subject,
        version: SchemaVersion,
        id: SchemaId,
        /// The schema of the id, if that is new.
        schema: Option<Schema>,
    },
    /// A subject is judged by another level.
    Level { subject: Subject, level: Compatibility },
}

/// What comes of registering.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is there already.
    Known(Registered),
    /// It may be added.
    Add(Change),
}

impl Catalog {
    /// What comes of registering `schema` under `subject` now.
    pub(crate) fn decide(&self, subject: &Subject, schema: &Schema) -> Result<Decision, Error> {
        let known = self.ids.get(&common_form(schema)?).copied();
        let evolution = self.subjects.get(subject);
        let versions = evolution.map_or(&[][..], |evolution| &evolution.versions);
        if let Some(registered) = known.and_then(|id| self.among(versions, id)) {
            return Ok(Decision::Known(registered));
        }
        let version = versions.len();
        if version >= VERSIONS_MAX || known.is_none() && self.schemas.len() >= SCHEMAS_MAX {
            let message = format!(
                "a registry has at most {SCHEMAS_MAX} schemas, and {VERSIONS_MAX} versions of a subject"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        // As everybody else will read it.
        let schema = Schema::parse(schema.text()).map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("the new schema of {subject}: {error}")).caused_by(error)
        })?;
        let level = evolution.map(|evolution| evolution.level).unwrap_or_default();
        let older: Vec<&Schema> = versions.iter().filter_map(|id| self.schema(*id)).collect();
        level.check(&schema, &older).map_err(|error| {
            let kind = match error.kind() {
                affinity_avro::ErrorKind::Incompatible => ErrorKind::Incompatible,
                _ => ErrorKind::Invalid,
            };
            let message = format!("the new schema of {subject} is not {level} compatible: {error}");
            Error::new(kind, message).caused_by(error)
        })?;
        let id = known.unwrap_or(SchemaId(number(self.schemas.len() + 1)));
        let schema = known.is_none().then_some(schema);
        let version = SchemaVersion(number(version + 1));
        Ok(Decision::Add(Change::Version { subject: subject.clone(), version, id, schema }))
    }

    /// The change that sets a level; `None` if it is set.
    pub(crate) fn decide_level(&self, subject: &Subject, level: Compatibility) -> Option<Change> {
        let subject = subject.clone();
        (self.level(&subject) != level).then_some(Change::Level { subject, level })
    }

    /// Makes a change, unless it does not follow from what is there: then it says why, and nothing has changed.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), String> {
        let (subject, version, id, schema) = match change {
            Change::Level { subject, level } => {
                self.subjects.entry(subject).or_default().level = level;
                return Ok(());
            }
            Change::Version { subject, version, id, schema } => (subject, version, id, schema),
        };
        let versions = self.subjects.get(&subject).map_or(&[][..], |evolution| &evolution.versions);
        let next = SchemaVersion(number(versions.len() + 1));
        if version != next {
            return Err(format!("version {version} of {subject}, where {next} comes next"));
        }
        if versions.contains(&id) {
            return Err(format!("schema {id} is a version of {subject} already"));
        }
        match schema {
            None if self.schema(id).is_none() => {
                return Err(format!("schema {id} was not registered before"));
            }
            None => {}
            Some(schema) => self.add(id, schema)?,
        }
        self.subjects.entry(subject).or_default().versions.push(id);
        Ok(())
    }

    fn add(&mut self, id: SchemaId, schema: Schema) -> Result<(), String> {
        let next = SchemaId(number(self.schemas.len() + 1));
        if id != next {
            return Err(format!("schema {id} is new, where {next} comes next"));
        }
        let form = common_form(&schema).map_err(|error| error.to_string())?;
        if let Some(other) = self.ids.get(&form) {
            return Err(format!("schema {id} is that of {other}"));
        }
        self.ids.insert(form, id);
        self.schemas.push(schema);
        Ok(())
    }

    pub(crate) fn schema(&self, id: SchemaId) -> Option<&Schema> {
        self.schemas.get((id.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn find(&self, subject: &Subject, schema: &Schema) -> Result<Option<Registered>, Error> {
        let Some(id) = self.ids.get(&common_form(schema)?) else { return Ok(None) };
        Ok(self.subjects.get(subject).and_then(|evolution| self.among(&evolution.versions, *id)))
    }

    pub(crate) fn version(&self, subject: &Subject, version: SchemaVersion) -> Option<Registered> {
        let versions = &self.subjects.get(subject)?.versions;
        let id = *versions.get((version.0 as usize).checked_sub(1)?)?;
        Some(Registered { id, version, schema: self.schema(id)?.clone() })
    }

    pub(crate) fn latest(&self, subject: &Subject) -> Option<Registered> {
        let count = self.subjects.get(subject)?.versions.len();
        self.version(subject, SchemaVersion(number(count)))
    }

    pub(crate) fn versions(&self, subject: &Subject) -> Vec<SchemaVersion> {
        let count = self.subjects.get(subject).map_or(0, |evolution| evolution.versions.len());
        (1..=number(count)).map(SchemaVersion).collect()
    }

    pub(crate) fn level(&self, subject: &Subject) -> Compatibility {
        self.subjects.get(subject).map(|evolution| evolution.level).unwrap_or_default()
    }

    fn among(&self, versions: &[SchemaId], id: SchemaId) -> Option<Registered> {
        let at = versions.iter().position(|version| *version == id)?;
        Some(Registered { id, version: SchemaVersion(number(at + 1)), schema: self.schema(id)?.clone() })
    }
}

/// Counts have limits far below.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(subject: &str, version: u32, id: u32, schema: Option<&str>) -> Change {
        Change::Version {
            subject: Subject::new(subject).unwrap(),
            version: SchemaVersion(version),
            id: SchemaId(id),
            schema: schema.map(|text| Schema::parse(text).unwrap()),
        }
    }

    #[test]
    fn a_change_that_does_not_follow_is_refused_and_changes_nothing() {
        let mut catalog = Catalog::default();
        catalog.apply(version("a", 1, 1, Some("\"int\""))).unwrap();
        let mut refused = |change: Change, why: &str| {
            assert_eq!(catalog.apply(change), Err(why.to_owned()));
        };
        refused(version("a", 1, 2, Some("\"long\"")), "version 1 of a, where 2 comes next");
        refused(version("a", 3, 2, Some("\"long\"")), "version 3 of a, where 2 comes next");
        refused(version("a", 2, 3, Some("\"long\"")), "schema 3 is new, where 2 comes next");
        refused(version("a", 2, 0, Some("\"long\"")), "schema 0 is new, where 2 comes next");
        refused(version("a", 2, 2, None), "schema 2 was not registered before");
        refused(version("a", 2, 0, None), "schema 0 was not registered before");
        refused(version("a", 2, 1, None), "schema 1 is a version of a already");
        refused(version("b", 1, 2, Some(" \"int\" ")), "schema 2 is that of 1");
        catalog.apply(version("a", 2, 2, Some("\"long\""))).unwrap();
        catalog.apply(version("b", 1, 2, None)).unwrap();
        let subject = Subject::new("b").unwrap();
        assert_eq!(catalog.latest(&subject).map(|latest| latest.id), Some(SchemaId(2)));
    }

    #[test]
    fn a_schema_that_others_could_not_read_is_invalid() {
        let text =
            r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": "x"}]}"#;
        let options = affinity_avro::ParseOptions {
            defaults: affinity_avro::DefaultPolicy::Drop,
            ..affinity_avro::ParseOptions::default()
        };
        let schema = Schema::parse_with(text, &options).unwrap();
        let decided = Catalog::default().decide(&Subject::new("a").unwrap(), &schema);
        assert_eq!(decided.map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    }
}
