//! One entry of `variables`, going in or coming out.

use std::borrow::Cow;
use std::fmt;

use origan_codec_host::crypto::EncryptedValue;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::code::Code;
use super::json::{self, Object, PassOver, Text, Trace};
use crate::audit::written_len;
use crate::names::{ExternalReference, KeyVersion};

/// What every call says of a `type` that it does not know.
pub(super) const UNKNOWN_TYPE: &str = "`type` must be \"plain\", \"secret\" or \"external\"";
/// What a record says of an external variable beyond its name and reference: the version that was found, and the fields' own names.
const NOTE_BYTES: usize = 256;

/// Its fields.
#[derive(Default)]
pub(super) struct VariableFields<'de> {
    pub(super) kind: Option<Cow<'de, str>>,
    pub(super) value: Option<Cow<'de, str>>,
    pub(super) encrypted: Option<bool>,
    pub(super) key_version: Option<KeyVersion>,
    /// On the heap: most variables have none of them.
    elsewhere: Option<Box<Elsewhere<'de>>>,
}

#[derive(Default)]
struct Elsewhere<'de> {
    provider: Loose<'de>,
    reference: Loose<'de>,
    version: Loose<'de>,
}

/// A text; or anything else, for on variables that are not external these fields are unknown ones, and may be what they like.
#[derive(Default)]
enum Loose<'de> {
    #[default]
    Missing,
    Text(Cow<'de, str>),
    Other,
}

impl<'de> Object<'de> for VariableFields<'de> {
    const FIELDS: &'static [&'static str] = &["type", "value", "encrypted", "keyVersion", "provider", "ref", "version"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.kind = text(map)?,
            1 => self.value = text(map)?,
            2 => self.encrypted = map.next_value()?,
            3 => self.key_version = json::optional_key_version(map, trace)?,
            4 => self.elsewhere.get_or_insert_default().provider = map.next_value_seed(LooseSeed(trace))?,
            5 => self.elsewhere.get_or_insert_default().reference = map.next_value_seed(LooseSeed(trace))?,
            _ => self.elsewhere.get_or_insert_default().version = map.next_value_seed(LooseSeed(trace))?,
        }
        Ok(())
    }
}

impl VariableFields<'_> {
    /// Where its value lives, if it lives elsewhere. What contradicts that is refused; on others these fields are unknown ones.
    pub(super) fn external(&self) -> Result<Option<Box<ExternalReference>>, (Code, &'static str)> {
        if self.kind.as_deref() != Some("external") {
            return Ok(None);
        }
        let invalid = |why| (Code::InvalidRequest, why);
        if self.value.is_some() || self.encrypted.is_some() || self.key_version.is_some() {
            return Err(invalid("an external variable has no `value`, `encrypted` or `keyVersion`"));
        }
        let fields = self.elsewhere.as_deref();
        let text = |loose: Option<&'_ Loose<'_>>, missing, wrong| match loose {
            None | Some(Loose::Missing) => Err(invalid(missing)),
            Some(Loose::Other) => Err(invalid(wrong)),
            Some(Loose::Text(text)) => Ok(text.clone().into_owned()),
        };
        let provider =
            text(fields.map(|fields| &fields.provider), "`provider` is missing", "`provider` must be a string")?;
        let reference = text(fields.map(|fields| &fields.reference), "`ref` is missing", "`ref` must be a string")?;
        let version = match fields.map(|fields| &fields.version) {
            None | Some(Loose::Missing) => None,
            found => Some(text(found, "", "`version` must be a string")?),
        };
        let parsed = ExternalReference::parse(&provider, &reference, version.as_deref());
        parsed.map(|parsed| Some(Box::new(parsed))).map_err(|error| invalid(error.0))
    }
}

/// The version of the DEK that a value is under: what a v2 value says itself, else what stands beside it. Two that differ are a mistake.
pub(super) fn key_version_of(
    value: &EncryptedValue,
    beside: Option<KeyVersion>,
) -> Result<Option<KeyVersion>, (Code, &'static str)> {
    let own = value.key_version().and_then(|number| KeyVersion::try_from(u64::from(number)).ok());
    match (own, beside) {
        (Some(own), Some(beside)) if own != beside => {
            Err((Code::InvalidRequest, "`keyVersion` is not the one that the value itself names"))
        }
        (own, beside) => Ok(own.or(beside)),
    }
}

/// Bytes that a record takes for it, beside the variable's name.
pub(super) fn recorded_len(reference: &ExternalReference) -> usize {
    let version = reference.version().map_or(0, written_len);
    written_len(reference.provider()) + written_len(reference.reference()) + version + NOTE_BYTES
}

struct LooseSeed<'t>(&'t Trace);

impl<'de> DeserializeSeed<'de> for LooseSeed<'_> {
    type Value = Loose<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LooseSeed<'_> {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Missing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        PassOver(self.0).visit_seq(seq).map(|()| Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        PassOver(self.0).visit_map(map).map(|()| Loose::Other)
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Option<Text<'de>>>()?.map(|text| text.0))
}
