//! A query as it is understood: only what can be answered.

use core::net::IpAddr;

use uuid::Uuid;

use super::field::{Facet, NumberField, Part, TextField};
use super::pattern::Pattern;
use super::time::{When, Window};
use crate::event::{Outcome, Quality, RetentionClass, Severity, Timestamp, Trust};

/// A list that is not empty: any of its members may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOf<T>(Vec<T>);

impl<T> OneOf<T> {
    /// The list; none if it is empty.
    pub fn of(values: Vec<T>) -> Option<Self> {
        (!values.is_empty()).then_some(Self(values))
    }

    /// One value.
    pub fn one(value: T) -> Self {
        Self(vec![value])
    }

    /// The values, at least one.
    pub fn values(&self) -> &[T] {
        &self.0
    }
}

/// Values from one to another, both within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range<T> {
    /// This one.
    Exactly(T),
    /// This one and those above.
    AtLeast(T),
    /// This one and those below.
    AtMost(T),
    /// From the first to the second, which is not below it.
    Between(T, T),
}

/// The addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of an address; none if the prefix is longer than the address. Bits past the prefix are cleared.
    pub fn of(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
            _ => return None,
        };
        Some(Self { address, prefix })
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits are alike.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is one address.
    pub fn is_host(self) -> bool {
        self == Self::host(self.address)
    }
}

/// Entities by type and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityPattern {
    /// The type.
    pub kind: Pattern,
    /// The id; without one also entities whose id is not known.
    pub id: Option<Pattern>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A text matches.
    Text(TextField, OneOf<Pattern>),
    /// A number lies within.
    Number(NumberField, OneOf<Range<u32>>),
    /// The entity is one of these.
    Entity(OneOf<EntityPattern>),
    /// The severity lies within.
    Severity(OneOf<Range<Severity>>),
    /// The outcome.
    Outcome(OneOf<Outcome>),
    /// How sure we are of the actor.
    Trust(OneOf<Trust>),
    /// How long it is kept.
    Class(OneOf<RetentionClass>),
    /// How well the old side of its changes is known.
    Quality(OneOf<Quality>),
    /// The address lies within.
    Ip(OneOf<Network>),
    /// The event's own id.
    Id(OneOf<Uuid>),
    /// The number of the batch that brought it.
    Batch(OneOf<i64>),
    /// It is of this kind.
    Is(OneOf<Facet>),
    /// It has this part.
    Has(OneOf<Part>),
    /// It happened then.
    When(When),
    /// It says these words somewhere: names, paths, changes, details.
    Words(Pattern),
}

/// Conditions put together. Built by its functions alone, so that there is one tree for what is written in two ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A condition.
    Term(Term),
    /// It does not hold; never of another negation.
    Not(Box<Expr>),
    /// All hold: at least two, none of them such a list.
    All(Vec<Expr>),
    /// One holds: at least two, none of them such a list.
    Any(Vec<Expr>),
}

impl Expr {
    /// All of these; none of an empty list.
    pub fn all(list: Vec<Self>) -> Option<Self> {
        let mut flat = flattened(list, |expr| match expr {
            Self::All(inner) => Ok(inner),
            other => Err(other),
        });
        if flat.len() > 1 { Some(Self::All(flat)) } else { flat.pop() }
    }

    /// Any of these; none of an empty list.
    pub fn any(list: Vec<Self>) -> Option<Self> {
        let mut flat = flattened(list, |expr| match expr {
            Self::Any(inner) => Ok(inner),
            other => Err(other),
        });
        if flat.len() > 1 { Some(Self::Any(flat)) } else { flat.pop() }
    }

    /// The contrary.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether a term anywhere within is of this kind.
    pub fn mentions(&self, is_wanted: fn(&Term) -> bool) -> bool {
        match self {
            Self::Term(term) => is_wanted(term),
            Self::Not(inner) => inner.mentions(is_wanted),
            Self::All(list) | Self::Any(list) => list.iter().any(|expr| expr.mentions(is_wanted)),
        }
    }
}

fn flattened(list: Vec<Expr>, open: fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
    list.into_iter().flat_map(|expr| open(expr).unwrap_or_else(|expr| vec![expr])).collect()
}

/// What is looked for: every condition holds; without any, everything is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    conjuncts: Vec<Expr>,
}

impl Query {
    /// The query of some conditions that must all hold.
    pub fn of(conditions: Vec<Expr>) -> Self {
        Self {
            conjuncts: match Expr::all(conditions) {
                Some(Expr::All(list)) => list,
                one => one.into_iter().collect(),
            },
        }
    }

    /// The conditions that must all hold.
    pub fn conjuncts(&self) -> &[Expr] {
        &self.conjuncts
    }

    /// With more conditions.
    #[must_use]
    pub fn and(mut self, more: Vec<Expr>) -> Self {
        self.conjuncts.extend(more);
        Self::of(self.conjuncts)
    }

    /// Whether a term anywhere within is of this kind.
    pub fn mentions(&self, is_wanted: fn(&Term) -> bool) -> bool {
        self.conjuncts.iter().any(|expr| expr.mentions(is_wanted))
    }

    /// The span of time outside of which nothing can match, at a time. Times under `OR` or `NOT` do not count.
    pub fn window(&self, now: Timestamp) -> Window {
        let mut window = Window::default();
        for expr in &self.conjuncts {
            if let Expr::Term(Term::When(when)) = expr {
                window = window.and(when.window(now));
            }
        }
        window
    }
}
