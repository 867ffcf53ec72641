//! Parameters out of JSON objects.

use super::estimator::Parameters;
use crate::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

/// The parameters that an object holds; what it leaves out is the default.
///
/// # Errors
/// Names a parameter that does not exist, or whose value is of another type.
pub(super) fn parameters<P: Parameters>(object: Value) -> Result<P> {
    P::deserialize(Fields(object)).map_err(|error| refused(P::NAME, &error))
}

/// The error of values that are not parameters of this estimator.
pub(super) fn refused(name: &'static str, error: &serde_json::Error) -> Error {
    Error::op(name, error.to_string())
}

/// An object that a struct is read from in the order of the struct's fields: what serde derives for reading
/// by name is several times as much code, for each of a hundred estimators.
struct Fields(Value);

impl<'de> Deserializer<'de> for Fields {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(Values(ordered(self.0, names)?.into_iter()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn ordered(object: Value, names: &'static [&'static str]) -> serde_json::Result<Vec<Option<Value>>> {
    let Value::Object(mut object) = object else {
        return Err(serde_json::Error::custom(format!("{object} is no object of parameters")));
    };
    let values = names.iter().map(|name| object.remove(*name)).collect();
    match object.keys().next() {
        Some(unknown) => Err(serde_json::Error::unknown_field(unknown, names)),
        None => Ok(values),
    }
}

/// The values of fields, `None` for those that keep their default: the code that serde derives for a struct
/// with `#[serde(default)]` asks for each field, whatever came before.
struct Values(std::vec::IntoIter<Option<Value>>);

impl<'de> SeqAccess<'de> for Values {
    type Error = serde_json::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        self.0.next().flatten().map(|value| seed.deserialize(value)).transpose()
    }
}
