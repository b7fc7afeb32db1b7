//! What `clipctl images` and `clipctl rmi` ask of a worker.

use anyhow::Result;
use control::{Image, Images, JobError, State, Stored, segment};
use serde::Serialize;

use super::{Worker, resolve};
use crate::size;
use crate::table::Column::{Left, Right};
use crate::table::table;

/// Digits of an id that people are shown: enough to name it.
const SHOWN_DIGITS: usize = 12;

/// An image as `clipctl images` lists it: what a store's record has, and how far it is.
#[derive(Serialize)]
struct Listed<'a> {
    image: &'a str,
    /// The worker's name for it, which there is also without an archive.
    image_id: &'a str,
    status: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JobError>,
    #[serde(flatten)]
    archive: Option<&'a Stored>,
}

impl Worker {
    /// All images.
    pub fn images(&self) -> Result<Vec<Image>> {
        let Images { images } = self.wait(self.client.get("/images", &[]))?;
        Ok(images)
    }

    /// Removes an image; returns its id.
    pub fn remove(&self, given: &str, force: bool) -> Result<String> {
        self.wait(async {
            let id = resolve(&self.client, given).await?;
            let force: &[(&str, &str)] = if force { &[("force", "true")] } else { &[] };
            self.client.delete(&format!("/images/{}", segment(&id)), force).await?;
            Ok(id)
        })
    }
}

/// The images for programs.
pub(crate) fn document(images: &[Image]) -> impl Serialize {
    let listed = |image: &Image| {
        let Image { id, image, status, job, error, archive, .. } = image;
        let (job, error, archive) = (job.as_ref(), error.as_ref(), archive.as_ref());
        serde_json::to_value(Listed { image, image_id: id, status: *status, job, error, archive }).unwrap_or_default()
    };
    images.iter().map(listed).collect::<Vec<_>>()
}

/// The images for people.
pub(crate) fn text(images: &[Image]) -> String {
    let rows: Vec<[String; 6]> = images.iter().map(row).collect();
    table(&[Left("ID"), Left("VERSION"), Right("ARCHIVE"), Right("FILES"), Left("STATUS"), Left("IMAGE")], &rows)
}

fn row(image: &Image) -> [String; 6] {
    let archive = image.archive.as_ref();
    let of_archive = |shown: &dyn Fn(&Stored) -> String| archive.map_or_else(|| "-".into(), shown);
    let id = archive.map_or(&image.id, |archive| &archive.id);
    [
        id.get(..SHOWN_DIGITS).unwrap_or(id).into(),
        of_archive(&|archive| archive.version.clone()),
        of_archive(&|archive| size::human(archive.archive_bytes)),
        of_archive(&|archive| size::human(archive.file_bytes)),
        image.status.to_string(),
        format!("{}{}", image.image, note(image)),
    ]
}

fn note(image: &Image) -> String {
    match (&image.error, &image.archive) {
        (Some(error), _) => format!("  ({})", error.message),
        (None, Some(Stored { fallback: Some(_), .. })) => "  (fell back from v2)".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn with_and_without_an_archive() {
        let images: Vec<Image> = serde_json::from_value(json!([
            {"id": "0123456789abcdef", "image": "python:3.12", "status": "success", "job": "j1", "archive": {
                "id": "fedcba9876543210", "image": "python:3.12", "manifest": "sha256:x", "platform": "linux/amd64", "version": "v1", "archive_bytes": 1024, "file_bytes": 2048,
                "created": 1, "fallback": "no ranges"}},
            {"id": "1123456789abcdef", "image": "bad", "status": "failed", "error": {"code": "x", "message": "no such image", "is_transient": false}},
        ]))
        .unwrap();
        let expected = "\
ID            VERSION  ARCHIVE    FILES  STATUS   IMAGE
fedcba987654  v1       1.0 KiB  2.0 KiB  success  python:3.12  (fell back from v2)
1123456789ab  -              -        -  failed   bad  (no such image)
";
        assert_eq!(text(&images), expected);
        let document = serde_json::to_value(document(&images)).unwrap();
        assert_eq!((&document[0]["id"], &document[0]["image_id"]), (&json!("fedcba9876543210"), &json!("0123456789abcdef")));
        assert!(document[1].get("id").is_none() && document[1]["status"] == "failed");
    }
}
