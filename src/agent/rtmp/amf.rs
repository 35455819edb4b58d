//! Values of commands: AMF 0 (Action Message Format, 2007-12-11), those types that servers send and publishers need.

use bytes::BufMut as _;

/// Types of values (§2.1).
const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
/// Objects within objects, at most; and values in all. No server sends so many.
const DEEPEST: usize = 8;
const MOST: usize = 1024;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any number; also a date, in milliseconds.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// Text.
    String(String),
    /// Named values, in order.
    Object(Vec<(String, Value)>),
    /// The same, as metadata is sent.
    Map(Vec<(String, Value)>),
    /// Values without names.
    Array(Vec<Value>),
    /// Nothing.
    Null,
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// The text that it is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number that it is, if it is one.
    pub const fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) | Self::Map(fields) => {
                fields.iter().find(|field| field.0 == name).map(|field| &field.1)
            }
            _ => None,
        }
    }
}

/// Appends a value. Names longer than 65 535 bytes are cut.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(boolean) => out.extend([BOOLEAN, u8::from(*boolean)]),
        Value::String(text) if text.len() > usize::from(u16::MAX) => {
            out.push(LONG_STRING);
            out.put_u32(text.len() as u32);
            out.extend(text.as_bytes());
        }
        Value::String(text) => {
            out.push(STRING);
            write_name(out, text);
        }
        Value::Object(fields) => {
            out.push(OBJECT);
            write_fields(out, fields);
        }
        Value::Map(fields) => {
            out.push(ECMA_ARRAY);
            out.put_u32(fields.len() as u32);
            write_fields(out, fields);
        }
        Value::Array(values) => {
            out.push(STRICT_ARRAY);
            out.put_u32(values.len() as u32);
            values.iter().for_each(|value| write(out, value));
        }
        Value::Null => out.push(NULL),
    }
}

fn write_fields(out: &mut Vec<u8>, fields: &[(String, Value)]) {
    for (name, value) in fields {
        write_name(out, name);
        write(out, value);
    }
    out.extend([0, 0, OBJECT_END]);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
    out.put_u16(name.len() as u16);
    out.extend(name);
}

/// The values of a message, up to the first that is of another type, damaged, or more than anybody sends.
pub fn read(bytes: &[u8]) -> Vec<Value> {
    let mut reader = Reader { rest: bytes, left: MOST };
    std::iter::from_fn(|| reader.value(DEEPEST)).collect()
}

struct Reader<'a> {
    rest: &'a [u8],
    /// How many more values there may be.
    left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        self.take(SIZE)?.try_into().ok()
    }

    fn text(&mut self, size: usize) -> Option<String> {
        Some(String::from_utf8_lossy(self.take(size)?).into_owned())
    }

    fn name(&mut self) -> Option<String> {
        let size = u16::from_be_bytes(self.array()?);
        self.text(size.into())
    }

    fn value(&mut self, deepest: usize) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        let deeper = deepest.checked_sub(1)?;
        let [kind] = self.array()?;
        Some(match kind {
            NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            BOOLEAN => Value::Boolean(self.array()? != [0]),
            STRING => Value::String(self.name()?),
            LONG_STRING => {
                let size = u32::from_be_bytes(self.array()?);
                Value::String(self.text(size as usize)?)
            }
            OBJECT => Value::Object(self.fields(deeper)?),
            ECMA_ARRAY => {
                // How many there are about.
                self.take(4)?;
                Value::Map(self.fields(deeper)?)
            }
            STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(deeper)?);
                }
                Value::Array(values)
            }
            DATE => {
                let date = f64::from_be_bytes(self.array()?);
                // The time zone, which is reserved.
                self.take(2)?;
                Value::Number(date)
            }
            NULL | UNDEFINED => Value::Null,
            _ => return None,
        })
    }

    fn fields(&mut self, deepest: usize) -> Option<Vec<(String, Value)>> {
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            if name.is_empty() && self.rest.first() == Some(&OBJECT_END) {
                self.take(1)?;
                return Some(fields);
            }
            fields.push((name, self.value(deepest)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|number| Value::Number(number.into())),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            let fields = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..4);
            prop_oneof![
                fields.clone().prop_map(Value::Object),
                fields.prop_map(Value::Map),
                prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec(any_value(), 0..4)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| write(&mut bytes, value));
            prop_assert_eq!(read(&bytes), values);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_would_fill_memory_is_left() {
        // An array of four thousand million, and objects without an end.
        assert_eq!(read(&[NULL, STRICT_ARRAY, 255, 255, 255, 255, NULL]), [Value::Null]);
        assert_eq!(read(&[OBJECT, 0, 1, b'a'].repeat(100)), []);
        assert_eq!(read(&vec![NULL; MOST + 1]).len(), MOST);
        // Of a type that nobody needs, behind one that somebody does.
        assert_eq!(read(&[NULL, 13, NULL]), [Value::Null]);
        let long = Value::String("x".repeat(70_000));
        let mut bytes = Vec::new();
        write(&mut bytes, &long);
        assert_eq!(read(&bytes), [long]);
    }
}
