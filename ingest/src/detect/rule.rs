//! Rules as data: TOML, checked whole before any of it is used.

use std::collections::HashSet;

use chrono::{FixedOffset, NaiveTime, TimeDelta};
use serde::Deserialize;
use shared::event::Severity;
use shared::search::{self, Query, Span, Term};
use toml::Spanned;

use crate::store::search::{Likeness, Wanted};

/// Rules of one file.
const MAX_RULES: usize = 200;
/// Of a rule's id, in bytes.
const MAX_ID: usize = 64;
/// Of a rule's title, in bytes.
const MAX_TITLE: usize = 200;
/// Events that a rule may count to.
const MAX_EVENTS: u32 = 1_000;
/// The longest time over which events are counted, or lie apart.
const MAX_WITHIN: TimeDelta = TimeDelta::days(7);
/// The longest time in which something may have been seen before.
const MAX_HISTORY: TimeDelta = TimeDelta::days(365);
/// Weeks that an hour is compared with.
const WEEKS: u32 = 4;
/// What may be asked of numbers in details.
const MAX_NUMBER: u32 = 1_000_000_000;
/// A rule says the same again after this time, if it does not say when.
const COOL_DOWN: TimeDelta = TimeDelta::hours(1);

/// A rule that can be used.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// What it found, in words.
    pub title: String,
    /// How much that matters.
    pub severity: Severity,
    /// The events it looks at.
    pub find: Query,
    /// Only those of which the actor is also what was acted upon.
    pub on_oneself: bool,
    /// What they must have in common to be looked at together.
    pub by: Vec<Likeness>,
    /// When it fires.
    pub fires: Fires,
    /// For how long it says the same once.
    pub cool_down: TimeDelta,
}

/// When a rule fires.
#[derive(Debug, Clone)]
pub enum Fires {
    /// For each event.
    Each,
    /// For so many within a time.
    Count {
        /// How many.
        at_least: u32,
        /// The time.
        within: TimeDelta,
    },
    /// For so many different values within a time.
    Distinct {
        /// Of what.
        of: Likeness,
        /// How many.
        at_least: u32,
        /// The time.
        within: TimeDelta,
    },
    /// For an event that comes within a time after so many others.
    After {
        /// The others.
        first: Query,
        /// How many.
        at_least: u32,
        /// The time.
        within: TimeDelta,
    },
    /// For a value that was not seen before, of somebody who was.
    New {
        /// Of what.
        of: Mark,
        /// How far is looked back.
        history: TimeDelta,
    },
    /// For two events one after the other in countries between which nobody travels in the time.
    Travel {
        /// The speed that nobody travels at, in km/h.
        faster_than: u32,
        /// How far the countries lie apart at least, in km.
        farther_than: u32,
    },
    /// For an event with a number that is far above those of the events before it.
    AboveBaseline {
        /// The number's name in the details.
        of: String,
        /// What the number is at least.
        at_least: u32,
        /// How many robust standard deviations above the median.
        spreads: u32,
        /// Without so many events before it, nothing is far above.
        runs: u32,
    },
    /// By the clock: for an hour with fewer events than the same hour of the weeks before.
    Fewer {
        /// What part of the usual number is still enough, in percent; 0 for silence.
        below_percent: u32,
        /// An hour that usually has fewer is not looked at.
        usually: u32,
        /// How many weeks.
        weeks: u32,
    },
    /// For an event outside of working hours.
    Outside {
        /// When work begins.
        from: NaiveTime,
        /// When it ends.
        to: NaiveTime,
        /// In which time.
        offset: FixedOffset,
    },
}

/// What somebody may be seen with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// What an event is like.
    Likeness(Likeness),
    /// The device, as somebody would call it: *Firefox on Windows*. Read out of the event, so nothing is grouped by it.
    Device,
}

