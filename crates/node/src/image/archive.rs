//! Image archives: what `docker save` writes, and OCI image layouts, both as tar, plain or gzip.
//!
//! An archive is copied once into an unnamed file of the store and read by offset; no path in it ever becomes a path of this
//! machine. Which layers an image has and where they lie comes out of here; unpacking them is [`super::layer`]'s.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::{
    Digest,
    config::{ImageConfig, InvalidConfig, architecture_here},
};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("archive cannot be read as tar or gzipped tar")]
    Read(#[source] io::Error),
    #[error("archive is larger than {0} bytes")]
    TooLarge(u64),
    #[error("archive has more than {0} entries")]
    TooManyEntries(usize),
    #[error("archive holds neither manifest.json (docker save) nor index.json (OCI layout)")]
    NoImage,
    #[error("archive lacks {0}, which its manifest names")]
    Missing(String),
    #[error("{file} in the archive is larger than {limit} bytes")]
    MetadataTooLarge { file: String, limit: u64 },
    #[error("{file} in the archive is not the JSON it should be")]
    Json { file: String, source: serde_json::Error },
    #[error("{0} in the archive does not have the digest it is named by")]
    WrongDigest(String),
    #[error("image index has no image for {}/{}", std::env::consts::OS, architecture_here())]
    NoPlatform,
    #[error("layer format {0} is not supported (tar and tar+gzip are)")]
    MediaType(String),
    #[error("manifest of image {image} lists {listed} layers, its configuration {configured}")]
    LayerCount { image: String, listed: usize, configured: usize },
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

const MAX_BYTES: u64 = 64 << 30;
const MAX_ENTRIES: usize = 20_000;
const MAX_METADATA: u64 = 8 << 20;
const MAX_DEPTH: usize = 4;

/// A tar archive whose entries can be read in any order.
pub(super) struct Archive {
    file: File,
    entries: BTreeMap<String, Place>,
}

enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// A link inside the archive, as `docker save` writes for layers that images share.
    Link(String),
}

/// One image of an archive.
pub(super) struct ArchivedImage {
    pub(super) names: Vec<String>,
    pub(super) config: ImageConfig,
    pub(super) config_json: Vec<u8>,
    /// For each of the configuration's layers, the archive entry it lies in.
    pub(super) layers: Vec<String>,
    /// The digest of the OCI manifest, where there was one.
    pub(super) manifest: Option<Digest>,
}

impl Archive {
    /// Copies `source` into an unnamed file in `scratch`, decompressed, and reads its table of contents.
    pub(super) fn open(source: impl Read, scratch: &Path) -> Result<Self, ArchiveError> {
        let mut file = tempfile_in(scratch).map_err(ArchiveError::Read)?;
        let mut source = plain(source).map_err(ArchiveError::Read)?.take(MAX_BYTES + 1);
        let copied = io::copy(&mut source, &mut file).map_err(ArchiveError::Read)?;
        if copied > MAX_BYTES {
            return Err(ArchiveError::TooLarge(MAX_BYTES));
        }
        file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
        let mut entries = BTreeMap::new();
        let mut tar = tar::Archive::new(BufReader::new(&file));
        for entry in tar.entries_with_seek().map_err(bad_archive)? {
            let entry = entry.map_err(bad_archive)?;
            if entries.len() == MAX_ENTRIES {
                return Err(ArchiveError::TooManyEntries(MAX_ENTRIES));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = normal("", &name);
            let link = || String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
            let place = match entry.header().entry_type() {
                tar::EntryType::Regular => Place::At { offset: entry.raw_file_position(), size: entry.size() },
                tar::EntryType::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    Place::Link(normal(folder, &link()))
                }
                tar::EntryType::Link => Place::Link(normal("", &link())),
                _ => continue,
            };
            entries.insert(name, place);
        }
        drop(tar);
        Ok(Self { file, entries })
    }

    /// Every image for this machine's platform.
    pub(super) fn images(&self) -> Result<Vec<ArchivedImage>, ArchiveError> {
        if self.entries.contains_key("manifest.json") {
            self.docker_images()
        } else if self.entries.contains_key("index.json") {
            let index: Index = self.json("index.json")?;
            let mut images = Vec::new();
            for descriptor in index.manifests {
                let names = descriptor.name().into_iter().collect();
                images.push(self.oci_image(&descriptor, names, 0)?);
            }
            Ok(images)
        } else {
            Err(ArchiveError::NoImage)
        }
    }

