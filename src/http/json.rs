//! Strict JSON: every key once, names parsed, nothing deeper than 128, and no error that repeats what was sent.
//!
//! One pass: an [`Object`] takes its fields as they come. What it does not know is checked and passed over.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use origan_codec_host::crypto::{EncryptedDek, ParseEnvelopeError, Plaintext};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::code::{Code, code_of_envelope};
use super::problem::Problem;
use crate::audit::written_len;
use crate::names::{KeyVersion, NameError, VariableName};

/// Fields of one object that are ignored; more are no oversight.
const UNKNOWN_FIELDS_MAX: usize = 10_000;
/// Names of all variables together, and references of those that live elsewhere, in bytes as a record writes them: it may hold them twice, and every sink must be able to take it.
const NAMES_BYTES_MAX: usize = 256 << 10;

/// Bytes of one variable in a body, as a guess: what `type`, a short name and a short sealed value take.
const VARIABLE_BYTES_USUAL: usize = 128;

/// A JSON object with the fields it knows.
pub(super) trait Object<'de>: Default {
    /// Their names.
    const FIELDS: &'static [&'static str];

    /// Takes the value of `FIELDS[field]` from `map`.
    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error>;
}

/// Parses `body` as one `T`, with at most `variables_max` variables in it.
pub(super) fn parse<'de, T: Object<'de>>(body: &'de [u8], variables_max: usize) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::detailed(Code::InvalidJson, "the body is not UTF-8"))?;
    let variables_expected = variables_max.min(body.len() / VARIABLE_BYTES_USUAL);
    let trace = Trace { variables_max, variables_expected, place: RefCell::default(), refusal: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = ObjectSeed::<T>(&trace, PhantomData).deserialize(&mut deserializer);
    object.and_then(|object| deserializer.end().map(|()| object)).map_err(|error| trace.into_problem(&error))
}

/// `value`, or that `field` is missing.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::detailed(Code::InvalidRequest, format!("`{field}` is missing")))
}

/// Where the parser is, and what it refused there. Serde's own messages repeat values, so they are never shown.
pub(super) struct Trace {
    variables_max: usize,
    /// Room is made for so many at once.
    variables_expected: usize,
    place: RefCell<Place>,
    refusal: RefCell<Option<(Code, Cow<'static, str>)>>,
}

#[derive(Default)]
struct Place {
    variable: Option<VariableName>,
    field: Option<&'static str>,
}

impl Trace {
    /// Ends the parse with `code`.
    pub(super) fn refuse<E: Error>(&self, code: Code, detail: impl Into<Cow<'static, str>>) -> E {
        self.refusal.replace(Some((code, detail.into())));
        E::custom("refused")
    }

    /// A text field that is parsed further.
    pub(super) fn parsed<T, E: Error>(&self, outcome: Result<T, NameError>) -> Result<T, E> {
        outcome.map_err(|error| self.refuse(Code::InvalidRequest, error.to_string()))
    }

    pub(super) fn envelope<T, E: Error>(&self, outcome: Result<T, ParseEnvelopeError>) -> Result<T, E> {
        outcome.map_err(|error| self.refuse(code_of_envelope(error), error.to_string()))
    }

    /// Tells of `variable` what was refused.
    fn blame(&self, variable: &VariableName) {
        self.place.borrow_mut().variable = Some(variable.clone());
    }

    fn into_problem(self, error: &serde_json::Error) -> Problem {
        let at = format!("at line {} column {}", error.line(), error.column());
        let place = self.place.into_inner();
        let field = place.field.map(|field| format!("`{field}`: ")).unwrap_or_default();
        let mut problem = match self.refusal.into_inner() {
            Some((code, detail)) => Problem::detailed(code, format!("{field}{detail}, {at}")),
            None if error.is_data() => Problem::detailed(Code::InvalidRequest, format!("{field}wrong type, {at}")),
            None => Problem::detailed(Code::InvalidJson, format!("not valid JSON {at}")),
        };
        problem.variable = place.variable.map(|name| name.to_string());
        problem
    }
}

/// A string, borrowed from the body where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn into_plaintext(self) -> Plaintext {
        Plaintext::new(self.0.into_owned())
    }
}

/// A text that may be missing or null, parsed.
pub(super) fn optional_name<'de, T, A>(map: &mut A, trace: &Trace) -> Result<Option<T>, A::Error>
where
    T: std::str::FromStr<Err = NameError>,
    A: MapAccess<'de>,
{
    let text: Option<Text<'de>> = map.next_value()?;
    text.map(|text| trace.parsed(text.0.parse())).transpose()
}

/// An encrypted DEK that may be missing or null.
pub(super) fn optional_encrypted_dek<'de, A: MapAccess<'de>>(
    map: &mut A,
    trace: &Trace,
) -> Result<Option<EncryptedDek>, A::Error> {
    let text: Option<Text<'de>> = map.next_value()?;
    text.map(|text| trace.envelope(EncryptedDek::parse(&text.0))).transpose()
}

/// A key version that may be missing or null.
pub(super) fn optional_key_version<'de, A: MapAccess<'de>>(
    map: &mut A,
    trace: &Trace,
) -> Result<Option<KeyVersion>, A::Error> {
    let number: Option<u64> = map.next_value()?;
    number.map(|number| trace.parsed(KeyVersion::try_from(number))).transpose()
}

