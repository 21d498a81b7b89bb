//! Which actions are evidence for which controls: data, one TOML file for each framework, read once.
//!
//! A report counts; it does not judge. A control without events may be met all the same, and one with many may not be.

use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

/// A framework that controls are known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// SOC 2.
    Soc2,
    /// ISO/IEC 27001.
    Iso27001,
    /// The GDPR.
    Gdpr,
}

/// The controls of a framework.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// What the framework is called.
    pub title: String,
    /// The compliance flag that rules put on events for it.
    pub flag: String,
    /// Its controls.
    #[serde(rename = "control")]
    pub controls: Vec<Control>,
}

/// A control and its evidence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// As the framework numbers it.
    pub id: String,
    /// What it asks for.
    pub title: String,
    /// Patterns of actions: `*` stands for any characters.
    pub actions: Vec<String>,
}

impl Framework {
    /// Every framework.
    pub const ALL: [Self; 3] = [Self::Soc2, Self::Iso27001, Self::Gdpr];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Soc2 => "soc2",
            Self::Iso27001 => "iso27001",
            Self::Gdpr => "gdpr",
        }
    }

    /// Its controls.
    pub fn controls(self) -> &'static Controls {
        static SOC2: LazyLock<Controls> = LazyLock::new(|| read(include_str!("soc2.toml")));
        static ISO27001: LazyLock<Controls> = LazyLock::new(|| read(include_str!("iso27001.toml")));
        static GDPR: LazyLock<Controls> = LazyLock::new(|| read(include_str!("gdpr.toml")));
        match self {
            Self::Soc2 => &SOC2,
            Self::Iso27001 => &ISO27001,
            Self::Gdpr => &GDPR,
        }
    }
}

fn read(text: &str) -> Controls {
    toml::from_str(text).expect("a file of this program's own")
}

impl FromStr for Framework {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|framework| framework.word() == word);
        known.ok_or_else(|| format!("{word:?} is not one of soc2, iso27001, gdpr"))
    }
}

impl Control {
    /// Whether an action is evidence for it.
    pub fn covers(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action))
    }
}

/// Whether a text is what a pattern describes.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framework_has_controls_with_names_of_their_own_and_actions_that_can_be() {
        for framework in Framework::ALL {
            let controls = &framework.controls().controls;
            let mut ids: Vec<&str> = controls.iter().map(|control| control.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), controls.len(), "{framework:?}");
            for pattern in controls.iter().flat_map(|control| &control.actions) {
                let signs =
                    |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_*".contains(&byte);
                assert!(pattern.bytes().all(signs), "{pattern}");
            }
            assert_eq!(framework.word().parse(), Ok(framework));
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("USER_LOGIN*", "USER_LOGIN", true),
            ("USER_LOGIN*", "USER_LOGIN_FAILED", true),
            ("USER_LOGIN", "USER_LOGIN_FAILED", false),
            ("*_2FA_*", "SETTINGS_2FA_ENABLED", true),
            ("*_2FA_*", "SETTINGS_2FA", false),
            ("*ROLE*", "ROLE_UPDATED", true),
            ("A*B*C", "A_B_B_C", true),
            ("A*B*C", "A_C_B", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_table_in_the_documentation_is_the_data() {
        let doc = include_str!("../../../docs/exports.md");
        for framework in Framework::ALL {
            for control in &framework.controls().controls {
                let patterns: Vec<String> = control.actions.iter().map(|it| format!("`{it}`")).collect();
                let row = format!(
                    "| {} | {} | {} | {} |",
                    framework.word(),
                    control.id,
                    control.title,
                    patterns.join(", ")
                );
                assert!(doc.contains(&row), "docs/exports.md lacks:\n{row}");
            }
        }
    }
}
