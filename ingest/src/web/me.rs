//! `/me`: somebody's own activity, for people of the application who have nothing to do with an audit trail.
//!
//! A frame of its own: nothing of these pages leads to what those who run the application read.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::Value;

use super::assets;
use super::frame::{Shown, page};
use super::url;
use crate::api::me::{self, Guest, NotSignedIn, Refusal, TooOften};
use crate::api::{Answer, State};
use crate::own_activity::session::Session;
use crate::privacy::export::Format;

/// Lists that may be asked for, and what they are called.
const KINDS: [(&str, &str); 4] =
    [("", "Everything"), ("sign-ins", "Sign-ins"), ("changes", "Changes"), ("runs", "Runs")];

/// What stands around a page of one's own.
#[derive(Debug)]
struct MyFrame {
    title: &'static str,
    shown: Shown,
    /// What forms bring along.
    csrf: String,
}

impl MyFrame {
    fn new(title: &'static str, headers: &HeaderMap, csrf: &str) -> Self {
        Self { title, shown: Shown::of(headers), csrf: csrf.to_owned() }
    }

    /// The address that a form is sent to.
    fn to(&self, path: &str) -> String {
        url::with(path, &[("csrf", &self.csrf)])
    }

    fn style(&self) -> String {
        assets::style()
    }

    fn my_style(&self) -> String {
        assets::my_style()
    }

    fn script(&self) -> String {
        assets::my_script()
    }

    fn icon(&self) -> String {
        assets::icon()
    }
}

/// Something that happened.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    id: String,
    at: String,
    text: String,
    outcome: String,
    by: String,
    device: Option<Told>,
    place: Option<Told>,
    ip: Option<String>,
    changes: Option<String>,
    disowned: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Told {
    name: String,
    new: Option<bool>,
}

impl Entry {
    /// Where is asked whether it was not them.
    fn question(&self) -> String {
        url::under(&["me", "activity", &self.id])
    }

    /// Where they say so.
    fn denial(&self) -> String {
        url::under(&["me", "activity", &self.id, "disown"])
    }

    /// From where and on what.
    fn from(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("from {}", place.name));
        let device = self.device.as_ref().map(|device| format!("with {}", device.name));
        let ip = self.ip.as_ref().map(|ip| format!("address {ip}"));
        [place, device, ip].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn is_new(told: Option<&Told>) -> bool {
        told.is_some_and(|told| told.new == Some(true))
    }

    /// What deserves a second look.
    fn marks(&self) -> Vec<&'static str> {
        let marks = [
            (self.outcome == "failure", "failed"),
            (self.outcome == "unknown", "outcome not known"),
            (self.by == "somebody_else", "not by you"),
            (Self::is_new(self.device.as_ref()), "new device"),
            (Self::is_new(self.place.as_ref()), "new place"),
        ];
        marks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect()
    }
}

/// A device or a country.
#[derive(Debug, Deserialize)]
struct Seen {
    name: String,
    last_seen: String,
    first_seen: String,
}

#[derive(Debug, Deserialize)]
struct Activity {
    activity: Vec<Entry>,
    devices: Vec<Seen>,
    places: Vec<Seen>,
    next_cursor: Option<String>,
}

/// What happened on one day.
#[derive(Debug)]
struct Day {
    day: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Template)]
#[template(path = "me.html")]
struct MePage {
    frame: MyFrame,
    name: String,
    days: Vec<Day>,
    devices: Vec<Seen>,
    places: Vec<Seen>,
    kind: String,
    is_first: bool,
    older: Option<String>,
    said: Option<&'static str>,
}

impl MePage {
    fn kinds(&self) -> Vec<(&'static str, String, bool)> {
        let each =
            KINDS.iter().map(|(kind, word)| (*word, url::with("/me", &[("kind", kind)]), *kind == self.kind));
        each.collect()
    }
}

#[derive(Debug, Template)]
#[template(path = "me_sign_in.html")]
struct SignInPage<'a> {
    frame: MyFrame,
    wrong: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "me_disown.html")]
struct DisownPage {
    frame: MyFrame,
    entry: Entry,
}

#[derive(Debug, Template)]
#[template(path = "me_failure.html")]
struct FailurePage<'a> {
    frame: MyFrame,
    words: &'a str,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    cursor: String,
    #[serde(default)]
    said: String,
}

