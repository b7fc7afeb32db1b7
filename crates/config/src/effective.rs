//! Layers → configuration, with the origin of each value.

use figment::Figment;
use serde_json::Value as Json;

use crate::environment;
use crate::error::Error;
use crate::keys::{self, KEYS};
use crate::layer::Layer;
use crate::model::Config;
use crate::origin::Origin;
use crate::sources::Sources;
use crate::{show, together};

/// The configuration that holds, and where each value comes from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// What holds.
    pub config: Config,
    entries: Vec<Entry>,
}

/// One value of the effective configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, with dots: `imageService.clipVersion`.
    pub key: &'static str,
    /// The value; a secret is `****`.
    pub value: Json,
    /// Where it comes from.
    pub origin: Origin,
}

impl Entry {
    /// The value for people: `v1`, `none`, `a:5000, b`.
    pub fn shown(&self) -> String {
        keys::shown(&self.value)
    }
}

impl Effective {
    /// Lays the sources on the defaults, weakest first.
    ///
    /// # Errors
    ///
    /// An unknown key or bad value in any layer; variables for the switch that disagree; values that need or exclude each other.
    pub fn load(sources: &Sources) -> Result<Effective, Error> {
        let mut layers = vec![Layer::defaults()?];
        for file in &sources.files {
            layers.push(Layer::file(file)?);
        }
        let flags = sources.flags.iter().map(Layer::flag).collect::<Result<Vec<_>, _>>()?;
        let decided = sources.flags.iter().any(|flag| flag.key == "imageService.clipVersion");
        layers.extend(environment::layers(&sources.environment, decided)?);
        layers.extend(flags);

        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        let config: Config = figment.extract().map_err(|error| Error::Internal { key: error.path.join(".") })?;
        let entries = entries(&figment, &config)?;
        let effective = Effective { config, entries };
        together::check(&effective)?;
        Ok(effective)
    }

    /// Every value in the order of the structs; secrets masked.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// As YAML with the origins as comments; secrets masked.
    pub fn yaml(&self) -> String {
        show::yaml(&self.entries)
    }

    /// As `{"config": {…}, "origins": {"imageService.clipVersion": "default", …}}`; secrets masked.
    pub fn json(&self) -> Json {
        show::json(&self.entries)
    }

    /// Where the value of a key comes from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.entries.iter().find(|entry| entry.key == key).map_or(Origin::Default, |entry| entry.origin.clone())
    }
}

fn entries(figment: &Figment, config: &Config) -> Result<Vec<Entry>, Error> {
    let internal = |key: &str| Error::Internal { key: key.into() };
    // Serialised from the structs, not taken from figment's values, which have the secrets.
    let values = serde_json::to_value(config).map_err(|_| internal(""))?;
    let entry = |key: &'static str| {
        let value = keys::lookup(&values, key).ok_or_else(|| internal(key))?.clone();
        let tag = figment.find_value(key).map_err(|_| internal(key))?.tag();
        Ok(Entry { key, value, origin: Origin::of(figment.get_metadata(tag)) })
    };
    KEYS.iter().map(|key| entry(key.path)).collect()
}
