//! What a failure of the SDK means for the caller: the one table from S3's codes to [`backend::Error`].
//!
//! No text here holds credentials: of an answer only its code, its message (for codes that are not about keys), a region and a
//! date are taken; of a failure without an answer the words of its causes.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    primitives::{DateTime, DateTimeFormat},
};
use backend::Error;

/// Characters of a server's message that are shown.
const MESSAGE_CHARS_MAX: usize = 200;
/// Causes of causes that are looked at.
const CAUSES_MAX: usize = 16;

/// What was asked, for the messages.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `s3://bucket/key`, with the endpoint where it is not Amazon's.
    pub(crate) what: String,
    /// The bucket, likewise.
    pub(crate) bucket: String,
    /// What is missing where access is denied.
    pub(crate) hint: String,
    /// The region that was asked.
    pub(crate) region: String,
}

/// A request that failed: what it means, and the code for those who know what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The HTTP status, 0 if there was no answer.
    pub(crate) status: u16,
    /// S3's code, empty if there was none: answers to HEAD have none.
    pub(crate) code: String,
    pub(crate) error: Error,
}

impl Failure {
    /// For answers that break the protocol.
    pub(crate) fn protocol(asked: &Asked, detail: impl Into<String>) -> Self {
        Self { status: 0, code: String::new(), error: Error::protocol(&asked.what, detail) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The failure of an SDK call.
pub(crate) fn failure<E>(asked: &Asked, error: SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let none = |error| Failure { status: 0, code: String::new(), error };
    match error {
        SdkError::ServiceError(context) => {
            let raw = context.raw();
            let header = |name: &str| raw.headers().get(name);
            let body = raw.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
            let answer = Answer {
                status: raw.status().as_u16(),
                code: context.err().code().unwrap_or_default(),
                message: context.err().message().unwrap_or_default(),
                region: header("x-amz-bucket-region").or_else(|| element(&body, "Region")),
                date: header("date").and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.try_into().ok()),
                retry_after: header("retry-after").and_then(|text| backend::retry_after(text, unix_now())),
            };
            Failure { status: answer.status, code: answer.code.to_owned(), error: answer.means(asked) }
        }
        SdkError::TimeoutError(_) => none(timeout(asked, "waiting for the answer")),
        SdkError::DispatchFailure(failure) => none(match failure.as_connector_error() {
            Some(error) => connector(asked, error),
            None => Error::unavailable(&asked.what, "the request was not sent"),
        }),
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            let words = words(&SdkError::<E>::ResponseError(context));
            // An answer that cannot be read: cut short, or from something that is not S3.
            let error = match status {
                200..300 => Error::unavailable(&asked.what, words),
                500.. => Error::unavailable(&asked.what, format!("{status}: {words}")),
                _ => Error::protocol(&asked.what, format!("{status}: {words}")),
            };
            Failure { status, code: String::new(), error }
        }
        other => none(before_sending(asked, &other)),
    }
}

/// A body that broke off.
pub(crate) fn body(what: &str, error: &(dyn StdError + 'static)) -> Error {
    Error::unavailable(what, words(error))
}

pub(crate) fn timeout(asked: &Asked, doing: &str) -> Error {
    Error::Timeout { what: asked.what.clone(), doing: doing.to_owned() }
}

/// What S3 said, taken out of the answer.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    region: Option<&'a str>,
    date: Option<SystemTime>,
    retry_after: Option<Duration>,
}

impl Answer<'_> {
    fn means(&self, asked: &Asked) -> Error {
        let denied = |hint: String| Error::Denied { what: asked.what.clone(), hint };
        match (self.code, self.status) {
            ("NoSuchBucket", _) => Error::NotFound { what: asked.bucket.clone() },
            ("NoSuchUpload", _) => Error::NotFound { what: format!("the upload of {}", asked.what) },
            ("PreconditionFailed", _) | (_, 412) => Error::Changed { what: asked.what.clone() },
            ("SignatureDoesNotMatch", _) => denied("the signature does not match; check the secret key".to_owned()),
            ("InvalidAccessKeyId", _) => denied("the access key is not known there; check the credentials and the endpoint".to_owned()),
            ("ExpiredToken" | "TokenRefreshRequired", _) => denied("the credentials have expired; renew them".to_owned()),
            ("InvalidToken", _) => denied("the session token is not valid; renew the credentials".to_owned()),
            ("RequestTimeTooSkewed", _) => denied(self.clock(SystemTime::now())),
            ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 301 | 307) => self.elsewhere(asked),
            ("SlowDown" | "Throttling" | "RequestLimitExceeded", _) | (_, 429 | 503) => {
                Error::RateLimited { what: asked.what.clone(), retry_after: self.retry_after }
            }
            ("NotImplemented", _) | (_, 501) => Error::protocol(&asked.what, self.said()),
            // What arrived there is not what we sent, or somebody else was at it: another try may do.
            ("RequestTimeout" | "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch", _)
            | ("OperationAborted" | "ConditionalRequestConflict", _)
            | (_, 408 | 500..) => Error::unavailable(&asked.what, self.said()),
            ("NoSuchKey", _) | (_, 404 | 410) => Error::NotFound { what: asked.what.clone() },
            (_, 401 | 403) => denied(format!("{}; {}", self.said(), asked.hint)),
            _ => Error::protocol(&asked.what, self.said()),
        }
    }

    /// The bucket is somewhere else, or the credentials' scope is not what S3 wants.
    fn elsewhere(&self, asked: &Asked) -> Error {
        let reason = match self.region.filter(|region| *region != asked.region && is_name(region)) {
            Some(region) => format!("{} lies in '{region}', and '{}' was asked; set the region to {region}", asked.bucket, asked.region),
            None => format!("{}: {}; check the region ('{}') and the endpoint", asked.bucket, self.said(), asked.region),
        };
        Error::InvalidOption { option: "S3 region", reason }
    }

    fn clock(&self, now: SystemTime) -> String {
        let Some(date) = self.date else { return "the clock of this machine is off; set it".to_owned() };
        match date.duration_since(now) {
            Ok(behind) => format!("the clock of this machine is {} s behind; set it", behind.as_secs()),
            Err(ahead) => format!("the clock of this machine is {} s ahead; set it", ahead.duration().as_secs()),
        }
    }

    fn said(&self) -> String {
        let line: String = self.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
        let parts = [self.status.to_string(), self.code.to_owned(), line];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// No answer, but a failure of the connection or of what led to it.
fn connector(asked: &Asked, error: &ConnectorError) -> Error {
    let words = words(error);
    if error.is_timeout() {
        return timeout(asked, "connecting");
    }
    // The library that knows its type is hidden behind others, so its words must do.
    if ["certificate", "corrupt message", "received fatal alert", "HandshakeFailure"].iter().any(|word| words.contains(word)) {
        return Error::Tls { what: asked.what.clone(), source: Arc::new(Cause(words)) };
    }
    match credentials(asked, error) {
        Some(error) => error,
        None if error.is_user() => Error::protocol(&asked.what, words),
        None => Error::unavailable(&asked.what, words),
    }
}

fn before_sending(asked: &Asked, error: &(dyn StdError + 'static)) -> Error {
    let unusable = || Error::InvalidOption { option: "S3 options", reason: format!("{}: {}", asked.what, words(error)) };
    credentials(asked, error).unwrap_or_else(unusable)
}

/// Whether credentials could not be had, and why.
fn credentials(asked: &Asked, error: &(dyn StdError + 'static)) -> Option<Error> {
    let cause = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    let denied = |hint: String| Error::Denied { what: asked.what.clone(), hint };
    Some(match cause {
        CredentialsError::CredentialsNotLoaded(_) => {
            denied("no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or ask anonymously".to_owned())
        }
        CredentialsError::InvalidConfiguration(_) => denied(format!("the configured credentials cannot be used: {}", words(cause))),
        // Whoever gives them out (an instance, a token service) fails or is slow.
        _ => Error::unavailable(&asked.what, format!("get credentials: {}", words(cause))),
    })
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(CAUSES_MAX)
}

/// All causes in a line, each said once.
fn words(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        if !words.iter().any(|earlier| earlier.contains(&text)) {
            words.push(text);
        }
    }
    words.join(": ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(2 * MESSAGE_CHARS_MAX).collect()
}

/// The text of the first `<name>` in an error's XML.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0)
}

/// Whether a server's word for a region can be shown as one.
fn is_name(region: &str) -> bool {
    (1..=64).contains(&region.len()) && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Wall time, for dates that servers name. Before 1970 is 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A cause that is only a sentence.
#[derive(Debug)]
struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            what: "s3://b/k".into(),
            bucket: "bucket 'b'".into(),
            hint: "s3:GetObject on arn:aws:s3:::b/k is needed".into(),
            region: "us-east-1".into(),
        }
    }

    fn answer<'a>(status: u16, code: &'a str) -> Answer<'a> {
        Answer { status, code, message: "so it is", region: None, date: None, retry_after: Some(Duration::from_secs(3)) }
    }

    #[test]
    fn permanent_answers_say_what_to_do() {
        for (status, code, text) in [
            (404, "NoSuchBucket", "bucket 'b': not found; check the name, and whether it was deleted"),
            (404, "NoSuchKey", "s3://b/k: not found; check the name, and whether it was deleted"),
            (404, "", "s3://b/k: not found; check the name, and whether it was deleted"),
            (404, "NoSuchUpload", "the upload of s3://b/k: not found; check the name, and whether it was deleted"),
            (412, "PreconditionFailed", "s3://b/k: changed while in use; mount it again"),
            (403, "AccessDenied", "s3://b/k: access denied; 403 AccessDenied so it is; s3:GetObject on arn:aws:s3:::b/k is needed"),
            (403, "SignatureDoesNotMatch", "s3://b/k: access denied; the signature does not match; check the secret key"),
            (400, "ExpiredToken", "s3://b/k: access denied; the credentials have expired; renew them"),
            (501, "NotImplemented", "s3://b/k: unexpected answer: 501 NotImplemented so it is"),
            (400, "InvalidRequest", "s3://b/k: unexpected answer: 400 InvalidRequest so it is"),
            (301, "", "S3 region: bucket 'b': 301 so it is; check the region ('us-east-1') and the endpoint"),
        ] {
            let error = answer(status, code).means(&asked());
            assert_eq!(error.to_string(), text);
            assert!(!error.is_transient(), "{text}");
        }
    }

    #[test]
    fn transient_answers_are_tried_again() {
        for (status, code) in [(503, "SlowDown"), (503, ""), (429, "")] {
            let error = answer(status, code).means(&asked());
            assert!(matches!(error, Error::RateLimited { .. }), "{status} {code}: {error:?}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        }
        for (status, code) in [(500, "InternalError"), (400, "RequestTimeout"), (400, "BadDigest"), (409, "OperationAborted"), (502, "")] {
            let error = answer(status, code).means(&asked());
            assert!(matches!(error, Error::Unavailable { .. }), "{status} {code}: {error:?}");
        }
    }

    #[test]
    fn the_right_region_is_named_if_the_answer_tells() {
        let moved = Answer { region: Some("eu-west-1"), ..answer(400, "AuthorizationHeaderMalformed") };
        let text = moved.means(&asked()).to_string();
        assert_eq!(text, "S3 region: bucket 'b' lies in 'eu-west-1', and 'us-east-1' was asked; set the region to eu-west-1");
        assert_eq!(element("<Error><Region>eu-west-1</Region></Error>", "Region"), Some("eu-west-1"));
        assert_eq!(element("<Error><Region>", "Region"), None);
    }

    #[test]
    fn the_clock_is_named() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let at = |seconds| Answer { date: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), ..answer(403, "") }.clock(now);
        assert_eq!(at(13_600), "the clock of this machine is 3600 s behind; set it");
        assert_eq!(at(9_000), "the clock of this machine is 1000 s ahead; set it");
    }
}
