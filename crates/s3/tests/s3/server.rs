//! An S3 server on a port of its own.
//!
//! What s3s-fs does not do is added: `If-Match` on GET, conditional puts that are atomic, and the codes of S3 for what is not there.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use async_trait::async_trait;
use backend::RetryPolicy;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3::{Bucket, Credentials, S3, S3Options};
use s3s::{S3Request, S3Response, S3Result, auth::SimpleAuth, dto::*, s3_error, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};

pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub const SECRET_KEY: &str = "the-secret-of-the-tests";
pub const BUCKET: &str = "archives";

/// Stops when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    root: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Server {
    /// A server with the bucket [`BUCKET`], which asks for signatures or for none.
    pub async fn start(signed: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let store = Store { files: FileSystem::new(root.path()).unwrap(), root: root.path().to_owned(), commits: Mutex::default() };
        let mut service = S3ServiceBuilder::new(store);
        if signed {
            service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                connections
                    .spawn(async move { Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await.ok() });
            }
        });
        Self { address, root, task }
    }

    /// Puts an object there behind everybody's back.
    pub fn store(&self, key: &str, content: &[u8]) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// The files of uploads and puts that have not ended.
    pub fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".upload") || name.starts_with(".tmp") || name.contains(".upload-")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The options of a test: quick to try again.
pub fn options(address: SocketAddr) -> S3Options {
    let retry = RetryPolicy { wait_first: Duration::from_millis(5), deadline: Duration::from_secs(20), ..RetryPolicy::default() };
    S3Options {
        endpoint: Some(format!("http://{address}")),
        region: Some("us-east-1".into()),
        credentials: Credentials::Static { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into(), session_token: None },
        read_timeout: Duration::from_secs(5),
        retry,
        ..S3Options::default()
    }
}

pub async fn bucket(address: SocketAddr) -> Bucket {
    S3::new(options(address)).await.unwrap().bucket(BUCKET).unwrap()
}

struct Store {
    files: FileSystem,
    root: PathBuf,
    /// Held from looking at what is there until the new is.
    commits: Mutex<()>,
}

impl Store {
    fn bucket(&self, name: &str) -> S3Result<()> {
        if self.root.join(name).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// s3s-fs says AccessDenied for uploads that it does not know.
    fn no_upload(error: s3s::S3Error) -> s3s::S3Error {
        if *error.code() == s3s::S3ErrorCode::AccessDenied { s3_error!(NoSuchUpload) } else { error }
    }
}

#[async_trait]
impl s3s::S3 for Store {
    async fn get_object(&self, mut request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.bucket(&request.input.bucket)?;
        // s3s-fs panics where more is asked for than there is.
        if let Some(Range::Suffix { length }) = request.input.range {
            let path = self.root.join(&request.input.bucket).join(&request.input.key);
            match std::fs::metadata(path).map_or(u64::MAX, |file| file.len()) {
                0 => return Err(s3_error!(InvalidRange)),
                size if size < length => request.input.range = Some(Range::Int { first: 0, last: None }),
                _ => {}
            }
        }
        let condition = request.input.if_match.clone();
        let response = self.files.get_object(request).await?;
        match (condition, &response.output.e_tag) {
            (Some(ETagCondition::ETag(wanted)), Some(found)) if !wanted.strong_cmp(found) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(response),
        }
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.bucket(&request.input.bucket)?;
        let _commit = self.commits.lock().await;
        self.files.put_object(request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.bucket(&request.input.bucket)?;
        self.files.delete_object(request).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.bucket(&request.input.bucket)?;
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(request).await.map_err(Self::no_upload)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _commit = self.commits.lock().await;
        self.files.complete_multipart_upload(request).await.map_err(Self::no_upload)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await.map_err(Self::no_upload)
    }
}
