//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::registry_args::RegistryArgs;
use crate::size::parse_size;
use crate::worker_args::{WorkerArgs, WorkerChoice};

/// Start containers from images that are not there yet.
///
/// `index` reads an image once and writes a small archive of it; `mount` serves the archive as a read-only directory at once, and
/// fetches from the registry only what is read.
#[derive(Debug, Parser)]
#[command(name = "clipctl", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Examples:
  clipctl index python:3.12 -o python.clip
  clipctl mount python.clip /mnt/python && chroot /mnt/python python3
  clipctl stats /mnt/python
  clipctl umount /mnt/python")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON document to standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as read=debug [default: as configured, else warn] [env: CLIP_LOG=]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// File of configuration, above /etc/clip/*.yaml [env: CLIP_CONFIG=]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Index(IndexArgs),
    Archive(ArchiveArgs),
    Pull(PullArgs),
    Images(ImagesArgs),
    Rmi(RmiArgs),
    Convert(ConvertArgs),
    Mount(MountArgs),
    Umount(UmountArgs),
    Inspect(InspectArgs),
    Ls(LsArgs),
    Cat(CatArgs),
    Extract(ExtractArgs),
    Verify(VerifyArgs),
    Diff(DiffArgs),
    Stats(StatsArgs),
    Worker(WorkerArgs),
    Completions(CompletionsArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Where bytes are kept near.
#[derive(Debug, Clone, Args)]
pub(crate) struct CacheArgs {
    /// Directory of the cache, shared by all mounts [default: as configured, else /var/cache/clip, or ~/.cache/clip for users] [env: CLIP_CACHE_DIR=]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most bytes that the cache may hold [default: as configured, else 10G] [env: CLIP_CACHE_SIZE=]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
}

/// Which of an image's platforms, how to reach it, and where to keep what is learned of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImageArgs {
    /// Platform of a multi-platform image: os/arch[/variant] [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<image::Platform>,
    /// Directory of the cache, where layers are looked at and what was learned of them is kept [default: as for mount] [env: CLIP_CACHE_DIR=]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What the configuration says of the spacing of checkpoints, in MiB.
    #[arg(skip)]
    pub checkpoint_mib: Option<f64>,
}

/// Write a small archive that points into an image's layers
///
/// IMAGE is [docker://]HOST/REPO[:TAG][@DIGEST], a short name of Docker Hub, oci:DIR[:TAG], oci-archive:FILE[:TAG] or
/// docker-archive:FILE[:TAG]. Every layer is read once, streaming, and verified against manifest and config. What was learned of a
/// layer is kept, so the next image on the same base reads only its own layers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl index debian:12 -o debian.clip
  clipctl index --platform linux/arm64 ghcr.io/org/app@sha256:… -o app.clip
  clipctl index oci:./layout:latest --storage-image registry.example/app:latest -o app.clip
  echo $TOKEN | clipctl index --username me --password-stdin registry.example/private/app -o app.clip")]
pub(crate) struct IndexArgs {
    /// The image
    pub image: String,
    /// The archive to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// MiB of uncompressed data between two points where reading can begin (0.0625 to 8) [default: as configured, else 2]
    #[arg(long, value_name = "N", value_parser = parse_checkpoint)]
    pub checkpoint_mib: Option<f64>,
    /// Layers to index at the same time [default: the number of processors, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub jobs: Option<u16>,
    /// For a local image: make the archive look for the blobs in this repository, which must have them
    #[arg(long, value_name = "REF")]
    pub storage_image: Option<String>,
    /// Overwrite the archive if it is there
    #[arg(long)]
    pub force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub from: ImageArgs,
}

/// Make an image's archive, unless the store has it, and print its id
///
/// The configuration (imageService.clipVersion, CLIP_VERSION) or --clip-version says which version: v1 carries the image's data, v2 points into its layers in the
/// registry. If no v2 archive can be made, a v1 archive is made instead, and it is said so. `clipctl mount ID DIR` mounts it.
///
/// Where a worker listens, it does the work, as its own configuration says: the command asks for it and follows it, and may be stopped or lose its worker
/// meanwhile. With flags that only this process can heed (--level, --cache-dir, those of registries and the like) and with --no-worker, this process does it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl mount $(clipctl pull python:3.12) /mnt/python
  clipctl pull --no-worker python:3.12
  clipctl pull --clip-version v2 --no-fallback registry.example/app:latest")]
