//! Where finished archives live by image id, and how an archive is opened that lies somewhere else.
//!
//! An [`ImageId`] is derived from what goes into an archive, before there is one: two nodes that are asked for the same image look for the same
//! id. A [`Store`] keeps for each id the archive and a [`Record`], which is written last: what has no record is not there.
//! [`Place`] says where one archive lies; [`open`] makes of it an [`archive::Archive`] on local disk, whole or only its head, with the blob that the
//! rest is read from.
//!
//! | File | Idea |
//! |---|---|
//! | `id` | the name of an image, and what it depends on |
//! | `record` | what is known of an archive without opening it |
//! | `place` | where an archive lies: a file or an object |
//! | `open` | from a place to an archive; heads of objects, kept locally |
//! | `output` | an object that is written as an archive |
//! | `local`, `remote` | the two kinds of store |
//! | `claim` | two who want the same image at once do the work once |

mod claim;
mod error;
mod id;
mod local;
mod open;
mod output;
mod place;
mod record;
mod remote;

pub use claim::Claim;
pub use error::Error;
pub use id::ImageId;
pub use local::LocalStore;
pub use open::{Opened, open};
pub use output::S3Output;
pub use place::Place;
pub use record::Record;
pub use remote::S3Store;

/// A store of either kind.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a directory.
    Local(LocalStore),
    /// In a bucket.
    S3(S3Store),
}

impl Store {
    /// The record of an image, if it is there.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn find(&self, id: &ImageId) -> Result<Option<Record>, Error> {
        match self {
            Store::Local(store) => store.find(id),
            Store::S3(store) => store.find(id).await,
        }
    }

    /// All images, the oldest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Record>, Error> {
        let mut records = match self {
            Store::Local(store) => store.list()?,
            Store::S3(store) => store.list().await?,
        };
        records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(records)
    }

    /// The right to make an image; waits while another process, or with a bucket another node, has it. Who has waited looks whether the image is there now.
    ///
    /// # Errors
    /// [`Error::Busy`] after hours, and where the store cannot be written.
    pub async fn claim(&self, id: &ImageId) -> Result<Claim, Error> {
        match self {
            Store::Local(store) => claim::local(&store.lock_path(id)).await,
            Store::S3(store) => store.claim(id).await,
        }
    }

    /// Where an image's archive is written to, by whoever has the claim: it appears when it is whole, in place of one that is there.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn output(&self, id: &ImageId) -> Result<Box<dyn archive::Output + Send>, Error> {
        match self {
            Store::Local(store) => store.output(id),
            Store::S3(store) => store.output(id),
        }
    }

    /// Adds the record of an archive that was written: from now on the image is there.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn commit(&self, record: &Record) -> Result<(), Error> {
        match self {
            Store::Local(store) => store.commit(record),
            Store::S3(store) => store.commit(record).await,
        }
    }

    /// Takes an image away. False if it was not there. Mounts of it in a bucket fail from then on; those of a local file go on.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn remove(&self, id: &ImageId) -> Result<bool, Error> {
        match self {
            Store::Local(store) => store.remove(id),
            Store::S3(store) => store.remove(id).await,
        }
    }

    /// Where an image's archive lies.
    ///
    /// # Errors
    /// [`Error::Location`] for a key that S3 does not take.
    pub fn place(&self, id: &ImageId) -> Result<Place, Error> {
        match self {
            Store::Local(store) => Ok(Place::File(store.path(id))),
            Store::S3(store) => store.place(id),
        }
    }

    /// The one image whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`], and where the store cannot be read.
    pub async fn resolve(&self, prefix: &str) -> Result<Record, Error> {
        if let Ok(id) = prefix.parse::<ImageId>() {
            return self.find(&id).await?.ok_or_else(|| Error::NoSuchImage { id: prefix.into() });
        }
        let mut found = self.list().await?.into_iter().filter(|record| record.id.starts_with(prefix));
        match (found.next(), found.next()) {
            // Listed by its record: its archive may have been taken since.
            (Some(record), None) => self.find(&record.image_id()?).await?.ok_or_else(|| Error::NoSuchImage { id: prefix.into() }),
            (None, _) => Err(Error::NoSuchImage { id: prefix.into() }),
            (Some(a), Some(b)) => Err(Error::Ambiguous { prefix: prefix.into(), a: a.id, b: b.id }),
        }
    }
}
