//! Object storage: S3 by way of a client that connects to checked addresses alone, or a directory.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use reqwest::Client;

use super::{SendError, words};
use crate::sink::vault::Secret;
use crate::webhook::Target;

/// Objects that are written at the same time.
const TOGETHER: usize = 8;

/// Where objects go.
#[derive(Debug, Clone)]
pub(in super::super) enum Bucket {
    /// A bucket of S3 or of what speaks like it.
    S3 {
        endpoint: Target,
        bucket: String,
        prefix: String,
        region: String,
        access_key_id: String,
        secret: Secret,
    },
    /// A directory.
    Directory(std::path::PathBuf),
}

/// A client that was made before.
#[derive(Debug)]
struct Made(Client);

impl HttpConnector for Made {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// Writes objects, by their paths below the prefix; what is there already is written over.
    pub(in super::super) async fn put(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), SendError> {
        let (store, prefix) = self.open().await?;
        stream::iter(objects)
            .map(|(path, bytes)| {
                let path: Path = prefix.parts().chain(Path::from(path).parts()).collect();
                let store = Arc::clone(&store);
                async move { store.put(&path, PutPayload::from(bytes)).await.map(|_| ()).map_err(failed) }
            })
            .buffer_unordered(TOGETHER)
            .try_collect()
            .await
    }

    async fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path), SendError> {
        let unusable = |error: &dyn std::fmt::Display| SendError::Unusable(words(&error.to_string()));
        match self {
            Self::Directory(dir) => {
                std::fs::create_dir_all(dir).map_err(|error| unusable(&error))?;
                let opened = crate::storage::directory(dir).map_err(|error| unusable(&error))?;
                Ok((opened.store, opened.prefix))
            }
            Self::S3 { endpoint, bucket, prefix, region, access_key_id, secret } => {
                let client = endpoint.client().await?;
                let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
                let store = AmazonS3Builder::new()
                    .with_http_connector(Made(client))
                    .with_endpoint(endpoint.url().as_str().trim_end_matches('/'))
                    .with_allow_http(endpoint.url().scheme() == "http")
                    .with_region(region)
                    .with_bucket_name(bucket)
                    .with_access_key_id(access_key_id)
                    .with_secret_access_key(secret.reveal())
                    .with_retry(once)
                    .build()
                    .map_err(|error| unusable(&error))?;
                Ok((Arc::new(store), Path::from(prefix.as_str())))
            }
        }
    }
}

/// What the storage said, by kind: its own words quote the request.
fn failed(error: Error) -> SendError {
    let status = |code| SendError::Status { code, retry_after: None };
    match error {
        Error::Unauthenticated { .. } => status(401),
        Error::PermissionDenied { .. } => status(403),
        Error::NotFound { .. } => status(404),
        Error::Generic { source, .. } => SendError::transport(source.as_ref()),
        other => SendError::Transport(words(&other.to_string())),
    }
}
