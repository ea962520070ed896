//! The parsing canonical form.

use super::{Type, TypeId, TypeKind};
use crate::error::Error;

/// Types within types, at most. One text nests no deeper than its limit; with references, types that stand side by side in
/// theirs can lie within each other in the form.
const DEPTH_MAX: u32 = 512;

/// The form of `root`: full names, no attributes that do not decide how bytes are read, no white space.
///
/// # Errors
/// If it nests too deep.
pub(super) fn canonical(types: &[Type], root: TypeId) -> Result<Box<str>, Error> {
    let written = vec![false; types.len()];
    let mut form = Form { types, written, out: String::new(), depth_left: DEPTH_MAX, is_too_deep: false };
    form.put(root);
    if form.is_too_deep {
        return Err(Error::too_large(format_args!("more than {DEPTH_MAX} types within types")));
    }
    Ok(form.out.into())
}

struct Form<'a> {
    types: &'a [Type],
    /// Which named types have been written, and are named from then on.
    written: Vec<bool>,
    out: String,
    depth_left: u32,
    /// Whether something was left out for its depth.
    is_too_deep: bool,
}

impl Form<'_> {
    fn put(&mut self, id: TypeId) {
        match self.depth_left.checked_sub(1) {
            None => self.is_too_deep = true,
            Some(left) => {
                self.depth_left = left;
                self.put_type(id);
                self.depth_left += 1;
            }
        }
    }

    fn put_type(&mut self, id: TypeId) {
        let kind = &self.types[id.0 as usize].kind;
        if let Some(name) = kind.name() {
            if std::mem::replace(&mut self.written[id.0 as usize], true) {
                return self.quoted(name.full());
            }
            self.out.push_str("{\"name\":");
            self.quoted(name.full());
            self.out.push_str(",\"type\":");
            self.quoted(kind.keyword());
        }
        match kind {
            TypeKind::Array(items) => self.container("array", "items", *items),
            TypeKind::Map(values) => self.container("map", "values", *values),
            TypeKind::Union(branches) => self.list(branches.iter(), |form, branch| form.put(*branch)),
            TypeKind::Record(record) => {
                self.out.push_str(",\"fields\":");
                self.list(record.fields.iter(), |form, field| {
                    form.out.push_str("{\"name\":");
                    form.quoted(&field.name);
                    form.out.push_str(",\"type\":");
                    form.put(field.schema);
                    form.out.push('}');
                });
                self.out.push('}');
            }
            TypeKind::Enum(symbols) => {
                self.out.push_str(",\"symbols\":");
                self.list(symbols.symbols.iter(), |form, symbol| form.quoted(symbol));
                self.out.push('}');
            }
            TypeKind::Fixed(fixed) => {
                self.out.push_str(",\"size\":");
                self.out.push_str(&fixed.size.to_string());
                self.out.push('}');
            }
            primitive => self.quoted(primitive.keyword()),
        }
    }

    fn container(&mut self, keyword: &str, member: &str, of: TypeId) {
        self.out.push_str("{\"type\":");
        self.quoted(keyword);
        self.out.push(',');
        self.quoted(member);
        self.out.push(':');
        self.put(of);
        self.out.push('}');
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, mut put: impl FnMut(&mut Self, T)) {
        self.out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            put(self, item);
        }
        self.out.push(']');
    }

    /// Names need no escapes.
    fn quoted(&mut self, name: &str) {
        self.out.push('"');
        self.out.push_str(name);
        self.out.push('"');
    }
}