impl Mark {
    /// Its name in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Likeness(likeness) => likeness.name(),
            Self::Device => "device",
        }
    }
}

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct RuleError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In words.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<Written>>,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: Spanned<String>,
    title: Spanned<String>,
    severity: Spanned<String>,
    find: Spanned<String>,
    #[serde(default)]
    on_oneself: bool,
    #[serde(default)]
    by: Vec<Spanned<String>>,
    cool_down: Option<Spanned<String>>,
    count: Option<Count>,
    distinct: Option<Distinct>,
    after: Option<After>,
    new: Option<New>,
    outside: Option<Outside>,
    travel: Option<Travel>,
    above_baseline: Option<AboveBaseline>,
    silence: Option<Silence>,
    drop: Option<Drop>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    at_least: Spanned<u32>,
    within: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Distinct {
    of: Spanned<String>,
    at_least: Spanned<u32>,
    within: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    first: Spanned<String>,
    at_least: Option<Spanned<u32>>,
    within: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    of: Spanned<String>,
    history: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    from: Spanned<String>,
    to: Spanned<String>,
    offset: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Travel {
    faster_than_kmh: Spanned<u32>,
    farther_than_km: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AboveBaseline {
    of: Spanned<String>,
    at_least: Spanned<u32>,
    spreads: Spanned<u32>,
    runs: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Silence {
    usually: Spanned<u32>,
    weeks: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drop {
    below_percent: Spanned<u32>,
    usually: Spanned<u32>,
    weeks: Option<Spanned<u32>>,
}

/// A reason and the byte at which it stands.
type Fault = (usize, String);

/// Reads rules.
///
/// # Errors
/// [`RuleError`] for the first thing that is wrong.
pub fn read(text: &str) -> Result<Vec<Rule>, RuleError> {
    let located = |(at, reason): Fault| {
        let before = &text[..text.floor_char_boundary(at)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        RuleError { line, column, reason }
    };
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        located((at, error.message().trim().to_owned()))
    })?;
    let mut ids = HashSet::new();
    let mut rules = Vec::new();
    for written in file.rules {
        let at = written.span().start;
        if rules.len() >= MAX_RULES {
            return Err(located((at, format!("there are more than {MAX_RULES} rules"))));
        }
        let id_at = written.get_ref().id.span().start;
        let rule = written.into_inner().checked(at).map_err(located)?;
        if !ids.insert(rule.id.clone()) {
            return Err(located((id_at, format!("there are two rules {:?}", rule.id))));
        }
        rules.push(rule);
    }
    Ok(rules)
}

impl Written {
    fn checked(self, at: usize) -> Result<Rule, Fault> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_ID).contains(&self.id.get_ref().len()) || !self.id.get_ref().bytes().all(plain) {
            return Err((self.id.span().start, format!("an id is 1 to {MAX_ID} of a-z, 0-9 and -")));
        }
        let title = self.title.get_ref().trim();
        if title.is_empty() || title.len() > MAX_TITLE {
            return Err((self.title.span().start, format!("a title has 1 to {MAX_TITLE} bytes")));
        }
        let severity = self.severity.get_ref().parse::<Severity>();
        let severity = severity.map_err(|reason| (self.severity.span().start, reason))?;
        let by = self.by.iter().map(likeness).collect::<Result<Vec<_>, _>>()?;
        let cool_down = self.cool_down.as_ref().map(|text| length(text, MAX_HISTORY)).transpose()?;
        Ok(Rule {
            find: query(&self.find)?,
            fires: self.fires(at, &by)?,
            id: self.id.into_inner(),
            title: title.to_owned(),
            severity,
            on_oneself: self.on_oneself,
            by,
            cool_down: cool_down.unwrap_or(COOL_DOWN),
        })
    }

    fn fires(&self, at: usize, by: &[Likeness]) -> Result<Fires, Fault> {
        let kinds = [
            self.count.as_ref().map(Count::checked),
            self.distinct.as_ref().map(Distinct::checked),
            self.after.as_ref().map(After::checked),
            self.new.as_ref().map(|new| new.checked(at, by)),
            self.outside.as_ref().map(Outside::checked),
            self.travel.as_ref().map(|travel| travel.checked(at, by)),
            self.above_baseline.as_ref().map(AboveBaseline::checked),
            self.silence.as_ref().map(Silence::checked),
            self.drop.as_ref().map(Drop::checked),
        ];
        let mut kinds = kinds.into_iter().flatten();
        match (kinds.next(), kinds.next()) {
            (None, _) => Ok(Fires::Each),
            (Some(kind), None) => kind,
            (Some(_), Some(_)) => Err((
                at,
                "a rule has one of count, distinct, after, new, outside, travel, above_baseline, silence and drop"
                    .to_owned(),
            )),
        }
    }
}

impl Count {
    fn checked(&self) -> Result<Fires, Fault> {
        Ok(Fires::Count { at_least: number(&self.at_least)?, within: length(&self.within, MAX_WITHIN)? })
    }
}

impl Distinct {
    fn checked(&self) -> Result<Fires, Fault> {
        Ok(Fires::Distinct {
            of: likeness(&self.of)?,
            at_least: number(&self.at_least)?,
            within: length(&self.within, MAX_WITHIN)?,
        })
    }
}

impl After {
    fn checked(&self) -> Result<Fires, Fault> {
        Ok(Fires::After {
            first: query(&self.first)?,
            at_least: self.at_least.as_ref().map_or(Ok(1), number)?,
            within: length(&self.within, MAX_WITHIN)?,
        })
    }
}

impl New {
    fn checked(&self, at: usize, by: &[Likeness]) -> Result<Fires, Fault> {
        somebody("new", at, by)?;
        let of = match self.of.get_ref().as_str() {
            "device" => Mark::Device,
            _ => Mark::Likeness(likeness(&self.of)?),
        };
        Ok(Fires::New { of, history: length(&self.history, MAX_HISTORY)? })
    }
}

impl Outside {
    fn checked(&self) -> Result<Fires, Fault> {
        Ok(Fires::Outside {
            from: time_of_day(&self.from)?,
            to: time_of_day(&self.to)?,
            offset: self.offset.as_ref().map_or_else(|| Ok(utc()), offset)?,
        })
    }
}

impl Travel {
    fn checked(&self, at: usize, by: &[Likeness]) -> Result<Fires, Fault> {
        somebody("travel", at, by)?;
        Ok(Fires::Travel {
            // Slower, and the time to look around in would be days.
            faster_than: from_to(&self.faster_than_kmh, 300, 10_000)?,
            farther_than: from_to(&self.farther_than_km, 0, 20_000)?,
        })
    }
}

impl AboveBaseline {
    fn checked(&self) -> Result<Fires, Fault> {
        let name = self.of.get_ref();
        if !(1..=MAX_ID).contains(&name.len()) {
            return Err((self.of.span().start, "is not the name of a number in details".to_owned()));
        }
        Ok(Fires::AboveBaseline {
            of: name.clone(),
            at_least: from_to(&self.at_least, 0, MAX_NUMBER)?,
            spreads: from_to(&self.spreads, 1, 100)?,
            runs: from_to(&self.runs, 5, 100)?,
        })
    }
}

impl Silence {
    fn checked(&self) -> Result<Fires, Fault> {
        fewer(0, &self.usually, self.weeks.as_ref())
    }
}

impl Drop {
    fn checked(&self) -> Result<Fires, Fault> {
        fewer(from_to(&self.below_percent, 1, 90)?, &self.usually, self.weeks.as_ref())
    }
}

fn fewer(below_percent: u32, usually: &Spanned<u32>, weeks: Option<&Spanned<u32>>) -> Result<Fires, Fault> {
    Ok(Fires::Fewer {
        below_percent,
        usually: from_to(usually, 1, MAX_NUMBER)?,
        weeks: weeks.map_or(Ok(WEEKS), |weeks| from_to(weeks, 2, 8))?,
    })
}

fn somebody(kind: &str, at: usize, by: &[Likeness]) -> Result<(), Fault> {
    if by.is_empty() {
        return Err((at, format!("{kind}: somebody must have been seen before: by = [\"actor\"]")));
    }
    Ok(())
}

impl Rule {
    /// What it looks for.
    pub fn wanted(&self) -> Wanted<'_> {
        let reads_opening =
            matches!(self.fires, Fires::New { of: Mark::Device, .. } | Fires::AboveBaseline { .. });
        Wanted { query: &self.find, on_oneself: self.on_oneself, reads_opening }
    }

    /// How far what fires may lie after the event that it was looked at for.
    pub(super) fn within(&self) -> TimeDelta {
        match &self.fires {
            Fires::Count { within, .. } | Fires::Distinct { within, .. } => *within,
            Fires::Travel { faster_than, .. } => super::travel::reach(*faster_than),
            _ => TimeDelta::zero(),
        }
    }

    /// Whether the clock asks it, and not an event.
    pub fn is_by_clock(&self) -> bool {
        matches!(self.fires, Fires::Fewer { .. })
    }
}

