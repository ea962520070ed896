//! What can be told of a field's type by its text: enough to refuse an attribute that does not fit, where the type is one of the
//! usual ones.

use syn::{Error, GenericArgument, PathArguments, Type};

use crate::attributes::{Default, Literal};

/// A type as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Boolean,
    Int,
    Long,
    Floating,
    Text,
    Bytes,
    Optional,
    List,
    Map,
    Other,
}

/// Each logical type, and what it can stand on.
const LOGICAL: [(&str, Shape); 11] = [
    ("date", Shape::Int),
    ("time-millis", Shape::Int),
    ("time-micros", Shape::Long),
    ("timestamp-millis", Shape::Long),
    ("timestamp-micros", Shape::Long),
    ("timestamp-nanos", Shape::Long),
    ("local-timestamp-millis", Shape::Long),
    ("local-timestamp-micros", Shape::Long),
    ("local-timestamp-nanos", Shape::Long),
    ("uuid", Shape::Text),
    ("decimal", Shape::Bytes),
];

impl Shape {
    pub(crate) fn of(of: &Type) -> Shape {
        let Type::Path(path) = of else { return Shape::Other };
        let Some(last) = path.path.segments.last() else { return Shape::Other };
        match last.ident.to_string().as_str() {
            "bool" => Shape::Boolean,
            "i8" | "i16" | "u16" | "i32" => Shape::Int,
            "u32" | "i64" => Shape::Long,
            "f32" | "f64" => Shape::Floating,
            "String" => Shape::Text,
            "Bytes" => Shape::Bytes,
            "Vec" if inner(of).is_some_and(is_byte) => Shape::Bytes,
            "Vec" => Shape::List,
            "Option" => Shape::Optional,
            "BTreeMap" | "HashMap" => Shape::Map,
            "Box" => inner(of).map_or(Shape::Other, Shape::of),
            _ => Shape::Other,
        }
    }

    /// The default as JSON.
    pub(crate) fn default(self, default: &Default) -> Result<String, Error> {
        let (literal, span) = match default {
            Default::Json(json) => return Ok(json.clone()),
            Default::Empty(span) => return self.empty().ok_or_else(|| Error::new(*span, NO_EMPTY)),
            Default::Literal(literal, span) => (literal, *span),
        };
        let (json, fits) = match literal {
            Literal::Boolean(value) => (value.to_string(), matches!(self, Shape::Boolean)),
            Literal::Integer(digits) => {
                (digits.clone(), matches!(self, Shape::Int | Shape::Long | Shape::Floating))
            }
            Literal::Float(digits) => (digits.clone(), matches!(self, Shape::Floating)),
            Literal::Text(text) => (quoted(text), matches!(self, Shape::Text)),
        };
        match self {
            Shape::Optional => Err(Error::new(span, NOT_FOR_OPTIONS)),
            Shape::Other => Ok(json),
            _ if fits => Ok(json),
            _ => Err(Error::new(span, "the default is not of the field's type")),
        }
    }

    fn empty(self) -> Option<String> {
        let json = match self {
            Shape::Boolean => "false",
            Shape::Int | Shape::Long | Shape::Floating => "0",
            Shape::Text | Shape::Bytes => "\"\"",
            Shape::Optional => "null",
            Shape::List => "[]",
            Shape::Map => "{}",
            Shape::Other => return None,
        };
        Some(json.to_owned())
    }
}

const NO_EMPTY: &str = "what is empty is known of numbers, texts, bytes, booleans, lists, maps and options; give the default of another \
                        type as JSON: `default_json = \"..\"`";

const NOT_FOR_OPTIONS: &str = "the default of an Option is null, and needs no attribute: null stands first in its union, and a default \
                               is of the first branch";

/// Refuses a logical type that is none, or not one of the field's.
pub(crate) fn check_logical(logical: &syn::LitStr, of: &Type) -> Result<(), Error> {
    let name = logical.value();
    let Some((_, base)) = LOGICAL.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> =
            LOGICAL.iter().map(|(known, _)| *known).filter(|known| *known != "decimal").collect();
        let what = format!(
            "no logical type is called so; there are {}, and the types Decimal and Duration",
            known.join(", ")
        );
        return Err(Error::new(logical.span(), what));
    };
    if *base == Shape::Bytes {
        return Err(Error::new(logical.span(), "use the type `affinity_avro::Decimal<PRECISION, SCALE>`"));
    }
    let innermost = innermost(of);
    let found = Shape::of(innermost);
    if found == Shape::Other || found == *base {
        return Ok(());
    }
    let wanted = match base {
        Shape::Int => "an i32",
        Shape::Long => "an i64",
        _ => "a String",
    };
    Err(Error::new_spanned(
        innermost,
        format!("{name} is {wanted}: make the field one, or take another logical type"),
    ))
}

/// What lies in options, lists and maps.
fn innermost(of: &Type) -> &Type {
    match (Shape::of(of), inner(of)) {
        (Shape::Optional | Shape::List | Shape::Map, Some(inner)) => innermost(inner),
        _ => of,
    }
}

/// The last type in the angle brackets.
pub(crate) fn inner(of: &Type) -> Option<&Type> {
    let Type::Path(path) = of else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of),
        _ => None,
    });
    let is_map =
        |of: &Type| matches!(Shape::of_name(of), Some(name) if name == "BTreeMap" || name == "HashMap");
    if is_map(of) { types.into_iter().nth(1) } else { types.into_iter().next() }
}

impl Shape {
    fn of_name(of: &Type) -> Option<String> {
        let Type::Path(path) = of else { return None };
        Some(path.path.segments.last()?.ident.to_string())
    }
}

pub(crate) fn is_byte(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.is_ident("u8"))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}
