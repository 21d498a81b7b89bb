//! Forms that change something.

use axum::extract::{Form, FromRequest as _, Request};

use crate::api::Answer;

/// A form's fields, in their order.
pub(super) type Fields = Vec<(String, String)>;

/// Reads a form.
pub(super) async fn form(request: Request) -> Result<Fields, Answer> {
    let form = Form::<Fields>::from_request(request, &()).await;
    form.map(|Form(fields)| fields).map_err(|error| Answer::parameter("form", error.body_text()))
}

/// A field's value.
pub(super) fn value<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}
