//! The parsing canonical form.

use super::{Type, TypeId, TypeKind};

/// The form of `root`: full names, no attributes that do not decide how bytes are read, no white space.
pub(super) fn canonical(types: &[Type], root: TypeId) -> Box<str> {
    let mut form = Form { types, written: vec![false; types.len()], out: String::new() };
    form.put(root);
    form.out.into()
}

struct Form<'a> {
    types: &'a [Type],
    /// Which named types have been written, and are named from then on.
    written: Vec<bool>,
    out: String,
}

impl Form<'_> {
    /// Nests as the text did that the schema was read from, which had a limit: a type stands where it was first written.
    fn put(&mut self, id: TypeId) {
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
