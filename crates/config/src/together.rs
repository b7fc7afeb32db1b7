//! What only several values together show.

use crate::choice::RegistryStore;
use crate::effective::Effective;
use crate::environment::variable;
use crate::error::Error;

/// Refuses values that need one that is missing, or that exclude each other.
pub(crate) fn check(effective: &Effective) -> Result<(), Error> {
    let service = &effective.config.image_service;
    let s3 = &service.s3;
    let store = ("imageService.registryStore", "imageService.registryStore: s3");
    let access = ("imageService.s3.accessKey", "imageService.s3.accessKey");
    let secret = ("imageService.s3.secretKey", "imageService.s3.secretKey");
    let token = ("imageService.s3.sessionToken", "imageService.s3.sessionToken");

    // What is given, and what it needs: is it there?
    let needs = [
        (store, service.registry_store == RegistryStore::S3, "imageService.s3.bucket", s3.bucket.is_some()),
        (access, s3.access_key.is_some(), secret.0, s3.secret_key.is_some()),
        (secret, s3.secret_key.is_some(), access.0, s3.access_key.is_some()),
        (token, s3.session_token.is_some(), access.0, s3.access_key.is_some()),
    ];
    for ((key, because), given, needed, there) in needs {
        if given && !there {
            return Err(Error::Required { key: needed, variable: variable(needed), because, origin: effective.origin(key) });
        }
    }
    if s3.anonymous && s3.access_key.is_some() {
        let (first, second) = ("imageService.s3.anonymous", access.0);
        return Err(Error::Exclusive { first, first_origin: effective.origin(first), second, second_origin: effective.origin(second) });
    }
    Ok(())
}
