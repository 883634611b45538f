use super::*;

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Writes the name as it stands, which `tar`'s own setters would refuse.
    fn entry(mut self, kind: EntryType, path: &str, link: &str, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    fn file(self, path: &str, bytes: &str) -> Self {
        self.entry(EntryType::Regular, path, "", bytes.as_bytes())
    }

    fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, path, to, b"")
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn unpacked(tar: Tar) -> (tempfile::TempDir, Result<Unpacked, LayerError>) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let result = unpack(tar.done().as_slice(), &root, Limits { entries: 100, bytes: 1 << 20 });
    (outer, result)
}

#[test]
fn files_links_and_metadata_arrive() {
    let tar = Tar::new()
        .entry(EntryType::Directory, "usr/", "", b"")
        .entry(EntryType::Directory, "usr/bin/", "", b"")
        .file("./usr/bin/app", "hello")
        .symlink("bin", "usr/bin")
        .file("bin/second", "by link")
        .entry(EntryType::Link, "usr/bin/twin", "usr/bin/app", b"")
        .file("deep/er/file", "parents are made");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    let root = dir.path().join("root");
    assert_eq!(fs::read_to_string(root.join("usr/bin/app")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(root.join("usr/bin/second")).unwrap(), "by link");
    assert_eq!(fs::metadata(root.join("usr/bin/twin")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(root.join("usr/bin/app")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(root.join("usr")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_to_string(root.join("deep/er/file")).unwrap(), "parents are made");
}

#[test]
fn whiteouts_become_what_overlayfs_knows() {
    let tar = Tar::new().file("etc/.wh.gone", "").file("var/.wh..wh..opq", "").file("var/.wh..wh.plnk", "");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    let root = dir.path().join("root");
    let meta = fs::symlink_metadata(root.join("etc/gone")).unwrap();
    assert_eq!((meta.mode() & SFlag::S_IFMT.bits(), meta.rdev()), (SFlag::S_IFCHR.bits(), 0));
    let mut value = [0; 8];
    let read = rustix::fs::lgetxattr(root.join("var"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..read], b"y");
    assert_eq!(fs::read_dir(root.join("var")).unwrap().count(), 0);
}

#[test]
fn nothing_leaves_the_layer() {
    let hostile = [
        Tar::new().file("../outside", "x"),
        Tar::new().file("a/../../outside", "x"),
        Tar::new().file("a/.wh...", ""),
        Tar::new().entry(EntryType::Link, "x", "../../etc/passwd", b""),
    ];
    for (n, tar) in hostile.into_iter().enumerate() {
        let (dir, result) = unpacked(tar);
        assert!(matches!(result, Err(LayerError::Escapes(_))), "case {n}: {result:?}");
        assert!(!dir.path().join("outside").exists());
    }
    // Absolute paths and links are the layer's own root, as they are for a container.
    let secret = tempfile::NamedTempFile::new().unwrap();
    let inside = secret.path().strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    let absolute = [
        Tar::new().file(secret.path().to_str().unwrap(), "x"),
        Tar::new().symlink("l", "/").file(&format!("l/{inside}"), "x"),
        Tar::new().symlink("l", "../../../../../../..").file(&format!("l/{inside}"), "x"),
        Tar::new().symlink("a/l", "../..").symlink("b", "a/l").file(&format!("b/{inside}"), "x"),
    ];
    for (n, tar) in absolute.into_iter().enumerate() {
        let (dir, result) = unpacked(tar);
        result.unwrap();
        assert!(dir.path().join("root").join(&inside).exists(), "case {n}");
        assert_eq!(fs::read(secret.path()).unwrap(), b"", "case {n}");
    }
}

#[test]
fn an_entry_replaces_a_link_instead_of_writing_through_it() {
    let victim = tempfile::NamedTempFile::new().unwrap();
    let tar = Tar::new().symlink("file", victim.path().to_str().unwrap()).file("file", "mine");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    assert_eq!(fs::read(victim.path()).unwrap(), b"");
    assert_eq!(fs::read_to_string(dir.path().join("root/file")).unwrap(), "mine");
}

#[test]
fn bounds_hold() {
    let many = (0..101).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), ""));
    assert!(matches!(unpacked(many).1, Err(LayerError::TooManyEntries(100))));
    let large = Tar::new().file("f", &"x".repeat((1 << 20) + 1));
    assert!(matches!(unpacked(large).1, Err(LayerError::TooLarge(_))));
    let loops = Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(matches!(unpacked(loops).1, Err(LayerError::Escapes(_))));
    assert!(matches!(
        unpack(&b"not a tar archive"[..], Path::new("/nonexistent"), Limits::default()),
        Err(LayerError::Read(_))
    ));
}

#[test]
fn device_nodes_are_left_out() {
    let tar = Tar::new().entry(EntryType::Block, "disk", "", b"").entry(EntryType::Char, "tty", "", b"");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    assert_eq!(fs::read_dir(dir.path().join("root")).unwrap().count(), 0);
}
