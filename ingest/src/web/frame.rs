//! What stands around every page: head, navigation, and the headers of its response.

use askama::Template;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::assets;
use super::reader::cookie;

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Search,
    Live,
    Coverage,
    Inbox,
    Integrity,
    Streams,
    Retention,
    Holds,
    Erasures,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::Search,
        Self::Live,
        Self::Coverage,
        Self::Inbox,
        Self::Integrity,
        Self::Streams,
        Self::Retention,
        Self::Holds,
        Self::Erasures,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Search => "Search",
            Self::Live => "Live",
            Self::Coverage => "Coverage",
            Self::Inbox => "Inbox",
            Self::Integrity => "Integrity",
            Self::Streams => "Streams",
            Self::Retention => "Retention",
            Self::Holds => "Holds",
            Self::Erasures => "Erasures",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Search => "/",
            Self::Live => "/live",
            Self::Coverage => "/coverage",
            Self::Inbox => "/inbox",
            Self::Integrity => "/integrity",
            Self::Streams => "/streams",
            Self::Retention => "/retention",
            Self::Holds => "/holds",
            Self::Erasures => "/erasures",
        }
    }
}

/// How a visitor wants pages shown; the script keeps it in cookies.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    /// Whose log they read.
    pub(super) tenant: Option<String>,
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
        Self { tenant: None, csrf: String::new(), theme, is_local: cookie(headers, "zone") == Some("local") }
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

    pub(super) fn sections(&self) -> &'static [Section] {
        &Section::ALL
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