fn query(text: &Spanned<String>) -> Result<Query, Fault> {
    // Behind the quotation mark.
    let start = text.span().start + 1;
    let parsed = search::parse(text.get_ref());
    if let Some(diagnostic) = parsed.diagnostics.first() {
        return Err((start + diagnostic.start, diagnostic.message.clone()));
    }
    if parsed.query.conjuncts().is_empty() {
        return Err((start, "a rule looks for something".to_owned()));
    }
    if parsed.query.mentions(|term| matches!(term, Term::When(_))) {
        return Err((start, "a rule looks at events as they come: it names no time".to_owned()));
    }
    Ok(parsed.query)
}

fn likeness(text: &Spanned<String>) -> Result<Likeness, Fault> {
    let known = Likeness::ALL.into_iter().find(|known| known.name() == text.get_ref());
    known.ok_or_else(|| {
        let names = Likeness::ALL.map(Likeness::name).join(", ");
        (text.span().start, format!("{:?} is not one of {names}", text.get_ref()))
    })
}

fn number(number: &Spanned<u32>) -> Result<u32, Fault> {
    from_to(number, 1, MAX_EVENTS)
}

fn from_to(number: &Spanned<u32>, least: u32, most: u32) -> Result<u32, Fault> {
    if (least..=most).contains(number.get_ref()) {
        Ok(*number.get_ref())
    } else {
        Err((number.span().start, format!("is not {least} to {most}")))
    }
}

