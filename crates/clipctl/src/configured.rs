//! What the configuration says where no flag does: filled into the arguments before a command sees them.

use config::{Config, Origin};
use node::Settings;

use crate::cli::{CacheArgs, Command, Global, ImageArgs, PackArgs};
use crate::registry_args::RegistryArgs;

/// What is logged if nobody says anything. The configuration's own default is for the worker.
const LOG_LEVEL: &str = "warn";

/// Fills in what holds.
pub(crate) fn fill(command: &mut Command, global: &mut Global, settings: &Settings) {
    fill_log_level(global, settings);
    let config = &settings.effective.config;
    match command {
        Command::Index(args) => fill_image(&mut args.from, config),
        Command::Archive(args) => {
            fill_image(&mut args.from, config);
            fill_pack(&mut args.pack, config);
        }
        Command::Convert(args) => {
            fill_image(&mut args.from, config);
            fill_pack(&mut args.pack, config);
        }
        Command::Pull(args) => fill_image(&mut args.from, config),
        Command::Worker(args) => drop(args.socket.get_or_insert_with(|| config.worker.socket.clone())),
        Command::Mount(args) => fill_reading(&mut args.cache, &mut args.registry, config),
        Command::Diff(args) => fill_reading(&mut args.cache, &mut args.registry, config),
        Command::Cat(args) => fill_reading(&mut args.cache, &mut args.registry, config),
        Command::Extract(args) => fill_reading(&mut args.cache, &mut args.registry, config),
        Command::Verify(args) => fill_registry(&mut args.registry, config),
        _ => {}
    }
}

fn fill_log_level(global: &mut Global, settings: &Settings) {
    let is_said = settings.effective.entries().iter().any(|entry| entry.key == "log.level" && entry.origin != Origin::Default);
    let said = if is_said { &settings.effective.config.log.level } else { LOG_LEVEL };
    global.log_level.get_or_insert_with(|| said.to_owned());
}

fn fill_dir(dir: &mut Option<std::path::PathBuf>, config: &Config) {
    if dir.is_none() {
        dir.clone_from(&config.cache.dir);
    }
}

fn fill_image(image: &mut ImageArgs, config: &Config) {
    fill_dir(&mut image.cache_dir, config);
    fill_registry(&mut image.registry, config);
    image.checkpoint_mib = Some(config.image_service.checkpoint_mib);
}

fn fill_reading(cache: &mut CacheArgs, registry: &mut RegistryArgs, config: &Config) {
    fill_dir(&mut cache.cache_dir, config);
    cache.cache_size.get_or_insert(config.cache.size.0);
    fill_registry(registry, config);
}

fn fill_registry(registry: &mut RegistryArgs, config: &Config) {
    if registry.ca_file.is_none() {
        registry.ca_file.clone_from(&config.registry.ca_file);
    }
    registry.plain_http_hosts.clone_from(&config.registry.plain_http);
    registry.insecure_hosts.clone_from(&config.registry.insecure_skip_tls_verify);
}

fn fill_pack(pack: &mut PackArgs, config: &Config) {
    pack.level.get_or_insert(config.image_service.level);
    pack.span_kib.get_or_insert(config.image_service.span_kib);
    pack.jobs = pack.jobs.or(config.image_service.jobs);
}