    /// The uncompressed bytes of a layer.
    pub(super) fn layer(&self, entry: &str) -> Result<impl Read + '_, ArchiveError> {
        plain(self.read(entry)?).map_err(ArchiveError::Read)
    }

    fn docker_images(&self) -> Result<Vec<ArchivedImage>, ArchiveError> {
        let listed: Vec<DockerImage> = self.json("manifest.json")?;
        let image = |image: DockerImage| {
            let config_json = self.metadata(&normal("", &image.config))?;
            let config = ImageConfig::parse(&config_json)?;
            let layers = image.layers.iter().map(|layer| normal("", layer)).collect();
            let names = image.repo_tags.unwrap_or_default();
            matching(ArchivedImage { names, config, config_json, layers, manifest: None })
        };
        listed.into_iter().map(image).collect()
    }

    fn oci_image(
        &self,
        descriptor: &Descriptor,
        names: Vec<String>,
        depth: usize,
    ) -> Result<ArchivedImage, ArchiveError> {
        let (digest, bytes) = self.blob(&descriptor.digest)?;
        let parse_error = |source| ArchiveError::Json { file: digest.to_string(), source };
        if descriptor.is_index() {
            let index: Index = serde_json::from_slice(&bytes).map_err(parse_error)?;
            let here = index.manifests.iter().find(|m| m.is_for_this_machine());
            return match here {
                Some(descriptor) if depth < MAX_DEPTH => self.oci_image(descriptor, names, depth + 1),
                _ => Err(ArchiveError::NoPlatform),
            };
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(parse_error)?;
        let (_, config_json) = self.blob(&manifest.config.digest)?;
        let config = ImageConfig::parse(&config_json)?;
        let mut layers = Vec::new();
        for layer in manifest.layers {
            let media_type = layer.media_type.unwrap_or_default();
            if !matches!(media_type.rsplit_once("tar").map(|(_, end)| end), Some("" | "+gzip" | ".gzip")) {
                return Err(ArchiveError::MediaType(media_type));
            }
            layers.push(blob_path(&layer.digest)?);
        }
        matching(ArchivedImage { names, config, config_json, layers, manifest: Some(digest) })
    }

    fn blob(&self, digest: &str) -> Result<(Digest, Vec<u8>), ArchiveError> {
        let path = blob_path(digest)?;
        let bytes = self.metadata(&path)?;
        let actual = Digest::of(&bytes);
        if actual.to_string() == digest { Ok((actual, bytes)) } else { Err(ArchiveError::WrongDigest(path)) }
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, file: &str) -> Result<T, ArchiveError> {
        serde_json::from_slice(&self.metadata(file)?)
            .map_err(|source| ArchiveError::Json { file: file.to_owned(), source })
    }

    fn metadata(&self, file: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let reader = self.read(file)?;
        if reader.left > MAX_METADATA {
            return Err(ArchiveError::MetadataTooLarge { file: file.to_owned(), limit: MAX_METADATA });
        }
        let mut reader = reader;
        reader.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(bytes)
    }

    fn read(&self, name: &str) -> Result<Section<'_>, ArchiveError> {
        let mut current = name;
        for _ in 0..MAX_DEPTH {
            match self.entries.get(current) {
                Some(Place::At { offset, size }) => {
                    return Ok(Section { file: &self.file, offset: *offset, left: *size });
                }
                Some(Place::Link(target)) => current = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(name.to_owned()))
    }
}

fn bad_archive(error: io::Error) -> ArchiveError {
    ArchiveError::Read(without_quotes(&error))
}

/// What the tar reader says of a header that is none quotes the bytes it found there, whatever file they are of.
pub(super) fn without_quotes(error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or no tar")
        }
        kind => kind.into(),
    }
}

fn matching(image: ArchivedImage) -> Result<ArchivedImage, ArchiveError> {
    let (listed, configured) = (image.layers.len(), image.config.layers.len());
    if listed == configured {
        return Ok(image);
    }
    let image = image.names.first().cloned().unwrap_or_else(|| Digest::of(&image.config_json).to_string());
    Err(ArchiveError::LayerCount { image, listed, configured })
}

fn blob_path(digest: &str) -> Result<String, ArchiveError> {
    let digest = Digest::parse(digest).ok_or_else(|| InvalidConfig::Digest(digest.to_owned()))?;
    Ok(format!("blobs/sha256/{}", digest.hex()))
}

/// `path` seen from `folder`, without `.`, `..` and leading slashes.
fn normal(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The stream itself, or what it holds where it is gzip.
fn plain<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 2];
    let mut filled = 0;
    while filled < magic.len() {
        match source.read(&mut magic[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    let whole = io::Cursor::new(magic).take(filled as u64).chain(source);
    if magic == [0x1f, 0x8b] {
        Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))))
    } else {
        Ok(Box::new(BufReader::with_capacity(64 << 10, whole)))
    }
}

fn tempfile_in(scratch: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let tmpfile = nix::fcntl::OFlag::O_TMPFILE.bits();
    std::fs::OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(tmpfile).open(scratch)
}

/// A stretch of the archive's file.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..want], self.offset)?;
        if read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_deref(),
            Some(
                "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
            )
        )
    }

    fn is_for_this_machine(&self) -> bool {
        self.platform.as_ref().is_none_or(|p| p.os == std::env::consts::OS && p.architecture == architecture_here())
    }

    /// containerd writes the whole name beside the tag that the OCI layout asks for.
    fn name(&self) -> Option<String> {
        let whole = self.annotations.get("io.containerd.image.name");
        whole.or_else(|| self.annotations.get("org.opencontainers.image.ref.name")).cloned()
    }
}