fn length(text: &Spanned<String>, longest: TimeDelta) -> Result<TimeDelta, Fault> {
    let millis = Span::read(text.get_ref()).and_then(|span| i64::try_from(span.millis()).ok());
    let length = millis.and_then(TimeDelta::try_milliseconds).filter(|length| !length.is_zero());
    let length =
        length.ok_or_else(|| (text.span().start, "is not a time such as 10m, 1h or 7d".to_owned()))?;
    if length > longest {
        return Err((text.span().start, format!("is longer than {} days", longest.num_days())));
    }
    Ok(length)
}

fn time_of_day(text: &Spanned<String>) -> Result<NaiveTime, Fault> {
    NaiveTime::parse_from_str(text.get_ref(), "%H:%M")
        .map_err(|_| (text.span().start, "is not a time of day such as 08:30".to_owned()))
}

fn offset(text: &Spanned<String>) -> Result<FixedOffset, Fault> {
    text.get_ref().parse().map_err(|_| (text.span().start, "is not an offset such as +01:00".to_owned()))
}

fn utc() -> FixedOffset {
    FixedOffset::east_opt(0).expect("no offset")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str =
        "[[rule]]\nid = \"x\"\ntitle = \"X\"\nseverity = \"warning\"\nfind = \"action:X_*\"\n";

    fn refused(more: &str) -> RuleError {
        read(&format!("{WHOLE}{more}\n")).expect_err("it is wrong")
    }

    #[test]
    fn a_rule_reads() {
        let rules = read(&format!("{WHOLE}by = [\"ip\"]\ncount = {{ at_least = 5, within = \"10m\" }}\n"))
            .expect("right");
        assert!(
            matches!(rules[0].fires, Fires::Count { at_least: 5, within } if within == TimeDelta::minutes(10))
        );
        assert_eq!((rules[0].cool_down, rules[0].by.as_slice()), (TimeDelta::hours(1), &[Likeness::Ip][..]));
        assert!(matches!(read(WHOLE).expect("right")[0].fires, Fires::Each));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let told = |error: RuleError| (error.line, error.column, error.reason);
        let (line, column, reason) = told(refused("count = { at_least = 0, within = \"10m\" }"));
        assert_eq!((line, column, reason.as_str()), (6, 22, "is not 1 to 1000"));
        let (line, _, reason) = told(refused("by = [\"ip\", \"shoe\"]"));
        assert!(line == 6 && reason.starts_with("\"shoe\" is not one of account, actor"), "{reason}");
        let broken = WHOLE.replace("action:X_*", "action:X severity:loud");
        let (line, column, reason) = told(read(&broken).expect_err("no severity"));
        assert!((line, column) == (5, 18) || (line, column) == (5, 27), "{line}:{column} {reason}");
        assert_eq!(refused("new = { of = \"ip\", history = \"30d\" }").line, 1);
        assert_eq!(
            refused("after = { first = \"last:7d\", within = \"1h\" }").reason,
            "a rule looks at events as they come: it names no time"
        );
        assert_eq!(refused("count = { at_least = 2, within = \"8d\" }").reason, "is longer than 7 days");
        assert_eq!(refused("colour = 1").line, 6);
        assert_eq!(read(&format!("{WHOLE}{WHOLE}")).expect_err("twice").line, 7);
        assert_eq!(read("[[rule]").expect_err("no TOML").line, 1);
    }

    #[test]
    fn what_the_clock_asks_and_what_is_far_above_read() {
        let rule = |more: &str| read(&format!("{WHOLE}{more}\n")).expect("right").remove(0);
        let silence = rule("by = [\"host\"]\nsilence = { usually = 12 }");
        assert!(matches!(silence.fires, Fires::Fewer { below_percent: 0, usually: 12, weeks: 4 }));
        assert!(silence.is_by_clock());
        let drop = rule("drop = { below_percent = 20, usually = 60, weeks = 2 }");
        assert!(matches!(drop.fires, Fires::Fewer { below_percent: 20, usually: 60, weeks: 2 }));
        let device = rule("by = [\"actor\"]\nnew = { of = \"device\", history = \"90d\" }");
        assert!(device.wanted().reads_opening && !device.is_by_clock());
        rule("by = [\"entity\"]\nabove_baseline = { of = \"n\", at_least = 0, spreads = 6, runs = 20 }");
        rule("by = [\"actor\"]\ntravel = { faster_than_kmh = 900, farther_than_km = 500 }");
        assert_eq!(refused("drop = { below_percent = 95, usually = 60 }").reason, "is not 1 to 90");
        assert_eq!(refused("travel = { faster_than_kmh = 900, farther_than_km = 500 }").line, 1);
        assert!(refused("by = [\"device\"]").reason.starts_with("\"device\" is not one of"));
        let two = refused("silence = { usually = 12 }\ncount = { at_least = 2, within = \"1h\" }");
        assert!(two.reason.starts_with("a rule has one of count"), "{two}");
    }

    #[test]
    fn the_rules_that_come_along_read() {
        let rules = read(super::super::SHIPPED).expect("right");
        assert!(rules.len() >= 25, "{}", rules.len());
        let told = include_str!("../../../docs/detection.md");
        for rule in rules {
            assert!(
                told.contains(&format!("| `{}` | {} |", rule.id, rule.severity)),
                "{} is documented",
                rule.id
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,200}", more in "[\\[\\]a-z= \"'{}\\n0-9:,é]{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("{WHOLE}{more}"));
        }
    }
}
