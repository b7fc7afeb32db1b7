//! From what people give as an image's id to the id.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use control::{Client, Image, Images};

/// The id of the image that `given` names: by either of its ids, or the beginning of one. What the worker does not list is returned as it is: the worker
/// lists not all that it knows, and says itself what it does not know.
pub(crate) async fn resolve(client: &Client, given: &str) -> Result<String> {
    let Images { images } = client.get("/images", &[]).await?;
    among(&images, given)
}

fn among(images: &[Image], given: &str) -> Result<String> {
    let ids = images.iter().flat_map(|image| [Some(&image.id), image.archive.as_ref().map(|archive| &archive.id)]).flatten();
    let found: BTreeSet<&String> = ids.filter(|id| id.starts_with(given) && !given.is_empty()).collect();
    if found.iter().any(|id| *id == given) {
        return Ok(given.into());
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(a), Some(b)) => bail!("{given} is short for several images, {a} and {b} among them: give more of it"),
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Ok(given.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_their_beginnings() {
        let image = |id: &str| Image {
            id: id.into(),
            image: "x".into(),
            status: control::State::Success,
            job: None,
            progress: None,
            error: None,
            archive: None,
        };
        let images = [image("abc1"), image("abc2"), image("abc"), image("def1")];
        let check = |given: &str| among(&images, given).map_err(|error| error.to_string());
        assert_eq!((check("d"), check("abc"), check("abc2")), (Ok("def1".into()), Ok("abc".into()), Ok("abc2".into())));
        assert_eq!((check("none"), check("")), (Ok("none".into()), Ok(String::new())));
        assert!(check("ab").unwrap_err().contains("abc and abc1"));
    }
}
