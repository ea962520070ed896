//! Names of types.

use std::fmt;

use crate::error::Error;

/// Bytes of a name at most. A short name in a long namespace is a long name wherever it is used: in canonical forms, in aliases, in errors.
const NAME_BYTES_MAX: usize = 1024;

/// The full name of a record, an enum or a fixed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    full: Box<str>,
    /// Where the short name begins.
    short: usize,
}

impl Name {
    /// The name `name`, in `namespace` unless it has one of its own.
    ///
    /// # Errors
    /// If a part of it is no name, or it is too long.
    pub fn new(name: &str, namespace: &str) -> Result<Name, Error> {
        let length = name.len().saturating_add(namespace.len());
        if length > NAME_BYTES_MAX {
            return Err(Error::too_large(format_args!("a name of {length} bytes, at most {NAME_BYTES_MAX}")));
        }
        let full: Box<str> = match (name.contains('.'), namespace) {
            // A leading dot, as in `.Old`, means no namespace.
            (true, _) => name.strip_prefix('.').unwrap_or(name).into(),
            (false, "") => name.into(),
            (false, namespace) => format!("{namespace}.{name}").into(),
        };
        if let Some(part) = full.split('.').find(|part| !is_simple(part)) {
            return Err(Error::invalid(format_args!(
                "{part:?} in the name {full:?} is no name: letters, digits and _, not a digit first"
            )));
        }
        let short = full.rfind('.').map_or(0, |dot| dot + 1);
        Ok(Name { full, short })
    }

    /// Namespace and name.
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The name without its namespace.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.full[self.short..]
    }

    /// The namespace; empty if there is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.full[..self.short.saturating_sub(1)]
    }
}

/// Whether `text` is a name of a field or a symbol, or a part of a full name.
pub(crate) fn is_simple(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_BYTES_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_its_own_namespace_or_the_one_around_it() {
        let check = |name: &str, namespace: &str, full: &str, short: &str, own: &str| {
            let name = Name::new(name, namespace).unwrap();
            assert_eq!((name.full(), name.short(), name.namespace()), (full, short, own));
        };
        check("A", "", "A", "A", "");
        check("A", "n.m", "n.m.A", "A", "n.m");
        check("x.A", "n.m", "x.A", "A", "x");
        check(".A", "n", "A", "A", "");
        for bad in ["", "1a", "a-b", "a..b", "ä", "a."] {
            assert!(Name::new(bad, "").is_err(), "{bad}");
        }
    }
}