/// The list, or where to sign in.
pub(super) async fn show(
    guest: Result<Guest, Response>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    let Ok(guest) = guest else {
        return sign_in_page(&headers, StatusCode::OK, None);
    };
    if let Err(refusal) = me::allowed(&guest.state.own_activity.reads, &guest.state, &guest.myself) {
        return failed(&headers, &guest, refusal);
    }
    let given = [("kind", &asked.kind), ("cursor", &asked.cursor)];
    let given: Vec<(String, String)> = given
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let told = match me::list(&guest.state, &guest.myself, &given).await {
        Ok(told) => told,
        Err(answer) => return failed(&headers, &guest, answer.into()),
    };
    let Activity { activity, devices, places, next_cursor } = match Activity::deserialize(&told) {
        Ok(activity) => activity,
        Err(error) => return unreadable(&headers, &guest, &error),
    };
    let person = &guest.myself.person;
    let found = MePage {
        frame: MyFrame::new("Your activity", &headers, &guest.csrf),
        name: person.email.clone().unwrap_or_else(|| person.subject.clone()),
        days: days(activity),
        devices,
        places,
        older: next_cursor.map(|cursor| url::with("/me", &[("kind", &asked.kind), ("cursor", &cursor)])),
        is_first: asked.cursor.is_empty(),
        said: (asked.said == "not-me").then_some(me::NEXT),
        kind: asked.kind,
    };
    page(StatusCode::OK, &found)
}

fn days(entries: Vec<Entry>) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for entry in entries {
        let day = entry.at.get(..10).unwrap_or_default();
        match days.last_mut() {
            Some(last) if last.day == day => last.entries.push(entry),
            _ => days.push(Day { day: day.to_owned(), entries: vec![entry] }),
        }
    }
    days
}

/// Signs in with a token that a person pasted, or that the script took from the address.
pub(super) async fn sign_in(state: axum::extract::State<Arc<State>>, request: Request) -> Response {
    let headers = request.headers().clone();
    match Guest::sign_in(&state, request).await {
        Ok(cookie) => {
            let cookie = HeaderValue::try_from(cookie).expect("a cookie is ASCII");
            ([(header::SET_COOKIE, cookie)], Redirect::to("/me")).into_response()
        }
        Err(NotSignedIn::Unproven) => {
            let wrong =
                "This does not prove who you are. It may be over: go back to the application and come again.";
            sign_in_page(&headers, StatusCode::UNAUTHORIZED, Some(wrong))
        }
        Err(NotSignedIn::LockedOut(seconds)) => {
            let wrong = format!("Too many attempts failed. Try again in {seconds} seconds.");
            let mut response = sign_in_page(&headers, StatusCode::TOO_MANY_REQUESTS, Some(&wrong));
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Err(NotSignedIn::Answer(Answer(problem))) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            sign_in_page(&headers, status, Some(&problem.title))
        }
    }
}

/// Ends the session of this browser.
pub(super) async fn sign_out(_: Guest) -> Response {
    ([(header::SET_COOKIE, Session::cookie_gone())], Redirect::to("/me")).into_response()
}

/// Asks once more before an event is disowned.
pub(super) async fn confirm(guest: Guest, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(refusal) = me::allowed(&guest.state.own_activity.reads, &guest.state, &guest.myself) {
        return failed(&headers, &guest, refusal);
    }
    let told = match me::entry(&guest.state, &guest.myself, &id).await {
        Ok(told) => told,
        Err(answer) => return failed(&headers, &guest, answer.into()),
    };
    match Entry::deserialize(&told) {
        Ok(entry) => {
            let frame = MyFrame::new("This wasn't me", &headers, &guest.csrf);
            page(StatusCode::OK, &DisownPage { frame, entry })
        }
        Err(error) => unreadable(&headers, &guest, &error),
    }
}

/// Disowns an event.
pub(super) async fn disown(guest: Guest, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let done = async {
        me::allowed(&guest.state.own_activity.disowns, &guest.state, &guest.myself)?;
        Ok::<Value, Refusal>(me::say_not_me(&guest.state, &guest.myself, &id).await?)
    };
    match done.await {
        Ok(_) => Redirect::to("/me?said=not-me").into_response(),
        Err(refusal) => failed(&headers, &guest, refusal),
    }
}

/// Everything of theirs, as a file.
pub(super) async fn download(guest: Guest, headers: HeaderMap) -> Response {
    match me::download(&guest.state, &guest.myself, Format::Ndjson).await {
        Ok(response) => response,
        Err(refusal) => failed(&headers, &guest, refusal),
    }
}

fn sign_in_page(headers: &HeaderMap, status: StatusCode, wrong: Option<&str>) -> Response {
    page(status, &SignInPage { frame: MyFrame::new("Your activity", headers, ""), wrong })
}

fn unreadable(headers: &HeaderMap, guest: &Guest, error: &serde_json::Error) -> Response {
    tracing::error!(%error, "a page cannot read an answer");
    failed(headers, guest, crate::store::StoreError::Damaged("answer").into())
}

fn failed(headers: &HeaderMap, guest: &Guest, refusal: Refusal) -> Response {
    let (status, words, wait) = match refusal {
        Refusal::Answer(Answer(problem)) => (problem.status, problem.title.to_string(), None),
        Refusal::TooOften(TooOften(seconds)) => {
            (429, format!("You asked too often. Try again in {seconds} seconds."), Some(seconds))
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let frame = MyFrame::new("That did not work", headers, &guest.csrf);
    let mut response = page(status, &FailurePage { frame, words: &words });
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