pub(crate) struct PullArgs {
    /// The image
    pub image: String,
    /// Version of the archive: v1 or v2 [default: as configured, else v1]
    #[arg(long, value_name = "VERSION")]
    pub clip_version: Option<String>,
    /// Fail where no v2 archive can be made
    #[arg(long)]
    pub no_fallback: bool,
    /// Level of zstd, for v1 [default: as configured, else 9]
    #[arg(long, value_name = "N")]
    pub level: Option<u32>,
    /// KiB of uncompressed data that are compressed, fetched and verified as one, for v1 [default: as configured, else 1024]
    #[arg(long, value_name = "N")]
    pub span_kib: Option<u32>,
    /// Make it anew, also if the store has it
    #[arg(long)]
    pub force: bool,
    /// Print nothing but the id, and errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub worker: WorkerChoice,
    #[command(flatten)]
    pub from: ImageArgs,
}

/// List the images of the store
///
/// Where a worker listens, it is asked: it also knows images that were asked for and are not there yet.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    #[command(flatten)]
    pub worker: WorkerChoice,
}

/// Remove images from the store
///
/// Where a worker listens, it is asked.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Their ids, or the beginnings of those
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Also if the worker has them in use
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub worker: WorkerChoice,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration that holds, and where each value comes from; secrets are masked
    Show,
}

/// How data is packed.
#[derive(Debug, Clone, Args)]
pub(crate) struct PackArgs {
    /// Level of zstd, 1 to 22 [default: as configured, else 9]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=22))]
    pub level: Option<i32>,
    /// Threads that compress, and layers to take in at the same time [default: the number of processors, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub jobs: Option<u16>,
    /// KiB of uncompressed data that are compressed, fetched and verified as one (64 to 8192) [default: as configured, else 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=8192))]
    pub span_kib: Option<u32>,
}

/// Make a v1 archive from a v2 archive, or a v2 archive from a v1 archive and its image
///
/// A v2 archive is an index of layers elsewhere: to make one, those must be read. `--image` says where they are; it must be the image
/// that the v1 archive was made from.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl convert app-v2.clip -o app-v1.clip
  clipctl convert app-v1.clip --image registry.example/app -o app-v2.clip")]
pub(crate) struct ConvertArgs {
    /// The archive to start from
    pub archive: PathBuf,
    /// The archive to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// For a v1 archive: the image that it was made from
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    #[command(flatten)]
    pub pack: PackArgs,
    /// Overwrite the archive if it is there
    #[arg(long)]
    pub force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub from: ImageArgs,
}

/// Write an archive that carries an image's or a directory's data (v1)
///
/// SOURCE is an image, named as for `index`, or a directory: a path that begins with `/`, `./` or `../`, or dir:PATH. Layers are flattened as an unpack
/// would do it; files are cut into chunks, each of which is kept once, and compressed with zstd. The archive needs nothing but itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl archive debian:12 -o debian.clip
  clipctl archive /srv/rootfs -o s3://archives/rootfs.clip
  clipctl archive --level 19 dir:rootfs -o rootfs.clip")]
pub(crate) struct ArchiveArgs {
    /// The image or the directory
    pub source: String,
    /// The archive to write: a file, or s3://bucket/key
    #[arg(short, long, value_name = "FILE|URL")]
    pub output: PathBuf,
    #[command(flatten)]
    pub pack: PackArgs,
    /// Overwrite the archive if it is there
    #[arg(long)]
    pub force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub from: ImageArgs,
}

fn parse_checkpoint(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(mib) if (0.0625..=8.0).contains(&mib) => Ok(mib),
        _ => Err("must be a number from 0.0625 to 8".into()),
    }
}

