use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// A value of the configuration before anybody knows whether it is the right one, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// The text of a variable that was taken for something else than text: where text is wanted, it is that.
    pub(crate) raw: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    /// `None`: there is no such number here.
    Integer(Option<i128>),
    Float(f64),
    Boolean(bool),
    /// Nothing is configured by one.
    Date,
    List(Vec<Node>),
    Table(Table),
}

pub(crate) type Table = BTreeMap<String, Node>;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// In the file, counted from 1.
    Line(usize),
    /// In the environment, by its name.
    Variable(String),
}

impl Node {
    pub(crate) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }
}

/// That a value is not what is wanted, and where that value is.
#[derive(Debug)]
pub(crate) struct Unfit(pub(crate) Option<Origin>);

impl Unfit {
    fn at(self, origin: &Origin) -> Self {
        Self(self.0.or_else(|| Some(origin.clone())))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not what is wanted")
    }
}

impl std::error::Error for Unfit {}

/// The text is left out: it speaks of types of this program, and quotes what may be a secret.
impl de::Error for Unfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        let visited = match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => match number.map(|number| (u64::try_from(number), i64::try_from(number))) {
                Some((Ok(number), _)) => visitor.visit_u64(number),
                Some((_, Ok(number))) => visitor.visit_i64(number),
                _ => Err(Unfit(None)),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(yes) => visitor.visit_bool(*yes),
            Value::Date => Err(Unfit(None)),
            Value::List(nodes) => visitor.visit_seq(Elements(nodes.iter())),
            Value::Table(table) => {
                visitor.visit_map(MapDeserializer::new(table.iter().map(|(key, node)| (key.as_str(), node))))
            }
        };
        visited.map_err(|unfit| unfit.at(&self.origin))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match &self.raw {
            Some(raw) => visitor.visit_borrowed_str(raw).map_err(|unfit: Unfit| unfit.at(&self.origin)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self).map_err(|unfit| unfit.at(&self.origin))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self).map_err(|unfit| unfit.at(&self.origin))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        let Value::Text(text) = &self.value else { return Err(Unfit(None).at(&self.origin)) };
        let visited = visitor.visit_enum(StrDeserializer::<Unfit>::new(text));
        visited.map_err(|unfit| unfit.at(&self.origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Unfit> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Each element is told where it is, whoever refuses it.
struct Elements<'de>(std::slice::Iter<'de, Node>);

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = Unfit;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        let read = |node: &'de Node| seed.deserialize(node).map_err(|unfit| unfit.at(&node.origin));
        self.0.next().map(read).transpose()
    }
}

/// The keys that a section has, as its type has them.
pub(crate) fn keys<T: de::DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // It fails as soon as the keys are known.
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unfit> {
        Err(Unfit(None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Unfit> {
        *self.0 = keys;
        Err(Unfit(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
