//! Objects read field by field, so that what nobody asked for is found and named.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

use super::{Fault, Untranslatable};
use crate::unified::Json;

pub(crate) type Read<T> = Result<T, Untranslatable>;

/// The members of an object that have not been read yet.
pub(crate) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.push((key, value));
                }
                Ok(Object { fields })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// The body of a request.
    pub(crate) fn parse(body: &'a [u8]) -> Read<Self> {
        serde_json::from_slice(body).map_err(|_| invalid("the body is not a JSON object"))
    }

    pub(crate) fn read(raw: &'a RawValue) -> Read<Self> {
        serde_json::from_str(raw.get()).map_err(|_| invalid("expected an object"))
    }

    /// Takes a member out. One that is `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Read<Option<&'a RawValue>> {
        let Some(at) = self.fields.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.fields.swap_remove(at);
        if self.fields.iter().any(|(key, _)| key == name) {
            return Err(invalid("the field stands twice").within(name));
        }
        Ok(Some(value).filter(|v| v.get() != "null"))
    }

    /// Every member that was not taken out, with its JSON as it came.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.fields.iter().map(|(name, raw)| (&**name, raw.get()))
    }

    /// A member's JSON, if it is there and not `null`.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
    }

    /// Takes a member out and reads it.
    pub(crate) fn with<T>(&mut self, name: &str, read: impl FnOnce(&'a RawValue) -> Read<T>) -> Read<Option<T>> {
        self.take(name)?.map(read).transpose().map_err(|e| e.within(name))
    }

    /// As [`Object::with`], of a member that must be there.
    pub(crate) fn need<T>(&mut self, name: &str, read: impl FnOnce(&'a RawValue) -> Read<T>) -> Read<T> {
        self.with(name, read)?.ok_or_else(|| invalid("the field is missing").within(name))
    }

    pub(crate) fn text(&mut self, name: &str) -> Read<Option<String>> {
        self.with(name, text)
    }

    pub(crate) fn flag(&mut self, name: &str) -> Read<Option<bool>> {
        self.with(name, |raw| match raw.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid("expected true or false")),
        })
    }

    pub(crate) fn count(&mut self, name: &str) -> Read<Option<u64>> {
        self.with(name, |raw| raw.get().parse().map_err(|_| invalid("expected a whole number from 0 up")))
    }

    pub(crate) fn number(&mut self, name: &str) -> Read<Option<Number>> {
        self.with(name, |raw| serde_json::from_str(raw.get()).map_err(|_| invalid("expected a number")))
    }

    pub(crate) fn json(&mut self, name: &str) -> Read<Option<Json>> {
        self.with(name, |raw| Ok(json(raw)))
    }

    /// Takes members out that change nothing where they cannot be said; names those that were there.
    pub(crate) fn give_up(&mut self, names: &[&'static str], given_up: &mut Vec<&'static str>) -> Read<()> {
        for name in names {
            if self.take(name)?.is_some() {
                given_up.push(name);
            }
        }
        Ok(())
    }

    /// Takes a member out that may only say what is so anyway.
    pub(crate) fn only(&mut self, name: &str, usual: &[&str], why: &'static str) -> Read<()> {
        match self.take(name)? {
            Some(raw) if !usual.iter().any(|usual| same(raw.get(), usual)) => Err(cannot(why).within(name)),
            _ => Ok(()),
        }
    }

    /// Whether all was read. What is left is something that no other API knows.
    pub(crate) fn end(self) -> Read<()> {
        match self.fields.iter().find(|(_, value)| value.get() != "null") {
            Some((name, _)) => Err(cannot("another API than the request's own has no such field").within(name)),
            None => Ok(()),
        }
    }
}

/// Whether two JSON texts say the same, however they are spaced.
fn same(json: &str, usual: &str) -> bool {
    let read = |json| serde_json::from_str::<serde_json::Value>(json).ok();
    json == usual || (json.contains(|c: char| c.is_ascii_whitespace()) && read(json) == read(usual))
}

/// Whether a text is one JSON object.
pub(crate) fn is_object(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().starts_with('{'))
}

pub(crate) fn text(raw: &RawValue) -> Read<String> {
    serde_json::from_str(raw.get()).map_err(|_| invalid("expected a text"))
}

pub(crate) fn json(raw: &RawValue) -> Json {
    Json(raw.get().to_owned())
}

pub(crate) fn list<'a, T>(raw: &'a RawValue, mut read: impl FnMut(&'a RawValue) -> Read<T>) -> Read<Vec<T>> {
    let items: Vec<&'a RawValue> = serde_json::from_str(raw.get()).map_err(|_| invalid("expected a list"))?;
    items.into_iter().enumerate().map(|(at, item)| read(item).map_err(|e| e.within_item(at))).collect()
}

/// Whether a value is a text rather than a list or an object.
pub(crate) fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// The arguments of a call, told as a text. Nothing at all means no arguments.
pub(crate) fn arguments(text: &str) -> Option<Json> {
    if text.trim().is_empty() {
        return Some(Json("{}".to_owned()));
    }
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    raw.get().starts_with('{').then(|| json(raw))
}

/// The request itself is wrong, whatever target it is for.
pub(crate) fn invalid(reason: &'static str) -> Untranslatable {
    Untranslatable::new(Fault::Request, reason)
}

/// The target cannot do what the request asks for.
pub(crate) fn cannot(reason: &'static str) -> Untranslatable {
    Untranslatable::new(Fault::Target, reason)
}
