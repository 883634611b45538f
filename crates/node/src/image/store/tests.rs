use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::*;
use crate::image::config::architecture_here;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "os": "linux", "architecture": architecture_here(),
        "config": {"Cmd": ["/app"], "Env": ["A=b"]}, "rootfs": {"type": "layers", "diff_ids": ids},
    });
    config.to_string().into_bytes()
}

fn docker_archive(name: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config_of(layers);
    let paths: Vec<_> = (0..layers.len()).map(|n| format!("l{n}/layer.tar")).collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": paths}]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![("manifest.json", manifest.as_bytes()), ("c.json", &config)];
    files.extend(paths.iter().map(String::as_str).zip(layers.iter().copied()));
    tar_of(&files)
}

fn oci_archive(name: &str, layer: &[u8]) -> Vec<u8> {
    let config = config_of(&[layer]);
    let packed = gzip(layer);
    let (config_id, layer_id) = (Digest::of(&config), Digest::of(&packed));
    let manifest = json!({
        "config": {"digest": config_id.to_string()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer_id.to_string()}],
    })
    .to_string();
    let manifest_id = Digest::of(manifest.as_bytes());
    let platforms = json!({"manifests": [
        {"digest": format!("sha256:{}", "0".repeat(64)), "platform": {"os": "plan9", "architecture": "mips"}},
        {"digest": manifest_id.to_string(), "platform": {"os": "linux", "architecture": architecture_here()}},
    ]})
    .to_string();
    let platforms_id = Digest::of(platforms.as_bytes());
    let index = json!({"manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": platforms_id.to_string(),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }]})
    .to_string();
    let path = |id: &Digest| format!("blobs/sha256/{}", id.hex());
    tar_of(&[
        ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"),
        ("index.json", index.as_bytes()),
        (&path(&platforms_id), platforms.as_bytes()),
        (&path(&manifest_id), manifest.as_bytes()),
        (&path(&config_id), &config),
        (&path(&layer_id), &packed),
    ])
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    (dir, store)
}

#[test]
fn both_archive_forms_load_plain_and_compressed() {
    let layer = tar_of(&[("app", b"one")]);
    let top = tar_of(&[("app", b"two")]);
    let docker = docker_archive("x/y:1", &[&layer, &top]);
    let oci = oci_archive("registry.test/z:2", &layer);
    for (archive, name, layers) in [
        (docker.clone(), "docker.io/x/y:1", 2),
        (gzip(&docker), "docker.io/x/y:1", 2),
        (oci.clone(), "registry.test/z:2", 1),
        (gzip(&oci), "registry.test/z:2", 1),
    ] {
        let (_dir, store) = store();
        let loaded = store.load(archive.as_slice()).unwrap();
        assert_eq!(loaded.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), [name]);
        let image = store.resolve(name).unwrap();
        assert_eq!(image.lower_dirs.len(), layers);
        assert_eq!(image.config.command, ["/app"]);
        let uppermost = fs::read(image.lower_dirs[0].join("app")).unwrap();
        assert_eq!(uppermost, if layers == 2 { b"two" } else { b"one" });
        assert_eq!(store.list().unwrap(), loaded);
        assert_eq!(fs::read_dir(store.scratch()).unwrap().count(), 0, "scratch is empty");
    }
}

#[test]
fn a_tag_is_a_second_name_of_the_same_image() {
    let (_dir, store) = store();
    store.load(docker_archive("a:1", &[&tar_of(&[("f", b"")])]).as_slice()).unwrap();
    store.tag("a:1", "gcr.io/google-samples/hello-app:1.0").unwrap();
    let id = store.resolve("a:1").unwrap().id;
    assert_eq!(store.resolve("gcr.io/google-samples/hello-app:1.0").unwrap().id, id);
    assert_eq!(store.resolve(&id.to_string()).unwrap().id, id);
    let error = store.tag("absent", "b").unwrap_err();
    assert!(error.to_string().contains("stead image load"), "{error}");
    assert!(store.tag("a:1", "Not A Name").is_err());
}

#[test]
fn a_second_store_sees_what_the_first_wrote() {
    let (dir, store) = store();
    store.load(docker_archive("a:1", &[&tar_of(&[("f", b"")])]).as_slice()).unwrap();
    let other = Store::open(dir.path().join("images")).unwrap();
    assert!(other.resolve("a:1").is_ok());
}