/// One entry of `variables`, made of its fields.
pub(super) trait Variable<'de>: Sized {
    /// Its fields.
    type Fields: Object<'de>;

    /// Of its fields; or what is wrong with them.
    fn from_fields(fields: Self::Fields) -> Result<Self, (Code, &'static str)>;

    /// Bytes that a record takes for it, beside its name.
    fn written_len(&self) -> usize {
        0
    }

    /// The next value of `map`.
    fn next<A: MapAccess<'de>>(map: &mut A, trace: &Trace) -> Result<Self, A::Error> {
        let fields = map.next_value_seed(ObjectSeed::<Self::Fields>(trace, PhantomData))?;
        trace.place.borrow_mut().field = None;
        Self::from_fields(fields).map_err(|(code, why)| trace.refuse(code, why))
    }
}

/// The object `variables`, in the order given.
pub(super) fn variables<'de, V, A>(map: &mut A, trace: &Trace) -> Result<Vec<(VariableName, V)>, A::Error>
where
    V: Variable<'de>,
    A: MapAccess<'de>,
{
    map.next_value_seed(VariablesSeed(trace, PhantomData))
}

struct VariablesSeed<'t, V>(&'t Trace, PhantomData<V>);

impl<'de, V: Variable<'de>> DeserializeSeed<'de> for VariablesSeed<'_, V> {
    type Value = Vec<(VariableName, V)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Variable<'de>> Visitor<'de> for VariablesSeed<'_, V> {
    type Value = Vec<(VariableName, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of variables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let trace = self.0;
        let mut seen: HashSet<Cow<'de, str>> = HashSet::with_capacity(trace.variables_expected);
        let mut variables = Vec::with_capacity(trace.variables_expected);
        let mut names_bytes = 0;
        while let Some(Text(name)) = map.next_key()? {
            // Until the name is known to be one, no variable is to blame.
            trace.place.replace(Place { variable: None, field: Some("variables") });
            if variables.len() == trace.variables_max {
                return Err(trace.refuse(Code::PayloadTooLarge, format!("more than {} variables", trace.variables_max)));
            }
            names_bytes += written_len(&name);
            if names_bytes > NAMES_BYTES_MAX {
                return Err(trace
                    .refuse(Code::PayloadTooLarge, "the names and references of the variables are too long together"));
            }
            let parsed: VariableName = trace.parsed(name.parse())?;
            trace.place.replace(Place::default());
            let variable = if seen.insert(name) {
                V::next(&mut map, trace)
            } else {
                Err(trace.refuse(Code::DuplicateKey, "the variable appears twice"))
            };
            let variable = variable.inspect_err(|_| trace.blame(&parsed))?;
            names_bytes += variable.written_len();
            variables.push((parsed, variable));
            trace.place.replace(Place { variable: None, field: Some("variables") });
        }
        Ok(variables)
    }
}

struct ObjectSeed<'t, T>(&'t Trace, PhantomData<T>);

impl<'de, T: Object<'de>> DeserializeSeed<'de> for ObjectSeed<'_, T> {
    type Value = T;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Object<'de>> Visitor<'de> for ObjectSeed<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let trace = self.0;
        let mut object = T::default();
        let mut seen = 0_u32;
        let mut unknown: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Text(key)) = map.next_key()? {
            let field = T::FIELDS.iter().position(|field| *field == key);
            let is_new = match field {
                Some(field) => seen & (1 << field) == 0,
                None => unknown.insert(key),
            };
            trace.place.borrow_mut().field = field.map(|field| T::FIELDS[field]);
            if unknown.len() > UNKNOWN_FIELDS_MAX {
                return Err(trace.refuse(Code::InvalidRequest, "too many unknown fields"));
            }
            if !is_new {
                return Err(trace.refuse(Code::DuplicateKey, "a key appears twice"));
            }
            match field {
                Some(field) => {
                    seen |= 1 << field;
                    object.take(field, &mut map, trace)?;
                }
                None => {
                    map.next_value_seed(PassOver(trace))?;
                }
            }
        }
        Ok(object)
    }
}

/// Any value, checked to be JSON of bounded depth with every key once, and dropped.
#[derive(Clone, Copy)]
pub(super) struct PassOver<'t>(pub(super) &'t Trace);

impl<'de> DeserializeSeed<'de> for PassOver<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PassOver<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Text(key)) = map.next_key()? {
            if seen.len() == UNKNOWN_FIELDS_MAX {
                return Err(self.0.refuse(Code::InvalidRequest, "too many unknown fields"));
            }
            if !seen.insert(key) {
                return Err(self.0.refuse(Code::DuplicateKey, "a key appears twice"));
            }
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// Ways in for the fuzz targets: bytes in, whether they parse out.
pub mod fuzz {
    /// As the body of `/decrypt-all`.
    pub fn decrypt_all(body: &[u8]) -> bool {
        super::super::decrypt::parse_decrypt_all(body, 1_000).is_ok()
    }

    /// As the body of `/decrypt-value`.
    pub fn decrypt_value(body: &[u8]) -> bool {
        super::super::decrypt::parse_decrypt_value(body).is_ok()
    }

    /// As the body of `/encrypt-all`.
    pub fn encrypt_all(body: &[u8]) -> bool {
        super::super::encrypt::parse_encrypt_all(body, 1_000).is_ok()
    }
}
