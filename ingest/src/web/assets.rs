//! The style sheet and the script. Their names hold their hashes, so that a browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

/// A file that is part of the program.
#[derive(Debug)]
struct Asset {
    name: String,
    content_type: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(text)[..8]);
        Self { name: format!("{stem}.{hash}.{extension}"), content_type, text }
    }

    fn url(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("app", "js", "text/javascript; charset=utf-8", include_str!("assets/app.js"))
});
static MY_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("me", "css", "text/css; charset=utf-8", include_str!("assets/me.css")));
static MY_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("me", "js", "text/javascript; charset=utf-8", include_str!("assets/me.js")));
/// The element that applications put into their own pages, under a name that stays.
const COMPONENT: &str = include_str!("assets/edgetrail-activity.js");
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// Where the style sheet is.
pub(super) fn style() -> String {
    STYLE.url()
}

/// Where the script is.
pub(super) fn script() -> String {
    SCRIPT.url()
}

/// Where the style sheet of one's own pages is.
pub(super) fn my_style() -> String {
    MY_STYLE.url()
}

/// Where the script of one's own pages is.
pub(super) fn my_script() -> String {
    MY_SCRIPT.url()
}

/// Where the icon is.
pub(super) fn icon() -> String {
    ICON.url()
}

pub(super) async fn serve(Path(name): Path<String>) -> Response {
    match [&*STYLE, &*SCRIPT, &*MY_STYLE, &*MY_SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The element for pages of other sites: any may load it, it holds nothing of anybody.
pub(super) async fn component() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    (headers, COMPONENT).into_response()
}