#[test]
fn a_store_whose_directory_is_gone_is_not_taken_for_an_empty_one() {
    let (dir, store) = store();
    assert_eq!(store.list().unwrap().len(), 0);
    std::fs::remove_dir_all(dir.path().join("images")).unwrap();
    let error = store.list().unwrap_err().to_string();
    assert!(error.contains("names.json"), "{error}");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let layer = tar_of(&[("app", b"one")]);
    let other = tar_of(&[("app", b"not what the digest says")]);
    let config = config_of(&[&layer]);
    let manifest = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]).to_string().into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no archive", b"hello".to_vec(), "cannot be read as tar"),
        ("empty", tar_of(&[]), "neither manifest.json"),
        ("manifest is no JSON", tar_of(&[("manifest.json", b"{")]), "not the JSON"),
        ("layer is missing", tar_of(&[("manifest.json", &manifest("c", &["l"])), ("c", &config)]), "lacks l"),
        (
            "config leads out of the archive",
            tar_of(&[("manifest.json", &manifest("../../../../etc/passwd", &["l"]))]),
            "lacks etc/passwd",
        ),
        (
            "layer has another digest",
            tar_of(&[("manifest.json", &manifest("c", &["l"])), ("c", &config), ("l", &other)]),
            "does not have the digest",
        ),
        (
            "layer count",
            tar_of(&[("manifest.json", &manifest("c", &["l", "l"])), ("c", &config), ("l", &layer)]),
            "lists 2 layers",
        ),
        (
            "foreign platform",
            tar_of(&[("manifest.json", &manifest("c", &[])), ("c", br#"{"os":"plan9","rootfs":{}}"#)]),
            "this machine is",
        ),
        (
            "digest with a path in it",
            tar_of(&[
                ("manifest.json", &manifest("c", &["l"])),
                ("c", br#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#),
            ]),
            "not of the form",
        ),
        ("name", docker_archive("../../x", &[&layer]), "invalid image name"),
    ];
    for (what, archive, expect) in cases {
        let (_dir, store) = store();
        let error = store.load(archive.as_slice()).unwrap_err();
        let text = stead_client::error_text(&error);
        assert!(text.contains(expect), "{what}: {text}");
        assert!(store.list().unwrap().is_empty(), "{what}");
        assert_eq!(fs::read_dir(store.scratch()).unwrap().count(), 0, "{what}: scratch is empty");
    }
}

#[test]
fn what_is_no_archive_is_not_quoted() {
    let text = b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/sh\n".repeat(40);
    let manifest = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["l"]}]).to_string();
    let layer = tar_of(&[("manifest.json", manifest.as_bytes()), ("c", &config_of(&[&text])), ("l", &text)]);
    for (what, archive) in [("a file", text.clone()), ("a packed file", gzip(&text)), ("a layer", layer)] {
        let (_dir, store) = store();
        let said = stead_client::error_text(&store.load(archive.as_slice()).unwrap_err());
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(!said.contains("root") && !said.contains("daemon"), "{what}: {said}");
        assert!(said.contains("no tar"), "{what}: {said}");
    }
}

#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), Limits { entries: 10, bytes: 4096 }).unwrap();
    let bomb = tar_of(&[("zeros", &[0; 1 << 20])]);
    let error = store.load(gzip(&docker_archive("a:1", &[&gzip(&bomb)])).as_slice()).unwrap_err();
    assert!(matches!(error, StoreError::Layer { source: LayerError::TooLarge(4096), .. }), "{error}");
}

#[test]
fn built_in_images_are_made_once_and_run_a_static_program() {
    let (_dir, store) = store();
    let one = store.resolve("stead.local/hello-app:1.0").unwrap();
    let two = store.resolve("stead.local/hello-app:2.0").unwrap();
    assert_ne!(one.id, two.id);
    assert_eq!(one.config.layers, two.config.layers, "the program is unpacked once");
    assert!(one.lower_dirs[0].join("hello-app").exists());
    assert_eq!(store.resolve("stead.local/hello-app:1.0").unwrap(), one);
    assert!(matches!(store.resolve("stead.local/hello-app:3.0"), Err(StoreError::NotFound { .. })));
}

#[test]
fn writers_wait_for_each_other() {
    let (_dir, store) = store();
    let archives: Vec<_> = (0..4)
        .map(|n| docker_archive(&format!("a:{n}"), &[&tar_of(&[("f", &[n])]), &tar_of(&[("same", b"x")])]))
        .collect();
    std::thread::scope(|scope| {
        for archive in &archives {
            scope.spawn(|| store.load(archive.as_slice()).unwrap());
        }
    });
    assert_eq!(store.list().unwrap().len(), 4);
}