/// Compare two archives as a reader sees them
///
/// Names, types, attributes, hard links and contents; how they are stored does not matter. A v1 and a v2 archive of one image are the same.
/// The exit code is 0 if they are, else 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl diff app-v1.clip app-v2.clip
  clipctl diff --metadata old.clip new.clip")]
pub(crate) struct DiffArgs {
    /// An archive
    pub a: PathBuf,
    /// Another one
    pub b: PathBuf,
    /// Do not compare the contents of files
    #[arg(long)]
    pub metadata: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// How long a read may wait for the network if nothing is said.
pub(crate) const READ_TIMEOUT_SECONDS: u64 = 60;

/// Mount an archive on a directory
///
/// Without --foreground the command returns when the mount is ready, and a server process stays behind until the mount is gone.
/// The same archive may be mounted many times. Also usable from fstab as type fuse.clip, if clipctl is linked to
/// /sbin/mount.fuse.clip.
///
/// Where a worker listens, it mounts the archive and serves it, also over its own restarts; the directory must be below one of its worker.mountRoots.
/// With --foreground, with flags that only this process can heed (--log, --read-timeout, those of caches and registries) and with --no-worker, clipctl serves it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl mount app.clip /mnt/app
  clipctl mount --no-worker app.clip ./app
  clipctl mount --foreground --log-level debug app.clip /mnt/app
  /etc/fstab:  /var/lib/clip/app.clip  /mnt/app  fuse.clip  cache-size=20G,_netdev  0 0")]
pub(crate) struct MountArgs {
    /// The archive
    pub archive: PathBuf,
    /// The directory to mount it on
    pub mountpoint: PathBuf,
    /// Serve from this process until the mount is gone; SIGINT and SIGTERM unmount
    #[arg(short, long)]
    pub foreground: bool,
    /// Where the server logs [default: standard error with --foreground, else mount.log in the cache directory]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Mount also on a directory that is not empty; its contents are hidden
    #[arg(long)]
    pub nonempty: bool,
    /// Ignore set-user-id bits and device nodes
    #[arg(long)]
    pub nosuid: bool,
    /// Seconds that a read may wait for the network before it fails
    #[arg(long, value_name = "SECONDS", default_value_t = READ_TIMEOUT_SECONDS, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub read_timeout: u64,
    /// Given by the process that waits for this one to be ready
    #[arg(long, hide = true)]
    pub background_server: bool,
    #[command(flatten)]
    pub worker: WorkerChoice,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Unmount an archive
///
/// Where a worker listens and the mount is one of its own, it is asked.
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Where it is mounted
    pub mountpoint: PathBuf,
    /// Make it disappear at once, though programs use it; it is gone when they are done
    #[arg(short, long)]
    pub lazy: bool,
    #[command(flatten)]
    pub worker: WorkerChoice,
}

/// Show what an archive is: header, sections, layers, the image's config, totals
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The archive
    pub archive: PathBuf,
}

/// List a directory of an archive, without mounting it
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The archive
    pub archive: PathBuf,
    /// What to list
    #[arg(default_value = "/")]
    pub path: PathBuf,
    /// With type, mode, links, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// With all directories below
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Write a file of an archive to standard output
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// The archive
    pub archive: PathBuf,
    /// The file; symbolic links are followed inside the image
    pub path: PathBuf,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Unpack an archive into a directory
///
/// Root restores owners, devices and all extended attributes; other users what they may. Nothing is ever written outside of the
/// directory, whatever the archive says.
#[derive(Debug, Args)]
pub(crate) struct ExtractArgs {
    /// The archive
    pub archive: PathBuf,
    /// The directory, which is made, or must be empty
    pub directory: PathBuf,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Check that an archive is whole
///
/// Every section, node and window is checked. With --deep, every span of every layer is fetched as well, decoded from its own
/// restart point, and compared with its digest.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The archive
    pub archive: PathBuf,
    /// Fetch and check all data
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Show what a mount has fetched, what its cache has saved, and how long its readers have waited
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Where an archive is mounted
    pub mountpoint: PathBuf,
}

/// Print a script that completes clipctl's commands in a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  clipctl completions bash > /etc/bash_completion.d/clipctl")]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
