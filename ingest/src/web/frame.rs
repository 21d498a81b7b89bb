//! What stands around every page: head, navigation, and the headers of its response.

use askama::Template;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::assets;
use super::reader::cookie;
use crate::auth::{Capability, Role};

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Dashboard,
    Search,
    Live,
    Alerts,
    Runs,
    Agents,
    Entities,
    Actors,
    Compliance,
    Integrity,
    Exports,
    Retention,
    Holds,
    Erasures,
    Sinks,
    Coverage,
    Inbox,
    Streams,
    Policies,
    Access,
}

/// The places by what people come for.
const GROUPS: [Group; 6] = [
    Group {
        name: "Look",
        sections: &[
            Section::Dashboard,
            Section::Search,
            Section::Live,
            Section::Alerts,
            Section::Runs,
            Section::Agents,
            Section::Entities,
            Section::Actors,
        ],
    },
    Group { name: "Prove", sections: &[Section::Compliance, Section::Integrity, Section::Exports] },
    Group { name: "Keep", sections: &[Section::Retention, Section::Holds, Section::Erasures] },
    Group {
        name: "Capture",
        sections: &[Section::Coverage, Section::Inbox, Section::Streams, Section::Policies],
    },
    Group { name: "Forward", sections: &[Section::Sinks] },
    Group { name: "People", sections: &[Section::Access] },
];

/// Places that belong together.
#[derive(Debug, Clone, Copy)]
struct Group {
    name: &'static str,
    sections: &'static [Section],
}

impl Group {
    /// Those of its places that somebody may enter.
    fn open_to(&self, role: Role) -> Vec<Section> {
        self.sections.iter().copied().filter(|section| role.can(section.needs())).collect()
    }
}

impl Section {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Dashboard => "Dashboard",
            Self::Search => "Search",
            Self::Live => "Live",
            Self::Alerts => "Alerts",
            Self::Runs => "Runs",
            Self::Agents => "Agents",
            Self::Entities => "Entities",
            Self::Actors => "Actors",
            Self::Compliance => "Compliance",
            Self::Integrity => "Integrity",
            Self::Exports => "Exports",
            Self::Retention => "Retention",
            Self::Holds => "Holds",
            Self::Erasures => "Erasures",
            Self::Coverage => "Coverage",
            Self::Inbox => "Inbox",
            Self::Streams => "Arrivals",
            Self::Sinks => "Streams",
            Self::Policies => "Policies",
            Self::Access => "Access",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Dashboard => "/dashboard",
            Self::Search => "/",
            Self::Live => "/live",
            Self::Alerts => "/alerts",
            Self::Runs => "/runs",
            Self::Agents => "/agents",
            Self::Entities => "/entities",
            Self::Actors => "/actors",
            Self::Compliance => "/compliance",
            Self::Integrity => "/integrity",
            Self::Exports => "/exports",
            Self::Retention => "/retention",
            Self::Holds => "/holds",
            Self::Erasures => "/erasures",
            Self::Coverage => "/coverage",
            Self::Inbox => "/inbox",
            Self::Streams => "/streams",
            Self::Sinks => "/sinks",
            Self::Policies => "/policies",
            Self::Access => "/access",
        }
    }

    fn needs(self) -> Capability {
        match self {
            Self::Exports => Capability::Export,
            Self::Holds | Self::Erasures | Self::Sinks | Self::Access => Capability::Oversee,
            _ => Capability::Read,
        }
    }
}

/// How a visitor wants pages shown; the script keeps it in cookies.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    /// Whose log they read.
    pub(super) tenant: Option<String>,
    /// What they are there; what they may not enter is not offered.
    pub(super) role: Option<Role>,
    /// What a form's address must bring along.
    pub(super) csrf: String,
    /// Light or dark, whatever the system prefers.
    pub(super) theme: Option<&'static str>,
    /// Times of their own place instead of UTC.
    pub(super) is_local: bool,
}

impl Shown {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let theme = match cookie(headers, "theme") {
            Some("light") => Some("light"),
            Some("dark") => Some("dark"),
            _ => None,
        };
        let is_local = cookie(headers, "zone") == Some("local");
        Self { theme, is_local, ..Self::default() }
    }
}

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    section: Option<Section>,
    pub(super) shown: Shown,
}

impl Frame {
    pub(super) fn new(title: impl Into<String>, section: Option<Section>, shown: &Shown) -> Self {
        Self { title: title.into(), section, shown: shown.clone() }
    }

    /// The navigation: what is open to the visitor.
    pub(super) fn groups(&self) -> Vec<(&'static str, Vec<Section>)> {
        let role = self.shown.role.unwrap_or(Role::Viewer);
        let groups = GROUPS.iter().map(|group| (group.name, group.open_to(role)));
        groups.filter(|(_, sections)| !sections.is_empty()).collect()
    }

    pub(super) fn is_here(&self, section: &Section) -> bool {
        self.section == Some(*section)
    }

    /// The address that a form is sent to.
    pub(super) fn to(&self, path: &str) -> String {
        super::url::with(path, &[("csrf", &self.shown.csrf)])
    }

    pub(super) fn style(&self) -> String {
        assets::style()
    }

    pub(super) fn script(&self) -> String {
        assets::script()
    }

    pub(super) fn icon(&self) -> String {
        assets::icon()
    }
}

/// A template as a response.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        tracing::error!("a page was not rendered");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::VARY, "Cookie")];
    (status, headers, html).into_response()
}
