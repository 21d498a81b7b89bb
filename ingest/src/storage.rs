//! Object storage as it is configured: S3 and what speaks like it, or a directory.

use std::sync::Arc;

use object_store::ClientOptions;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config;

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");

/// Why a configuration does not lead to a store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(String);

/// Object storage, open.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The storage.
    pub store: Arc<dyn ObjectStore>,
    /// The same with a checksum announced for each object, without which buckets with Object Lock take none.
    pub checked: Arc<dyn ObjectStore>,
    /// Where in it we are.
    pub prefix: Path,
}

/// The configured storage; a directory is made if it is not there.
///
/// # Errors
/// [`StorageError`]
pub fn open(config: &config::Storage) -> Result<Opened, StorageError> {
    let Some(place) = config.url.strip_prefix("s3://") else {
        let dir = config.url.strip_prefix("file://").unwrap_or_default();
        std::fs::create_dir_all(dir).map_err(|error| StorageError(error.to_string()))?;
        return directory(std::path::Path::new(dir));
    };
    let mut builder = AmazonS3Builder::new()
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    let http = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(http);
    }
    if let (Some(id), Some(key)) = (&config.access_key_id, &config.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(key);
    }
    bucket(builder, place, http)
}

/// The storage that a URL names, `s3://bucket/prefix`, with what the environment says of S3 (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …).
///
/// # Errors
/// [`StorageError`]
pub fn from_environment(url: &str) -> Result<Opened, StorageError> {
    let place =
        url.strip_prefix("s3://").ok_or_else(|| StorageError(format!("{url} is not s3://bucket/prefix")))?;
    let http = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|endpoint| endpoint.starts_with("http://"));
    bucket(AmazonS3Builder::from_env().with_allow_http(http), place, http)
}

/// A directory that is there.
///
/// # Errors
/// [`StorageError`]
pub fn directory(dir: &std::path::Path) -> Result<Opened, StorageError> {
    let store = LocalFileSystem::new_with_prefix(dir).map_err(refused)?.with_fsync(true);
    let store: Arc<dyn ObjectStore> = Arc::new(store.with_automatic_cleanup(true));
    Ok(Opened { checked: Arc::clone(&store), store, prefix: Path::default() })
}

fn bucket(builder: AmazonS3Builder, place: &str, http: bool) -> Result<Opened, StorageError> {
    crate::tls::use_ring();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let builder = builder.with_bucket_name(bucket);
    let announced = HeaderMap::from_iter([(CHECKSUM, HeaderValue::from_static("SHA256"))]);
    let options = ClientOptions::new().with_allow_http(http).with_default_headers(announced);
    let checked = builder.clone().with_checksum_algorithm(Checksum::SHA256).with_client_options(options);
    let store = Arc::new(builder.build().map_err(refused)?);
    let checked = Arc::new(checked.build().map_err(refused)?);
    Ok(Opened { store, checked, prefix: Path::from(prefix) })
}

fn refused(error: object_store::Error) -> StorageError {
    StorageError(error.to_string())
}
