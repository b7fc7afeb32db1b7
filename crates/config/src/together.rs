//! What only several values together show.

use crate::choice::RegistryStore;
use crate::effective::Effective;
use crate::environment::variable;
use crate::error::Error;
use crate::secret::Secret;

/// A key, how it is called as a reason, whether it is given, what it needs (one of several: with [`OR`] between them), whether that is
/// there.
type Need = (&'static str, &'static str, bool, &'static str, bool);

/// Between keys of which one is enough.
const OR: &str = " or ";

/// Refuses values that need one that is missing, or that exclude each other.
pub(crate) fn check(effective: &Effective) -> Result<(), Error> {
    image_service(effective)?;
    worker(effective)
}

fn image_service(effective: &Effective) -> Result<(), Error> {
    let service = &effective.config.image_service;
    let s3 = &service.s3;
    let (access, secret, token) = ("imageService.s3.accessKey", "imageService.s3.secretKey", "imageService.s3.sessionToken");
    let (store, store_s3, bucket) = ("imageService.registryStore", "imageService.registryStore: s3", "imageService.s3.bucket");
    needs(
        effective,
        &[
            (store, store_s3, service.registry_store == RegistryStore::S3, bucket, s3.bucket.is_some()),
            (access, access, s3.access_key.is_some(), secret, s3.secret_key.is_some()),
            (secret, secret, s3.secret_key.is_some(), access, s3.access_key.is_some()),
            (token, token, s3.session_token.is_some(), access, s3.access_key.is_some()),
        ],
    )?;
    if s3.anonymous && s3.access_key.is_some() {
        let (first, second) = ("imageService.s3.anonymous", access);
        return Err(Error::Exclusive { first, first_origin: effective.origin(first), second, second_origin: effective.origin(second) });
    }
    Ok(())
}

fn worker(effective: &Effective) -> Result<(), Error> {
    let worker = &effective.config.worker;
    let (listen, cert, key) = ("worker.listen", "worker.tlsCert", "worker.tlsKey");
    let (has_cert, has_key) = (worker.tls_cert.is_some(), worker.tls_key.is_some());
    let has_token = worker.read_token.is_some() || worker.admin_token.is_some();
    // What only this machine can hear needs no encryption; but anybody on it could ask.
    let is_far = worker.listen.as_ref().is_some_and(|listen| !listen.is_loopback());
    needs(
        effective,
        &[
            (cert, cert, has_cert, key, has_key),
            (key, key, has_key, cert, has_cert),
            (listen, "worker.listen with a host other than loopback", is_far, cert, has_cert),
            (listen, listen, worker.listen.is_some(), "worker.readToken or worker.adminToken", has_token),
            ("worker.webhookToken", "worker.webhookToken", worker.webhook_token.is_some(), "worker.webhook", worker.webhook.is_some()),
        ],
    )?;
    // The receiver of the webhook learns its token: it must open nothing here.
    let (read, admin) = (("worker.readToken", &worker.read_token), ("worker.adminToken", &worker.admin_token));
    let webhook = ("worker.webhookToken", &worker.webhook_token);
    [(read, admin), (read, webhook), (admin, webhook)].into_iter().try_for_each(|(first, second)| differ(effective, first, second))
}

/// Refuses the first key that is given without what it needs.
fn needs(effective: &Effective, needs: &[Need]) -> Result<(), Error> {
    match needs.iter().find(|(_, _, given, _, there)| *given && !there) {
        Some(&(key, because, _, needed, _)) => {
            let variable = needed.split(OR).map(variable).collect::<Vec<_>>().join(OR);
            Err(Error::Required { key: needed, variable, because, origin: effective.origin(key) })
        }
        None => Ok(()),
    }
}

/// Refuses one secret for two purposes.
fn differ(effective: &Effective, a: (&'static str, &Option<Secret>), b: (&'static str, &Option<Secret>)) -> Result<(), Error> {
    let ((first, one), (second, other)) = (a, b);
    if one.is_some() && one == other {
        return Err(Error::Same { first, first_origin: effective.origin(first), second, second_origin: effective.origin(second) });
    }
    Ok(())
}
