//! Times in a query: points, spans back from now, and the windows they make.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::event::Timestamp;

/// A unit of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`: 24 hours.
    Day,
    /// `w`: seven days.
    Week,
}

impl Unit {
    const ALL: [(char, Self, u64); 5] = [
        ('s', Self::Second, 1_000),
        ('m', Self::Minute, 60_000),
        ('h', Self::Hour, 3_600_000),
        ('d', Self::Day, 86_400_000),
        ('w', Self::Week, 604_800_000),
    ];

    /// The letter that stands for it.
    pub fn letter(self) -> char {
        Self::ALL.iter().find(|(_, unit, _)| *unit == self).map_or('d', |(letter, ..)| *letter)
    }

    fn millis(self) -> u64 {
        Self::ALL.iter().find(|(_, unit, _)| *unit == self).map_or(0, |(.., millis)| *millis)
    }
}

/// A length of time, such as `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub count: u16,
    /// Of what.
    pub unit: Unit,
}

impl Span {
    /// Milliseconds.
    pub fn millis(self) -> u64 {
        u64::from(self.count) * self.unit.millis()
    }

    /// Reads `7d`; none if the text is no span.
    pub fn read(text: &str) -> Option<Self> {
        let letter = text.chars().next_back()?;
        let (_, unit, _) = Unit::ALL.into_iter().find(|(known, ..)| *known == letter.to_ascii_lowercase())?;
        let digits = &text[..text.len() - letter.len_utf8()];
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count = if all_digits { digits.parse().ok()? } else { return None };
        // Nothing is nothing in any unit.
        Some(Self { count, unit: if count == 0 { Unit::Minute } else { unit } })
    }
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This one.
    At(Timestamp),
    /// So long before now.
    Ago(Span),
}

impl Moment {
    /// The point, at a time.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => Timestamp::try_from(now.millis().saturating_sub(span.millis())).unwrap_or(now),
        }
    }
}

/// A condition on the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Then or later.
    After(Moment),
    /// Earlier.
    Before(Moment),
    /// At the first or later, and earlier than the second.
    Between(Moment, Moment),
}

impl When {
    /// The condition as a window, at a time.
    pub fn window(self, now: Timestamp) -> Window {
        let (from, to) = match self {
            Self::After(from) => (Some(from), None),
            Self::Before(to) => (None, Some(to)),
            Self::Between(from, to) => (Some(from), Some(to)),
        };
        Window { from: from.map(|it| it.resolve(now)), to: to.map(|it| it.resolve(now)) }
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Then or later.
    pub from: Option<Timestamp>,
    /// Earlier.
    pub to: Option<Timestamp>,
}

impl Window {
    /// What lies in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let later = self.from.max(other.from);
        let earlier = match (self.to, other.to) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { from: later, to: earlier }
    }
}

/// What a text of some precision names: `2026`, `2026-01`, `2026-01-31`, `2026-01-31T12:00[:00[.000]][Z|+01:00]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// Its first millisecond.
    pub(super) start: Timestamp,
    /// The millisecond after its last one, or the last there is.
    pub(super) end: Timestamp,
    /// Whether it is a day or longer.
    pub(super) is_date: bool,
}

/// Reads a time; UTC unless an offset stands there.
pub(super) fn read_named(text: &str) -> Option<Named> {
    if !text.is_ascii() {
        return None;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (first, next) = read_date(date)?;
    let Some(time) = time else {
        let end = next.and_then(stamp).unwrap_or_else(|| Timestamp::from(DateTime::<Utc>::MAX_UTC));
        return Some(Named { start: stamp(first)?, end, is_date: true });
    };
    let (clock, offset) = split_offset(time)?;
    let (time, length) = read_clock(clock)?;
    if date.len() != "2026-01-31".len() {
        return None;
    }
    let start = first.and_time(time).and_utc().checked_sub_signed(offset)?;
    let end = start.checked_add_signed(length)?;
    Some(Named { start: exact(start)?, end: exact(end)?, is_date: false })
}

/// The first day of what a date names, and the first day after it.
fn read_date(text: &str) -> Option<(NaiveDate, Option<NaiveDate>)> {
    let digits = |text: &str, len: usize| -> Option<u32> {
        let fits = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        if fits { text.parse().ok() } else { None }
    };
    let mut pieces = text.split('-');
    let year = i32::try_from(digits(pieces.next()?, 4)?).ok().filter(|year| *year >= 1970)?;
    let Some(month) = pieces.next() else {
        let first = NaiveDate::from_ymd_opt(year, 1, 1)?;
        return Some((first, first.checked_add_months(Months::new(12)).filter(|day| day.year() <= 9999)));
    };
    let month = digits(month, 2)?;
    let Some(day) = pieces.next() else {
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        return Some((first, first.checked_add_months(Months::new(1)).filter(|day| day.year() <= 9999)));
    };
    let day = NaiveDate::from_ymd_opt(year, month, digits(day, 2)?)?;
    if pieces.next().is_some() {
        return None;
    }
    Some((day, day.checked_add_days(Days::new(1)).filter(|day| day.year() <= 9999)))
}

/// The time of day and what offset stands behind it.
fn split_offset(text: &str) -> Option<(&str, TimeDelta)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, TimeDelta::zero()));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, TimeDelta::zero())) };
    let (clock, offset) = text.split_at(at);
    let (hours, minutes) = match offset[1..].split_once(':') {
        Some(both) => both,
        None if offset.len() == 5 => offset[1..].split_at(2),
        None => (&offset[1..], "00"),
    };
    let number = |text: &str, below: i64| -> Option<i64> {
        let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| fits && *number < below)
    };
    let minutes = number(hours, 24)? * 60 + number(minutes, 60)?;
    Some((clock, TimeDelta::minutes(if offset.starts_with('-') { -minutes } else { minutes })))
}

/// A time of day and how much of it is left open.
fn read_clock(text: &str) -> Option<(NaiveTime, TimeDelta)> {
    let time = |format| NaiveTime::parse_from_str(text, format).ok();
    let shape: String =
        text.bytes().map(|byte| if byte.is_ascii_digit() { '0' } else { char::from(byte) }).collect();
    let (time, length) = match shape.as_str() {
        "00:00" => (time("%H:%M")?, TimeDelta::minutes(1)),
        "00:00:00" => (time("%H:%M:%S")?, TimeDelta::seconds(1)),
        "00:00:00.000" => (time("%H:%M:%S%.3f")?, TimeDelta::milliseconds(1)),
        "00:00:00.000000" => (time("%H:%M:%S%.6f")?, TimeDelta::milliseconds(1)),
        _ => return None,
    };
    Some((time, length))
}

fn stamp(day: NaiveDate) -> Option<Timestamp> {
    exact(day.and_time(NaiveTime::MIN).and_utc())
}

fn exact(at: DateTime<Utc>) -> Option<Timestamp> {
    Timestamp::try_from(u64::try_from(at.timestamp_millis()).ok()?).ok()
}
